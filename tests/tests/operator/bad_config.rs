//! Broken configs: each is refused with its key, its line and what to do about it, by `check` and by
//! `node`; and a running node that gets one keeps its own.

use std::process::{Command, Output};
use std::time::Duration;

use grapevine_tests::program::grapevine;
use grapevine_tests::scratch::Scratch;
use grapevine_tests::{Mesh, Mock, Node, client, wait_until};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(10);

/// What is broken, the config, and the line and key that the complaint must name.
const BROKEN: [(&str, &str, usize, &str); 13] = [
    ("no YAML", "listen: [127.0.0.1:1\nnode: {name: a}\n", 2, ""),
    (
        "an unknown key",
        "node: {name: a}\nlistne: 127.0.0.1:1\n",
        2,
        "listne",
    ),
    (
        "a missing key",
        "upstreams:\n  - name: a\n",
        2,
        "upstreams[0].base_url",
    ),
    (
        "a value of another type",
        "node: {name: a}\nupstreams: 5\n",
        2,
        "upstreams",
    ),
    (
        "a duration without a unit",
        "routing:\n  deadline: 30\n",
        2,
        "routing.deadline",
    ),
    (
        "an interval within the timeout",
        "upstreams:\n  - name: a\n    base_url: http://127.0.0.1:1/v1\n    health:\n      timeout: 5s\n      interval: 1s\n",
        6,
        "upstreams[0].health.interval",
    ),
    (
        "a URL that is none",
        "upstreams:\n  - name: a\n    base_url: not a url\n",
        3,
        "upstreams[0].base_url",
    ),
    (
        "a name twice",
        "upstreams:\n  - {name: a, base_url: 'http://127.0.0.1:1/v1'}\n  - {name: a, base_url: 'http://127.0.0.1:2/v1'}\n",
        3,
        "upstreams[1].name",
    ),
    (
        "a variable that is not set",
        "upstreams:\n  - name: a\n    base_url: http://127.0.0.1:1/v1\n    api_key: ${GRAPEVINE_TEST_NOT_SET}\n",
        4,
        "upstreams[0].api_key",
    ),
    (
        "a certificate that is not there",
        "mesh:\n  listen: 127.0.0.1:1\n  tls:\n    ca: /nowhere/ca.pem\n    cert: /nowhere/a.pem\n    key: /nowhere/a.key\n",
        4,
        "mesh.tls.ca",
    ),
    (
        "a key instead of its hash",
        "keys:\n  - name: a\n    hash: sk-plain\n",
        3,
        "keys[0].hash",
    ),
    (
        "an unknown strategy",
        "routing:\n  strategy: fastest\n",
        2,
        "routing.strategy",
    ),
    (
        "a port that is none",
        "listen: 127.0.0.1:99999\n",
        1,
        "listen",
    ),
];

#[test]
fn every_broken_config_is_refused_with_its_key_and_line() {
    let scratch = Scratch::new("broken");
    let mut problems = Vec::new();
    for (kind, text, line, key) in BROKEN {
        let path = scratch.path().join("broken.yaml");
        std::fs::write(&path, text).unwrap();
        let output = run(&["check", "-c", &path.display().to_string()]);
        let printed = printed(&output);
        let position = format!("{}:{line}:", path.display());
        let names = |complaint: &&str| complaint.contains(&position) && complaint.contains(key);
        let complaint = printed.lines().find(names);
        // A remedy follows the problem after a semicolon.
        if output.status.success() || !complaint.is_some_and(|complaint| complaint.contains("; ")) {
            problems.push(format!(
                "{kind}: {}, wanted {position} {key} in:\n{printed}",
                output.status
            ));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_node_does_not_start_with_a_broken_config_and_prints_why() {
    let scratch = Scratch::new("no-start");
    let path = scratch.path().join("broken.yaml");
    std::fs::write(&path, "node: {name: a}\nlistne: 127.0.0.1:1\n").unwrap();
    let output = run(&["node", "-c", &path.display().to_string()]);
    assert!(!output.status.success());
    assert!(printed(&output).contains("listne"), "{}", printed(&output));
}

#[test]
fn all_problems_are_reported_at_once_and_no_secret_among_them() {
    let scratch = Scratch::new("many");
    let path = scratch.path().join("many.yaml");
    let text = "listne: 1\nrouting: {deadline: 30}\nkeys:\n  - {name: a, hash: sk-plain-secret}\n\
        upstreams:\n  - {name: a, base_url: nothing, api_key: sk-upstream-secret}\n";
    std::fs::write(&path, text).unwrap();
    let printed = printed(&run(&["check", "-c", &path.display().to_string()]));
    for key in [
        "listne",
        "routing.deadline",
        "keys[0].hash",
        "upstreams[0].base_url",
    ] {
        assert!(printed.contains(key), "no {key} in:\n{printed}");
    }
    assert!(!printed.contains("secret"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_keeps_its_config_when_the_new_one_is_broken_and_takes_the_next_good_one() {
    let upstream = Mock::start("up", &["gpt-4o", "later"]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.upstream_with(&upstream, json!({"models": ["gpt-4o"]}))
        })
        .start()
        .await;
    let node = &mesh["sgp"];

    node.reload(|config| config["routing"] = json!({"deadline": 30}));
    wait_until("the refusal in the log", LIMIT, async || {
        let log = node.log();
        if log.contains("routing.deadline") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    assert_eq!(client::chat(node, "gpt-4o", "still here").await.status, 200);
    assert!(said_of_the_files(node).await, "the file is refused");

    node.reload(|config| {
        config["routing"] = json!({"deadline": "30s"});
        config["upstreams"][0]["models"] = json!(["gpt-4o", "later"]);
    });
    wait_until("the new model", LIMIT, async || {
        let answer = client::chat(node, "later", "now").await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await;
    assert!(!said_of_the_files(node).await, "the file is good again");
}

/// Whether the node says that the file on its disk was refused: the same in readiness, its own part of the mesh,
/// metrics, and on the command line.
async fn said_of_the_files(node: &Node) -> bool {
    let ready = node.admin("/readyz").await.json();
    assert_eq!(ready["ready"], true);
    let warns = ready["warnings"]
        .to_string()
        .contains("config: the last reload failed");
    let mesh = node.admin("/mesh").await.json();
    let failed = &mesh["config"]["last_reload_failed"];
    assert_eq!(
        failed["error"].to_string().contains("routing.deadline"),
        warns
    );
    assert!(mesh["config"]["file_hash"].is_string(), "{mesh}");
    assert_ne!(failed["file_hash"], mesh["config"]["file_hash"]);
    let metrics = node.admin("/metrics").await.text();
    let success = format!("grapevine_config_last_reload_success {}", u8::from(!warns));
    assert!(metrics.lines().any(|line| line == success), "{metrics}");
    let expiry = "grapevine_certificate_expiry_timestamp_seconds{use=\"mesh\"} ";
    assert!(metrics.contains(expiry), "{metrics}");
    let admin = format!("http://{}", node.addresses().admin);
    let status = printed(&run(&["status", "--admin", &admin]));
    assert_eq!(status.contains("on disk was refused"), warns, "{status}");
    assert!(status.contains("certificate mesh expires on "), "{status}");
    warns
}

fn run(arguments: &[&str]) -> Output {
    let output = Command::new(grapevine())
        .args(arguments)
        .env_remove("GRAPEVINE_TEST_NOT_SET")
        .output();
    output.unwrap_or_else(|error| panic!("running grapevine: {error}"))
}

fn printed(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}
