//! Every knob has an effect that a client can see.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::client::{LIMIT, chat, chat_body, get, mock, open, post, request, send};
use crate::mock::{Knobs, MockHandle, RateLimit, answer_text};

async fn knobs(mock: &MockHandle, method: Method, body: Value) -> super::client::Answer {
    send(mock.address(), request(method, "/mock/knobs", &body))
        .await
        .expect("the knobs are always served")
}

#[tokio::test]
async fn latency_delays_the_head_of_answers_and_errors() {
    let latency = Duration::from_millis(80);
    let mock = mock(Knobs {
        latency,
        ..Knobs::default()
    })
    .await;
    for error_rate in [0.0, 1.0] {
        mock.set_knobs(Knobs {
            error_rate,
            ..mock.knobs()
        })
        .expect("valid knobs");
        let start = Instant::now();
        let request = request(Method::POST, "/v1/chat/completions", &chat_body(true));
        open(mock.address(), request).await.expect("a head");
        assert!(start.elapsed() >= latency);
    }
}

#[tokio::test]
async fn the_interval_and_the_slow_chunk_stretch_a_stream() {
    let mock = mock(Knobs {
        chunks: 5,
        chunk_interval: Duration::from_millis(10),
        slow_chunk: Duration::from_millis(60),
        ..Knobs::default()
    })
    .await;
    let start = Instant::now();
    let answer = chat(&mock, true).await.expect("an answer");
    assert!(start.elapsed() >= Duration::from_millis(4 * 10 + 60));
    assert_eq!(answer.chat_text(), answer_text("sgp", "say hello", 5));
}

#[tokio::test]
async fn an_error_rate_of_one_answers_every_request_with_the_status() {
    for status in [401, 403, 408, 500, 503, 529] {
        let mock = mock(Knobs {
            error_rate: 1.0,
            error_status: status,
            ..Knobs::default()
        })
        .await;
        let answer = chat(&mock, true).await.expect("an answer");
        assert_eq!(answer.status, status);
        assert!(answer.json()["error"]["message"].is_string());
        assert!(!answer.headers.contains_key("retry-after"));
        assert_eq!(get(&mock, "/v1/models").await.status, 200);
    }
}

#[tokio::test]
async fn an_anthropic_client_gets_injected_errors_in_its_shape() {
    let mock = mock(Knobs {
        error_rate: 1.0,
        error_status: 529,
        retry_after: Some(Duration::from_millis(1_500)),
        ..Knobs::default()
    })
    .await;
    let answer = post(&mock, "/v1/messages", json!({})).await;
    assert_eq!(answer.status, 529);
    assert_eq!(answer.json()["error"]["type"], "overloaded_error");
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(answer.header("retry-after-ms"), "1500");
}

#[tokio::test]
async fn always_limited_answers_429_with_retry_after() {
    let mock = mock(Knobs {
        rate_limit: RateLimit::Always,
        ..Knobs::default()
    })
    .await;
    let answer = chat(&mock, false).await.expect("an answer");
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded");
}

#[tokio::test]
async fn a_rate_limit_lets_a_burst_pass_and_answers_429_beyond() {
    let mock = mock(Knobs {
        rate_limit: RateLimit::PerSecond(0.01),
        ..Knobs::default()
    })
    .await;
    assert_eq!(chat(&mock, false).await.expect("an answer").status, 200);
    let limited = chat(&mock, false).await.expect("an answer");
    assert_eq!(limited.status, 429);
    let after: u64 = limited.header("retry-after").parse().expect("seconds");
    assert!((90..=100).contains(&after), "{after}");
}

#[tokio::test]
async fn hanging_accepts_and_never_answers_while_models_answer() {
    for faulty in [
        Knobs {
            hang: true,
            ..Knobs::default()
        },
        Knobs {
            hang_probability: 1.0,
            ..Knobs::default()
        },
    ] {
        let mock = mock(faulty).await;
        let hanging = chat(&mock, false);
        let hanging = tokio::time::timeout(Duration::from_millis(100), hanging);
        assert!(hanging.await.is_err());
        assert_eq!(mock.stats().by_path["/v1/chat/completions"], 1);
        assert_eq!(get(&mock, "/v1/models").await.status, 200);
    }
}

