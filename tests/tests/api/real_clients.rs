//! The official SDKs, unmodified but for their base URL, against a mesh of three nodes.
//!
//! Each kind of trouble has a model and a mock of its own, so that one never colours another: a node
//! remembers what an upstream did. Clients talk to `sgp`; all trouble is one hop away.

use std::time::Duration;

use grapevine_tests::script::run_client;
use grapevine_tests::{Mesh, Mock};
use serde_json::{Value, json};

/// What the clients send to the node, and its SHA-256, which the node's config holds.
const CLIENT_KEY: &str = "sk-client-of-the-vine";
const CLIENT_KEY_HASH: &str =
    "sha256:abae901b3e7b4b79d817399c0d7e99906a767f2c56f39a96fa9e2e7d7a368a02";

/// How soon a client's going away must show at the upstream. That it takes under 100 ms is checked
/// elsewhere; here a busy machine runs a whole SDK beside it.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_sdk_for_python_works_unmodified() {
    let world = World::start().await;
    let printed = run_client(
        "openai_client.py",
        &[&world.mesh["sgp"].base_url(), CLIENT_KEY],
    )
    .await;
    assert!(
        printed.contains("ok a_streams_text_is_what_the_upstream_sent"),
        "{printed}"
    );
    world.check_that_upstreams_were_let_go().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_sdk_for_node_works_unmodified() {
    let world = World::start().await;
    let printed = run_client(
        "openai_client.mjs",
        &[&world.mesh["sgp"].base_url(), CLIENT_KEY],
    )
    .await;
    assert!(
        printed.contains("ok a stream's text is what the upstream sent"),
        "{printed}"
    );
    world.check_that_upstreams_were_let_go().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_anthropic_sdk_for_python_works_unmodified() {
    let world = World::start().await;
    let printed = run_client(
        "anthropic_client.py",
        &[&world.mesh["sgp"].public_url(), CLIENT_KEY],
    )
    .await;
    assert!(
        printed.contains("ok a_message_is_answered_through_a_hop"),
        "{printed}"
    );
    world.check_that_upstreams_were_let_go().await;
}

struct World {
    mesh: Mesh,
    hanging: Mock,
    slow: Mock,
    _others: Vec<Mock>,
}

impl World {
    async fn start() -> Self {
        let local = Mock::start("sgp-up", &["gpt-4o"]).await;
        let far = Mock::start("far", &["far"]).await;
        let usa = Mock::start(
            "usa-up",
            &["gpt-4o", "text-embedding-3-small", "claude-test"],
        )
        .await;
        let hanging = troubled("hangs", json!({"hang": true})).await;
        let slow = troubled("slow", json!({"chunks": 400, "chunk_interval": "50ms"})).await;
        let others = [
            troubled("paced", json!({"chunk_interval": "50ms"})).await,
            troubled(
                "cut",
                json!({"cut_after_chunks": 5, "chunk_interval": "20ms"}),
            )
            .await,
            troubled("limited", json!({"rate_limit": "1/s"})).await,
            failing("fails-400", json!({"error_status": 400})).await,
            failing("fails-422", json!({"error_status": 422})).await,
            failing("fails-500", json!({"error_status": 500})).await,
            troubled(
                "fails-429",
                json!({"rate_limit": "always", "retry_after": "1s"}),
            )
            .await,
        ];
        let keys = json!([{"name": "app", "hash": CLIENT_KEY_HASH}]);
        let mesh = Mesh::builder()
            .node("sgp", |node| node.upstream(&local).config("keys", keys))
            .node("jpn", |node| {
                let node = node.upstream(&far).upstream(&hanging).upstream(&slow);
                others.iter().fold(node, |node, mock| node.upstream(mock))
            })
            .node("usa", |node| node.upstream(&usa))
            .start()
            .await;
        let mut kept = vec![local, far, usa];
        kept.extend(others);
        Self {
            mesh,
            hanging,
            slow,
            _others: kept,
        }
    }

    // Clients have timed out, closed and aborted: nothing of that may still run, or have run to its end.
    async fn check_that_upstreams_were_let_go(&self) {
        for mock in [&self.hanging, &self.slow] {
            mock.wait_for_count("cancelled", 1, CANCEL_LIMIT).await;
            grapevine_tests::wait_until("the last call to end", CANCEL_LIMIT, async || match mock
                .count("in_flight")
                .await
            {
                0 => Ok(()),
                running => Err(format!("{running} at {}", mock.name())),
            })
            .await;
        }
        let stats = self.slow.stats().await;
        let chats: u64 = ["/v1/chat/completions", "/v1/messages"]
            .iter()
            .filter_map(|path| stats["by_path"][path].as_u64())
            .sum();
        assert_eq!(
            stats["cancelled"], chats,
            "a slow stream ran to its end: {stats}"
        );
    }
}

async fn troubled(model: &str, knobs: Value) -> Mock {
    let mock = Mock::start(model, &[model]).await;
    mock.set(knobs).await;
    mock
}

async fn failing(model: &str, mut knobs: Value) -> Mock {
    knobs["error_rate"] = json!(1.0);
    troubled(model, knobs).await
}
