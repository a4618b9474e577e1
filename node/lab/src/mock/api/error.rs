//! Errors in the shape of the API that was called.

use http::Method;
use serde_json::json;

/// The API that a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mock) enum Dialect {
    OpenAi,
    Anthropic,
}

impl Dialect {
    pub(in crate::mock) fn of(path: &str) -> Self {
        if path.starts_with("/v1/messages") {
            Self::Anthropic
        } else {
            Self::OpenAi
        }
    }

    /// The response header that names the request.
    pub(in crate::mock) fn request_id_header(self) -> &'static str {
        match self {
            Self::OpenAi => "x-request-id",
            Self::Anthropic => "request-id",
        }
    }
}

/// An error that the API answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mock) struct ApiError {
    pub(in crate::mock) status: u16,
    message: String,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl ApiError {
    /// The client's request is wrong.
    pub(super) fn invalid(message: impl Into<String>, param: Option<&'static str>) -> Self {
        Self {
            status: 400,
            message: message.into(),
            param,
            code: None,
        }
    }

    pub(super) fn missing(param: &'static str) -> Self {
        Self {
            code: Some("missing_required_parameter"),
            ..Self::invalid(format!("{param}: Field required"), Some(param))
        }
    }

    pub(super) fn unknown_model(model: &str) -> Self {
        Self {
            status: 404,
            message: format!("The model `{model}` does not exist or you do not have access to it."),
            param: Some("model"),
            code: Some("model_not_found"),
        }
    }

    pub(super) fn unknown_url(method: &Method, path: &str) -> Self {
        Self {
            status: 404,
            message: format!("Unknown request URL: {method} {path}"),
            param: None,
            code: Some("unknown_url"),
        }
    }

    pub(super) fn wrong_method(method: &Method, path: &str) -> Self {
        Self {
            status: 405,
            message: format!("{method} is not allowed on {path}"),
            param: None,
            code: Some("method_not_supported"),
        }
    }

    pub(in crate::mock) fn bad_key() -> Self {
        Self {
            status: 401,
            message: "Incorrect API key provided".to_owned(),
            param: None,
            code: Some("invalid_api_key"),
        }
    }

    pub(in crate::mock) fn too_large(limit: usize) -> Self {
        Self {
            status: 413,
            message: format!("The request body is larger than {limit} bytes"),
            param: None,
            code: Some("request_too_large"),
        }
    }

    pub(in crate::mock) fn slow_body() -> Self {
        Self {
            status: 408,
            message: "The request body took too long to arrive".to_owned(),
            param: None,
            code: None,
        }
    }

    /// An error that a knob asked for, in the words an API would use.
    pub(in crate::mock) fn injected(status: u16) -> Self {
        let (message, code) = match status {
            401 => ("Incorrect API key provided", Some("invalid_api_key")),
            403 => ("This key may not use this model", None),
            429 => (
                "Rate limit reached for requests",
                Some("rate_limit_exceeded"),
            ),
            503 | 529 => ("The server is overloaded", None),
            408 | 504 => ("The request timed out", None),
            500..=599 => (
                "The server had an error while processing your request",
                None,
            ),
            _ => ("The request was refused", None),
        };
        Self {
            status,
            message: format!("{message} (injected by the mock)"),
            param: None,
            code,
        }
    }

    /// The body of the error.
    pub(in crate::mock) fn body(&self, dialect: Dialect, request_id: &str) -> String {
        match dialect {
            Dialect::OpenAi => json!({"error": {
                "message": self.message,
                "type": self.openai_type(),
                "param": self.param,
                "code": self.code,
            }}),
            Dialect::Anthropic => json!({
                "type": "error",
                "error": {"type": self.anthropic_type(), "message": self.message},
                "request_id": request_id,
            }),
        }
        .to_string()
    }

    fn openai_type(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "requests",
            500..=599 => "server_error",
            _ => "invalid_request_error",
        }
    }

    fn anthropic_type(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            408 | 504 => "timeout_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            500..=599 => "api_error",
            _ => "invalid_request_error",
        }
    }
}
