//! Errors of this API in OpenAI's shape, with what a client should do as data.

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use grapevine_base::causes;
use grapevine_base::exchange::RequestBodyError;
use grapevine_core::share::ShareExceeded;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::service::TaskRefused;
use crate::store::StoreError;

/// When to come back after an error that passes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// One word, for programs.
    pub code: &'static str,
    /// For people: what happened, whose fault it is, what to do.
    pub message: String,
    /// The part of the request that is at fault.
    pub param: Option<&'static str>,
    /// When a retry may help; `None` when it does not.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// An error that trying again does not mend.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            param: None,
            retry_after: None,
        }
    }

    /// The request is wrong at `param`.
    pub fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            param: Some(param),
            ..Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
        }
    }

    /// There is no such thing, or it is not for this caller; `what` is `task`, `file`, ...
    pub fn not_found(what: &str, id: &str) -> Self {
        let message = format!("no {what} '{id}' exists for this key, or its retention is over");
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The caller may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_allowed", message)
    }

    /// It cannot be done as things stand: it ended already, or somebody else has it.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// It may not be seen, or done, where it was asked for.
    pub fn residency(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
            "residency",
            message,
        )
    }

    /// It cannot be done now, and soon may be.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(RETRY_AFTER),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
        }
    }

    /// The request's body came too slowly, or there was no room for it, where that is what `error` is about.
    pub fn of_body(error: &(dyn Error + 'static)) -> Option<Self> {
        let gone = causes::each(error).find_map(|it| it.downcast_ref::<RequestBodyError>());
        let (status, code, message) = match gone? {
            RequestBodyError::BrokenOff => return None,
            RequestBodyError::Coding(error) => {
                let message = error.to_string();
                return Some(Self::new(
                    StatusCode::BAD_REQUEST,
                    "invalid_request",
                    message,
                ));
            }
            RequestBodyError::Paused => (
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "the request body did not arrive in time; send it faster or in smaller requests",
            ),
            RequestBodyError::NoRoom(ShareExceeded::Whole) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "body_memory_full",
                "request bodies hold the memory that this node has for them (limits.body_memory); \
                 try again soon, or ask another node",
            ),
            RequestBodyError::NoRoom(ShareExceeded::Share) => (
                StatusCode::TOO_MANY_REQUESTS,
                "body_share_full",
                "the requests of this client hold their share of the memory for request bodies \
                 (limits.body_memory); send fewer or smaller ones at a time",
            ),
        };
        Some(Self {
            retry_after: Some(RETRY_AFTER),
            ..Self::new(status, code, message)
        })
    }

    /// OpenAI's word for the kind of error.
    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Unavailable { .. } => Self::unavailable("task_store_unavailable", message),
            StoreError::OwnerAway { .. } => Self::unavailable("owner_away", message),
            StoreError::Damaged { .. } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "task_store_damaged",
                message,
            ),
            StoreError::Conflict { .. } => Self {
                param: Some("idempotency_key"),
                ..Self::conflict("idempotency_conflict", message)
            },
            StoreError::Residency { .. } => Self::residency(message),
            StoreError::Refused { .. } => {
                Self::new(StatusCode::FORBIDDEN, "owner_refused", message)
            }
            StoreError::TooLong { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", message)
            }
        }
    }
}

impl From<TaskRefused> for ApiError {
    fn from(refused: TaskRefused) -> Self {
        match refused {
            TaskRefused::Store(error) => error.into(),
            TaskRefused::Task(fault) if fault.code == "residency" => Self::residency(fault.message),
            TaskRefused::Task(fault) => {
                Self::new(StatusCode::BAD_REQUEST, "invalid_request", fault.message)
            }
        }
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        if let Some(slow) = Self::of_body(&rejection) {
            return slow;
        }
        let status = match rejection.status() {
            // What is no JSON and what is no request of this API are the same to a client.
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        Self::new(status, "invalid_request", rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            rejection.body_text(),
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error": {
            "message": self.message,
            "type": self.kind(),
            "param": self.param,
            "code": self.code,
        }});
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        let should_retry = match self.retry_after {
            Some(_) => "true",
            None => "false",
        };
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(should_retry));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::FromRequest as _;

    use grapevine_base::coding::CodingError;

    use super::*;

    #[test]
    fn stores_errors_say_whether_to_retry() {
        let away = StoreError::Unavailable {
            detail: "disk full".to_owned(),
        };
        let response = ApiError::from(away).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[SHOULD_RETRY], "true");
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let long = StoreError::TooLong {
            what: "the payload".to_owned(),
            max: 1,
        };
        let response = ApiError::from(long).into_response();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(response.headers()[SHOULD_RETRY], "false");
    }

    #[tokio::test]
    async fn body_that_paused_for_too_long_differs_from_one_that_is_wrong() {
        for (gone, wanted) in [
            (RequestBodyError::Paused, StatusCode::REQUEST_TIMEOUT),
            (RequestBodyError::BrokenOff, StatusCode::BAD_REQUEST),
            (
                RequestBodyError::Coding(CodingError::Truncated),
                StatusCode::BAD_REQUEST,
            ),
        ] {
            let frames = futures_util::stream::iter([Err::<bytes::Bytes, _>(gone)]);
            let body = axum::body::Body::from_stream(frames);
            let request = http::Request::post("/v1/tasks")
                .header(header::CONTENT_TYPE, "application/json")
                .body(body)
                .expect("a request");
            let read = Json::<serde_json::Value>::from_request(request, &()).await;
            let refused = ApiError::from(read.expect_err("a body that is not there"));
            assert_eq!(refused.status, wanted);
        }
    }
}
