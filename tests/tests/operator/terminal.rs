//! What the commands print of a running mesh: the last requests and those that follow, as text and as JSON; and
//! what `top` prints without a terminal.

use std::process::{Command, Output};
use std::time::Duration;

use grapevine_tests::client::{EventStream, Next, chat};
use grapevine_tests::process::Process;
use grapevine_tests::program::grapevine;
use grapevine_tests::scratch::Scratch;
use grapevine_tests::{Mesh, Mock, Node, wait_until, within};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";
const LIMIT: Duration = Duration::from_secs(15);

fn run(node: &Node, arguments: &[&str]) -> Output {
    let admin = node.addresses().admin.to_string();
    let mut command = Command::new(grapevine());
    command.args(arguments).args(["--admin", &admin]);
    command.output().expect("the program runs")
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Until the node lists that many requests: records come a moment after their answers.
async fn wait_for_requests(node: &Node, count: usize) {
    wait_until("the requests to be listed", LIMIT, async || {
        let requests = node.requests().await;
        let listed = requests["requests"].as_array().map_or(0, Vec::len);
        if listed >= count {
            Ok(())
        } else {
            Err(requests.to_string())
        }
    })
    .await;
}

async fn mesh() -> (Mock, Mesh) {
    let mock = Mock::start("primary", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node.upstream(&mock))
        .node("usa", |node| node)
        .start()
        .await;
    (mock, mesh)
}

#[tokio::test]
async fn requests_are_listed_with_their_way_and_filtered() {
    let (_mock, mesh) = mesh().await;
    let usa = &mesh["usa"];
    assert_eq!(chat(usa, MODEL, "hello").await.status, 200);
    assert_eq!(chat(usa, "gpt-unknown", "hello").await.status, 404);
    wait_for_requests(usa, 2).await;
    let all = run(usa, &["requests"]);
    let text = printed(&all);
    assert!(all.status.success() && text.lines().count() == 3, "{text}");
    assert!(
        text.contains("usa > sgp/primary") && !text.contains('\u{1b}'),
        "{text}"
    );
    let refused = printed(&run(usa, &["requests", "--status", "refused", "--json"]));
    let refused: Value = serde_json::from_str(&refused).expect("JSON");
    assert_eq!(refused["requests"].as_array().map(Vec::len), Some(1));
    assert_eq!(refused["requests"][0]["model"], "gpt-unknown");
    let failed = printed(&run(usa, &["requests", "--status", "failed"]));
    assert!(failed.contains("no such request yet"), "{failed}");
    let there = printed(&run(usa, &["requests", "--upstream", "sgp/primary"]));
    assert_eq!(there.lines().count(), 2, "{there}");
    let none = printed(&run(usa, &["requests", "--model", "nothing"]));
    assert!(none.contains("no such request yet"), "{none}");
}

#[tokio::test]
async fn each_request_that_follows_is_printed_once() {
    let (_mock, mesh) = mesh().await;
    let usa = &mesh["usa"];
    let scratch = Scratch::new("requests");
    let admin = usa.addresses().admin.to_string();
    let arguments = ["requests", "--follow", "--json", "--admin", &admin].map(str::to_owned);
    let follower = Process::new("follower", &grapevine(), &arguments, scratch.path());
    follower.start();
    let mut sent = 0;
    for _ in 0..3 {
        for _ in 0..2 {
            assert_eq!(chat(usa, MODEL, "hello").await.status, 200);
            sent += 1;
        }
        wait_until("the follower to print them", LIMIT, async || {
            follower.check_alive();
            let lines = follower.log().lines().count();
            if lines >= sent {
                Ok(())
            } else {
                Err(follower.log())
            }
        })
        .await;
    }
    let log = follower.log();
    let ids = log.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        line["id"].as_str().expect("an id").to_owned()
    });
    let mut ids: Vec<String> = ids.collect();
    assert_eq!(ids.len(), sent, "{log}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), sent, "{log}");
}

