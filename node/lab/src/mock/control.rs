//! `/mock/*`: the knobs and the counters over HTTP. `down` and all other faults spare it.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;

use super::Knobs;
use super::read::{ReadError, read};
use super::script::{ScriptBody, ScriptStep};
use super::service::Shared;

/// The largest body of a change of the knobs.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Whether a path is the mock's own.
pub(super) fn is_control(path: &str) -> bool {
    path.starts_with("/mock/")
}

/// Serves one request to `/mock/*`.
pub(super) async fn serve(shared: &Shared, request: Request<Incoming>) -> Response<ScriptBody> {
    let (head, body) = request.into_parts();
    let body = match read(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(ReadError::TooLarge) => {
            return refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is larger than 64 KiB",
            );
        }
        Err(ReadError::Slow | ReadError::Gone) => {
            return refusal(StatusCode::REQUEST_TIMEOUT, "the body did not arrive");
        }
    };
    let changed = match (head.method, head.uri.path()) {
        (Method::GET, "/mock/knobs") => Ok(shared.settings().knobs.clone()),
        (Method::PUT, "/mock/knobs") => shared.change_knobs(|_| Knobs::replaced(&body)),
        (Method::PATCH, "/mock/knobs") => shared.change_knobs(|knobs| knobs.merged(&body)),
        (Method::POST, "/mock/reset") => {
            shared.reset();
            Ok(shared.settings().knobs.clone())
        }
        (Method::GET, "/mock/stats") => return json(StatusCode::OK, &shared.stats()),
        (Method::DELETE, "/mock/stats") => {
            shared.clear_stats();
            return json(StatusCode::OK, &shared.stats());
        }
        _ => {
            return refusal(
                StatusCode::NOT_FOUND,
                "there are GET, PUT, PATCH /mock/knobs, GET, DELETE /mock/stats and POST /mock/reset",
            );
        }
    };
    match changed {
        Ok(knobs) => json(StatusCode::OK, &knobs),
        Err(error) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    }
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
    let mut response = Response::new(ScriptBody::new(vec![ScriptStep::Send(body)], None));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}
