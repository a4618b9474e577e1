//! A real model on a third-party server: SmolLM2 on llama.cpp, owned by node `jpn`, while
//! every client talks to node `sgp`.

use std::time::Duration;

use grapevine_tests::client::{Answer, EventStream, Next, http, streamed_text, try_post};
use grapevine_tests::script::Upstream;
use grapevine_tests::{Mesh, wait_until, within};
use serde_json::{Value, json};

const MODEL: &str = "smollm2";

/// About 20 tokens a second on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// How soon a cancelled request must be gone from the server's own metrics, which it updates between
/// two tokens.
const CANCEL_LIMIT: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_and_a_stream_through_a_hop_have_the_same_text() {
    let (mesh, _model) = mesh_with_model().await;
    let url = format!("{}/chat/completions", mesh["sgp"].base_url());

    let answer: Answer = within(
        "a chat",
        ANSWER_LIMIT,
        try_post(&http(), &url, &ask(24, false)),
    )
    .await
    .unwrap_or_else(|error| panic!("no answer: {error:?}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        (
            answer.header("x-grapevine-node"),
            answer.header("x-grapevine-hops")
        ),
        ("jpn", "1")
    );
    assert!(!answer.content().is_empty(), "{}", answer.text());

    let stream = EventStream::post(&url, &ask(24, true)).await;
    assert_eq!(
        (stream.status, stream.header("x-grapevine-node")),
        (200, "jpn")
    );
    let (events, end) = within("a stream", ANSWER_LIMIT, stream.rest()).await;
    assert_eq!(end, Next::CleanEnd);
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    // At temperature 0 the model gives the same answer twice.
    assert_eq!(streamed_text(&events), answer.content());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_stops_the_models_work() {
    let (mesh, model) = mesh_with_model().await;
    let url = format!("{}/chat/completions", mesh["sgp"].base_url());

    let mut stream = EventStream::post(&url, &ask(1_000, true)).await;
    assert_eq!(stream.status, 200);
    for _ in 0..3 {
        let next = within("a chunk", ANSWER_LIMIT, stream.next()).await;
        assert!(matches!(next, Next::Event { .. }), "{next:?}");
    }
    let busy = processing(&model).await;
    assert_eq!(busy, 1.0, "the server's metrics do not show the request");

    drop(stream);
    wait_until(
        "the server to stop",
        CANCEL_LIMIT,
        async || match processing(&model).await {
            0.0 => Ok(()),
            busy => Err(format!("{busy} requests in work")),
        },
    )
    .await;
}

async fn mesh_with_model() -> (Mesh, Upstream) {
    let model = Upstream::smollm2(MODEL).await;
    let upstream = json!({"name": "llama", "base_url": model.base_url(), "models": [MODEL]});
    let mesh = Mesh::builder()
        .node("sgp", |node| node)
        .node("jpn", |node| node.raw_upstream(upstream))
        .start()
        .await;
    (mesh, model)
}

fn ask(tokens: u32, stream: bool) -> Value {
    json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": "Tell me a long story about a vine."}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": stream,
    })
}

async fn processing(model: &Upstream) -> f64 {
    let metrics = model.page("/metrics").await;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("llamacpp:requests_processing "));
    match line.map(str::parse) {
        Some(Ok(count)) => count,
        _ => panic!("no requests_processing in {metrics}"),
    }
}
