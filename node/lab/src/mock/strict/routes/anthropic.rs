//! Anthropic: `x-api-key` and `anthropic-version`, and `/v1`.

use http::Method;
use serde_json::{Value, json};

use crate::mock::strict::exchange::{Call, Outcome};
use crate::mock::strict::messages::{Host, SDK_VERSION};
use crate::mock::strict::refusal::{Refusal, Shape};
use crate::mock::strict::upstream::{Routed, Upstream};

/// The versions of the API.
const VERSIONS: [&str; 3] = [SDK_VERSION, "2023-06-01", "2023-01-01"];

pub(in crate::mock::strict) fn serve(upstream: &Upstream, call: &Call<'_>) -> Routed {
    let routed = route(upstream, call).map(Some);
    routed.map_err(|refusal| Shape::Anthropic.failure(refusal))
}

fn route(upstream: &Upstream, call: &Call<'_>) -> Result<Outcome, Refusal> {
    match call.header("x-api-key") {
        None if call.bearer().is_some() => return Err(Refusal::new(401, "Invalid bearer token")),
        None => return Err(Refusal::new(401, "x-api-key header is required")),
        Some(key) if !upstream.is_key(key) => return Err(Refusal::new(401, "invalid x-api-key")),
        Some(_) => {}
    }
    check_version(call)?;
    let known = |model: &str| {
        let found = upstream.serves(model).then_some(());
        found.ok_or_else(|| Refusal::new(404, format!("model: {model}")))
    };
    match (call.method, call.path) {
        (&Method::POST, "/v1/messages") => upstream.message(call, Host::Api, None, known),
        (&Method::POST, "/v1/messages/count_tokens") => upstream.token_count(call, known),
        (&Method::GET, "/v1/models") => Ok(models(upstream)),
        (&Method::GET, path) if path.starts_with("/v1/models/") => {
            let id = &path["/v1/models/".len()..];
            known(id)?;
            Ok(Outcome::json(&model(id)))
        }
        (_, "/v1/messages" | "/v1/messages/count_tokens" | "/v1/models") => {
            Err(Refusal::new(405, "Method Not Allowed"))
        }
        _ => Err(Refusal::new(404, "Not Found")),
    }
}

/// Requires a known `anthropic-version`.
pub(super) fn check_version(call: &Call<'_>) -> Result<(), Refusal> {
    match call.header("anthropic-version") {
        None => Err(Refusal::invalid("anthropic-version: header is required")),
        Some(version) if VERSIONS.contains(&version) => Ok(()),
        Some(version) => Err(Refusal::invalid(format!(
            "anthropic-version: \"{version}\" is not a valid version"
        ))),
    }
}

fn models(upstream: &Upstream) -> Outcome {
    let models: Vec<Value> = upstream.named_models().map(|id| model(id)).collect();
    let id = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
    Outcome::json(&json!({
        "first_id": id(models.first()),
        "last_id": id(models.last()),
        "has_more": false,
        "data": models,
    }))
}

fn model(id: &str) -> Value {
    json!({"type": "model", "id": id, "display_name": id, "created_at": "2025-01-01T00:00:00Z"})
}
