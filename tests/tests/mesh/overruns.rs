//! Streams that use more than their requests could reserve: those that do not say how long their answers may be, under a
//! short `limits.max_tokens`.

use grapevine_tests::client::{EventStream, Next, chat_body, http};
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

use super::flood::{MODEL, key, mesh_with};
use super::limits::{LIMIT, one};

/// The key's limit of tokens in any minute, and words of the mock's answers.
const TPM: u64 = 2_000;
const WORDS: usize = 5_000;

async fn short(nodes: &[&str], tpm: u64, overrun: &str) -> (Mesh, Mock) {
    let config = [
        ("keys", key(&[("tpm", json!(tpm))])),
        ("limits.max_tokens", json!(10)),
        ("limits.overrun", json!(overrun)),
    ];
    mesh_with(nodes, &config).await
}

async fn stream(node: &Node) -> (Vec<String>, Next) {
    let mut body = chat_body(MODEL, "hello");
    body["stream"] = json!(true);
    let request = http().post(format!("{}/chat/completions", node.base_url()));
    let response = request.bearer_auth("app").json(&body).send().await;
    let stream = EventStream::of(response.expect("a head"));
    assert_eq!(stream.status, 200);
    stream.rest().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_that_outgrows_its_keys_limit_ends_and_its_upstream_is_cancelled() {
    let (mesh, mock) = short(&["sgp"], TPM, "end").await;
    let node = &mesh["sgp"];
    mock.set(json!({"chunks": WORDS, "chunk_interval": "2ms"}))
        .await;
    let (events, end) = stream(node).await;
    assert!(matches!(end, Next::Broken(_)), "{end:?}");
    let last: Value = serde_json::from_str(events.last().expect("events")).expect("JSON");
    assert_eq!(last["error"]["code"], "budget_exceeded", "{last}");
    // The whole limit and what was on its way, not the whole answer.
    let passed = events.len() as u64;
    assert!(
        (TPM - 300..WORDS as u64).contains(&passed),
        "{passed} events"
    );
    mock.wait_for_count("cancelled", 1, LIMIT).await;
    wait_until("the record says why", LIMIT, async || {
        let record = node.requests().await["requests"][0].clone();
        match record["error"] == "budget_exceeded" && record["status"] == 200 {
            true => Ok(()),
            false => Err(record.to_string()),
        }
    })
    .await;
    let refused = one(node, &chat_body(MODEL, "hello")).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    let metrics = node.metrics().await;
    let counted = "grapevine_key_limit_overruns_total{kind=\"tokens\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_may_go_on_where_the_configuration_says_so_and_is_paid_for_later() {
    let (mesh, mock) = short(&["sgp"], TPM, "allow").await;
    let node = &mesh["sgp"];
    mock.set(json!({"chunks": WORDS})).await;
    let (events, end) = stream(node).await;
    assert_eq!(end, Next::CleanEnd);
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    assert!(events.len() > WORDS, "{}", events.len());
    let refused = one(node, &chat_body(MODEL, "hello")).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.header("x-ratelimit-remaining-tokens"), "0");
    assert_eq!(mock.count("cancelled").await, 0);
}

/// A stream within its limit that needs more than was reserved is not disturbed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_that_outgrows_its_reservation_takes_more_of_the_limit_at_other_nodes_too() {
    let nodes = ["sgp", "usa", "eur"];
    let (mesh, mock) = short(&nodes, 3 * WORDS as u64, "end").await;
    // Each node holds a third: the stream needs what the others have.
    mock.set(json!({"chunks": WORDS + 2_000, "chunk_interval": "1ms"}))
        .await;
    let (events, end) = stream(&mesh["sgp"]).await;
    assert_eq!(end, Next::CleanEnd, "{:?}", events.last());
    assert!(events.len() > WORDS + 2_000, "{}", events.len());
}
