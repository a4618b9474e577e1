//! Errors as values, and the five shapes in which providers write them.

use std::borrow::Cow;

use serde_json::{Value, json};

/// How a provider writes an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mock) enum Shape {
    /// `{"error": {"message", "type", "param", "code"}}`.
    OpenAi,
    /// Azure's gateway, in front of the models: `{"error": {"code", "message"}}`.
    AzureGateway,
    /// `{"type": "error", "error": {"type", "message"}, "request_id"}`.
    Anthropic,
    /// `{"error": {"code": 400, "message", "status"}}`.
    Google,
    /// Google's shape inside an array, as its endpoint for OpenAI's clients has it.
    GoogleCompatible,
    /// `{"message"}`, with the kind in `x-amzn-errortype`.
    Aws,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mock) struct Refusal {
    pub(in crate::mock) status: u16,
    pub(super) message: String,
    /// The name of the error where the provider has one: OpenAI's code, Google's status, the exception of AWS.
    pub(super) code: Option<Cow<'static, str>>,
    /// The parameter at fault, where the shape names one.
    pub(super) param: Option<String>,
    /// Further fields of Google's `details`.
    pub(super) details: Option<Value>,
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            code: None,
            param: None,
            details: None,
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    pub(super) fn code(self, code: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Some(code.into()),
            ..self
        }
    }

    pub(super) fn param(self, param: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..self
        }
    }

    pub(super) fn details(self, details: Value) -> Self {
        Self {
            details: Some(details),
            ..self
        }
    }

    /// An error that a knob asked for.
    pub(in crate::mock) fn injected(status: u16, shape: Shape) -> Self {
        let message = match status {
            401 | 403 => "The credentials are refused",
            429 => "Rate limit reached for requests",
            503 | 529 => "The server is overloaded",
            500..=599 => "The server had an error while processing your request",
            _ => "The request was refused",
        };
        let refusal = Self::new(status, format!("{message} (injected by the mock)"));
        match (shape, status) {
            (Shape::OpenAi, 429) => refusal.code("rate_limit_exceeded"),
            (Shape::OpenAi, 401) => refusal.code("invalid_api_key"),
            _ => refusal,
        }
    }

    /// There are no token endpoints without a provider.
    pub(in crate::mock) fn no_tokens() -> Self {
        Self::new(
            404,
            "the token endpoints are those of a mock with --provider",
        )
    }

    /// The name of the exception, for `x-amzn-errortype`.
    pub(in crate::mock) fn aws_type(&self) -> Cow<'static, str> {
        self.code
            .clone()
            .unwrap_or(Cow::Borrowed(match self.status {
                401 | 403 => "AccessDeniedException",
                404 => "ResourceNotFoundException",
                408 => "ModelTimeoutException",
                429 => "ThrottlingException",
                503 => "ServiceUnavailableException",
                500..=599 => "InternalServerException",
                _ => "ValidationException",
            }))
    }

    /// The body in `shape`.
    pub(in crate::mock) fn body(&self, shape: Shape, request_id: &str) -> Value {
        match shape {
            Shape::OpenAi => json!({"error": {
                "message": self.message,
                "type": self.openai_type(),
                "param": self.param,
                "code": self.code,
            }}),
            Shape::AzureGateway => {
                let status = self.status.to_string();
                let code = self.code.as_deref().unwrap_or(&status);
                json!({"error": {"code": code, "message": self.message}})
            }
            Shape::Anthropic => json!({
                "type": "error",
                "error": {"type": self.anthropic_type(), "message": self.message},
                "request_id": request_id,
            }),
            Shape::Google => self.google(),
            Shape::GoogleCompatible => json!([self.google()]),
            Shape::Aws => json!({"message": self.message}),
        }
    }

    fn google(&self) -> Value {
        let status = self.code.as_deref().unwrap_or(match self.status {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            500..=599 => "INTERNAL",
            _ => "INVALID_ARGUMENT",
        });
        let mut error = json!({"code": self.status, "message": self.message, "status": status});
        if let Some(details) = &self.details {
            error["details"] = details.clone();
        }
        json!({"error": error})
    }

    fn openai_type(&self) -> &'static str {
        match self.status {
            403 => "permission_error",
            429 => "requests",
            500..=599 => "server_error",
            _ => "invalid_request_error",
        }
    }

    pub(super) fn anthropic_type(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            504 => "timeout_error",
            529 => "overloaded_error",
            500..=599 => "api_error",
            _ => "invalid_request_error",
        }
    }
}
