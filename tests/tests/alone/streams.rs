//! Streams across a hop: the same bytes, at the same pace, with an honest end, in bounded memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use grapevine_node::mock::answer_text;
use grapevine_tests::canned::Canned;
use grapevine_tests::client::{EventStream, Next, chat_body, http, streamed_text, try_post};
use grapevine_tests::events::{broken_off, error_of};
use grapevine_tests::memory::peak_resident_bytes;
use grapevine_tests::quiet::{alone, beside_others};
use grapevine_tests::raw::RawClient;
use grapevine_tests::{Mesh, Mock, Node, within};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

const MODEL: &str = "gpt-4o";
const CHAT: &str = "/v1/chat/completions";
const LIMIT: Duration = Duration::from_secs(20);

/// The size of the answer that a client does not take.
const LARGE_BYTES: u32 = 64 << 20;

/// How much more memory a node may use for it: stream windows, socket buffers, the allocator's slack.
const GROWTH_MAX_BYTES: u64 = 24 << 20;

/// Clients that take nothing at the same time.
const STALLED: u64 = 8;

/// Streams at the same time: more than QUIC's usual limit of a hundred for each connection.
const MANY: u64 = 300;

/// Chunks of a stream that come one by one.
const CHUNKS: usize = 20;

/// How long a client that takes nothing is watched.
const STALL: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_stream_is_byte_identical_across_a_hop_in_both_directions() {
    let _room = beside_others().await;
    let upstream = Canned::start(odd_parts()).await;
    let mesh = relay(|node| node.raw_upstream(upstream.upstream("odd", "sk-own", &[MODEL]))).await;
    let mut body = chat_body(MODEL, "Grüße \u{1F347} \u{0} end");
    body["stream"] = json!(true);
    // A node adds this where it is missing, and nothing else.
    body["stream_options"] = json!({"include_usage": true});
    let direct_url = format!("{}/chat/completions", upstream.base_url());
    let direct = try_post(&http(), &direct_url, &body).await.unwrap();
    for node in ["jpn", "sgp"] {
        let url = format!("{}/chat/completions", mesh[node].base_url());
        let answer = try_post(&http(), &url, &body).await.unwrap();
        assert_eq!(
            (answer.status, &answer.body),
            (200, &direct.body),
            "through {node}"
        );
        assert_eq!(
            answer.header("content-type"),
            "text/event-stream; charset=utf-8"
        );
    }
    let posts = upstream.posts();
    assert_eq!(posts.len(), 3);
    assert!(
        posts.iter().all(|post| post.body == posts[0].body),
        "the request's body changed"
    );
}

/// Events as no tidy upstream writes them: CRLF, comments, events cut anywhere, bytes that are no UTF-8,
/// a large event, and no `[DONE]`.
fn odd_parts() -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = vec![
        b": comment\r\n\r\nda".to_vec(),
        b"ta: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n".to_vec(),
        b"\r\n".to_vec(),
        b"event: odd\ndata: \xff\xfe\x00\n\n".to_vec(),
        b"d".to_vec(),
    ];
    parts.push([b"ata: ".to_vec(), vec![b'x'; 300_000], b"\n\n".to_vec()].concat());
    parts.push(b"data: no end of line".to_vec());
    parts
}

#[tokio::test]
async fn a_streams_text_is_the_upstreams_across_a_hop() {
    let _room = beside_others().await;
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = relay(|node| node.upstream(&mock)).await;
    mock.set(json!({"chunks": 500})).await;
    let stream = EventStream::chat(&mesh["sgp"], MODEL, "tell me").await;
    assert_eq!(stream.header("x-grapevine-hops"), "1");
    let (events, end) = within("a stream", LIMIT, stream.rest()).await;
    assert_eq!(end, Next::CleanEnd);
    assert_eq!(streamed_text(&events), answer_text("near", "tell me", 500));
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
}

