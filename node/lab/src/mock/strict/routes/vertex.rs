//! Vertex AI: tokens of Google's, and models by their publishers.

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value};

use crate::mock::strict::chat::Flavor;
use crate::mock::strict::exchange::{Call, Outcome, percent_decoded};
use crate::mock::strict::messages::Host;
use crate::mock::strict::refusal::{Refusal, Shape};
use crate::mock::strict::tokens::{Issuer, Standing};
use crate::mock::strict::upstream::{Failure, Routed, Upstream};

pub(in crate::mock::strict) fn serve(upstream: &Upstream, call: &Call<'_>) -> Routed {
    admit(upstream, call).map_err(google)?;
    let path = percent_decoded(call.path);
    let Some((project, location, rest)) = located(&path) else {
        return Err(google(not_found()));
    };
    if *call.method != Method::POST {
        return Err(google(not_found()));
    }
    if rest == "endpoints/openapi/chat/completions" {
        let known = |model: &str| match model.strip_prefix("google/") {
            Some(bare) if upstream.serves(bare) => Ok(()),
            _ => Err(Refusal::invalid(format!(
                "Malformed publisher model or unsupported model: {model}"
            ))),
        };
        let routed = upstream.chat(call, Flavor::Gemini, known).map(Some);
        return routed.map_err(|refusal| Shape::GoogleCompatible.failure(refusal));
    }
    let found = rest.strip_prefix("publishers/").and_then(|rest| {
        let (publisher, rest) = rest.split_once("/models/")?;
        let (model, verb) = rest.rsplit_once(':')?;
        Some((publisher, model, verb))
    });
    let Some((publisher, model, verb)) = found else {
        return Err(google(not_found()));
    };
    if (publisher, model, verb) == ("anthropic", "count-tokens", "rawPredict") {
        return count(upstream, call).map(Some);
    }
    if !upstream.serves(model) {
        let message = format!(
            "Publisher Model `projects/{project}/locations/{location}/publishers/{publisher}/models/{model}` was not found or your project does not have access to it. Please ensure you are using a valid model version."
        );
        return Err(google(Refusal::new(404, message)));
    }
    match (publisher, verb) {
        ("anthropic", "rawPredict" | "streamRawPredict") => raw(upstream, call, model).map(Some),
        ("google", verb) if super::gemini::VERBS.contains(&verb) => {
            upstream.google(call, model, verb).map(Some).map_err(google)
        }
        _ => Err(google(not_found())),
    }
}

fn google(refusal: Refusal) -> Failure {
    Shape::Google.failure(refusal)
}

fn not_found() -> Refusal {
    Refusal::new(404, "Requested entity was not found.")
}

/// Project, location and the rest of a path.
fn located(path: &str) -> Option<(&str, &str, &str)> {
    let rest = path
        .strip_prefix("/v1/projects/")
        .or_else(|| path.strip_prefix("/v1beta1/projects/"))?;
    let (project, rest) = rest.split_once("/locations/")?;
    let (location, rest) = rest.split_once('/')?;
    (!project.is_empty() && !location.is_empty()).then_some((project, location, rest))
}

/// Whether the answer is a stream is in the body; the path's verb says no more than where it was sent.
fn raw(upstream: &Upstream, call: &Call<'_>, model: &str) -> Result<Outcome, Failure> {
    let routed = upstream.message(call, Host::Vertex, Some(model), |_| Ok(()));
    routed.map_err(|refusal| Shape::Anthropic.failure(refusal))
}

/// The model is in the body here, and the SDK's version beside it.
fn count(upstream: &Upstream, call: &Call<'_>) -> Result<Outcome, Failure> {
    let mut body: Map<String, Value> = serde_json::from_slice(call.body).unwrap_or_default();
    body.remove("anthropic_version");
    let body = Bytes::from(Value::Object(body).to_string());
    let call = Call {
        body: &body,
        ..*call
    };
    let known = |model: &str| {
        let found = upstream.serves(model).then_some(());
        found.ok_or_else(|| Refusal::new(404, format!("model: {model}")))
    };
    let counted = upstream.token_count(&call, known);
    counted.map_err(|refusal| Shape::Anthropic.failure(refusal))
}

fn admit(upstream: &Upstream, call: &Call<'_>) -> Result<(), Refusal> {
    let Some(token) = call.bearer() else {
        return Err(Refusal::new(
            401,
            "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        ));
    };
    match upstream.tokens.standing(Issuer::Google, token, call.now) {
        Standing::Valid => Ok(()),
        Standing::Expired | Standing::Unknown => Err(super::gemini::invalid_credentials()),
    }
}
