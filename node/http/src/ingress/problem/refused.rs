//! Requests that are refused for their content or for its form.

use grapevine_base::asked::AskedError;
use grapevine_base::coding::CodingError;
use grapevine_base::scan::ScanError;
use grapevine_core::forwarding::NotForwarded;
use grapevine_observe::excerpt::Excerpt;
use http::StatusCode;

use super::{INVALID, Problem};

impl From<AskedError> for Problem {
    fn from(error: AskedError) -> Self {
        Self::unreadable(&error)
    }
}

impl From<CodingError> for Problem {
    fn from(error: CodingError) -> Self {
        let (status, code) = match error {
            CodingError::Unknown(_) | CodingError::Layered => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding")
            }
            CodingError::TooLarge { max } => return Self::body_too_large(max),
            CodingError::Corrupt(_) | CodingError::Truncated => (StatusCode::BAD_REQUEST, INVALID),
        };
        Self {
            param: Some("content-encoding"),
            ..Self::new(status, code, error.to_string())
        }
    }
}

impl Problem {
    /// The body cannot be read with certainty.
    fn unreadable(error: &AskedError) -> Self {
        let (status, code, param) = match error {
            AskedError::Unsupported => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                Some("content-type"),
            ),
            AskedError::Media(_) => (StatusCode::BAD_REQUEST, INVALID, Some("content-type")),
            AskedError::Value { key, .. }
            | AskedError::Scan(ScanError::Repeated { key } | ScanError::Lookalike { key }) => {
                (StatusCode::BAD_REQUEST, INVALID, Some(*key))
            }
            AskedError::NoModel => (StatusCode::BAD_REQUEST, INVALID, Some("model")),
            AskedError::Scan(_) => (StatusCode::BAD_REQUEST, INVALID, None),
        };
        Self {
            param,
            ..Self::new(status, code, error.to_string())
        }
    }

    /// The request may not be sent to an upstream.
    pub(in crate::ingress) fn not_forwarded(path: &str, refusal: &NotForwarded) -> Self {
        match refusal {
            NotForwarded::UnknownPath => Self::unknown_path(path),
            NotForwarded::Method(allowed) => Self::method_not_allowed(*allowed),
            NotForwarded::NotPlain(_)
            | NotForwarded::Query(_)
            | NotForwarded::NoWebSocket
            | NotForwarded::Model => Self::invalid(None, refusal.to_string()),
        }
    }

    fn unknown_path(path: &str) -> Self {
        // Any client can make up paths, and long ones.
        let path = Excerpt::of(path);
        let message = format!(
            "nothing is served at '{path}'; clients may ask for the model API below /v1/, and for what the \
             operator of this node lists in 'forward'"
        );
        Self::new(StatusCode::NOT_FOUND, "unknown_path", message)
    }

    /// Rules about models apply to this client, and the request names none.
    pub(in crate::ingress) fn fence_needs_model() -> Self {
        let message = "the request names no model, and data residency rules about models concern it; set 'model'";
        Self::invalid(Some("model"), message)
    }
}