#[tokio::test]
async fn chunks_arrive_as_they_are_sent_across_a_hop() {
    let _room = beside_others().await;
    let gate = Arc::new(Semaphore::new(0));
    let event = b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n".to_vec();
    let upstream = Canned::gated(vec![event; CHUNKS], Arc::clone(&gate)).await;
    let mesh =
        relay(|node| node.raw_upstream(upstream.upstream("paced", "sk-own", &[MODEL]))).await;
    gate.add_permits(1);
    let mut stream = EventStream::chat(&mesh["sgp"], MODEL, "paced").await;
    // Each is sent only after the one before it has come.
    for number in 0..CHUNKS {
        let next = within("an event", LIMIT, stream.next()).await;
        assert!(
            matches!(next, Next::Event { .. }),
            "{next:?} as event {number}"
        );
        gate.add_permits(1);
    }
    assert_eq!(
        within("the end", LIMIT, stream.next()).await,
        Next::CleanEnd
    );
}

#[tokio::test]
async fn an_upstream_that_breaks_off_in_a_stream_gives_an_error_event_and_a_broken_connection() {
    let _room = beside_others().await;
    let (near, far) = (
        Mock::start("near", &[MODEL]).await,
        Mock::start("far", &[MODEL]).await,
    );
    let mesh = relay(|node| {
        node.upstream_with(&near, json!({"priority": 1}))
            .upstream_with(&far, json!({"priority": 2}))
    })
    .await;
    near.set(json!({"cut_after_chunks": 7, "chunk_interval": "30ms"}))
        .await;
    // Breaking off a hop's stream may overtake what was sent at the same moment, the last chunk.
    for (node, chunks_min) in [("jpn", 7), ("sgp", 6)] {
        let stream = EventStream::chat(&mesh[node], MODEL, "cut").await;
        assert_eq!(
            (stream.status, stream.header("x-grapevine-upstream")),
            (200, "near"),
            "through {node}"
        );
        let text = streamed_text(&broken_off(stream, LIMIT).await);
        let least = answer_text("near", "cut", chunks_min);
        assert!(
            text.starts_with(&least) && answer_text("near", "cut", 7).starts_with(&text),
            "through {node}: {text}"
        );
    }
    let stats = far.stats().await;
    assert!(
        stats["by_path"].get("/v1/chat/completions").is_none(),
        "{stats}"
    );
}

#[tokio::test]
async fn a_broken_messages_stream_ends_with_an_error_in_anthropics_shape() {
    let _room = beside_others().await;
    let mock = Mock::start("near", &["claude-mock"]).await;
    let mesh = relay(|node| node.upstream(&mock)).await;
    mock.set(json!({"cut_after_chunks": 5, "chunk_interval": "30ms"}))
        .await;
    let body = json!({
        "model": "claude-mock", "max_tokens": 100, "stream": true,
        "messages": [{"role": "user", "content": "cut"}],
    });
    let mut stream =
        EventStream::post(&format!("{}/messages", mesh["sgp"].base_url()), &body).await;
    let mut last = None;
    let end = loop {
        match within("an event", LIMIT, stream.next()).await {
            Next::Event { name, data } => last = Some((name, data)),
            end => break end,
        }
    };
    let (name, data) = last.unwrap_or_default();
    assert!(matches!(end, Next::Broken(_)), "a clean end after {data}");
    let value: Value = serde_json::from_str(&data).unwrap();
    assert_eq!((name.as_str(), &value["type"]), ("error", &json!("error")));
    assert!(error_of(&data).is_some(), "{data}");
}

