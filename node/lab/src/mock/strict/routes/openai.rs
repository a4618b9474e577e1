//! OpenAI: `Authorization: Bearer`, and `/v1`.

use http::Method;

use crate::mock::strict::chat::Flavor;
use crate::mock::strict::exchange::{Call, Outcome};
use crate::mock::strict::refusal::{Refusal, Shape};
use crate::mock::strict::upstream::{Routed, Upstream, openai_model, unknown_model};

/// The older endpoints, which the lenient mock answers.
const OLDER: [&str; 3] = ["/v1/completions", "/v1/embeddings", "/v1/moderations"];

pub(in crate::mock::strict) fn serve(upstream: &Upstream, call: &Call<'_>) -> Routed {
    if OLDER.contains(&call.path) {
        return admit(upstream, call)
            .map(|()| None)
            .map_err(|refusal| Shape::OpenAi.failure(refusal));
    }
    let routed = route(upstream, call).map(Some);
    routed.map_err(|refusal| Shape::OpenAi.failure(refusal))
}

fn route(upstream: &Upstream, call: &Call<'_>) -> Result<Outcome, Refusal> {
    admit(upstream, call)?;
    let known = |model: &str| {
        upstream
            .serves(model)
            .then_some(())
            .ok_or_else(|| unknown_model(model))
    };
    if let Some(served) = upstream.stored.serve(call, &upstream.id(call)) {
        return served;
    }
    match (call.method, call.path) {
        (&Method::POST, "/v1/chat/completions") => upstream.chat(call, Flavor::OpenAi, known),
        (&Method::POST, "/v1/responses") => upstream.response(call, known),
        (&Method::GET, "/v1/models") => Ok(upstream.openai_models(call, "openai")),
        (&Method::GET | &Method::DELETE, path) => match (
            path.strip_prefix("/v1/responses/"),
            path.strip_prefix("/v1/models/"),
        ) {
            (Some(id), _) => upstream.kept_response(call, id),
            (None, Some(id)) if *call.method == Method::GET => {
                known(id)?;
                Ok(Outcome::json(&openai_model(id, call, "openai")))
            }
            _ => Err(invalid_url(call)),
        },
        _ => Err(invalid_url(call)),
    }
}

/// Who may call: anyone with the key.
fn admit(upstream: &Upstream, call: &Call<'_>) -> Result<(), Refusal> {
    match call.bearer() {
        None | Some("") => Err(Refusal::new(
            401,
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API from your browser and are prompted for a username and password.",
        )),
        Some(key) if upstream.is_key(key) => Ok(()),
        Some(_) => Err(Refusal::new(
            401,
            "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
        )
        .code("invalid_api_key")),
    }
}

pub(super) fn invalid_url(call: &Call<'_>) -> Refusal {
    Refusal::new(404, format!("Invalid URL ({} {})", call.method, call.path))
}
