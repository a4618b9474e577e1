//! What clients of Bedrock, Vertex AI and Gemini send, at upstreams of other providers, one hop away: their paths,
//! their keys, their streams, their errors.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grapevine_node::config::hash::KeyHash;
use grapevine_tests::client::{Answer, http, whole};
use grapevine_tests::{Mesh, Mock, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";
const LIMIT: Duration = Duration::from_secs(20);

const KEY: &str = "gv-client-key";
const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/bedrock/aws4_request, \
                         SignedHeaders=host, Signature=00";
const VERTEX: &str = "/v1/projects/any/locations/any/publishers/anthropic/models/";

/// A node without upstreams that demands a key, and one with an upstream that reads `dialect` alone.
async fn mesh(mock: &Mock, dialect: &str) -> Mesh {
    let upstream = json!({"dialects": [dialect]});
    let keys = json!([{"name": "app", "hash": KeyHash::of(KEY).to_string()}]);
    Mesh::builder()
        .node("entry", |node| node.config("keys", keys))
        .node("owner", |node| node.upstream_with(mock, upstream))
        .start()
        .await
}

/// A request of a client that signs, whose key is beside the signature.
fn signed(mesh: &Mesh, path: &str, body: &Value) -> reqwest::RequestBuilder {
    let url = format!("{}{path}", mesh["entry"].public_url());
    let request = http().post(url).json(body);
    request
        .header("authorization", SIGNATURE)
        .header("x-api-key", KEY)
}

async fn ask(mesh: &Mesh, path: &str, body: &Value) -> Answer {
    whole(signed(mesh, path, body)).await.expect("an answer")
}

fn question() -> Value {
    json!({
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "hello"}],
    })
}

