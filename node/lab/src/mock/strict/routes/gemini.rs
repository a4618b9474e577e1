//! Gemini: `x-goog-api-key`, `?key=` or a bearer token; `/v1beta`, and its endpoint for OpenAI's clients.

use http::Method;
use serde_json::{Value, json};

use crate::mock::strict::chat::Flavor;
use crate::mock::strict::exchange::{Call, Outcome, percent_decoded};
use crate::mock::strict::refusal::{Refusal, Shape};
use crate::mock::strict::tokens::{Issuer, Standing};
use crate::mock::strict::upstream::{Routed, Upstream};

/// The endpoint for OpenAI's clients.
const COMPATIBLE: &str = "/v1beta/openai/";

/// What can be done with a model.
pub(super) const VERBS: [&str; 3] = ["generateContent", "streamGenerateContent", "countTokens"];

pub(in crate::mock::strict) fn serve(upstream: &Upstream, call: &Call<'_>) -> Routed {
    let shape = shape(call.path);
    let routed = admit(upstream, call)
        .and_then(|()| route(upstream, call))
        .map(Some);
    routed.map_err(|refusal| shape.failure(refusal))
}

/// The shape of errors on `path`.
pub(in crate::mock::strict) fn shape(path: &str) -> Shape {
    match path.starts_with(COMPATIBLE) {
        true => Shape::GoogleCompatible,
        false => Shape::Google,
    }
}

fn route(upstream: &Upstream, call: &Call<'_>) -> Result<Outcome, Refusal> {
    let known = |model: &str| {
        let bare = model.strip_prefix("models/").unwrap_or(model);
        upstream
            .serves(bare)
            .then_some(())
            .ok_or_else(|| unknown_model(bare))
    };
    match (call.method, call.path) {
        (&Method::POST, "/v1beta/openai/chat/completions") => {
            upstream.chat(call, Flavor::Gemini, known)
        }
        (&Method::GET, "/v1beta/openai/models") => Ok(upstream.openai_models(call, "google")),
        (&Method::GET, "/v1beta/models") => {
            let models: Vec<Value> = upstream.named_models().map(|id| model(id)).collect();
            Ok(Outcome::json(&json!({"models": models})))
        }
        (method, path) => {
            let Some(rest) = path.strip_prefix("/v1beta/models/").map(percent_decoded) else {
                return Err(Refusal::new(404, "Requested entity was not found."));
            };
            match (method, rest.rsplit_once(':')) {
                (&Method::POST, Some((id, verb))) if VERBS.contains(&verb) => {
                    known(id)?;
                    upstream.google(call, id, verb)
                }
                (&Method::GET, None) => {
                    known(&rest)?;
                    Ok(Outcome::json(&model(&rest)))
                }
                _ => Err(Refusal::new(404, "Requested entity was not found.")),
            }
        }
    }
}

fn unknown_model(model: &str) -> Refusal {
    Refusal::new(
        404,
        format!(
            "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."
        ),
    )
}

fn model(id: &str) -> Value {
    json!({
        "name": format!("models/{id}"),
        "version": "001",
        "displayName": id,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": VERBS,
    })
}

fn admit(upstream: &Upstream, call: &Call<'_>) -> Result<(), Refusal> {
    let key = call
        .header("x-goog-api-key")
        .or_else(|| call.parameter("key"));
    match (key, call.bearer()) {
        (Some(key), _) if upstream.is_key(key) => Ok(()),
        // OpenAI's clients send the key as their bearer token.
        (None, Some(token)) if call.path.starts_with(COMPATIBLE) && upstream.is_key(token) => {
            Ok(())
        }
        (None, Some(token)) => match upstream.tokens.standing(Issuer::Google, token, call.now) {
            Standing::Valid => Ok(()),
            Standing::Expired | Standing::Unknown => Err(invalid_credentials()),
        },
        (None, None) => Err(Refusal::new(
            403,
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.",
        )),
        (Some(_), _) => Err(
            Refusal::invalid("API key not valid. Please pass a valid API key.").details(json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }])),
        ),
    }
}

/// A token that is none of Google's, or no longer.
pub(super) fn invalid_credentials() -> Refusal {
    Refusal::new(
        401,
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    )
}
