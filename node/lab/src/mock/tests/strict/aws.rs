//! Bedrock.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use ring::digest::{SHA256, digest};
use ring::hmac;
use serde_json::{Value, json};

use super::anthropic::{followed, message, tools};
use super::{QUOTED, SCRIPT, ask, joined, openai_tools, strict, strict_with, with};
use crate::mock::stats::hex;
use crate::mock::strict::frames;
use crate::mock::tests::client::{Answer, send};
use crate::mock::{Knobs, MockHandle, MockProvider, StrictConfig, answer_text};

const KEY: &[(&str, &str)] = &[("authorization", "Bearer right")];

/// The path of a model, encoded as clients do.
const MODEL: &str = "/model/anthropic.claude-mock-v1%3A0";

async fn bedrock() -> MockHandle {
    let config = StrictConfig {
        access_keys: vec!["AKIDMOCK:hush".parse().expect("a key")],
        ..StrictConfig::default()
    };
    strict(MockProvider::Bedrock, config).await
}

async fn post(mock: &MockHandle, path: &str, body: &Value) -> Answer {
    ask(mock, Method::POST, &format!("{MODEL}/{path}"), KEY, body).await
}

/// What signs a request.
#[derive(Clone, Copy)]
struct Signer<'a> {
    id: &'a str,
    secret: &'a str,
    session: Option<&'a str>,
    region: &'a str,
}

const SIGNER: Signer<'static> = Signer {
    id: "AKIDMOCK",
    secret: "hush",
    session: None,
    region: "us-east-1",
};

/// Sends `body`, signed over `signed_body`.
async fn signed(mock: &MockHandle, signer: Signer<'_>, body: &str, signed_body: &str) -> Answer {
    let date = iso_basic();
    let path = format!("{MODEL}/converse");
    let mut headers = vec![("host", "mock"), ("x-amz-date", date.as_str())];
    headers.extend(signer.session.map(|token| ("x-amz-security-token", token)));
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let sha = |text: &str| hex(digest(&SHA256, text.as_bytes()).as_ref());
    let canonical = format!(
        "POST\n{}\n\n{lines}\n{}\n{}",
        path.replace('%', "%25"),
        names.join(";"),
        sha(signed_body)
    );
    let scope = format!("{}/{}/bedrock/aws4_request", &date[..8], signer.region);
    let mut key = format!("AWS4{}", signer.secret).into_bytes();
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha(&canonical));
    for part in scope.split('/').chain([to_sign.as_str()]) {
        key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes())
            .as_ref()
            .to_vec();
    }
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={}, Signature={}",
        signer.id,
        names.join(";"),
        hex(&key)
    );
    let mut request = Request::post(path).header("authorization", authorization);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::from(Bytes::from(body.to_owned())))
        .expect("a request");
    send(mock.address(), request).await.expect("an answer")
}

/// Now, such as `20150830T123600Z`.
fn iso_basic() -> String {
    let iso = crate::mock::strict::iso(SystemTime::now());
    iso.replace(['-', ':'], "")
}

fn conversation(text: &str) -> Value {
    let tool = |name: &str| json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}});
    json!({
        "messages": [{"role": "user", "content": [{"text": text}]}],
        "toolConfig": {"tools": [tool("weather"), tool("time")]},
    })
}

