//! Gemini and Vertex.

use http::Method;
use serde_json::{Value, json};

use super::anthropic::{followed, message, tools};
use super::{QUOTED, SCRIPT, ask, joined, openai_tools, strict, with};
use crate::mock::tests::client::Answer;
use crate::mock::{MockHandle, MockProvider, StrictConfig, answer_text};

const KEY: &[(&str, &str)] = &[("x-goog-api-key", "right")];

const GENERATE: &str = "/v1beta/models/gemini-3-mock:generateContent";

async fn gemini() -> MockHandle {
    strict(MockProvider::Gemini, StrictConfig::default()).await
}

async fn post(mock: &MockHandle, path: &str, body: &Value) -> Answer {
    ask(mock, Method::POST, path, KEY, body).await
}

fn content(text: &str) -> Value {
    let declarations =
        json!([{"name": "weather", "parameters": {"type": "OBJECT"}}, {"name": "time"}]);
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}], "tools": [{"functionDeclarations": declarations}]})
}

fn with_results(first: &Value, parts: &Value) -> Value {
    let result = |name: &str, text: &str| json!({"functionResponse": {"name": name, "response": {"output": text}}});
    let mut body = first.clone();
    body["contents"] = json!([
        first["contents"][0],
        {"role": "model", "parts": parts},
        {"role": "user", "parts": [result("weather", "21"), result("time", "noon")]},
    ]);
    body
}

#[tokio::test]
async fn calls_come_with_a_signature_that_must_come_back() {
    let mock = gemini().await;
    let first = with(
        &content(SCRIPT),
        "generationConfig",
        json!({"thinkingConfig": {"includeThoughts": true}}),
    );
    let answer = post(&mock, GENERATE, &first).await.json();
    let parts = answer["candidates"][0]["content"]["parts"].clone();
    assert_eq!(parts[0]["thought"], true);
    assert_eq!(parts[2]["functionCall"]["args"], json!({"zone": "CET"}));
    assert!(
        answer["usageMetadata"]["thoughtsTokenCount"]
            .as_u64()
            .is_some_and(|tokens| tokens > 0)
    );
    let last = post(&mock, GENERATE, &with_results(&first, &parts))
        .await
        .json();
    assert_eq!(
        joined(
            last["candidates"][0]["content"]["parts"]
                .as_array()
                .expect("parts"),
            "/text"
        ),
        format!("The question begins: call weather {{\"city\": \"Rome\"}} and call{QUOTED}")
    );

    for (signature, words) in [
        (Value::Null, "missing a thought_signature"),
        (json!("AAAA"), "not valid"),
    ] {
        let mut parts = parts.clone();
        match signature {
            Value::Null => drop(
                parts[1]
                    .as_object_mut()
                    .expect("a part")
                    .remove("thoughtSignature"),
            ),
            forged => parts[1]["thoughtSignature"] = forged,
        }
        let refused = post(&mock, GENERATE, &with_results(&first, &parts)).await;
        assert_eq!(
            (refused.status, refused.json()["error"]["status"].as_str()),
            (400, Some("INVALID_ARGUMENT"))
        );
        assert!(
            refused.json()["error"]["message"]
                .to_string()
                .contains(words)
        );
    }
}

#[tokio::test]
async fn a_stream_is_events_or_an_array() {
    let mock = gemini().await;
    let expected = answer_text("sgp", "say hello", 16);
    let path = "/v1beta/models/gemini-3-mock:streamGenerateContent";
    let events = post(&mock, &format!("{path}?alt=sse"), &content("say hello"))
        .await
        .events();
    assert_eq!(
        joined(&events, "/candidates/0/content/parts/0/text"),
        expected
    );
    assert_eq!(
        events.last().expect("events")["candidates"][0]["finishReason"],
        "STOP"
    );
    let array = post(&mock, path, &content("say hello")).await.json();
    assert_eq!(
        joined(
            array.as_array().expect("an array"),
            "/candidates/0/content/parts/0/text"
        ),
        expected
    );
    let calls = post(&mock, &format!("{path}?alt=sse"), &content(SCRIPT))
        .await
        .events();
    assert_eq!(
        calls[0]["candidates"][0]["content"]["parts"][0]["functionCall"]["name"],
        "weather"
    );
}

