//! A request's body with its Content-Type, which is the first line.

use bytes::Bytes;
use grapevine_core::forwarding::PathScope;
use grapevine_node::asked::{Asked, model_at, read};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

/// The scan finds the same request as a full parser, and finds the model's position again for renaming.
pub(crate) fn target(bytes: &[u8]) {
    let (kind, body) = super::line(bytes);
    let mut headers = HeaderMap::new();
    if !kind.is_empty() {
        let Ok(kind) = HeaderValue::from_bytes(kind) else {
            return;
        };
        headers.insert("content-type", kind);
    }
    let body = Bytes::copy_from_slice(body);
    for (scope, path) in [
        (PathScope::Inference, "/v1/chat/completions"),
        (PathScope::Extra, "/v1/custom"),
    ] {
        if let Ok(asked) = read(scope, &Method::POST, path, &headers, &body) {
            check(&asked, &headers, &body);
        }
    }
}

fn check(asked: &Asked, headers: &HeaderMap, body: &[u8]) {
    let model = asked.model.as_ref().map(|model| model.as_str());
    let found = model_at(headers, body).map(|(range, is_json)| (&body[range], is_json));
    let is_json = found.is_some_and(|(_, is_json)| is_json);
    match found {
        Some((raw, true)) => {
            let value = serde_json::from_slice::<Value>(raw).expect("a whole value");
            assert_eq!(value.as_str(), model);
        }
        Some((raw, false)) => assert_eq!(Some(raw), model.map(str::as_bytes)),
        None => assert_eq!(model, None),
    }
    if is_json && let Ok(parsed) = serde_json::from_slice::<Value>(body) {
        assert_eq!(parsed["model"].as_str(), model);
        assert_eq!(parsed["stream"].as_bool().unwrap_or_default(), asked.stream);
        assert_eq!(
            parsed["background"].as_bool().unwrap_or_default(),
            asked.background
        );
    }
}
