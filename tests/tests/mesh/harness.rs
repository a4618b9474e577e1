//! What the harness promises to the other tests, where that takes real processes.

use std::time::Duration;

use grapevine_tests::client::{Next, chat_body, http, streamed_text, try_post};
use grapevine_tests::load::{Load, failures};
use grapevine_tests::{Mock, client::EventStream, wait_until};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_killed_mock_refuses_connections_and_comes_back_on_its_port() {
    let mock = Mock::start("phoenix", &["gpt-4o"]).await;
    let url = format!("{}/chat/completions", mock.base_url());
    mock.kill();
    assert!(
        try_post(&http(), &url, &chat_body("gpt-4o", "hello"))
            .await
            .is_err()
    );
    mock.restart().await;
    let answer = try_post(&http(), &url, &chat_body("gpt-4o", "hello"))
        .await
        .unwrap();
    assert!(
        answer.content().starts_with("Upstream phoenix heard"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_turned_knob_has_an_effect_until_it_is_reset() {
    let mock = Mock::start("knobs", &["gpt-4o"]).await;
    let url = format!("{}/chat/completions", mock.base_url());
    mock.set(json!({"error_rate": 1.0, "error_status": 503, "latency": "50ms"}))
        .await;
    let answer = try_post(&http(), &url, &chat_body("gpt-4o", "hello"))
        .await
        .unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.elapsed >= Duration::from_millis(50));
    mock.reset().await;
    assert_eq!(
        try_post(&http(), &url, &chat_body("gpt-4o", "hello"))
            .await
            .unwrap()
            .status,
        200
    );
}

#[tokio::test]
async fn a_stream_is_read_to_its_clean_end_and_to_its_break() {
    let mock = Mock::start("streams", &["gpt-4o"]).await;
    let url = format!("{}/chat/completions", mock.base_url());
    let mut body = chat_body("gpt-4o", "hello");
    body["stream"] = json!(true);
    let (whole, end) = EventStream::post(&url, &body).await.rest().await;
    assert_eq!(end, Next::CleanEnd);
    mock.set(json!({"cut_after_chunks": 3, "chunk_interval": "10ms"}))
        .await;
    let (cut, end) = EventStream::post(&url, &body).await.rest().await;
    assert!(matches!(end, Next::Broken(_)), "{end:?}");
    assert!(streamed_text(&whole).starts_with(&streamed_text(&cut)) && cut.len() < whole.len());
}

#[tokio::test]
async fn hanging_up_is_counted_as_cancelled() {
    let mock = Mock::start("patient", &["gpt-4o"]).await;
    mock.set(json!({"chunks": 1000, "chunk_interval": "20ms"}))
        .await;
    let mut body = chat_body("gpt-4o", "hello");
    body["stream"] = json!(true);
    let mut stream =
        EventStream::post(&format!("{}/chat/completions", mock.base_url()), &body).await;
    assert!(matches!(stream.next().await, Next::Event { .. }));
    assert_eq!(mock.count("in_flight").await, 1);
    drop(stream);
    mock.wait_for_count("cancelled", 1, LIMIT).await;
    assert_eq!(mock.count("in_flight").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_reports_every_request_failed_ones_too() {
    let mock = Mock::start("busy", &["gpt-4o"]).await;
    mock.set(json!({"latency": "5ms"})).await;
    let url = format!("{}/chat/completions", mock.base_url());
    let load = Load::start_at(&url, 4, &chat_body("gpt-4o", "ping"));
    mock.wait_for_count("completed", 20, LIMIT).await;
    mock.set(json!({"error_rate": 1.0})).await;
    let before = mock.count("completed").await;
    mock.wait_for_count("completed", before + 8, LIMIT).await;
    let samples = load.finish().await;
    let failed = failures(&samples).len();
    assert!(
        failed >= 1 && samples.len() - failed >= 20,
        "{failed} of {} failed",
        samples.len()
    );
    wait_until("all requests to be counted", LIMIT, async || {
        let counted = mock.count("requests_total").await;
        if counted == samples.len() as u64 {
            Ok(())
        } else {
            Err(format!("{counted} counted"))
        }
    })
    .await;
}
