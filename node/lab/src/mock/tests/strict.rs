//! Strict upstreams over real sockets: each dialect says the same, whole and streamed, and refuses in its own shape.

mod anthropic;
mod aws;
mod azure;
mod google;
mod openai;
mod tokens;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::client::{Answer, send};
use crate::mock::{Knobs, Mock, MockConfig, MockHandle, MockProvider, StrictConfig};

/// What the tools are asked for, in every dialect.
const SCRIPT: &str = r#"call weather {"city": "Rome"} and call time {"zone": "CET"}"#;

/// What every dialect answers to the results `21` and `noon`.
const QUOTED: &str = "The tools answered \"21\" and \"noon\".";

async fn strict(provider: MockProvider, config: StrictConfig) -> MockHandle {
    strict_with(provider, config, Knobs::default()).await
}

async fn strict_with(provider: MockProvider, config: StrictConfig, knobs: Knobs) -> MockHandle {
    let config = MockConfig {
        provider: Some(provider),
        models: provider.default_models(),
        api_key: Some("right".to_owned()),
        strict: config,
        knobs,
        ..MockConfig::on_loopback("sgp")
    };
    Mock::start(config).await.expect("a free port on loopback")
}

/// Sends a request with `headers` as `name: value`.
async fn ask(
    mock: &MockHandle,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "mock");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::from(Bytes::from(body)))
        .expect("a valid request");
    send(mock.address(), request).await.expect("an answer")
}

fn with(base: &Value, key: &str, value: Value) -> Value {
    let mut body = base.clone();
    body[key] = value;
    body
}

/// The text at `pointer` of each event, joined.
fn joined(events: &[Value], pointer: &str) -> String {
    events
        .iter()
        .filter_map(|event| event.pointer(pointer)?.as_str())
        .collect()
}

fn openai_tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "time", "parameters": {"type": "object"}}},
    ])
}
