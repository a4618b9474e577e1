//! OpenAI and vLLM.

use http::Method;
use serde_json::{Value, json};

use super::{QUOTED, SCRIPT, ask, joined, openai_tools, strict, strict_with, with};
use crate::mock::tests::client::Answer;
use crate::mock::{Knobs, MockHandle, MockProvider, StrictConfig, answer_text};

const KEY: &[(&str, &str)] = &[("authorization", "Bearer right")];

async fn openai() -> MockHandle {
    strict(MockProvider::Openai, StrictConfig::default()).await
}

async fn post(mock: &MockHandle, path: &str, body: &Value) -> Answer {
    ask(mock, Method::POST, path, KEY, body).await
}

fn chat(content: &str) -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": content}]})
}

/// A conversation whose calls are answered by `results`.
fn followed(calls: &Value, results: &[&str]) -> Value {
    let mut messages = vec![
        json!({"role": "user", "content": SCRIPT}),
        json!({"role": "assistant", "content": null, "tool_calls": calls}),
    ];
    for (at, result) in results.iter().enumerate() {
        messages.push(json!({"role": "tool", "tool_call_id": calls[at]["id"], "content": result}));
    }
    json!({"model": "gpt-4o", "messages": messages, "tools": openai_tools()})
}

#[tokio::test]
async fn a_chat_calls_tools_in_parallel_and_quotes_their_results() {
    let mock = openai().await;
    let body = with(&chat(SCRIPT), "tools", openai_tools());
    let whole = post(&mock, "/v1/chat/completions", &body).await.json();
    let calls = &whole["choices"][0]["message"]["tool_calls"];
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(calls[0]["function"]["arguments"], r#"{"city":"Rome"}"#);
    assert_eq!(calls[1]["function"]["name"], "time");

    let stream = post(
        &mock,
        "/v1/chat/completions",
        &with(&body, "stream", json!(true)),
    )
    .await;
    assert!(stream.body.ends_with(b"data: [DONE]\n\n"));
    let events = stream.events();
    let arguments = joined(&events, "/choices/0/delta/tool_calls/0/function/arguments");
    assert_eq!(arguments, r#"{"city":"Rome"}{"zone":"CET"}"#);

    let answer = post(
        &mock,
        "/v1/chat/completions",
        &followed(calls, &["21", "noon"]),
    )
    .await
    .json();
    assert_eq!(answer["choices"][0]["message"]["content"], QUOTED);
}

#[tokio::test]
async fn a_plain_chat_says_what_the_lenient_mock_says() {
    let mock = openai().await;
    let body = with(&chat("say hello"), "stream", json!(true));
    let body = with(&body, "stream_options", json!({"include_usage": true}));
    let answer = post(&mock, "/v1/chat/completions", &body).await;
    assert_eq!(answer.chat_text(), answer_text("sgp", "say hello", 16));
    let usage = answer.events().last().expect("events")["usage"].clone();
    assert_eq!(usage["completion_tokens"], 16);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 0);
}

#[tokio::test]
async fn a_long_prompt_is_read_from_the_cache_the_second_time() {
    let mock = openai().await;
    let body = chat(&"word ".repeat(2_000));
    let cached =
        |answer: &Answer| answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
    assert_eq!(
        cached(&post(&mock, "/v1/chat/completions", &body).await),
        Some(0)
    );
    let second = cached(&post(&mock, "/v1/chat/completions", &body).await).expect("a number");
    assert!(second >= 1_024 && second % 128 == 0, "{second}");
}

#[tokio::test]
async fn what_openai_refuses_is_refused_in_its_words() {
    let mock = openai().await;
    let base = chat("x");
    let calls = json!([{"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]);
    let schema = json!({"type": "json_schema", "json_schema": {"name": "s", "strict": true, "schema": {
        "type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false}}});
    let cases = [
        (
            with(&base, "foo", json!(1)),
            "unknown_parameter",
            "Unknown parameter: 'foo'.",
        ),
        (
            json!({"model": "gpt-4o"}),
            "missing_required_parameter",
            "'messages'",
        ),
        (
            with(&base, "model", json!("other")),
            "model_not_found",
            "does not exist",
        ),
        (
            with(&base, "messages", json!([{"role": "bot", "content": "x"}])),
            "invalid_value",
            "'bot'",
        ),
        (
            with(
                &base,
                "messages",
                json!([{"role": "user", "content": null}]),
            ),
            "invalid_type",
            "got null",
        ),
        (
            with(&base, "stream_options", json!({})),
            "invalid_parameter",
            "stream_options",
        ),
        (
            with(&base, "response_format", schema),
            "invalid_json_schema",
            "Missing 'a'",
        ),
        (
            json!({"model": "gpt-5-nano", "max_tokens": 5, "messages": []}),
            "unsupported_parameter",
            "max_completion_tokens",
        ),
        (
            followed(&calls, &[]),
            "",
            "did not have response messages: call_a",
        ),
        (
            with(
                &base,
                "messages",
                json!([{"role": "tool", "tool_call_id": "a", "content": "x"}]),
            ),
            "",
            "preceeding message",
        ),
    ];
    for (body, code, words) in cases {
        let answer = post(&mock, "/v1/chat/completions", &body).await;
        let error = answer.json()["error"].clone();
        assert!((400..=404).contains(&answer.status), "{error}");
        assert_eq!(error["code"].as_str().unwrap_or_default(), code, "{error}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| text.contains(words)),
            "{error}"
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
}

#[tokio::test]
async fn keys_and_urls_are_openais() {
    let mock = openai().await;
    for (headers, code) in [
        (&[][..], Value::Null),
        (
            &[("authorization", "Bearer wrong")][..],
            json!("invalid_api_key"),
        ),
    ] {
        let answer = ask(
            &mock,
            Method::POST,
            "/v1/chat/completions",
            headers,
            &chat("x"),
        )
        .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (401, &code)
        );
    }
    let answer = post(&mock, "/v1/messages", &chat("x")).await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.json()["error"]["message"],
        "Invalid URL (POST /v1/messages)"
    );
    let older = post(
        &mock,
        "/v1/embeddings",
        &json!({"model": "text-embedding-3-small", "input": "x"}),
    )
    .await;
    assert_eq!(older.status, 200);
}

#[tokio::test]
async fn structured_output_is_an_instance_of_its_schema() {
    let mock = openai().await;
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 4}}, "required": ["n"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "s", "strict": true, "schema": schema}});
    let answer = post(
        &mock,
        "/v1/chat/completions",
        &with(&chat("x"), "response_format", format),
    )
    .await
    .json();
    assert_eq!(answer["choices"][0]["message"]["content"], r#"{"n":4}"#);
}

#[tokio::test]
async fn a_response_continues_another_by_id_or_with_its_sealed_reasoning() {
    let mock = openai().await;
    let tools =
        json!([{"type": "function", "name": "weather"}, {"type": "function", "name": "time"}]);
    let base =
        json!({"model": "gpt-5-nano", "tools": tools, "include": ["reasoning.encrypted_content"]});
    let first = post(&mock, "/v1/responses", &with(&base, "input", json!(SCRIPT)))
        .await
        .json();
    let output = first["output"].as_array().expect("items").clone();
    assert_eq!(output[0]["type"], "reasoning");
    assert_eq!(output[1]["arguments"], r#"{"city":"Rome"}"#);
    let outputs: Vec<Value> = [(1, "21"), (2, "noon")]
        .map(|(at, text)| json!({"type": "function_call_output", "call_id": output[at]["call_id"], "output": text}))
        .to_vec();
    let by_id = with(
        &with(&base, "input", json!(outputs)),
        "previous_response_id",
        first["id"].clone(),
    );
    let answer = post(&mock, "/v1/responses", &by_id).await.json();
    assert_eq!(answer["output"][1]["content"][0]["text"], QUOTED);

    let carried: Vec<Value> = [json!({"role": "user", "content": SCRIPT})]
        .into_iter()
        .chain(output)
        .chain(outputs)
        .collect();
    let stateless = with(&with(&base, "input", json!(carried)), "store", json!(false));
    let answer = post(
        &mock,
        "/v1/responses",
        &with(&stateless, "stream", json!(true)),
    )
    .await
    .events();
    let deltas: Vec<Value> = answer
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .cloned()
        .collect();
    assert_eq!(joined(&deltas, "/delta"), QUOTED);
    for (number, event) in answer.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    // A client to which nothing is stored sends no ids.
    let mut without_id = stateless.clone();
    let item = without_id["input"][1].as_object_mut().expect("an item");
    item.remove("id");
    let answer = post(&mock, "/v1/responses", &without_id).await.json();
    assert_eq!(answer["status"], "completed", "{answer}");
    let mut forged = stateless;
    forged["input"][1]["encrypted_content"] = json!("AAAA");
    let refused = post(&mock, "/v1/responses", &forged).await;
    assert_eq!(refused.json()["error"]["code"], "invalid_encrypted_content");
}

#[tokio::test]
async fn what_a_response_refers_to_must_be_there() {
    let mock = openai().await;
    let base = json!({"model": "gpt-4o", "input": "x"});
    let items = |items: Value| with(&base, "input", items);
    let cases = [
        (
            with(&base, "previous_response_id", json!("resp_x")),
            400,
            "'resp_x' not found",
        ),
        (
            items(json!([{"type": "function_call_output", "call_id": "c", "output": ""}])),
            400,
            "No tool call found",
        ),
        (
            items(
                json!([{"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"}]),
            ),
            400,
            "No tool output found",
        ),
        (
            items(json!([{"type": "reasoning", "id": "rs_x", "summary": []}])),
            404,
            "not persisted",
        ),
        (
            items(json!([{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}])),
            400,
            "'output_text'",
        ),
        (
            with(&base, "messages", json!([])),
            400,
            "Unknown parameter: 'messages'",
        ),
    ];
    for (body, status, words) in cases {
        let answer = post(&mock, "/v1/responses", &body).await;
        let text = answer.json()["error"]["message"].to_string();
        assert_eq!(answer.status, status, "{text}");
        assert!(text.contains(words), "{text}");
    }
    let kept = post(&mock, "/v1/responses", &base).await.json();
    let path = format!("/v1/responses/{}", kept["id"].as_str().expect("an id"));
    assert_eq!(
        ask(&mock, Method::GET, &path, KEY, &Value::Null)
            .await
            .json()["output"],
        kept["output"]
    );
    assert_eq!(
        ask(&mock, Method::DELETE, &path, KEY, &Value::Null)
            .await
            .status,
        200
    );
    assert_eq!(
        ask(&mock, Method::GET, &path, KEY, &Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_stream_fails_inside_when_the_knob_says_so() {
    let knobs = Knobs {
        stream_error_after_chunks: Some(3),
        ..Knobs::default()
    };
    let mock = strict_with(MockProvider::Openai, StrictConfig::default(), knobs).await;
    let answer = post(
        &mock,
        "/v1/chat/completions",
        &with(&chat("x"), "stream", json!(true)),
    )
    .await;
    let events = answer.events();
    assert_eq!((answer.status, events.len()), (200, 1 + 3 + 1));
    assert_eq!(events[4]["error"]["type"], "server_error");
}

#[tokio::test]
async fn vllm_reports_its_load_and_ignores_what_it_does_not_know() {
    let mock = strict(MockProvider::Vllm, StrictConfig::default()).await;
    let body = json!({"model": "mock-7b", "messages": [{"role": "user", "content": "x"}], "reasoning_effort": "low", "top_k": 4});
    let answer = post(&mock, "/v1/chat/completions", &body).await.json();
    assert!(answer["choices"][0]["message"]["reasoning_content"].is_string());
    assert_eq!(
        ask(&mock, Method::POST, "/v1/chat/completions", &[], &body)
            .await
            .status,
        401
    );
    assert_eq!(
        ask(&mock, Method::GET, "/health", &[], &Value::Null)
            .await
            .status,
        200
    );
    let metrics = ask(&mock, Method::GET, "/metrics", &[], &Value::Null).await;
    let text = String::from_utf8(metrics.body).expect("text");
    assert!(
        text.contains("vllm:num_requests_running{engine=\"0\",model_name=\"mock-7b\"} 0.0\n"),
        "{text}"
    );
    let message = json!({"model": "mock-7b", "max_tokens": 64, "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(
        post(&mock, "/v1/messages", &message).await.json()["type"],
        "message"
    );
}
