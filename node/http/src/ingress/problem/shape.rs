//! Errors in the shape of the API that the client speaks.

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
        // With those of paths below that do not exist. Anthropic's models at Vertex AI have errors of their own.
        let below = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        if below(&["/v1/messages", "/v1/projects/"]) {
            Self::Anthropic
        } else if below(&["/v1beta/"]) {
            Self::Google
        } else if below(&["/model/"]) {
            Self::Amazon
        } else {
            Self::OpenAi
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
                "error": {
                    "type": self.anthropic_type(),
                    "message": self.message,
                    "code": self.code,
                },
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

    /// The name by which Amazon's clients choose the class of an error: they find it in a header and nowhere else. The
    /// names are those of Bedrock's reference of Converse.
    pub(in crate::ingress) fn amazon_name(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "UnrecognizedClientException",
            403 | 451 => "AccessDeniedException",
            404 => "ResourceNotFoundException",
            408 | 504 => "ModelTimeoutException",
            402 => "ServiceQuotaExceededException",
            429 => "ThrottlingException",
            400..=499 => "ValidationException",
            503 => "ServiceUnavailableException",
            _ => "InternalServerException",
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
            402 | 429 => "RESOURCE_EXHAUSTED",
            400..=499 => "INVALID_ARGUMENT",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            _ => "INTERNAL",
        }
    }

    fn openai_type(&self) -> &'static str {
        match self.status.as_u16() {
            402 => "insufficient_quota",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }

    fn anthropic_type(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            402 => "billing_error",
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

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn shape_is_that_of_the_path_and_of_unknown_ones_below_it() {
        for (path, shape) in [
            ("/v1/chat/completions", Shape::OpenAi),
            ("/v1/messages/count_tokens", Shape::Anthropic),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/c:rawPredict",
                Shape::Anthropic,
            ),
            ("/v1beta/models/g:other", Shape::Google),
            ("/model/a/converse", Shape::Amazon),
            ("/model/a/other", Shape::Amazon),
        ] {
            assert_eq!(Shape::of(path), shape, "{path}");
        }
    }

    #[test]
    fn code_is_in_the_body_of_every_shape() {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "not_translatable", "why");
        for (shape, place) in [
            (Shape::OpenAi, "/error/code"),
            (Shape::Anthropic, "/error/code"),
            (Shape::Google, "/error/details/0/reason"),
            (Shape::Amazon, "/code"),
        ] {
            let body = problem.to_json(shape, "r");
            let code = body.pointer(place).and_then(Value::as_str);
            assert_eq!(code, Some("not_translatable"), "{shape:?}");
        }
    }
}
