//! The answers have the shapes that the official SDKs read, and a predictable text.

use http::Method;
use serde_json::json;

use super::client::{chat, chat_body, get, mock, post, request, send};
use crate::mock::{Knobs, Mock, MockConfig, MockError, answer_text};

#[tokio::test]
async fn a_chat_completion_has_the_known_text_and_its_usage() {
    let mock = mock(Knobs::default()).await;
    let answer = chat(&mock, false).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let body = answer.json();
    let choice = &body["choices"][0];
    assert_eq!(
        choice["message"]["content"],
        answer_text("sgp", "say hello", 16)
    );
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "gpt-4o");
    assert_eq!(body["usage"]["completion_tokens"], 16);
    assert!(body["created"].is_u64());
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.header("x-request-id").starts_with("req_sgp-"));
}

#[tokio::test]
async fn a_chat_stream_has_the_known_text_a_finish_reason_usage_and_done() {
    let mock = mock(Knobs::default()).await;
    let mut body = chat_body(true);
    body["stream_options"] = json!({"include_usage": true});
    let answer = post(&mock, "/v1/chat/completions", body).await;
    assert!(
        answer
            .header("content-type")
            .starts_with("text/event-stream")
    );
    assert!(answer.body.ends_with(b"\n\ndata: [DONE]\n\n"));
    assert_eq!(answer.chat_text(), answer_text("sgp", "say hello", 16));
    let events = answer.events();
    assert_eq!(events.len(), 1 + 16 + 1 + 1);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events[17]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[18]["choices"], json!([]));
    assert_eq!(events[18]["usage"]["completion_tokens"], 16);
    assert!(events[..18].iter().all(|event| event["usage"].is_null()));
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]));
}

#[tokio::test]
async fn usage_comes_in_a_stream_only_when_asked_for() {
    let mock = mock(Knobs::default()).await;
    let answer = chat(&mock, true).await.expect("an answer");
    assert!(
        answer
            .events()
            .iter()
            .all(|event| event.get("usage").is_none())
    );
}

#[tokio::test]
async fn the_clients_limit_cuts_the_text_and_is_the_finish_reason() {
    let mock = mock(Knobs::default()).await;
    let mut body = chat_body(false);
    body["max_tokens"] = json!(5);
    let answer = post(&mock, "/v1/chat/completions", body).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(
        choice["message"]["content"],
        answer_text("sgp", "say hello", 5)
    );
    assert_eq!(choice["finish_reason"], "length");
}

#[tokio::test]
async fn two_answers_to_one_question_differ_in_their_id_alone() {
    let mock = mock(Knobs::default()).await;
    let first = chat(&mock, false).await.expect("an answer").json();
    let second = chat(&mock, false).await.expect("an answer").json();
    assert_ne!(first["id"], second["id"]);
    assert_eq!(first["choices"], second["choices"]);
}

#[tokio::test]
async fn a_completion_and_its_stream_have_the_known_text() {
    let mock = mock(Knobs::default()).await;
    let expected = answer_text("sgp", "say hello", 16);
    let ask = |stream| json!({"model": "gpt-4o", "prompt": "say hello", "stream": stream});
    let plain = post(&mock, "/v1/completions", ask(false)).await.json();
    assert_eq!(plain["choices"][0]["text"], expected.as_str());
    let stream = post(&mock, "/v1/completions", ask(true)).await;
    let events = stream.events();
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, expected);
    assert!(stream.body.ends_with(b"data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_response_and_its_stream_have_the_known_text() {
    let mock = mock(Knobs::default()).await;
    let expected = answer_text("sgp", "say hello", 16);
    let ask = |stream| json!({"model": "gpt-4o", "input": "say hello", "stream": stream});
    let plain = post(&mock, "/v1/responses", ask(false)).await.json();
    assert_eq!(plain["output"][0]["content"][0]["text"], expected.as_str());
    assert_eq!(plain["status"], "completed");
    assert_eq!(plain["usage"]["output_tokens"], 16);
    let events = post(&mock, "/v1/responses", ask(true)).await.events();
    let text: String = events
        .iter()
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(text, expected);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let last = events.last().expect("events");
    assert_eq!(last["type"], "response.completed");
    assert_eq!(
        last["response"]["output"][0]["content"],
        plain["output"][0]["content"]
    );
}

#[tokio::test]
async fn a_response_cut_by_the_clients_limit_is_incomplete() {
    let mock = mock(Knobs::default()).await;
    let ask =
        |stream| json!({"model": "gpt-4o", "input": "x", "stream": stream, "max_output_tokens": 2});
    let plain = post(&mock, "/v1/responses", ask(false)).await.json();
    assert_eq!(plain["status"], "incomplete");
    assert_eq!(plain["incomplete_details"]["reason"], "max_output_tokens");
    let events = post(&mock, "/v1/responses", ask(true)).await.events();
    assert_eq!(
        events.last().expect("events")["type"],
        "response.incomplete"
    );
}

#[tokio::test]
async fn a_message_and_its_event_stream_have_the_known_text() {
    let mock = mock(Knobs::default()).await;
    let expected = answer_text("sgp", "say hello", 16);
    let ask = |stream| {
        json!({"model": "claude-mock", "max_tokens": 100, "stream": stream,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "say hello"}]}]})
    };
    let plain = post(&mock, "/v1/messages", ask(false)).await;
    assert!(plain.header("request-id").starts_with("req_sgp-"));
    let plain = plain.json();
    assert_eq!(plain["content"][0]["text"], expected.as_str());
    assert_eq!(plain["stop_reason"], "end_turn");
    let events = post(&mock, "/v1/messages", ask(true)).await.events();
    let mut kinds: Vec<&str> = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let text: String = events
        .iter()
        .filter_map(|event| event["delta"]["text"].as_str())
        .collect();
    assert_eq!(text, expected);
}

