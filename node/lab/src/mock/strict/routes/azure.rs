//! Azure: `api-key` or a token of Entra's; `/openai/v1`, dated deployments, and `/anthropic/v1`.

use http::Method;
use serde_json::{Map, Value};

use bytes::Bytes;

use crate::mock::strict::chat::Flavor;
use crate::mock::strict::exchange::{Call, Outcome};
use crate::mock::strict::messages::Host;
use crate::mock::strict::refusal::{Refusal, Shape};
use crate::mock::strict::routes::openai::invalid_url;
use crate::mock::strict::tokens::{Issuer, Standing};
use crate::mock::strict::upstream::{Failure, Routed, Upstream};

pub(in crate::mock::strict) fn serve(upstream: &Upstream, call: &Call<'_>) -> Routed {
    if call.path.starts_with("/anthropic/") {
        return anthropic(upstream, call)
            .map(Some)
            .map_err(|refusal| Shape::Anthropic.failure(refusal));
    }
    admit(upstream, call).map_err(gateway)?;
    if let Some(rest) = call.path.strip_prefix("/openai/deployments/") {
        return dated(upstream, call, rest).map(Some);
    }
    let known = |model: &str| deployed(upstream, model);
    let routed = match (call.method, call.path) {
        (&Method::POST, "/openai/v1/chat/completions") => upstream.chat(call, Flavor::Azure, known),
        (&Method::POST, "/openai/v1/responses") => upstream.response(call, known),
        (&Method::GET, "/openai/v1/models") => Ok(upstream.openai_models(call, "azure")),
        (&Method::GET | &Method::DELETE, path) if path.starts_with("/openai/v1/responses/") => {
            upstream.kept_response(call, &path["/openai/v1/responses/".len()..])
        }
        _ => return Err(gateway(not_found())),
    };
    routed.map(Some).map_err(refused)
}

fn gateway(refusal: Refusal) -> Failure {
    Shape::AzureGateway.failure(refusal)
}

/// What the model refuses has OpenAI's shape; an unknown deployment is the gateway's matter.
fn refused(refusal: Refusal) -> Failure {
    match refusal.code.as_deref() {
        Some("DeploymentNotFound") => gateway(refusal),
        _ => Shape::OpenAi.failure(refusal),
    }
}

fn not_found() -> Refusal {
    Refusal::new(404, "Resource not found")
}

fn deployed(upstream: &Upstream, name: &str) -> Result<(), Refusal> {
    let deployments = &upstream.config.azure_deployments;
    let known = match deployments.is_empty() {
        true => upstream.serves(name),
        false => deployments.iter().any(|deployment| deployment == name),
    };
    known.then_some(()).ok_or_else(|| {
        Refusal::new(
            404,
            "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again.",
        )
        .code("DeploymentNotFound")
    })
}

/// `{deployment}/chat/completions?api-version=DATE`: the deployment stands for the model.
fn dated(upstream: &Upstream, call: &Call<'_>, rest: &str) -> Result<Outcome, Failure> {
    let dated = call.parameter("api-version").is_some_and(is_version);
    let deployment = rest
        .strip_suffix("/chat/completions")
        .filter(|name| !name.contains('/'));
    let (true, Some(deployment), &Method::POST) = (dated, deployment, call.method) else {
        return Err(gateway(not_found()));
    };
    deployed(upstream, deployment).map_err(gateway)?;
    let mut body: Map<String, Value> = serde_json::from_slice(call.body).unwrap_or_default();
    body.insert("model".to_owned(), Value::from(deployment));
    let body = Bytes::from(Value::Object(body).to_string());
    let call = Call {
        body: &body,
        ..*call
    };
    upstream
        .chat(&call, Flavor::Azure, |_| Ok(()))
        .map_err(refused)
}

/// A date, with or without `-preview`.
fn is_version(text: &str) -> bool {
    let date = text.strip_suffix("-preview").unwrap_or(text);
    let digits = date.bytes().filter(u8::is_ascii_digit).count();
    date.len() == 10 && digits == 8
}

fn anthropic(upstream: &Upstream, call: &Call<'_>) -> Result<Outcome, Refusal> {
    let plain = call
        .header("x-api-key")
        .is_some_and(|key| upstream.is_key(key));
    if !plain {
        admit(upstream, call)?;
    }
    super::anthropic::check_version(call)?;
    let known = |model: &str| deployed(upstream, model);
    match (call.method, call.path) {
        (&Method::POST, "/anthropic/v1/messages") => upstream.message(call, Host::Api, None, known),
        (&Method::POST, "/anthropic/v1/messages/count_tokens") => upstream.token_count(call, known),
        _ => Err(invalid_url(call)),
    }
}

/// Who may call: the key in `api-key`, on `/openai/v1` also as bearer token as OpenAI's clients send it, or a token of
/// Entra's.
fn admit(upstream: &Upstream, call: &Call<'_>) -> Result<(), Refusal> {
    if let Some(key) = call.header("api-key") {
        if upstream.is_key(key) {
            return Ok(());
        }
    } else if let Some(token) = call.bearer() {
        match upstream.tokens.standing(Issuer::Entra, token, call.now) {
            Standing::Valid => return Ok(()),
            Standing::Unknown
                if upstream.api_key.as_deref() == Some(token)
                    && call.path.starts_with("/openai/v1/") =>
            {
                return Ok(());
            }
            Standing::Expired | Standing::Unknown => {
                return Err(Refusal::new(
                    401,
                    "Unauthorized. Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com), or have expired.",
                )
                .code("Unauthorized"));
            }
        }
    }
    Err(Refusal::new(
        401,
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.",
    ))
}