#[tokio::test]
async fn what_google_refuses_is_refused_in_its_words() {
    let mock = gemini().await;
    let base = content("x");
    let mut schema = base.clone();
    schema["tools"][0]["functionDeclarations"][0]["parameters"] =
        json!({"type": "OBJECT", "properties": {"n": {"type": "NUMBER", "exclusiveMinimum": 1}}});
    let call =
        json!({"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {}}}]});
    let cases = [
        (
            with(&base, "messages", json!([])),
            "Unknown name \\\"messages\\\": Cannot find field.",
        ),
        (
            schema,
            "at 'tools[0].function_declarations[0].parameters.properties[0].value'",
        ),
        (
            with(&base, "contents", json!([])),
            "contents is not specified",
        ),
        (
            with(
                &base,
                "contents",
                json!([{"role": "assistant", "parts": [{"text": "x"}]}]),
            ),
            "valid role",
        ),
        (
            with(
                &base,
                "contents",
                json!([{"role": "user", "parts": [{"type": "text"}]}]),
            ),
            "Unknown name \\\"type\\\"",
        ),
        (
            with(&base, "contents", json!([call])),
            "function call turn comes immediately after",
        ),
        (
            with(
                &base,
                "contents",
                json!([base["contents"][0], call, base["contents"][0]]),
            ),
            "number of function response parts",
        ),
    ];
    for (body, words) in cases {
        let answer = post(&mock, GENERATE, &body).await;
        let error = answer.json()["error"].clone();
        assert_eq!(
            (answer.status, error["status"].as_str()),
            (400, Some("INVALID_ARGUMENT")),
            "{error}"
        );
        assert!(error["message"].to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn keys_are_taken_in_three_ways_and_refused_as_google_does() {
    let mock = gemini().await;
    let refused = ask(
        &mock,
        Method::POST,
        GENERATE,
        &[("x-goog-api-key", "wrong")],
        &content("x"),
    )
    .await;
    assert_eq!(
        (
            refused.status,
            refused.json()["error"]["details"][0]["reason"].as_str()
        ),
        (400, Some("API_KEY_INVALID"))
    );
    assert_eq!(
        ask(&mock, Method::POST, GENERATE, &[], &content("x"))
            .await
            .status,
        403
    );
    let path = format!("{GENERATE}?key=right");
    assert_eq!(
        ask(&mock, Method::POST, &path, &[], &content("x"))
            .await
            .status,
        200
    );
    let models = ask(&mock, Method::GET, "/v1beta/models", KEY, &Value::Null)
        .await
        .json();
    assert_eq!(models["models"][0]["name"], "models/gemini-3-mock");
    let unknown = post(&mock, "/v1beta/models/other:generateContent", &content("x")).await;
    assert_eq!(unknown.json()["error"]["status"], "NOT_FOUND");
}

#[tokio::test]
async fn openais_clients_carry_the_signature_in_extra_content() {
    let mock = gemini().await;
    let headers = &[("authorization", "Bearer right")];
    let path = "/v1beta/openai/chat/completions";
    let first = json!({"model": "gemini-3-mock", "messages": [{"role": "user", "content": SCRIPT}], "tools": openai_tools()});
    let answer = ask(&mock, Method::POST, path, headers, &first).await.json();
    let mut calls = answer["choices"][0]["message"]["tool_calls"].clone();
    let body = |calls: &Value| {
        with(
            &first,
            "messages",
            json!([
                first["messages"][0],
                {"role": "assistant", "tool_calls": calls},
                {"role": "tool", "tool_call_id": calls[0]["id"], "content": "21"},
                {"role": "tool", "tool_call_id": calls[1]["id"], "content": "noon"},
            ]),
        )
    };
    let last = ask(&mock, Method::POST, path, headers, &body(&calls))
        .await
        .json();
    assert_eq!(last["choices"][0]["message"]["content"], QUOTED);
    calls[0]
        .as_object_mut()
        .expect("a call")
        .remove("extra_content");
    let refused = ask(&mock, Method::POST, path, headers, &body(&calls)).await;
    assert_eq!(refused.json()[0]["error"]["status"], "INVALID_ARGUMENT");
}

#[tokio::test]
async fn vertex_serves_each_publisher_with_a_token_of_googles() {
    let mock = strict(MockProvider::Vertex, StrictConfig::default()).await;
    let metadata = "/mock/token/google/computeMetadata/v1/instance/service-accounts/default/token";
    let token = ask(
        &mock,
        Method::GET,
        metadata,
        &[("metadata-flavor", "Google")],
        &Value::Null,
    )
    .await
    .json();
    let bearer = format!(
        "Bearer {}",
        token["access_token"].as_str().expect("a token")
    );
    let headers = &[("authorization", bearer.as_str())];
    let at = |rest: &str| format!("/v1/projects/p/locations/europe-west1/{rest}");

    let mut first = with(&message(json!(SCRIPT)), "tools", tools());
    let claude = at("publishers/anthropic/models/claude-mock:rawPredict");
    let refused = ask(&mock, Method::POST, &claude, headers, &first)
        .await
        .json();
    assert_eq!(
        refused["error"]["message"],
        "anthropic_version: Field required"
    );
    first["anthropic_version"] = json!("vertex-2023-10-16");
    let refused = ask(&mock, Method::POST, &claude, headers, &first)
        .await
        .json();
    assert_eq!(
        refused["error"]["message"],
        "model: Extra inputs are not permitted"
    );
    first.as_object_mut().expect("an object").remove("model");
    let answer = ask(&mock, Method::POST, &claude, headers, &first)
        .await
        .json();
    let last = ask(
        &mock,
        Method::POST,
        &claude,
        headers,
        &followed(&first, &answer),
    )
    .await
    .json();
    assert_eq!(last["content"][0]["text"], QUOTED);
    let stream = at("publishers/anthropic/models/claude-mock:streamRawPredict");
    let events = ask(
        &mock,
        Method::POST,
        &stream,
        headers,
        &with(&first, "stream", json!(true)),
    )
    .await
    .events();
    assert_eq!(
        joined(&events, "/delta/partial_json"),
        r#"{"city":"Rome"}{"zone":"CET"}"#
    );

    let google = at("publishers/google/models/gemini-3-mock:generateContent");
    let answer = ask(&mock, Method::POST, &google, headers, &content("say hello"))
        .await
        .json();
    let expected = answer_text("sgp", "say hello", 16);
    assert_eq!(
        answer["candidates"][0]["content"]["parts"][0]["text"],
        expected.as_str()
    );
    let chat = json!({"model": "google/gemini-3-mock", "messages": [{"role": "user", "content": "say hello"}]});
    let answer = ask(
        &mock,
        Method::POST,
        &at("endpoints/openapi/chat/completions"),
        headers,
        &chat,
    )
    .await
    .json();
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        expected.as_str()
    );
    let refused = ask(&mock, Method::POST, &google, &[], &content("x")).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["status"].as_str()),
        (401, Some("UNAUTHENTICATED"))
    );
}
