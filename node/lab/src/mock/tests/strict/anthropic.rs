//! Anthropic.

use http::Method;
use serde_json::{Value, json};

use super::{QUOTED, SCRIPT, ask, joined, strict, strict_with, with};
use crate::mock::tests::client::Answer;
use crate::mock::{Knobs, MockHandle, MockProvider, StrictConfig, answer_text};

const HEADERS: &[(&str, &str)] = &[("x-api-key", "right"), ("anthropic-version", "2023-06-01")];

async fn anthropic() -> MockHandle {
    strict(MockProvider::Anthropic, StrictConfig::default()).await
}

async fn post(mock: &MockHandle, body: &Value) -> Answer {
    ask(mock, Method::POST, "/v1/messages", HEADERS, body).await
}

pub(super) fn message(content: Value) -> Value {
    json!({"model": "claude-mock", "max_tokens": 4096, "messages": [{"role": "user", "content": content}]})
}

pub(super) fn tools() -> Value {
    json!([{"name": "weather", "input_schema": {"type": "object"}}, {"name": "time", "input_schema": {"type": "object"}}])
}

/// `first`'s request, its answer, and the results of its calls.
pub(super) fn followed(first: &Value, answer: &Value) -> Value {
    let content = answer["content"].as_array().expect("blocks");
    let calls = content.iter().filter(|block| block["type"] == "tool_use");
    let results: Vec<Value> = calls
        .zip(["21", "noon"])
        .map(|(call, text)| json!({"type": "tool_result", "tool_use_id": call["id"], "content": text}))
        .collect();
    let mut body = first.clone();
    body["messages"] = json!([
        first["messages"][0],
        {"role": "assistant", "content": content},
        {"role": "user", "content": results},
    ]);
    body
}

#[tokio::test]
async fn a_message_thinks_calls_tools_and_quotes_their_results() {
    let mock = anthropic().await;
    let first = with(&message(json!(SCRIPT)), "tools", tools());
    let first = with(
        &first,
        "thinking",
        json!({"type": "enabled", "budget_tokens": 1024}),
    );
    let answer = post(&mock, &first).await.json();
    assert_eq!(answer["stop_reason"], "tool_use");
    assert_eq!(answer["content"][0]["type"], "thinking");
    assert_eq!(answer["content"][2]["input"], json!({"zone": "CET"}));
    let last = post(&mock, &followed(&first, &answer)).await.json();
    assert_eq!(last["content"][1]["text"], QUOTED);

    let events = post(&mock, &with(&first, "stream", json!(true)))
        .await
        .events();
    assert_eq!(
        joined(&events, "/delta/partial_json"),
        r#"{"city":"Rome"}{"zone":"CET"}"#
    );
    assert_eq!(
        joined(&events, "/delta/thinking"),
        answer["content"][0]["thinking"].as_str().expect("text")
    );
    assert_eq!(
        joined(&events, "/delta/signature"),
        answer["content"][0]["signature"].as_str().expect("text")
    );
    assert!(events.iter().any(|event| event["type"] == "ping"));
    assert_eq!(events.last().expect("events")["type"], "message_stop");

    let mut forged = followed(&first, &answer);
    forged["messages"][1]["content"][0]["thinking"] = json!("other");
    let refused = post(&mock, &forged).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.json()["error"]["message"]
            .to_string()
            .contains("Invalid `signature`")
    );
    let mut dropped = followed(&first, &answer);
    dropped["messages"][1]["content"]
        .as_array_mut()
        .expect("blocks")
        .remove(0);
    assert!(
        post(&mock, &dropped).await.json()["error"]["message"]
            .to_string()
            .contains("Expected `thinking`")
    );
}

#[tokio::test]
async fn a_plain_stream_has_the_known_text() {
    let mock = anthropic().await;
    let events = post(
        &mock,
        &with(&message(json!("say hello")), "stream", json!(true)),
    )
    .await
    .events();
    assert_eq!(
        joined(&events, "/delta/text"),
        answer_text("sgp", "say hello", 16)
    );
    assert_eq!(events[0]["type"], "message_start");
}

