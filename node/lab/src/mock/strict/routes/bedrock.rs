//! Bedrock's runtime: signed requests or an API key, and models in the path.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;

use crate::mock::strict::chat::Flavor;
use crate::mock::strict::converse::{self, ConverseAnswer};
use crate::mock::strict::event_stream;
use crate::mock::strict::exchange::{Call, Outcome, percent_decoded};
use crate::mock::strict::messages::Host;
use crate::mock::strict::refusal::{Refusal, Shape};
use crate::mock::strict::sigv4::{self, SigningKey};
use crate::mock::strict::upstream::{Routed, Upstream, unknown_model};

/// The type of a stream.
const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// The endpoint for OpenAI's clients.
const COMPATIBLE: &str = "/openai/v1/chat/completions";

pub(in crate::mock::strict) fn serve(upstream: &Upstream, call: &Call<'_>) -> Routed {
    let shape = shape(call.path);
    let routed = admit(upstream, call)
        .and_then(|()| route(upstream, call))
        .map(Some);
    routed.map_err(|refusal| shape.failure(refusal))
}

/// The shape of errors on `path`.
pub(in crate::mock::strict) fn shape(path: &str) -> Shape {
    match path == COMPATIBLE {
        true => Shape::OpenAi,
        false => Shape::Aws,
    }
}

fn route(upstream: &Upstream, call: &Call<'_>) -> Result<Outcome, Refusal> {
    if call.path == COMPATIBLE && *call.method == Method::POST {
        let known = |model: &str| {
            upstream
                .serves(model)
                .then_some(())
                .ok_or_else(|| unknown_model(model))
        };
        return upstream.chat(call, Flavor::OpenAi, known);
    }
    let found = call
        .path
        .strip_prefix("/model/")
        .and_then(|rest| rest.rsplit_once('/'));
    let (Some((model, verb)), &Method::POST) = (found, call.method) else {
        return Err(Refusal::new(404, "").code("UnknownOperationException"));
    };
    let model = percent_decoded(model);
    if !upstream.serves(&model) {
        return Err(Refusal::invalid(
            "The provided model identifier is invalid.",
        ));
    }
    let framed = ["invoke-with-response-stream", "converse-stream"].contains(&verb);
    match verb {
        "invoke" | "invoke-with-response-stream" => invoke(upstream, call, &model, framed),
        "converse" | "converse-stream" => {
            let ask = converse::read(call.body, &model, framed, &upstream.seal)?;
            let said = upstream.say(&ask, call);
            let answer = ConverseAnswer {
                ask: &ask,
                said: &said,
                seal: &upstream.seal,
            };
            let outcome = match framed {
                true => Outcome::stream(EVENT_STREAM, answer.stream()),
                false => Outcome::json(&answer.whole()),
            };
            Ok(outcome.billed(ask.input_tokens, 0, said.output_tokens()))
        }
        _ => Err(Refusal::new(404, "").code("UnknownOperationException")),
    }
}

/// Anthropic's messages, each event of a stream in base64 inside of a chunk.
fn invoke(
    upstream: &Upstream,
    call: &Call<'_>,
    model: &str,
    framed: bool,
) -> Result<Outcome, Refusal> {
    upstream.with_message(
        call,
        Host::Bedrock,
        Some(model),
        |_| Ok(()),
        |answer, _| {
            if !framed {
                return Outcome::json(&answer.whole());
            }
            let stream = answer.events().stream(|_, data| {
                let inner = STANDARD.encode(data.to_string());
                event_stream::event("chunk", &json!({"bytes": inner, "p": "abcd"}))
            });
            let mut outcome = Outcome::stream(EVENT_STREAM, stream);
            outcome
                .headers
                .push(("x-amzn-bedrock-content-type", "application/json".to_owned()));
            outcome
        },
    )
}

/// Who may call: a signature of a key that is known, or the API key as bearer token.
fn admit(upstream: &Upstream, call: &Call<'_>) -> Result<(), Refusal> {
    if let Some(token) = call.bearer() {
        let known = upstream.is_key(token);
        return known.then_some(()).ok_or_else(|| {
            Refusal::new(
                403,
                "Authentication failed: Please make sure your API Key is valid.",
            )
            .code("AccessDeniedException")
        });
    }
    sigv4::verify(call, &upstream.config.aws_region, "bedrock", |id| {
        let fixed = upstream
            .config
            .access_keys
            .iter()
            .find(|key| key.id == id)
            .map(|key| SigningKey {
                secret: key.secret.clone(),
                session_token: key.session_token.clone(),
                expired: false,
            });
        fixed.or_else(|| {
            upstream.tokens.session(id).map(|session| SigningKey {
                secret: session.secret,
                session_token: Some(session.token),
                expired: session.expires_at <= call.now,
            })
        })
    })
}
