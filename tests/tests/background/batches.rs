//! Files, batches and background responses through whole nodes: the official SDK on one side, a mock that
//! counts on the other, and in between nodes that keep the work, nodes that do it, and nodes that end.

use std::collections::BTreeSet;
use std::time::Duration;

use grapevine_tests::client::{Answer, batch_form, http, try_get, whole};
use grapevine_tests::program::workspace;
use grapevine_tests::script::run_client;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

/// What the client sends to the nodes, and its SHA-256, which their configs hold.
const CLIENT_KEY: &str = "sk-client-of-the-vine";
const CLIENT_KEY_HASH: &str =
    "sha256:abae901b3e7b4b79d817399c0d7e99906a767f2c56f39a96fa9e2e7d7a368a02";

const SERVICE: &str = "async-task:process";

const LIMIT: Duration = Duration::from_secs(20);

/// Longer than a lease that is not renewed, the sweep after it, and the rest of a batch.
const LEASE_LIMIT: Duration = Duration::from_secs(50);

/// Lines of the batches that are broken off.
const LINES: usize = 300;

/// Concurrent lines of a node: those without a noted end when it dies are called again.
const LINES_AT_ONCE: u64 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_sdk_runs_batches_and_background_responses() {
    let near = Mock::start("near", &["near"]).await;
    let hanging = Mock::start("hangs", &["hangs"]).await;
    hanging.set(json!({"hang": true})).await;
    let keys = json!([{"name": "app", "hash": CLIENT_KEY_HASH}]);
    let mesh = Mesh::builder()
        .node("front", |node| {
            let node = node.config("worker_mode", json!("!"));
            node.config("keys", keys.clone()).upstream(&near)
        })
        .node("side", |node| {
            let node = node.config("worker_mode", json!("!"));
            node.config("keys", keys.clone())
        })
        .node("back", |node| {
            let node = node.config("worker_mode", json!(SERVICE));
            node.upstream(&hanging)
        })
        .start()
        .await;
    let (front, side) = (mesh["front"].base_url(), mesh["side"].base_url());
    let printed = run_client("openai_batches.py", &[&front, &side, CLIENT_KEY]).await;
    assert!(
        printed.contains("ok a_thousand_lines_are_answered_or_get_an_error"),
        "{printed}"
    );
    // 990 lines, six of other batches, and two responses: each was called once.
    wait_until("the last small batch", LIMIT, async || {
        let stats = near.stats().await;
        match stats["by_model"]["near"].as_u64() {
            Some(998) => Ok(()),
            _ => Err(stats.to_string()),
        }
    })
    .await;
    assert_eq!(made_for_tasks(&mesh["front"]).await, 0);
    assert_eq!(made_for_tasks(&mesh["side"]).await, 0);
    assert!(made_for_tasks(&mesh["back"]).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn example_of_the_guide_runs() {
    let mock = Mock::start("near", &["gpt-4o"]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node.upstream(&mock))
        .start()
        .await;
    let page = must(
        "the page",
        std::fs::read_to_string(workspace().join("deploy/guide/src/batches.md")),
    );
    let (_, section) = page.split_once("## Batches").expect("the section");
    let (_, example) = section.split_once("```python\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let base_url = "http://localhost:8080/v1";
    assert!(example.contains(base_url), "{example}");
    let script = mesh.directory().join("example.py");
    let example = example.replace(base_url, &mesh["sgp"].base_url());
    must("the script", std::fs::write(&script, example));
    let printed = run_client(&script.display().to_string(), &[]).await;
    assert!(printed.contains("completed 3"), "{printed}");
    assert!(
        printed.contains("completed Upstream near heard"),
        "{printed}"
    );
    assert_eq!(printed.matches("\"custom_id\"").count(), 3, "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_worker_leaves_finished_lines_done() {
    let (mock, mesh) = keeper_and_worker().await;
    let batch = begin(&mesh["front"]).await;
    mock.wait_for_count("completed", 100, LIMIT).await;
    mesh["back"].kill();
    let before = mock.count("completed").await;
    assert!(before < LINES as u64, "the batch was over before the kill");
    mesh["back"].restart().await;
    check_every_line_once(&mesh["front"], &batch).await;
    check_calls(&mock, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_keeper_and_worker_leave_finished_lines_done() {
    let (mock, mesh) = keeper_and_worker().await;
    let batch = begin(&mesh["front"]).await;
    mock.wait_for_count("completed", 100, LIMIT).await;
    mesh["front"].kill();
    mesh["back"].kill();
    let before = mock.count("completed").await;
    assert!(before < LINES as u64, "the batch was over before the kill");
    mesh["front"].restart().await;
    mesh["back"].restart().await;
    check_every_line_once(&mesh["front"], &batch).await;
    check_calls(&mock, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_keeper_that_comes_back_breaks_off_no_line() {
    let (mock, mesh) = keeper_and_worker().await;
    let batch = begin(&mesh["front"]).await;
    mock.wait_for_count("completed", 100, LIMIT).await;
    mesh["front"].kill();
    let before = mock.count("completed").await;
    assert!(before < LINES as u64, "the batch was over before the kill");
    mesh["front"].restart().await;
    check_every_line_once(&mesh["front"], &batch).await;
    check_calls(&mock, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_that_nobody_takes_expires_when_its_window_is_over() {
    let mesh = Mesh::builder()
        .node("front", |node| node.config("worker_mode", json!("!")))
        .start()
        .await;
    let batch = begin_within(&mesh["front"], "1s").await;
    let batch = ended(&mesh["front"], &batch, "expired").await;
    assert!(batch["expired_at"].is_u64(), "{batch}");
    assert_eq!(batch["output_file_id"], Value::Null);
    let lines = content(&mesh["front"], &batch["error_file_id"]).await;
    check_expired(&lines);
    assert_eq!(names(&lines), every_name());
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_whose_worker_died_keeps_what_was_answered_when_its_window_is_over() {
    let (mock, mesh) = keeper_and_worker().await;
    mock.set(json!({"latency": "500ms"})).await;
    let batch = begin_within(&mesh["front"], "6s").await;
    mock.wait_for_count("completed", 100, LIMIT).await;
    mesh["back"].kill();
    let batch = ended(&mesh["front"], &batch, "expired").await;
    let (output, errors) = both_files(&mesh["front"], &batch).await;
    check_expired(&errors);
    let called = mock.count("completed").await;
    assert!(
        output.len() as u64 + LINES_AT_ONCE >= called,
        "{} lines of {called} calls",
        output.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_in_progress_ends_with_its_window_and_has_both_files() {
    let (mock, mesh) = keeper_and_worker().await;
    mock.set(json!({"latency": "1s"})).await;
    let batch = begin_within(&mesh["front"], "4s").await;
    let batch = ended(&mesh["front"], &batch, "expired").await;
    let (output, errors) = both_files(&mesh["front"], &batch).await;
    check_expired(&errors);
    let counts = &batch["request_counts"];
    let wanted = json!({"total": LINES, "completed": output.len(), "failed": errors.len()});
    assert_eq!(counts, &wanted);
    let task = get(&mesh["front"], &format!("/tasks/{}", text(&batch["id"]))).await;
    assert_eq!(task.json()["state"], "completed", "its worker ended it");
}

/// The lines of a batch's two files, which have every line once.
async fn both_files(node: &Node, batch: &Value) -> (Vec<Value>, Vec<Value>) {
    let output = content(node, &batch["output_file_id"]).await;
    let errors = content(node, &batch["error_file_id"]).await;
    assert!(output.iter().all(|line| line["error"].is_null()));
    let mut all = [names(&output), names(&errors)].concat();
    all.sort();
    let mut wanted = every_name();
    wanted.sort();
    assert_eq!(all, wanted);
    (output, errors)
}

fn check_expired(lines: &[Value]) {
    for line in lines {
        assert_eq!(line["error"]["code"], "batch_expired", "{line}");
        assert_eq!(line["response"], Value::Null, "{line}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn names(lines: &[Value]) -> Vec<String> {
    let names = lines.iter().map(|line| text(&line["custom_id"]).to_owned());
    names.collect()
}

fn every_name() -> Vec<String> {
    (0..LINES).map(|number| format!("line-{number}")).collect()
}

async fn content(node: &Node, file: &Value) -> Vec<Value> {
    let content = get(node, &format!("/files/{}/content", text(file))).await;
    let lines = content.text();
    let lines = lines
        .lines()
        .map(|line| must("JSON", serde_json::from_str(line)));
    lines.collect()
}

/// Waits for the batch's end in `status`.
async fn ended(node: &Node, batch: &str, status: &str) -> Value {
    let (batch, _) = wait_until("the batch to end", LEASE_LIMIT, async || {
        let url = format!("{}/batches/{batch}", node.base_url());
        let answer = try_get(&http(), &url).await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        match answer.status == 200 && answer.json()["status"] == status {
            true => Ok(answer.json()),
            false => Err(answer.text()),
        }
    })
    .await;
    batch
}

/// A node that keeps what it is given, one that runs it, and an upstream beside the second.
async fn keeper_and_worker() -> (Mock, Mesh) {
    let mock = Mock::start("near", &["near"]).await;
    mock.set(json!({"latency": "100ms"})).await;
    let mesh = Mesh::builder()
        .node("front", |node| node.config("worker_mode", json!("!")))
        .node("back", |node| {
            let node = node.config("worker_mode", json!(SERVICE));
            node.config("tasks.batch_lines", json!(LINES_AT_ONCE))
                .upstream(&mock)
        })
        .start()
        .await;
    (mock, mesh)
}

async fn made_for_tasks(node: &Node) -> usize {
    let requests = node.requests().await;
    let requests = requests["requests"].as_array().expect("a list");
    let made = requests.iter().filter(|request| request["kind"] == "task");
    made.count()
}

async fn get(node: &Node, path: &str) -> Answer {
    let url = format!("{}{path}", node.base_url());
    must(&url, try_get(&http(), &url).await)
}

/// Uploads lines and starts a batch of them; returns its id.
async fn begin(node: &Node) -> String {
    begin_within(node, "24h").await
}

async fn begin_within(node: &Node, window: &str) -> String {
    let lines: String = (0..LINES).map(line).collect();
    let (kind, form) = batch_form(&lines);
    let url = format!("{}/files", node.base_url());
    let upload = http().post(&url).header("content-type", kind).body(form);
    let file = must(&url, whole(upload).await);
    assert_eq!(file.status, 200, "{}", file.text());
    let wanted = json!({
        "input_file_id": file.json()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": window,
    });
    let url = format!("{}/batches", node.base_url());
    let batch = must(&url, whole(http().post(&url).json(&wanted)).await);
    assert_eq!(batch.status, 200, "{}", batch.text());
    batch.json()["id"].as_str().expect("an id").to_owned()
}

fn line(number: usize) -> String {
    let messages = json!([{"role": "user", "content": format!("word {number}")}]);
    let line = json!({
        "custom_id": format!("line-{number}"),
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "near", "messages": messages},
    });
    format!("{line}\n")
}

/// Waits for the batch's end: its output has every line, in order.
async fn check_every_line_once(node: &Node, batch: &str) {
    let batch = ended(node, batch, "completed").await;
    let wanted = json!({"total": LINES, "completed": LINES, "failed": 0});
    assert_eq!(batch["request_counts"], wanted);
    assert_eq!(batch["error_file_id"], Value::Null);
    let lines = content(node, &batch["output_file_id"]).await;
    assert_eq!(names(&lines), every_name());
    let ids: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| line["id"].as_str())
        .collect();
    assert_eq!(ids.len(), LINES, "each line has an answer of its own");
}

/// Only calls in flight when a node died, `deaths` times, were repeated.
async fn check_calls(mock: &Mock, deaths: u64) {
    let stats = mock.stats().await;
    let calls = stats["by_model"]["near"].as_u64().expect("a count");
    let lines = LINES as u64;
    assert!(
        (lines..=lines + deaths * LINES_AT_ONCE).contains(&calls),
        "{calls} calls for {lines} lines"
    );
}
