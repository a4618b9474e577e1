//! The counters show the outcome of each request, and cancellations arrive at once.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::client::{LIMIT, chat, chat_body, get, mock, open, request, send};
use crate::mock::{EventKind, Knobs, Mock, MockConfig, MockHandle, StatsSnapshot};

async fn settled(mock: &MockHandle) -> StatsSnapshot {
    tokio::time::timeout(LIMIT, mock.stats_when(|stats| stats.in_flight == 0))
        .await
        .expect("every request ends")
}

#[tokio::test]
async fn requests_are_counted_by_path_and_model_and_the_last_one_is_kept() {
    let mock = mock(Knobs::default()).await;
    get(&mock, "/v1/models").await;
    let mut asked = request(Method::POST, "/v1/chat/completions", &chat_body(false));
    let key = http::HeaderValue::from_static("Bearer sk-secret");
    asked.headers_mut().insert("authorization", key);
    send(mock.address(), asked).await.expect("an answer");
    chat(&mock, true).await.expect("an answer");

    let stats = get(&mock, "/mock/stats").await;
    assert!(!String::from_utf8_lossy(&stats.body).contains("sk-secret"));
    let stats = stats.json();
    assert_eq!(stats["name"], "sgp");
    assert_eq!(stats["requests_total"], 3);
    assert_eq!(stats["completed"], 3);
    assert_eq!(
        stats["by_path"],
        json!({"/v1/chat/completions": 2, "/v1/models": 1})
    );
    assert_eq!(stats["by_model"], json!({"gpt-4o": 2}));
    let last = &stats["last_request"];
    assert_eq!(last["path"], "/v1/chat/completions");
    assert_eq!(last["body_bytes"], chat_body(true).to_string().len());
    assert_eq!(last["headers"]["host"], "mock");
    assert_eq!(stats["last_event"]["kind"], "completed");
    assert!(stats["now_ms"].is_f64());
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_is_counted_at_once() {
    let mock = mock(Knobs {
        hang: true,
        ..Knobs::default()
    })
    .await;
    let address = mock.address();
    let asking = tokio::spawn(async move {
        let request = request(Method::POST, "/v1/chat/completions", &chat_body(false));
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("it listens");
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .expect("HTTP");
        // In one task, so that aborting it closes the socket.
        tokio::join!(sender.send_request(request), connection)
    });
    let before = mock.stats_when(|stats| stats.last_request.is_some()).await;
    assert_eq!(before.in_flight, 1);
    asking.abort();
    let left = mock.stats();
    let after = settled(&mock).await;
    assert_eq!((after.cancelled, after.completed), (1, 0));
    assert_eq!(
        after.last_event.map(|event| event.kind),
        Some(EventKind::Cancelled)
    );
    let delay = after.cancelled_at.expect("a time").saturating_sub(left.now);
    assert!(delay < Duration::from_secs(1), "{delay:?}");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_stream_is_counted_at_once() {
    let mock = mock(Knobs {
        chunk_interval: LIMIT,
        ..Knobs::default()
    })
    .await;
    let streaming = request(Method::POST, "/v1/chat/completions", &chat_body(true));
    let mut response = open(mock.address(), streaming).await.expect("a head");
    response
        .frame()
        .await
        .expect("a frame")
        .expect("the first events");
    assert_eq!(mock.stats().in_flight, 1);
    let left = mock.stats();
    drop(response);
    let after = settled(&mock).await;
    assert_eq!((after.cancelled, after.completed), (1, 0));
    let delay = after.cancelled_at.expect("a time").saturating_sub(left.now);
    assert!(delay < Duration::from_secs(1), "{delay:?}");
}

#[tokio::test]
async fn clearing_the_counters_leaves_the_knobs() {
    let mock = mock(Knobs::default()).await;
    mock.set_knobs(Knobs {
        chunks: 2,
        ..Knobs::default()
    })
    .expect("valid knobs");
    chat(&mock, false).await.expect("an answer");
    let cleared = request(Method::DELETE, "/mock/stats", &Value::Null);
    let cleared = send(mock.address(), cleared)
        .await
        .expect("an answer")
        .json();
    assert_eq!(cleared["requests_total"], 0);
    assert_eq!(cleared["by_model"], json!({}));
    assert_eq!(mock.knobs().chunks, 2);
}

#[tokio::test]
async fn connections_are_reused_between_requests() {
    let mock = mock(Knobs::default()).await;
    let stream = tokio::net::TcpStream::connect(mock.address())
        .await
        .expect("it listens");
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .expect("HTTP");
    tokio::spawn(connection);
    for stream in [false, true, false] {
        let request = request(Method::POST, "/v1/chat/completions", &chat_body(stream));
        let response = sender
            .send_request(request)
            .await
            .expect("an answer on the same connection");
        response.collect().await.expect("a whole body");
    }
    assert_eq!(mock.stats().completed, 3);
}

#[tokio::test]
async fn a_stopped_mock_frees_its_port_for_the_next() {
    let first = mock(Knobs {
        hang: true,
        ..Knobs::default()
    })
    .await;
    let address = first.address();
    let asking = tokio::spawn(open(
        address,
        request(Method::POST, "/v1/chat/completions", &chat_body(false)),
    ));
    first.stats_when(|stats| stats.last_request.is_some()).await;
    first.stop().await;
    let asked = tokio::time::timeout(LIMIT, asking)
        .await
        .expect("the connection is broken");
    assert!(asked.expect("the task ends").is_err());

    let config = MockConfig {
        listen: address,
        ..MockConfig::on_loopback("second")
    };
    let second = Mock::start(config).await.expect("the port is free again");
    assert_eq!(get(&second, "/v1/models").await.status, 200);
}

#[tokio::test]
async fn answers_are_billed_when_they_were_handed_over_with_their_usage() {
    let mock = mock(Knobs {
        chunks: 5,
        ..Knobs::default()
    })
    .await;
    let whole = chat(&mock, false).await.expect("an answer").json();
    let of_one = mock.stats().billed;
    assert_eq!(
        of_one.input,
        whole["usage"]["prompt_tokens"].as_u64().expect("tokens")
    );
    assert_eq!((of_one.cached, of_one.output), (0, 5));
    chat(&mock, true).await.expect("an answer");
    let of_two = mock.stats().billed;
    assert_eq!((of_two.input, of_two.output), (2 * of_one.input, 10));
    for knobs in [
        json!({"clean_end_after_chunks": 2}),
        json!({"clean_end_after_chunks": null, "stream_error_after_chunks": 2}),
    ] {
        let knobs = request(Method::PATCH, "/mock/knobs", &knobs);
        send(mock.address(), knobs).await.expect("an answer");
        // It may end as it likes: it reports nothing.
        let _ = chat(&mock, true).await;
        settled(&mock).await;
        assert_eq!(mock.stats().billed, of_two);
    }
}