#[tokio::test]
async fn a_cut_stream_delivers_its_chunks_and_breaks_off() {
    let mock = mock(Knobs {
        cut_after_chunks: Some(3),
        ..Knobs::default()
    })
    .await;
    let answer = chat(&mock, true).await.expect("a head");
    assert!(!answer.whole);
    assert_eq!(answer.chat_text(), answer_text("sgp", "say hello", 3));
    assert_eq!(mock.stats_when(|s| s.in_flight == 0).await.broken, 1);
}

#[tokio::test]
async fn a_stream_cut_after_no_chunk_delivers_its_head_alone() {
    let mock = mock(Knobs {
        cut_after_chunks: Some(0),
        ..Knobs::default()
    })
    .await;
    let answer = chat(&mock, true).await.expect("a head");
    assert_eq!(
        (answer.status, answer.whole, answer.body.len()),
        (200, false, 0)
    );
}

#[tokio::test]
async fn a_cut_json_answer_breaks_off_in_its_middle() {
    let mock = mock(Knobs {
        cut_after_chunks: Some(1),
        ..Knobs::default()
    })
    .await;
    let answer = chat(&mock, false).await.expect("a head");
    let length: usize = answer.header("content-length").parse().expect("a length");
    assert!(!answer.whole);
    assert_eq!(answer.body.len(), length / 2);
}

#[tokio::test]
async fn a_clean_early_end_looks_whole_and_has_no_finish_reason() {
    let mock = mock(Knobs {
        clean_end_after_chunks: Some(4),
        ..Knobs::default()
    })
    .await;
    let answer = chat(&mock, true).await.expect("an answer");
    assert!(answer.whole);
    assert_eq!(answer.chat_text(), answer_text("sgp", "say hello", 4));
    let text = String::from_utf8_lossy(&answer.body);
    assert!(!text.contains("[DONE]") && !text.contains("\"stop\""));
    assert_eq!(mock.stats().completed, 1);
}

#[tokio::test]
async fn refusing_closes_before_any_byte_and_spares_the_models() {
    let mock = mock(Knobs {
        refuse: true,
        ..Knobs::default()
    })
    .await;
    let error = chat(&mock, false).await.expect_err("no answer");
    assert!(
        error.is_incomplete_message() || error.is_closed(),
        "{error:?}"
    );
    assert_eq!(mock.stats().broken, 1);
    assert_eq!(get(&mock, "/v1/models").await.status, 200);
}

