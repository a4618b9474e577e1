//! Whether routing finds the best upstream, and finds it again: measured latency alone decides.
//!
//! The upstreams differ by seconds, so that what a busy machine adds to every answer does not make them equal.

use std::time::Duration;

use grapevine_tests::load::{Load, failures};
use grapevine_tests::{Mesh, Mock};
use serde_json::json;

const MODEL: &str = "gpt-4o";

const CLIENTS: usize = 8;

/// When a test gives up. How fast routing notices is measured in the simulator.
const GIVES_UP: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_fast_upstream_that_nobody_has_measured_is_found() {
    let (slow, fast) = (
        Mock::start("slow", &[MODEL]).await,
        Mock::start("fast", &[MODEL]).await,
    );
    slow.set(json!({"latency": "2s"})).await;
    fast.set(json!({"latency": "100ms"})).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node)
        .node("jpn", |node| node.upstream(&slow))
        .node("usa", |node| node.upstream(&fast))
        .start()
        .await;
    let load = Load::start(&mesh["sgp"], CLIENTS, MODEL);
    fast.wait_for_chats(200, GIVES_UP).await;
    assert_eq!(failures(&load.finish().await), Vec::<String>::new());
}

#[tokio::test]
async fn traffic_returns_to_an_upstream_that_was_slow_for_a_while() {
    let (near, far) = (
        Mock::start("near", &[MODEL]).await,
        Mock::start("far", &[MODEL]).await,
    );
    near.set(json!({"latency": "100ms"})).await;
    far.set(json!({"latency": "1s"})).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node.upstream(&near))
        .node("jpn", |node| node.upstream(&far))
        .start()
        .await;
    let load = Load::start(&mesh["sgp"], CLIENTS, MODEL);
    near.wait_for_chats(100, GIVES_UP).await;
    near.set(json!({"latency": "4s"})).await;
    far.wait_for_chats(50, GIVES_UP).await;
    near.set(json!({"latency": "100ms"})).await;
    let before = near.chats().await;
    near.wait_for_chats(before + 200, GIVES_UP).await;
    assert_eq!(failures(&load.finish().await), Vec::<String>::new());
}