#[tokio::test]
async fn an_answer_without_stream_that_breaks_off_never_ends_cleanly() {
    let _room = beside_others().await;
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = relay(|node| node.upstream(&mock)).await;
    mock.set(json!({"cut_after_chunks": 1, "body_bytes": 400_000}))
        .await;
    for node in ["jpn", "sgp"] {
        let url = format!("{}/chat/completions", mesh[node].base_url());
        // Either nothing was sent yet, and the client gets an error's status; or its connection breaks.
        if let Ok(answer) = try_post(&http(), &url, &chat_body(MODEL, "cut")).await {
            assert!(
                answer.status >= 500,
                "{node} gave {} and a clean end",
                answer.status
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_costs_bounded_memory_across_a_hop() {
    let _room = alone().await;
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = relay(|node| node.upstream(&mock)).await;
    mock.set(json!({"body_bytes": LARGE_BYTES})).await;
    let before = peaks(&mesh);
    let url = format!("{}/chat/completions", mesh["sgp"].base_url());
    let mut response = http()
        .post(&url)
        .json(&chat_body(MODEL, "large"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let mut received = response
        .chunk()
        .await
        .unwrap()
        .map_or(0, |chunk| chunk.len());
    // Nothing is to happen now, so time has to pass: an unbounded node would take all of it at once.
    let start = Instant::now();
    while start.elapsed() < STALL {
        assert_eq!(
            mock.count("in_flight").await,
            1,
            "the upstream was read to its end"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_growth(&mesh, &before, "stalled");
    while let Some(chunk) = within("a chunk", LIMIT, response.chunk()).await.unwrap() {
        received += chunk.len();
    }
    assert_eq!(received, LARGE_BYTES as usize);
    assert_growth(&mesh, &before, "finished");
}

#[tokio::test]
async fn clients_that_take_nothing_do_not_hold_up_others_across_a_hop() {
    let _room = alone().await;
    let (large, near) = (
        Mock::start("large", &["gpt-large"]).await,
        Mock::start("near", &[MODEL]).await,
    );
    let mesh = relay(|node| node.upstream(&large).upstream(&near)).await;
    large.set(json!({"body_bytes": LARGE_BYTES})).await;
    let public = mesh["sgp"].addresses().public;
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let body = chat_body("gpt-large", "never read");
        stalled.push(RawClient::post(public, CHAT, &body).await);
    }
    large.wait_for_count("in_flight", STALLED, LIMIT).await;
    let url = format!("{}/chat/completions", mesh["sgp"].base_url());
    let (client, body) = (http(), chat_body(MODEL, "quick"));
    for _ in 0..20 {
        // The others take nothing for much longer than this.
        let answer = within("an answer", LIMIT, try_post(&client, &url, &body)).await;
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, answer.header("x-grapevine-hops")),
            (200, "1")
        );
    }
    assert_eq!(large.count("in_flight").await, STALLED);
}

#[tokio::test]
async fn hundreds_of_streams_run_at_once_across_a_hop_and_end_with_their_clients() {
    let _room = alone().await;
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = relay(|node| node.upstream_with(&mock, json!({"health": {"probe": "off"}}))).await;
    mock.set(json!({"chunk_interval": "1s", "chunks": 1000}))
        .await;
    let mut body = chat_body(MODEL, "many");
    body["stream"] = json!(true);
    let public = mesh["sgp"].addresses().public;
    let mut streams = Vec::new();
    for _ in 0..MANY {
        streams.push(RawClient::post(public, CHAT, &body).await);
    }
    for stream in &mut streams {
        stream.read_until("Upstream", LIMIT).await;
    }
    assert_eq!(mock.count("in_flight").await, MANY);
    drop(streams);
    mock.wait_for_count("cancelled", MANY, Duration::from_secs(2))
        .await;
    assert_eq!(mock.count("in_flight").await, 0);
}

fn peaks(mesh: &Mesh) -> Vec<u64> {
    let peak = |node: &Node| peak_resident_bytes(node.id().unwrap_or_default());
    mesh.nodes().iter().map(peak).collect()
}

fn assert_growth(mesh: &Mesh, before: &[u64], when: &str) {
    for ((node, before), after) in mesh.nodes().iter().zip(before).zip(peaks(mesh)) {
        let growth = after.saturating_sub(*before);
        eprintln!("{} grew by {} KiB when {when}", node.name(), growth >> 10);
        assert!(
            growth <= GROWTH_MAX_BYTES,
            "{} grew by {growth} bytes",
            node.name()
        );
    }
}

/// A node without upstreams, `sgp`, in front of the one described, `jpn`.
async fn relay(
    build: impl FnOnce(grapevine_tests::mesh::NodeBuilder) -> grapevine_tests::mesh::NodeBuilder,
) -> Mesh {
    Mesh::builder()
        .node("sgp", |node| node)
        .node("jpn", build)
        .start()
        .await
}
