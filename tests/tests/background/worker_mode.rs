//! `WORKER_MODE`: what a node serves, as running nodes show and publish it.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use grapevine_tests::client::{chat, http, try_get};
use grapevine_tests::load::Load;
use grapevine_tests::ports::free_address;
use grapevine_tests::process::Process;
use grapevine_tests::program::grapevine;
use grapevine_tests::scratch::Scratch;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Signal, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";

const LIMIT: Duration = Duration::from_secs(15);

/// The variable's value, and whether requests, `a:x`, `b:y` and `c:z` are served.
const TABLE: [(&str, [bool; 4]); 10] = [
    ("", [true, true, true, true]),
    ("  ", [true, true, true, true]),
    ("!", [true, false, false, false]),
    ("*", [false, true, true, true]),
    ("a:x,b:y", [false, true, true, false]),
    (" a:x , b:y ", [false, true, true, false]),
    ("!,a:x", [true, true, false, false]),
    ("a:x,!", [true, true, false, false]),
    ("-", [false, false, false, false]),
    (" - ", [false, false, false, false]),
];

/// The variable's value, and words of the problem and of its remedy.
const REFUSED: [(&str, &str, &str); 10] = [
    ("!,*", "'*' must stand alone", "name the services"),
    ("*,a", "'*' must stand alone", "leave the value empty"),
    ("*,!", "'*' must stand alone", "leave the value empty"),
    ("-,a", "'-' must stand alone", "serves nothing"),
    ("!,-", "'-' must stand alone", "serves nothing"),
    ("a,,b", "an empty item", "remove the comma"),
    ("a:x,", "an empty item", "remove the comma"),
    ("workflow:*", "is a pattern", "name each service in full"),
    ("a?", "is a pattern", "name each service in full"),
    ("a b", "is no service key", "use letters, digits"),
];

/// A node without a mesh, run with the variable, and its admin port.
struct Single {
    process: Process,
    public: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    _scratch: Scratch,
}

