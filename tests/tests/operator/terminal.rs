//! What the commands print of a running mesh: the last requests and those that follow, as text and as JSON; and
//! what `top` prints without a terminal.

use std::process::{Command, Output};
use std::time::Duration;

use grapevine_tests::client::chat;
use grapevine_tests::process::Process;
use grapevine_tests::program::grapevine;
use grapevine_tests::scratch::Scratch;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::Value;

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
    let failed = printed(&run(usa, &["requests", "--status", "failed", "--json"]));
    let failed: Value = serde_json::from_str(&failed).expect("JSON");
    assert_eq!(failed["requests"].as_array().map(Vec::len), Some(1));
    assert_eq!(failed["requests"][0]["model"], "gpt-unknown");
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
