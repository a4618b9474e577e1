//! Errors in the shape of the API that the client speaks.

use grapevine_core::dialect::{Dialect, RequestDialect};
use serde_json::{Value, json};

use super::Problem;

/// The API whose error shape a path uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingress) enum Shape {
    OpenAi,
    Anthropic,
    Google,
    Amazon,
}

impl Shape {
    /// The shape for `path`.
    pub(in crate::ingress) fn of(path: &str) -> Self {
        if path.starts_with("/v1/messages") {
            return Self::Anthropic;
        }
        match RequestDialect::of_path(path).map(|asked| asked.dialect) {
            Some(Dialect::Gemini) => Self::Google,
            Some(Dialect::Converse) => Self::Amazon,
            _ => Self::OpenAi,
        }
    }
}

impl Problem {
    /// The error as the body of an answer or the data of an event.
    pub(in crate::ingress) fn to_json(&self, shape: Shape, request_id: &str) -> Value {
        match shape {
            Shape::OpenAi => json!({"error": {
                "message": self.message,
                "type": self.openai_type(),
                "param": self.param,
                "code": self.code,
            }}),
            Shape::Anthropic => json!({
                "type": "error",
                "error": {"type": self.anthropic_type(), "message": self.message},
                "request_id": request_id,
            }),
            Shape::Google => json!({"error": {
                "code": self.status.as_u16(),
                "message": self.message,
                "status": self.google_status(),
                "details": [{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": self.code,
                    "domain": "grapevine",
                }],
            }}),
            Shape::Amazon => json!({"message": self.message, "code": self.code}),
        }
    }

    /// The error as an exception of Converse's streams: its name, and what it says. What broke off by itself is an
    /// error of the model's stream, after which Amazon's own clients ask again.
    pub(in crate::ingress) fn to_exception(&self) -> (&'static str, Value) {
        let message = &self.message;
        match self.status.as_u16() {
            429 => ("throttlingException", json!({"message": message})),
            503 => ("serviceUnavailableException", json!({"message": message})),
            status => (
                "modelStreamErrorException",
                json!({"message": message, "originalStatusCode": status, "originalMessage": self.code}),
            ),
        }
    }

    /// The names of `google.rpc.Code`.
    fn google_status(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            400..=499 => "INVALID_ARGUMENT",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            _ => "INTERNAL",
        }
    }

    fn openai_type(&self) -> &'static str {
        match self.status.as_u16() {
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }

    fn anthropic_type(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            503 => "overloaded_error",
            504 => "timeout_error",
            _ => "api_error",
        }
    }
}