impl Single {
    async fn start(mode: Option<&str>) -> Self {
        let scratch = Scratch::new("worker-mode");
        let (public, admin) = (free_address(), free_address());
        let arguments = [
            "node".to_string(),
            "--listen".to_string(),
            public.to_string(),
            "--admin-listen".to_string(),
            admin.to_string(),
            "--upstream".to_string(),
            "none=http://127.0.0.1:9/v1".to_string(),
        ];
        let mut process = Process::new("single", &grapevine(), &arguments, scratch.path())
            .environment("NO_COLOR", "1");
        if let Some(mode) = mode {
            process = process.environment("WORKER_MODE", mode);
        }
        process.start();
        let single = Self {
            process,
            public,
            admin,
            _scratch: scratch,
        };
        wait_until("the node to be ready", LIMIT, async || {
            single.process.check_alive();
            match single.ask("/readyz").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        single
    }

    async fn ask(&self, path: &str) -> Result<(u16, Value), String> {
        let url = format!("http://{}{path}", self.admin);
        let answer = try_get(&http(), &url).await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        Ok((answer.status, answer.json()))
    }

    async fn serving(&self, path: &str) -> Value {
        let (status, body) = must(path, self.ask(path).await);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn is_public(&self) -> bool {
        TcpStream::connect(self.public).is_ok()
    }

    async fn end(self) {
        self.process.signal(Signal::Terminate);
        let status = self.process.wait_for_exit(LIMIT).await;
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

#[tokio::test]
async fn every_row_of_the_table_holds_for_a_running_node() {
    for (mode, serves) in TABLE {
        let node = Single::start(Some(mode)).await;
        for (path, serves) in ["/serving", "/serving/a:x", "/serving/b:y", "/serving/c:z"]
            .into_iter()
            .zip(serves)
        {
            let answer = node.serving(path).await;
            assert_eq!(answer, json!({ "serving": serves }), "{mode:?} {path}");
        }
        assert_eq!(node.is_public(), serves[0], "{mode:?}");
        let (_, mesh) = node.ask("/mesh").await.unwrap();
        let own = &mesh["nodes"][0];
        assert_eq!(own["serves_requests"], serves[0], "{mode:?}: {mesh}");
        let shown = mode.replace(' ', "");
        // Requests are named first, whatever was written.
        let shown = shown
            .strip_suffix(",!")
            .map_or(shown.clone(), |rest| format!("!,{rest}"));
        assert_eq!(mesh["worker_mode"], shown.as_str(), "{mode:?}");
        let listen = match serves[0] {
            true => node.public.to_string(),
            false => "closed".to_string(),
        };
        let log = node.process.log();
        let started = log.lines().find(|line| line.contains("node started"));
        let started = started.unwrap_or_default();
        assert!(
            started.contains(&format!("listen=\"{listen}\"")),
            "{started}"
        );
        assert!(
            started.contains(&format!("worker_mode=\"{shown}\"")),
            "{started}"
        );
        node.end().await;
    }
}

#[tokio::test]
async fn node_without_the_variable_serves_everything() {
    let node = Single::start(None).await;
    for path in ["/serving", "/serving/async-task:process"] {
        assert_eq!(node.serving(path).await, json!({"serving": true}));
    }
    assert!(node.is_public());
    node.end().await;
}

#[tokio::test]
async fn what_is_no_key_is_refused_with_an_example() {
    let node = Single::start(Some("*")).await;
    for path in [
        "/serving/a%20b",
        "/serving/a:",
        "/serving/%2A",
        "/serving/a%2Fb",
    ] {
        let (status, body) = node.ask(path).await.unwrap();
        assert_eq!(status, 400, "{path}: {body}");
        let error = body["error"].as_str().unwrap_or_default();
        assert!(error.contains("workflow:process"), "{error}");
    }
    node.end().await;
}

#[test]
fn surprising_values_keep_a_node_from_starting_and_the_error_names_what_to_write() {
    for (mode, problem, remedy) in REFUSED {
        for command in ["node", "check"] {
            let output = Command::new(grapevine())
                .args([command, "--upstream", "none=http://127.0.0.1:9/v1"])
                .env("WORKER_MODE", mode)
                .output()
                .unwrap();
            let printed = [output.stdout, output.stderr].concat();
            let printed = String::from_utf8_lossy(&printed);
            assert!(!output.status.success(), "{command} {mode:?}: {printed}");
            let complaint = printed.lines().find(|line| line.contains("worker_mode: "));
            let complaint = complaint.unwrap_or_default();
            assert!(
                complaint.contains(&format!("WORKER_MODE: worker_mode: {mode}"))
                    && complaint.contains(problem)
                    && complaint.contains(remedy),
                "{command} {mode:?}: {printed}"
            );
        }
    }
}

/// How many completions were asked for, besides probes.
async fn asked(mock: &Mock) -> Value {
    mock.stats().await["by_path"]["/v1/chat/completions"].clone()
}

#[tokio::test]
async fn requests_are_forwarded_only_to_nodes_that_serve_requests() {
    let (idle, busy) = (
        Mock::start("idle", &[MODEL]).await,
        Mock::start("busy", &[MODEL]).await,
    );
    busy.set(json!({"latency": "50ms"})).await;
    let mesh = Mesh::builder()
        .node("entry", |node| node.config("worker_mode", json!("!")))
        .node("api", |node| {
            node.upstream(&busy).config("worker_mode", json!("!"))
        })
        .node("worker", |node| {
            node.upstream(&idle).config("worker_mode", json!("*"))
        })
        .node("observer", |node| node.config("worker_mode", json!("-")))
        .launch()
        .await;
    for node in mesh.nodes() {
        node.wait_until_ready().await;
    }
    let entry = &mesh["entry"];
    entry
        .wait_for_view("all nodes", LIMIT, |view| {
            let healthy = view.state("api", "busy") == "healthy" && view.is_reachable("api");
            let has_services = |name: &str| {
                view.node(name)
                    .is_some_and(|node| node["services"].is_array())
            };
            healthy
                && view.state("worker", "idle") == "healthy"
                && ["worker", "observer"]
                    .iter()
                    .all(|name| view.is_live(name) && has_services(name))
                && view.rtt("worker").is_some()
        })
        .await;
    let view = entry.view().await;
    for (name, serves) in [("api", true), ("worker", false), ("observer", false)] {
        let published = &view.node(name).unwrap()["serves_requests"];
        assert_eq!(*published, serves, "{name}");
    }
    let load = Load::start(entry, 4, MODEL);
    busy.wait_for_count("completed", 100, LIMIT).await;
    let failed: Vec<_> = load
        .finish()
        .await
        .into_iter()
        .filter(|sample| sample.status != 200)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(asked(&idle).await, Value::Null);
    for name in ["worker", "observer"] {
        let public = mesh[name].addresses().public;
        assert!(
            TcpStream::connect(public).is_err(),
            "{name} listens on {public}"
        );
    }

    // Nor when nothing else is left.
    mesh["api"].kill();
    entry
        .wait_for_view("the end of api", LIMIT, |view| !view.is_reachable("api"))
        .await;
    let answer = chat(entry, MODEL, "hello").await;
    // The dead node may be tried as a last resort: how it fails is no matter here.
    assert!(answer.status >= 500, "{} {}", answer.status, answer.text());
    assert_eq!(asked(&idle).await, Value::Null);
    for name in ["worker", "observer"] {
        mesh[name].terminate();
        let status = mesh[name].wait_for_exit(LIMIT).await;
        assert_eq!(status.code(), Some(0), "{name}: {status}");
    }
}

#[tokio::test]
async fn observer_sees_the_mesh_and_services_are_seen_by_all() {
    let mesh = Mesh::builder()
        .node("api", |node| node.config("worker_mode", json!("!")))
        .node("worker", |node| {
            node.config("worker_mode", json!("my-plugin:process"))
        })
        .node("observer", |node| node.config("worker_mode", json!("-")))
        .launch()
        .await;
    for node in mesh.nodes() {
        node.wait_for_view("who does what", LIMIT, |view| {
            let services = |name: &str| view.node(name).map(|node| node["services"].clone());
            ["api", "worker", "observer"]
                .iter()
                .all(|name| view.is_live(name))
                && services("api") == Some(json!([]))
                && services("worker") == Some(json!(["my-plugin:process"]))
                && services("observer") == Some(json!([]))
        })
        .await;
    }
    let observer = mesh["observer"].addresses();
    let output = Command::new(grapevine())
        .args(["status", "--wide", "--admin", &observer.admin.to_string()])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.starts_with("as observer (WORKER_MODE -) sees it: 3 of 3"),
        "{printed}"
    );
    let line = printed.lines().find(|line| line.starts_with("worker"));
    assert!(
        line.is_some_and(|line| line.contains("my-plugin:process")),
        "{printed}"
    );
}

#[tokio::test]
async fn mode_stays_as_it_was_when_the_file_changes() {
    let mesh = Mesh::builder()
        .node("api", |node| node.config("worker_mode", json!("!")))
        .start()
        .await;
    mesh["api"].reload(|config| config["worker_mode"] = json!("*"));
    wait_until("a warning", LIMIT, async || {
        let log = mesh["api"].log();
        let warned = "worker_mode: cannot change while the node runs";
        if log.contains(warned) {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    let serving = mesh["api"].admin("/serving").await;
    assert_eq!(serving.json(), json!({"serving": true}));
}
