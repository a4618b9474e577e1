//! A client that hangs up ends the call at the upstream, locally and across a hop, before the answer's head and in
//! the middle of a stream. How soon is printed: 1 ms to 5 ms on an idle machine.

use std::time::{Duration, Instant};

use grapevine_tests::client::chat_body;
use grapevine_tests::quiet::alone;
use grapevine_tests::raw::RawClient;
use grapevine_tests::{Mesh, Mock, Node};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";
const CHAT: &str = "/v1/chat/completions";

/// When a test gives up, long before anything but the client's hanging up ends a call: the time limits of an
/// upstream, or a write to a client that is gone.
const LIMIT: Duration = Duration::from_secs(20);

/// The time between two chunks of a stream: no write shortens the wait for the end of the connection.
const CHUNK_INTERVAL: &str = "25s";

/// Clients that hang up, one after the other.
const ROUNDS: u64 = 5;

#[tokio::test]
async fn hanging_up_before_the_head_ends_a_local_call() {
    let _room = alone().await;
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node.upstream_with(&mock, unprobed(1)))
        .start()
        .await;
    cancel_before_the_head(&mesh["sgp"], &mock).await;
}

#[tokio::test]
async fn hanging_up_before_the_head_ends_a_forwarded_call() {
    let _room = alone().await;
    let mock = Mock::start("near", &[MODEL]).await;
    cancel_before_the_head(&relayed(&mock).await["sgp"], &mock).await;
}

#[tokio::test]
async fn hanging_up_in_a_stream_ends_a_local_call() {
    let _room = alone().await;
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node.upstream_with(&mock, unprobed(1)))
        .start()
        .await;
    cancel_in_a_stream(&mesh["sgp"], &mock).await;
}

#[tokio::test]
async fn hanging_up_in_a_stream_ends_a_forwarded_call() {
    let _room = alone().await;
    let mock = Mock::start("near", &[MODEL]).await;
    cancel_in_a_stream(&relayed(&mock).await["sgp"], &mock).await;
}

#[tokio::test]
async fn a_call_whose_client_hung_up_is_not_tried_elsewhere_and_counts_against_nobody() {
    let _room = alone().await;
    let (near, far) = (
        Mock::start("near", &[MODEL]).await,
        Mock::start("far", &[MODEL]).await,
    );
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.upstream_with(&near, unprobed(1))
                .upstream_with(&far, unprobed(2))
        })
        .start()
        .await;
    cancel_before_the_head(&mesh["sgp"], &near).await;
    assert_eq!(far.stats().await["by_path"].get(CHAT), None);
    // Nothing has shown yet that it works, and nothing that it does not.
    assert_eq!(mesh["sgp"].view().await.state("sgp", "near"), "untested");
}

/// A node without upstreams in front of one that owns `mock`.
async fn relayed(mock: &Mock) -> Mesh {
    Mesh::builder()
        .node("sgp", |node| node)
        .node("jpn", |node| node.upstream_with(mock, unprobed(1)))
        .start()
        .await
}

/// No probe may be in flight when calls are counted, and one failure would eject.
fn unprobed(priority: u64) -> Value {
    json!({"priority": priority, "health": {"probe": "off", "failure_threshold": 1}})
}

async fn cancel_before_the_head(node: &Node, mock: &Mock) {
    mock.set(json!({"hang": true})).await;
    let body = chat_body(MODEL, "hello");
    for round in 1..=ROUNDS {
        let before = mock.chats().await;
        let client = RawClient::post(node.addresses().public, CHAT, &body).await;
        mock.wait_for_chats(before + 1, LIMIT).await;
        assert_cancelled(mock, client, round).await;
    }
}

async fn cancel_in_a_stream(node: &Node, mock: &Mock) {
    mock.set(json!({"chunk_interval": CHUNK_INTERVAL})).await;
    let mut body = chat_body(MODEL, "hello");
    body["stream"] = Value::Bool(true);
    for round in 1..=ROUNDS {
        let mut client = RawClient::post(node.addresses().public, CHAT, &body).await;
        client.read_until("Upstream", LIMIT).await;
        assert_cancelled(mock, client, round).await;
    }
}

/// Hangs up and compares the moment with the one at which the mock lost its client.
async fn assert_cancelled(mock: &Mock, client: RawClient, round: u64) {
    let clock = MockClock::read(mock).await;
    let hung_up = clock.at_earliest(client.hang_up());
    mock.wait_for_count("cancelled", round, LIMIT).await;
    let stats = mock.stats().await;
    let cancelled = stats["cancelled_at_ms"].as_f64().unwrap_or(f64::INFINITY);
    let after = cancelled - hung_up;
    eprintln!("round {round}: cancelled {after:.1} ms after the client hung up");
    assert_eq!(
        (stats["in_flight"].clone(), stats["cancelled"].clone()),
        (json!(0), json!(round))
    );
}

/// The mock's clock beside this process's.
struct MockClock {
    reading_ms: f64,
    read_before: Instant,
}

impl MockClock {
    async fn read(mock: &Mock) -> Self {
        let stats = mock.stats().await;
        Self {
            reading_ms: stats["now_ms"].as_f64().unwrap_or(f64::INFINITY),
            read_before: Instant::now(),
        }
    }

    /// The earliest that the mock's clock can have shown at `moment`: it was read before `read_before`.
    fn at_earliest(&self, moment: Instant) -> f64 {
        let since = moment.saturating_duration_since(self.read_before);
        self.reading_ms + since.as_secs_f64() * 1e3
    }
}