#[tokio::test]
async fn stream_that_breaks_off_is_failed_in_the_list_and_in_the_metrics() {
    let (mock, mesh) = mesh().await;
    let sgp = &mesh["sgp"];
    mock.set(json!({"chunks": 20, "cut_after_chunks": 3})).await;
    let stream = EventStream::chat(sgp, MODEL, "hello").await;
    let (_, end) = within("a broken stream", LIMIT, stream.rest()).await;
    assert_ne!(end, Next::CleanEnd);
    wait_for_requests(sgp, 1).await;
    let failed = printed(&run(sgp, &["requests", "--status", "failed", "--json"]));
    let failed: Value = serde_json::from_str(&failed).expect("JSON");
    let one = &failed["requests"][0];
    assert_eq!(
        (&one["status"], &one["end"]),
        (&json!(200), &json!("broken_off"))
    );
    let metrics = sgp.metrics().await;
    assert!(
        metrics.contains("grapevine_requests_ended_total{end=\"broken_off\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn dead_node_is_said_by_status_in_its_rows_its_sum_and_its_exit_code() {
    let (_mock, mesh) = mesh().await;
    let usa = &mesh["usa"];
    let well = run(usa, &["status", "--check"]);
    assert_eq!(well.status.code(), Some(0), "{}", printed(&well));
    mesh["sgp"].kill();
    usa.wait_for_view("the end of sgp", LIMIT, |view| {
        view.node("sgp")
            .is_some_and(|node| node["state"] == "unreachable")
            && view.state("sgp", "primary") == "unreachable"
    })
    .await;
    let status = run(usa, &["status", "--check"]);
    let text = printed(&status);
    assert_eq!(status.status.code(), Some(4), "{text}");
    for line in [
        "as usa sees it: 1 of 2 nodes ready, 1 unreachable; 0 of 1 upstreams usable",
        "unreachable: sgp",
        "no usable upstream for gpt-4o",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
    let row = text.lines().find(|line| line.starts_with("sgp "));
    let row = row.unwrap_or_default();
    assert_eq!(row.matches("unreachable").count(), 2, "{text}");
    assert!(!row.contains("healthy"), "{text}");
}

#[tokio::test]
async fn operator_changes_a_running_node_by_commands_alone() {
    let (mock, mesh) = mesh().await;
    let (sgp, usa) = (&mesh["sgp"], &mesh["usa"]);
    let by_variable = Command::new(grapevine())
        .args(["upstream", "disable", "primary"])
        .env("GRAPEVINE_ADMIN", sgp.addresses().admin.to_string())
        .output()
        .expect("the program runs");
    assert_eq!(printed(&by_variable), "primary is out of use\n");
    assert!(sgp.log().contains("upstream disabled by the operator"));
    for node in mesh.nodes() {
        node.wait_for_view("an upstream out of use", LIMIT, |view| {
            let upstream = view.upstream("sgp", "primary");
            upstream.is_some_and(|it| it["reason"] == "disabled" && it["usable"] == false)
        })
        .await;
        let answer = chat(node, MODEL, "hello").await;
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    assert_eq!(mock.chats().await, 0);
    let record = printed(&run(usa, &["status", "--upstream", "sgp/primary"]));
    assert!(record.contains("health        disabled for"), "{record}");
    let unknown = run(sgp, &["upstream", "disable", "nobody"]);
    let error = String::from_utf8_lossy(&unknown.stderr);
    assert!(error.contains("it has primary"), "{error}");
    assert_eq!(unknown.status.code(), Some(1));
    run(sgp, &["upstream", "enable", "primary"]);
    usa.wait_for_view("an upstream in use again", LIMIT, |view| {
        view.upstream("sgp", "primary")
            .is_some_and(|it| it["usable"] == true)
    })
    .await;
    assert_eq!(chat(usa, MODEL, "hello").await.status, 200);
    let record = printed(&run(sgp, &["status", "--upstream", "primary"]));
    let url = format!("base URL      {}", mock.base_url());
    assert!(
        record.contains(&url) && record.contains("last check"),
        "{record}"
    );

    let config = printed(&run(sgp, &["config"]));
    assert!(
        config.contains("base_url:") && config.contains("api_key: \"***\""),
        "{config}"
    );
    let good = run(sgp, &["reload"]);
    assert_eq!(
        good.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    sgp.rewrite(|config| config["log"]["level"] = json!(7.5));
    let bad = run(sgp, &["reload"]);
    let error = String::from_utf8_lossy(&bad.stderr);
    assert!(
        bad.status.code() == Some(1) && error.contains("log.level"),
        "{error}"
    );
    let drained = run(sgp, &["drain"]);
    assert_eq!(drained.status.code(), Some(0));
    assert_eq!(sgp.wait_for_exit(LIMIT).await.code(), Some(0));
}

#[tokio::test]
async fn top_without_a_terminal_names_what_to_use_instead() {
    let (_mock, mesh) = mesh().await;
    let output = run(&mesh["sgp"], &["top"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("needs a terminal") && stderr.contains("grapevine status"),
        "{stderr}"
    );
    assert_eq!(printed(&output), "");
}
