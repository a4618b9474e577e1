//! How an upstream says that it failed.

use serde_json::Value;

use crate::dialect::Dialect;
use crate::rest::Rest;

/// A failure as an upstream reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedError {
    /// What kind.
    pub kind: ErrorKind,
    /// The kind in the words of the dialect that it came in, if it gave one.
    pub word: Option<String>,
    /// What happened, for a person.
    pub message: String,
    /// The provider's own code.
    pub code: Option<Value>,
    /// The field of the request that is at fault.
    pub parameter: Option<String>,
    /// The upstream's id of the request.
    pub request_id: Option<String>,
    /// What else its dialect said.
    pub rest: Rest,
}

/// The kinds of failures that a client treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong.
    InvalidRequest,
    /// The key is.
    Authentication,
    /// The account is empty.
    Billing,
    /// The key may not do this.
    Permission,
    /// There is no such model or thing.
    NotFound,
    /// The body is too large.
    RequestTooLarge,
    /// Too many requests or tokens.
    RateLimit,
    /// The account's allowance is used up; waiting does not help.
    Quota,
    /// The upstream failed.
    Internal,
    /// The upstream has too much to do.
    Overloaded,
    /// The answer took too long.
    Timeout,
}

impl ErrorKind {
    /// The kind that an HTTP status stands for.
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Billing,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::RequestTooLarge,
            429 => Self::RateLimit,
            503 | 529 => Self::Overloaded,
            400..=499 => Self::InvalidRequest,
            _ => Self::Internal,
        }
    }

    /// The HTTP status that stands for the kind.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Authentication => 401,
            Self::Billing => 402,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::RequestTooLarge => 413,
            Self::RateLimit | Self::Quota => 429,
            Self::Internal => 500,
            Self::Timeout => 504,
            Self::Overloaded => 529,
        }
    }
}

impl ReportedError {
    /// An error of which nothing but its kind and message is known.
    pub fn new(kind: ErrorKind, message: impl Into<String>, from: Dialect) -> Self {
        Self {
            kind,
            word: None,
            message: message.into(),
            code: None,
            parameter: None,
            request_id: None,
            rest: Rest::new(from, "error"),
        }
    }

    /// An error whose body cannot be read: the status is all there is.
    pub fn of_status(status: u16, from: Dialect) -> Self {
        let message =
            format!("the upstream answered {status} with a body that is no error of its dialect");
        Self::new(ErrorKind::of_status(status), message, from)
    }
}