#[tokio::test]
async fn the_models_fail_when_the_knob_is_set() {
    let mock = mock(Knobs {
        fail_models_probe: true,
        error_status: 503,
        ..Knobs::default()
    })
    .await;
    assert_eq!(get(&mock, "/v1/models").await.status, 503);
    assert_eq!(chat(&mock, false).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_padded_answer_has_exactly_its_size() {
    let mock = mock(Knobs {
        body_bytes: 100_000,
        ..Knobs::default()
    })
    .await;
    let plain = chat(&mock, false).await.expect("an answer");
    assert_eq!(plain.body.len(), 100_000);
    let content = &plain.json()["choices"][0]["message"]["content"];
    let text = answer_text("sgp", "say hello", 16);
    assert!(
        content
            .as_str()
            .is_some_and(|content| content.starts_with(&text))
    );
    let stream = chat(&mock, true).await.expect("an answer");
    let length = stream.chat_text().len();
    assert!((100_000..100_000 + 200).contains(&length), "{length}");
}

#[tokio::test]
async fn the_number_of_chunks_is_the_knobs() {
    let mock = mock(Knobs {
        chunks: 3,
        ..Knobs::default()
    })
    .await;
    let answer = chat(&mock, true).await.expect("an answer");
    assert_eq!(answer.events().len(), 1 + 3 + 1);
}

#[tokio::test]
async fn going_down_breaks_streams_and_refuses_all_but_the_control() {
    let mock = mock(Knobs {
        chunk_interval: LIMIT,
        ..Knobs::default()
    })
    .await;
    let running = request(Method::POST, "/v1/chat/completions", &chat_body(true));
    let mut running = open(mock.address(), running).await.expect("a head");
    running
        .frame()
        .await
        .expect("a frame")
        .expect("the first events");

    let answer = knobs(&mock, Method::PATCH, json!({"down": true})).await;
    assert_eq!(answer.status, 200);
    let broken = async {
        loop {
            match running.frame().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    };
    let end = tokio::time::timeout(LIMIT, broken)
        .await
        .expect("the stream breaks at once");
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    assert!(chat(&mock, false).await.is_err());
    let models = request(Method::GET, "/v1/models", &Value::Null);
    assert!(send(mock.address(), models).await.is_err());

    let answer = knobs(&mock, Method::PATCH, json!({"down": false})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(get(&mock, "/v1/models").await.status, 200);
    let stats = mock.stats();
    assert_eq!((stats.broken, stats.cancelled), (3, 0));
}

#[tokio::test]
async fn the_knobs_are_read_merged_replaced_and_reset_over_http() {
    let mock = mock(Knobs {
        chunks: 7,
        ..Knobs::default()
    })
    .await;
    let patched = knobs(
        &mock,
        Method::PATCH,
        json!({"latency": "250ms", "rate_limit": "5/s"}),
    )
    .await;
    assert_eq!(patched.status, 200);
    let read = get(&mock, "/mock/knobs").await.json();
    assert_eq!(read, patched.json());
    assert_eq!(read["latency"], "250ms");
    assert_eq!(read["rate_limit"], "5/s");
    assert_eq!(read["chunks"], 7);
    assert_eq!(mock.knobs().latency, Duration::from_millis(250));

    let replaced = knobs(&mock, Method::PUT, json!({"hang": true}))
        .await
        .json();
    assert_eq!(replaced["latency"], "0s");
    assert_eq!(replaced["chunks"], 16);
    assert_eq!(replaced["hang"], true);

    let reset = post(&mock, "/mock/reset", Value::Null).await.json();
    assert_eq!(
        (&reset["chunks"], &reset["hang"]),
        (&json!(7), &json!(false))
    );
}

#[tokio::test]
async fn a_wrong_knob_is_refused_by_name_and_changes_nothing() {
    let mock = mock(Knobs::default()).await;
    let wrong = knobs(
        &mock,
        Method::PATCH,
        json!({"hang": true, "latencyy": "1s"}),
    )
    .await;
    assert_eq!(wrong.status, 400);
    let message = wrong.json()["error"]["message"].to_string();
    assert!(message.contains("latencyy: unknown knob"), "{message}");
    assert_eq!(mock.knobs(), Knobs::default());
    assert_eq!(get(&mock, "/mock/nothing").await.status, 404);
}

#[tokio::test]
async fn a_request_body_over_the_limit_is_refused() {
    let mock = mock(Knobs::default()).await;
    let huge = bytes::Bytes::from(vec![b' '; 64 * 1024 * 1024 + 1]);
    let request = http::Request::post("/v1/chat/completions")
        .header("host", "mock")
        .body(http_body_util::Full::from(huge))
        .expect("a valid request");
    // The answer may overtake the upload, and the connection then breaks under it.
    if let Ok(answer) = send(mock.address(), request).await {
        assert_eq!(answer.status, 413);
    }
    assert_eq!(
        mock.stats_when(|s| s.in_flight == 0).await.by_model.len(),
        0
    );
    assert_eq!(chat(&mock, false).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn garbage_on_a_connection_does_not_stop_the_mock() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mock = mock(Knobs::default()).await;
    for garbage in [
        &b"\x00\xff\x16\x03\x01"[..],
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = tokio::net::TcpStream::connect(mock.address())
            .await
            .expect("it listens");
        stream.write_all(garbage).await.expect("a write");
        stream.shutdown().await.expect("a half close");
        let mut rest = Vec::new();
        // A refusal or a reset: both are fine, a hang is not.
        let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok());
    }
    assert_eq!(chat(&mock, false).await.expect("an answer").status, 200);
}
