//! `/mock/*`: the knobs and the counters over HTTP. `down` and all other faults spare it.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;

use super::Knobs;
use super::read::{ReadError, read};
use super::script::{Broken, ScriptBody, ScriptStep, script};
use super::service::Shared;
use super::strict::TOKEN_PREFIX;

/// The largest body of a change of the knobs.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Whether a path is the mock's own.
pub(super) fn is_control(path: &str) -> bool {
    path.starts_with("/mock/")
}

/// Serves one request to `/mock/*`.
pub(super) async fn serve(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<ScriptBody>, Broken> {
    let (head, body) = request.into_parts();
    let body = match read(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(ReadError::TooLarge) => {
            return Ok(refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is larger than 64 KiB",
            ));
        }
        Err(ReadError::Slow | ReadError::Gone) => {
            return Ok(refusal(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive",
            ));
        }
    };
    if head.uri.path().starts_with(TOKEN_PREFIX) {
        return issue(shared, &head, &body).await;
    }
    let changed = match (head.method, head.uri.path()) {
        (Method::GET, "/mock/knobs") => Ok(shared.settings().knobs.clone()),
        (Method::PUT, "/mock/knobs") => shared.change_knobs(|_| Knobs::replaced(&body)),
        (Method::PATCH, "/mock/knobs") => shared.change_knobs(|knobs| knobs.merged(&body)),
        (Method::POST, "/mock/reset") => {
            shared.reset();
            Ok(shared.settings().knobs.clone())
        }
        (Method::GET, "/mock/stats") => return Ok(json(StatusCode::OK, &shared.stats())),
        (Method::DELETE, "/mock/stats") => {
            shared.clear_stats();
            return Ok(json(StatusCode::OK, &shared.stats()));
        }
        _ => {
            return Ok(refusal(
                StatusCode::NOT_FOUND,
                "there are GET, PUT, PATCH /mock/knobs, GET, DELETE /mock/stats and POST /mock/reset",
            ));
        }
    };
    Ok(match changed {
        Ok(knobs) => json(StatusCode::OK, &knobs),
        Err(error) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    })
}

/// Serves one request to a token endpoint, which has faults of its own.
async fn issue(
    shared: &Shared,
    head: &http::request::Parts,
    body: &Bytes,
) -> Result<Response<ScriptBody>, Broken> {
    tokio::time::sleep(shared.settings().knobs.token_latency).await;
    let outcome = shared.issue(head, body).ok_or(Broken)?;
    let steps = script(outcome.answer, &Knobs::default());
    let mut response = Response::new(ScriptBody::new(steps, None, None));
    *response.status_mut() =
        StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(outcome.content_type));
    for (name, value) in outcome.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    Ok(response)
}

fn refusal(status: StatusCode, message: &str) -> Response<ScriptBody> {
    json(
        status,
        &json!({"error": {"message": message, "type": "invalid_request_error"}}),
    )
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<ScriptBody> {
    // Plain data with text keys always has a JSON form.
    let body = Bytes::from(serde_json::to_vec(value).unwrap_or_default());
    let length = body.len();
    let mut response = Response::new(ScriptBody::new(vec![ScriptStep::Send(body)], None, None));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}