#[tokio::test]
async fn a_signed_request_is_answered_and_each_deviation_is_refused() {
    let mock = bedrock().await;
    let body = conversation("say hello").to_string();
    let answer = signed(&mock, SIGNER, &body, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let cases = [
        (
            signed(&mock, SIGNER, &body, "other").await,
            "InvalidSignatureException",
        ),
        (
            signed(
                &mock,
                Signer {
                    secret: "x",
                    ..SIGNER
                },
                &body,
                &body,
            )
            .await,
            "InvalidSignatureException",
        ),
        (
            signed(
                &mock,
                Signer {
                    id: "AKIDX",
                    ..SIGNER
                },
                &body,
                &body,
            )
            .await,
            "UnrecognizedClientException",
        ),
        (
            signed(
                &mock,
                Signer {
                    region: "eu-west-1",
                    ..SIGNER
                },
                &body,
                &body,
            )
            .await,
            "AccessDeniedException",
        ),
        (
            ask(
                &mock,
                Method::POST,
                MODEL,
                &[("authorization", "Bearer wrong")],
                &json!({}),
            )
            .await,
            "AccessDeniedException",
        ),
        (
            ask(&mock, Method::POST, MODEL, &[], &json!({})).await,
            "MissingAuthenticationTokenException",
        ),
    ];
    for (answer, kind) in cases {
        assert_eq!(
            (answer.status, answer.header("x-amzn-errortype")),
            (403, kind)
        );
        assert!(answer.json()["message"].is_string());
    }
}

#[tokio::test]
async fn a_session_signs_until_it_expires() {
    let config = StrictConfig {
        token_lifetime: std::time::Duration::from_millis(1_500),
        ..StrictConfig::default()
    };
    let mock = strict(MockProvider::Bedrock, config).await;
    let issued = ask(
        &mock,
        Method::GET,
        "/mock/token/aws/credentials",
        &[("authorization", "x")],
        &Value::Null,
    )
    .await
    .json();
    let field = |name: &str| issued[name].as_str().expect("a text");
    let signer = Signer {
        id: field("AccessKeyId"),
        secret: field("SecretAccessKey"),
        session: Some(field("Token")),
        ..SIGNER
    };
    let body = conversation("say hello").to_string();
    assert_eq!(signed(&mock, signer, &body, &body).await.status, 200);
    let without = signed(
        &mock,
        Signer {
            session: None,
            ..signer
        },
        &body,
        &body,
    )
    .await;
    assert_eq!(
        without.header("x-amzn-errortype"),
        "UnrecognizedClientException"
    );
    tokio::time::sleep(std::time::Duration::from_millis(1_600)).await;
    let expired = signed(&mock, signer, &body, &body).await;
    assert_eq!(
        (expired.status, expired.header("x-amzn-errortype")),
        (403, "ExpiredTokenException")
    );
}

#[tokio::test]
async fn converse_calls_tools_and_quotes_their_results() {
    let mock = bedrock().await;
    let first = with(
        &conversation(SCRIPT),
        "additionalModelRequestFields",
        json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    );
    let answer = post(&mock, "converse", &first).await.json();
    let content = answer["output"]["message"]["content"].clone();
    assert_eq!(answer["stopReason"], "tool_use");
    assert_eq!(content[2]["toolUse"]["input"], json!({"zone": "CET"}));
    let result = |at: usize, text: &str| json!({"toolResult": {"toolUseId": content[at]["toolUse"]["toolUseId"], "content": [{"text": text}]}});
    let last = with(
        &first,
        "messages",
        json!([
            first["messages"][0],
            {"role": "assistant", "content": content},
            {"role": "user", "content": [result(1, "21"), result(2, "noon")]},
        ]),
    );
    let quoted = post(&mock, "converse", &last).await.json();
    assert_eq!(quoted["output"]["message"]["content"][1]["text"], QUOTED);

    let stream = post(&mock, "converse-stream", &first).await;
    assert_eq!(
        stream.header("content-type"),
        "application/vnd.amazon.eventstream"
    );
    let payloads: Vec<Value> = frames(&stream.body)
        .into_iter()
        .map(|(_, payload)| payload)
        .collect();
    assert_eq!(
        joined(&payloads, "/delta/toolUse/input"),
        r#"{"city":"Rome"}{"zone":"CET"}"#
    );
    assert!(payloads.last().expect("frames")["usage"]["totalTokens"].is_u64());
}

#[tokio::test]
async fn converse_refuses_what_breaks_its_rules() {
    let mock = bedrock().await;
    let base = conversation("x");
    let user = base["messages"][0].clone();
    let call = json!({"role": "assistant", "content": [{"toolUse": {"toolUseId": "a", "name": "weather", "input": {}}}]});
    let cases = [
        (
            with(&base, "stream", json!(true)),
            "extraneous key [stream]",
        ),
        (
            with(&base, "messages", json!([user, user])),
            "must alternate",
        ),
        (
            with(
                &base,
                "messages",
                json!([{"role": "assistant", "content": [{"text": "x"}]}]),
            ),
            "must start with a user message",
        ),
        (
            with(
                &base,
                "messages",
                json!([{"role": "user", "content": [{"text": " "}]}]),
            ),
            "is blank",
        ),
        (
            with(&base, "messages", json!([user, call])),
            "Expected toolResult blocks",
        ),
        (
            json!({"messages": [user, call]}),
            "toolConfig field must be defined",
        ),
    ];
    for (body, words) in cases {
        let answer = post(&mock, "converse", &body).await;
        assert_eq!(
            (answer.status, answer.header("x-amzn-errortype")),
            (400, "ValidationException")
        );
        assert!(
            answer.json()["message"].to_string().contains(words),
            "{}",
            answer.json()
        );
    }
    let unknown = ask(&mock, Method::POST, "/model/other/converse", KEY, &base).await;
    assert_eq!(
        unknown.json()["message"],
        "The provided model identifier is invalid."
    );
}

#[tokio::test]
async fn invoke_speaks_anthropics_messages_in_chunks() {
    let mock = bedrock().await;
    let mut first = with(&message(json!(SCRIPT)), "tools", tools());
    for (key, value, words) in [
        ("model", Value::Null, "anthropic_version: Field required"),
        (
            "anthropic_version",
            json!("bedrock-2023-05-31"),
            "model: Extra inputs are not permitted",
        ),
    ] {
        first[key] = if value.is_null() {
            first[key].clone()
        } else {
            value
        };
        assert_eq!(post(&mock, "invoke", &first).await.json()["message"], words);
    }
    first.as_object_mut().expect("an object").remove("model");
    let refused = post(&mock, "invoke", &with(&first, "stream", json!(true))).await;
    assert_eq!(
        refused.json()["message"],
        "stream: Extra inputs are not permitted"
    );

    let answer = post(&mock, "invoke", &first).await.json();
    let last = post(&mock, "invoke", &followed(&first, &answer))
        .await
        .json();
    assert_eq!(last["content"][0]["text"], QUOTED);
    let stream = post(&mock, "invoke-with-response-stream", &first).await;
    let events: Vec<Value> = frames(&stream.body)
        .into_iter()
        .map(|(headers, payload)| {
            assert_eq!(headers[0].1, "chunk");
            let inner = STANDARD
                .decode(payload["bytes"].as_str().expect("base64"))
                .expect("base64");
            serde_json::from_slice(&inner).expect("JSON")
        })
        .collect();
    assert_eq!(
        joined(&events, "/delta/partial_json"),
        r#"{"city":"Rome"}{"zone":"CET"}"#
    );
    assert_eq!(events[0]["type"], "message_start");
}

#[tokio::test]
async fn openais_clients_are_served_and_a_stream_fails_with_an_exception() {
    let mock = bedrock().await;
    let chat = json!({"model": "openai.gpt-oss-20b-1:0", "messages": [{"role": "user", "content": "say hello"}], "tools": openai_tools()});
    let answer = ask(
        &mock,
        Method::POST,
        "/openai/v1/chat/completions",
        KEY,
        &chat,
    )
    .await
    .json();
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        answer_text("sgp", "say hello", 16)
    );
    let knobs = Knobs {
        stream_error_after_chunks: Some(2),
        ..Knobs::default()
    };
    let mock = strict_with(MockProvider::Bedrock, StrictConfig::default(), knobs).await;
    let stream = post(&mock, "converse-stream", &conversation("x")).await;
    let (headers, _) = frames(&stream.body).pop().expect("frames");
    assert_eq!(
        headers[0],
        (
            ":exception-type".to_owned(),
            "throttlingException".to_owned()
        )
    );
}
