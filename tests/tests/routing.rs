//! Whether routing finds the best place, and finds it again: measured latency alone decides.

use std::time::Duration;

use grapevine_tests::load::{Load, failures};
use grapevine_tests::{Mesh, Mock};
use serde_json::json;

const MODEL: &str = "gpt-4o";

const CLIENTS: usize = 8;

/// How long routing may take to notice that a place is the better one. Good news is believed slowly: the
/// average forgets all but 1/e of what it knew in ten seconds.
const NOTICE_LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_fast_upstream_that_nobody_has_measured_is_found() {
    let (slow, fast) = (
        Mock::start("slow", &[MODEL]).await,
        Mock::start("fast", &[MODEL]).await,
    );
    slow.set(json!({"latency": "300ms"})).await;
    fast.set(json!({"latency": "50ms"})).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node)
        .node("jpn", |node| node.upstream(&slow))
        .node("usa", |node| node.upstream(&fast))
        .start()
        .await;
    let load = Load::start(&mesh["sgp"], CLIENTS, MODEL);
    fast.wait_for_count("completed", 200, NOTICE_LIMIT).await;
    assert_eq!(failures(&load.finish().await), Vec::<String>::new());
}

#[tokio::test]
async fn traffic_returns_to_an_upstream_that_was_slow_for_a_while() {
    let (near, far) = (
        Mock::start("near", &[MODEL]).await,
        Mock::start("far", &[MODEL]).await,
    );
    near.set(json!({"latency": "50ms"})).await;
    far.set(json!({"latency": "200ms"})).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node.upstream(&near))
        .node("jpn", |node| node.upstream(&far))
        .start()
        .await;
    let load = Load::start(&mesh["sgp"], CLIENTS, MODEL);
    near.wait_for_count("completed", 100, NOTICE_LIMIT).await;
    near.set(json!({"latency": "400ms"})).await;
    far.wait_for_count("completed", 100, NOTICE_LIMIT).await;
    near.set(json!({"latency": "50ms"})).await;
    let before = near.count("completed").await;
    near.wait_for_count("completed", before + 200, NOTICE_LIMIT)
        .await;
    assert_eq!(failures(&load.finish().await), Vec::<String>::new());
}