#[tokio::test]
async fn what_anthropic_refuses_is_refused_in_its_words() {
    let mock = anthropic().await;
    let base = message(json!("x"));
    let said = |messages: Value| with(&base, "messages", messages);
    let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_a", "name": "n", "input": {}}]});
    let user = json!({"role": "user", "content": "x"});
    let cases = [
        (
            json!({"model": "claude-mock", "messages": [user]}),
            "max_tokens: Field required",
        ),
        (
            with(&base, "frequency_penalty", json!(1)),
            "frequency_penalty: Extra inputs are not permitted",
        ),
        (
            said(json!([{"role": "system", "content": "x"}])),
            "Unexpected role",
        ),
        (
            said(json!([{"role": "assistant", "content": "x"}])),
            "first message must use the \\\"user\\\" role",
        ),
        (
            said(json!([{"role": "user", "content": ""}])),
            "must have non-empty content",
        ),
        (
            message(json!([{"type": "text", "text": ""}])),
            "text content blocks must be non-empty",
        ),
        (
            message(json!([{"type": "text", "text": "x", "index": 1}])),
            "messages.0.content.0.text.index: Extra inputs",
        ),
        (
            said(json!([user, call])),
            "without `tool_result` blocks immediately after: toolu_a",
        ),
        (
            said(json!([user, call, user])),
            "without `tool_result` blocks immediately after: toolu_a",
        ),
        (
            message(json!([{"type": "tool_result", "tool_use_id": "toolu_b"}])),
            "unexpected `tool_use_id`",
        ),
        (
            message(json!([{"type": "tool_result", "tool_use_id": "a.b"}])),
            "should match pattern",
        ),
        (
            message(
                json!([{"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "AA=="}}]),
            ),
            "media_type",
        ),
        (
            with(&base, "temperature", json!(1.5)),
            "temperature: range: 0..1",
        ),
        (
            with(
                &base,
                "thinking",
                json!({"type": "enabled", "budget_tokens": 9}),
            ),
            "greater than or equal to 1024",
        ),
        (
            with(
                &base,
                "thinking",
                json!({"type": "enabled", "budget_tokens": 5000}),
            ),
            "must be greater than `thinking.budget_tokens`",
        ),
        (
            with(
                &base,
                "tools",
                json!([{"name": "a b", "input_schema": {"type": "object"}}]),
            ),
            "tools.0.custom.name",
        ),
        (
            said(json!([user, {"role": "assistant", "content": "x "}])),
            "trailing whitespace",
        ),
    ];
    for (body, words) in cases {
        let answer = post(&mock, &body).await;
        let error = answer.json();
        assert_eq!(answer.status, 400, "{error}");
        assert_eq!(error["error"]["type"], "invalid_request_error");
        assert_eq!(error["request_id"], answer.header("request-id"));
        assert!(
            error["error"]["message"].to_string().contains(words),
            "{words}: {error}"
        );
    }
}

#[tokio::test]
async fn a_model_that_takes_the_systems_role_takes_it_after_the_first_message() {
    let config = crate::mock::MockConfig {
        provider: Some(MockProvider::Anthropic),
        models: vec!["claude-opus-4-8".to_owned()],
        ..crate::mock::MockConfig::on_loopback("sgp")
    };
    let mock = crate::mock::Mock::start(config).await.expect("a free port");
    let mut body = message(json!("say hello"));
    body["model"] = json!("claude-opus-4-8");
    body["messages"]
        .as_array_mut()
        .expect("messages")
        .push(json!({"role": "system", "content": "be brief"}));
    let answer = post(&mock, &body).await.json();
    assert_eq!(
        answer["content"][0]["text"],
        answer_text("sgp", "say hello", 16)
    );
}

#[tokio::test]
async fn headers_are_required_and_a_bearer_is_no_key() {
    let mock = anthropic().await;
    type Case<'a> = (&'a [(&'a str, &'a str)], u16, &'a str);
    let cases: [Case<'_>; 4] = [
        (
            &[
                ("authorization", "Bearer right"),
                ("anthropic-version", "2023-06-01"),
            ],
            401,
            "authentication_error",
        ),
        (
            &[("x-api-key", "wrong"), ("anthropic-version", "2023-06-01")],
            401,
            "authentication_error",
        ),
        (&[("x-api-key", "right")], 400, "invalid_request_error"),
        (
            &[("x-api-key", "right"), ("anthropic-version", "1")],
            400,
            "invalid_request_error",
        ),
    ];
    for (headers, status, kind) in cases {
        for (method, path) in [(Method::POST, "/v1/messages"), (Method::GET, "/v1/models")] {
            let answer = ask(&mock, method, path, headers, &message(json!("x"))).await;
            assert_eq!(
                (answer.status, answer.json()["error"]["type"].as_str()),
                (status, Some(kind))
            );
        }
    }
    let models = ask(&mock, Method::GET, "/v1/models", HEADERS, &Value::Null)
        .await
        .json();
    assert_eq!(models["data"][0]["id"], "claude-mock");
}

#[tokio::test]
async fn a_marked_prefix_is_written_and_then_read() {
    let mock = anthropic().await;
    let mut body = message(json!("x"));
    body["system"] = json!([{"type": "text", "text": "long ".repeat(400), "cache_control": {"type": "ephemeral"}}]);
    let first = post(&mock, &body).await.json()["usage"].clone();
    let second = post(&mock, &body).await.json()["usage"].clone();
    assert!(
        first["cache_creation_input_tokens"]
            .as_u64()
            .is_some_and(|tokens| tokens > 0)
    );
    assert_eq!(first["cache_read_input_tokens"], 0);
    assert_eq!(
        second["cache_read_input_tokens"],
        first["cache_creation_input_tokens"]
    );
    assert_eq!(second["cache_creation_input_tokens"], 0);
}

#[tokio::test]
async fn tokens_are_counted_without_a_limit_of_tokens() {
    let mock = anthropic().await;
    let mut body = message(json!("x"));
    let path = "/v1/messages/count_tokens";
    assert_eq!(
        ask(&mock, Method::POST, path, HEADERS, &body).await.status,
        400
    );
    body.as_object_mut()
        .expect("an object")
        .remove("max_tokens");
    let answer = ask(&mock, Method::POST, path, HEADERS, &body).await.json();
    assert!(answer["input_tokens"].is_u64());
}

#[tokio::test]
async fn a_stream_that_fails_ends_with_an_error_event() {
    let knobs = Knobs {
        stream_error_after_chunks: Some(2),
        ..Knobs::default()
    };
    let mock = strict_with(MockProvider::Anthropic, StrictConfig::default(), knobs).await;
    let events = post(&mock, &with(&message(json!("x")), "stream", json!(true)))
        .await
        .events();
    assert_eq!(
        events.last().expect("events")["error"]["type"],
        "overloaded_error"
    );
}