#[tokio::test]
async fn tokens_are_counted_without_a_limit_being_asked_for() {
    let mock = mock(Knobs::default()).await;
    let body =
        json!({"model": "claude-mock", "messages": [{"role": "user", "content": "12345678"}]});
    let answer = post(&mock, "/v1/messages/count_tokens", body).await.json();
    assert_eq!(answer, json!({"input_tokens": 3}));
}

#[tokio::test]
async fn models_are_listed_and_found_one_by_one() {
    let mock = mock(Knobs::default()).await;
    let list = get(&mock, "/v1/models").await.json();
    let ids: Vec<&str> = list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|model| model["id"].as_str())
        .collect();
    assert_eq!(ids, crate::mock::default_models());
    assert_eq!(
        get(&mock, "/v1/models/gpt-4o").await.json()["object"],
        "model"
    );
    assert_eq!(get(&mock, "/v1/models/gpt-0").await.status, 404);
}

#[tokio::test]
async fn every_input_is_embedded_and_moderated() {
    let mock = mock(Knobs::default()).await;
    let body = json!({"model": "text-embedding-3-small", "input": ["a", "b", "c"], "encoding_format": "base64"});
    let answer = post(&mock, "/v1/embeddings", body).await.json();
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(answer["data"][2]["index"], 2);
    let answer = post(&mock, "/v1/moderations", json!({"input": ["a", "b"]}))
        .await
        .json();
    assert_eq!(answer["results"].as_array().map(Vec::len), Some(2));
    assert_eq!(answer["results"][0]["flagged"], false);
}

#[tokio::test]
async fn wrong_requests_get_the_apis_own_errors() {
    let mock = mock(Knobs::default()).await;
    let chat = "/v1/chat/completions";
    let user = json!([{"role": "user", "content": "x"}]);
    let cases = [
        (
            chat,
            json!({"messages": user}),
            400,
            "invalid_request_error",
        ),
        (
            chat,
            json!({"model": "gpt-0", "messages": user}),
            404,
            "invalid_request_error",
        ),
        (
            chat,
            json!({"model": "gpt-4o"}),
            400,
            "invalid_request_error",
        ),
        (chat, json!([1]), 400, "invalid_request_error"),
        ("/v1/nothing", json!({}), 404, "invalid_request_error"),
        ("/v1/models", json!({}), 405, "invalid_request_error"),
        (
            "/v1/messages",
            json!({"model": "gpt-0", "messages": user}),
            404,
            "not_found_error",
        ),
        (
            "/v1/messages",
            json!({"model": "gpt-4o", "messages": user}),
            400,
            "invalid_request_error",
        ),
    ];
    for (path, body, status, kind) in cases {
        let answer = post(&mock, path, body.clone()).await;
        assert_eq!(answer.status, status, "{path} {body}");
        let error = answer.json();
        assert_eq!(error["error"]["type"], kind, "{path} {body}");
        assert_eq!(
            error.get("type").is_some(),
            path.starts_with("/v1/messages")
        );
    }
    let unknown = post(&mock, chat, json!({"model": "gpt-0", "messages": []}))
        .await
        .json();
    assert_eq!(unknown["error"]["code"], "model_not_found");
    assert_eq!(unknown["error"]["param"], "model");
}

#[tokio::test]
async fn a_key_is_taken_as_bearer_token_and_as_x_api_key() {
    let config = MockConfig {
        api_key: Some("right".to_owned()),
        ..MockConfig::on_loopback("sgp")
    };
    let mock = Mock::start(config).await.expect("a free port");
    let cases = [
        ("authorization", "Bearer right", 200),
        ("x-api-key", "right", 200),
        ("authorization", "Bearer wrong", 401),
        ("authorization", "right", 401),
        ("x-other", "right", 401),
    ];
    for (name, value, status) in cases {
        let mut request = request(Method::POST, "/v1/chat/completions", &chat_body(false));
        let value = http::HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
        let answer = send(mock.address(), request).await.expect("an answer");
        assert_eq!(answer.status, status, "{name}");
        if status == 401 {
            assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
        }
    }
    assert_eq!(get(&mock, "/v1/models").await.status, 401);
}

#[tokio::test]
async fn a_star_serves_any_model_and_is_not_listed() {
    let config = MockConfig {
        models: vec!["*".to_owned()],
        ..MockConfig::on_loopback("any")
    };
    let mock = Mock::start(config).await.expect("a free port");
    let answer = chat(&mock, false).await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(get(&mock, "/v1/models").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_config_with_several_faults_names_them_all() {
    let config = MockConfig {
        models: Vec::new(),
        knobs: Knobs {
            chunks: 0,
            error_rate: f64::NAN,
            ..Knobs::default()
        },
        ..MockConfig::on_loopback("two words")
    };
    match Mock::start(config).await {
        Err(MockError::Config(problems)) => assert_eq!(problems.len(), 4, "{problems:?}"),
        other => panic!("expected problems, got {other:?}"),
    }
}