/// The events in the frames of a stream's body. A frame is its length, that of its headers, a checksum of both,
/// the headers, a payload, and a checksum.
fn chunks(mut body: &[u8]) -> Vec<Value> {
    let mut events = Vec::new();
    let number = |bytes: &[u8], at: usize| {
        let bytes = bytes[at..at + 4].try_into().expect("four bytes");
        u32::from_be_bytes(bytes) as usize
    };
    while !body.is_empty() {
        let (frame, rest) = body.split_at(number(body, 0));
        let payload = &frame[12 + number(frame, 4)..frame.len() - 4];
        let payload: Value = serde_json::from_slice(payload).expect("JSON");
        let event = STANDARD.decode(payload["bytes"].as_str().expect("a chunk"));
        let event = serde_json::from_slice(&event.expect("base64"));
        events.push(event.expect("JSON"));
        body = rest;
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_clouds_are_answered_by_upstreams_of_any_dialect() {
    let mock = Mock::start("words", &[MODEL]).await;
    for dialect in ["messages", "chat"] {
        let mesh = mesh(&mock, dialect).await;
        let own = json!({"model": MODEL, "max_tokens": 64, "messages": question()["messages"]});
        let expected = ask(&mesh, "/v1/messages", &own).await.json();
        let expected = expected["content"][0]["text"].clone();
        for path in [
            format!("/model/{MODEL}/invoke"),
            format!("{VERTEX}{MODEL}:rawPredict"),
        ] {
            let answer = ask(&mesh, &path, &question()).await;
            assert_eq!(answer.status, 200, "{path} on {dialect}: {}", answer.text());
            assert_eq!(answer.json()["content"][0]["text"], expected, "{path}");
            assert_eq!(answer.header("x-grapevine-hops"), "1", "{path}");
        }
        let path = format!("/model/{MODEL}/invoke-with-response-stream");
        let answer = ask(&mesh, &path, &question()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let kind = answer.header("content-type");
        assert_eq!(kind, "application/vnd.amazon.eventstream");
        let events = chunks(&answer.body);
        let text: String = events
            .iter()
            .filter_map(|event| event["delta"]["text"].as_str())
            .collect();
        assert_eq!(json!(text), expected, "{dialect}");
        let last = events.last().expect("an event");
        assert_eq!(last["type"], "message_stop", "{dialect}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_tokens_of_a_client_of_bedrock_are_counted() {
    let mock = Mock::start("words", &[MODEL]).await;
    let mesh = mesh(&mock, "messages").await;
    let path = format!("/model/{MODEL}/invoke-with-response-stream");
    let answer = ask(&mesh, &path, &question()).await;
    let events = chunks(&answer.body);
    let usage = events
        .iter()
        .rev()
        .find_map(|event| event["usage"]["output_tokens"].as_u64());
    let id = answer.header("x-request-id");
    assert!(usage > Some(0), "{events:?}");
    wait_until("the record of the request", LIMIT, async || {
        let page = mesh["entry"].requests().await;
        let records = page["requests"].as_array().cloned().unwrap_or_default();
        let record = records.into_iter().find(|record| record["id"] == id);
        let record = record.ok_or_else(|| page.to_string())?;
        assert_eq!(record["tokens_out"].as_u64(), usage, "{record}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_names_that_amazons_clients_look_for() {
    let mock = Mock::start("chat", &[MODEL]).await;
    let mesh = mesh(&mock, "chat").await;
    let converse = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]});
    let mut with_top_k = question();
    with_top_k["top_k"] = json!(5);
    for (path, body, status, name) in [
        (
            "/model/other/converse",
            &converse,
            404,
            "ResourceNotFoundException",
        ),
        (
            "/model/other/invoke",
            &question(),
            404,
            "ResourceNotFoundException",
        ),
        (
            "/model/gpt-4o/other",
            &converse,
            404,
            "ResourceNotFoundException",
        ),
        (
            "/model/gpt-4o/invoke",
            &with_top_k,
            400,
            "ValidationException",
        ),
        (
            "/model/gpt-4o/invoke",
            &json!({"anthropic_version": 1}),
            400,
            "ValidationException",
        ),
    ] {
        let answer = ask(&mesh, path, body).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.header("x-amzn-errortype"), name, "{path}");
        assert!(
            answer.json()["message"].is_string(),
            "{path}: {}",
            answer.text()
        );
    }
    let url = format!("{}/model/gpt-4o/converse", mesh["entry"].public_url());
    let signed = http().post(url).json(&converse);
    let answer = whole(signed.header("authorization", SIGNATURE))
        .await
        .expect("an answer");
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("x-amzn-errortype"),
        "UnrecognizedClientException"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_translation_says_its_code_wherever_the_dialect_has_a_place() {
    let mock = Mock::start("chat", &[MODEL]).await;
    let mesh = mesh(&mock, "chat").await;
    let mut messages = question();
    messages["top_k"] = json!(5);
    let mut own = messages.clone();
    own.as_object_mut()
        .expect("an object")
        .remove("anthropic_version");
    own["model"] = json!(MODEL);
    let gemini = json!({
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "generationConfig": {"topK": 5},
    });
    let converse = json!({
        "messages": [{"role": "user", "content": [{"text": "hello"}]}],
        "additionalModelRequestFields": {"top_k": 5},
    });
    for (path, body, place) in [
        ("/v1/messages", &own, "/error/code"),
        (
            "/v1/models/gpt-4o:generateContent",
            &gemini,
            "/error/details/0/reason",
        ),
        ("/model/gpt-4o/converse", &converse, "/code"),
        ("/model/gpt-4o/invoke", &messages, "/code"),
        (
            &format!("{VERTEX}{MODEL}:rawPredict"),
            &messages,
            "/error/code",
        ),
    ] {
        let answer = ask(&mesh, path, body).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert_eq!(
            answer.header("x-grapevine-reason"),
            "not_translatable",
            "{path}"
        );
        let code = answer.json().pointer(place).cloned();
        assert_eq!(
            code,
            Some(json!("not_translatable")),
            "{path}: {}",
            answer.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_counted_where_the_upstream_counts_them() {
    let mock = Mock::start("words", &[MODEL]).await;
    let counted = json!({"model": MODEL, "messages": question()["messages"]});
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]});
    let vertex = format!("{VERTEX}count-tokens:rawPredict");
    let own = mesh(&mock, "messages").await;
    for path in ["/v1/messages/count_tokens", &vertex] {
        let answer = ask(&own, path, &counted).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(answer.json()["input_tokens"].as_u64() > Some(0), "{path}");
    }
    let other = mesh(&mock, "chat").await;
    for (path, body) in [
        ("/v1/messages/count_tokens", &counted),
        (&*vertex, &counted),
        ("/v1beta/models/gpt-4o:countTokens", &gemini),
    ] {
        let answer = ask(&other, path, body).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(
            answer.text().contains("not_translatable"),
            "{path}: {}",
            answer.text()
        );
    }
}
