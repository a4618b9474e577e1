//! WebSockets through real nodes: what opens them, what passes, and how they end.

use grapevine_tests::websocket::{Read, WebSocketClient, WebSocketUpstream};
use grapevine_tests::{Mesh, wait_until};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

const MODEL: &str = "gpt-realtime";
const REALTIME: &str = "/v1/realtime?model=gpt-realtime";

/// An entry without upstreams, and the owner of one.
async fn over_a_hop(upstream: &WebSocketUpstream) -> Mesh {
    let config = upstream.config("realtime", &[MODEL]);
    Mesh::builder()
        .node("entry", |node| node.config("drain.timeout", json!("10s")))
        .node("owner", |node| {
            node.config("drain.timeout", json!("10s"))
                .raw_upstream(config)
        })
        .start()
        .await
}

async fn open(mesh: &Mesh, node: &str, target: &str) -> WebSocketClient {
    let opened = WebSocketClient::open(&mesh[node], target, &[]).await;
    opened.unwrap_or_else(|refused| panic!("{refused:?}"))
}

#[tokio::test]
async fn messages_pass_both_ways_over_a_hop_and_the_close_with_its_code() {
    let upstream = WebSocketUpstream::start().await;
    let mesh = over_a_hop(&upstream).await;
    for node in ["owner", "entry"] {
        let mut client = open(&mesh, node, REALTIME).await;
        assert!(
            matches!(client.read().await, Read::Text(text) if text.contains("session.created"))
        );
        for length in [0, 1, 125, 126, 70_000, 1_000_000] {
            client.echo(&"a".repeat(length)).await;
        }
        client.send_message(Message::binary(vec![7; 100_000])).await;
        assert_eq!(client.read().await, Read::Binary(vec![7; 100_000]));
        client.ping().await;
        client.close().await;
    }
    let seen = upstream
        .wait_for("both to end", |seen| seen.ends.len() == 2)
        .await;
    assert_eq!(seen.open, 0);
    for head in &seen.heads {
        assert!(head.starts_with(REALTIME), "{head}");
        assert!(head.contains(&format!(
            "authorization: Bearer {}",
            grapevine_tests::mesh::SECRET
        )));
        assert!(!head.contains("extensions"), "{head}");
    }
}
