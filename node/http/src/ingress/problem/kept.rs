//! Requests about what one upstream keeps, and requests for one upstream alone.

use grapevine_core::route::Bar;
use http::StatusCode;

use super::super::sealed::RestoreError;
use super::{INVALID, Problem};

/// The code of an owner that is gone.
const OWNER_GONE: &str = "owner_gone";

impl Problem {
    /// Its word in `x-grapevine-reason`.
    pub(in crate::ingress) fn reason(&self) -> &'static str {
        match self.code {
            OWNER_GONE => "owner-gone",
            code => code,
        }
    }

    /// The upstream that made what the request names is not in the mesh any more.
    pub(super) fn owner_gone() -> Self {
        let message = "what the request names was not found: the upstream that made it is no longer part of this \
                       gateway; start a new conversation, or upload the file again";
        Self {
            param: Some("id"),
            ..Self::new(StatusCode::NOT_FOUND, OWNER_GONE, message)
        }
    }

    /// No candidate is the upstream that has to answer.
    pub(super) fn not_there(by: Bar) -> Self {
        match by {
            Bar::Owner => {
                let message = "the upstream that keeps what the request names does not serve this model; ask for the \
                               model that it was made with, or start a new conversation";
                Self {
                    param: Some("model"),
                    ..Self::new(StatusCode::NOT_FOUND, "model_not_at_owner", message)
                }
            }
            _ => {
                let message = "no upstream of that name can answer this request, or another one keeps what it names; \
                               leave out x-grapevine-upstream, or name one that serves the model";
                Self {
                    param: Some("x-grapevine-upstream"),
                    ..Self::new(StatusCode::NOT_FOUND, "upstream_not_found", message)
                }
            }
        }
    }

    /// The key may not choose this upstream.
    pub(in crate::ingress) fn upstream_not_allowed() -> Self {
        let message = "this API key may not choose this upstream; leave out x-grapevine-upstream, or ask the operator \
                       for it (keys.upstreams)";
        Self {
            param: Some("x-grapevine-upstream"),
            ..Self::new(StatusCode::FORBIDDEN, "upstream_not_allowed", message)
        }
    }
}

impl From<RestoreError> for Problem {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Unknown => {
                let message = "what the request names was not found: its id is of another gateway, or was changed";
                Self {
                    param: Some("id"),
                    ..Self::new(StatusCode::NOT_FOUND, "unknown_id", message)
                }
            }
            RestoreError::TooMany => {
                let message = "the request names more than 16384 things that upstreams keep; leave out the oldest items";
                Self::new(StatusCode::BAD_REQUEST, INVALID, message)
            }
            RestoreError::TwoOwners => {
                let message = "the request names what two upstreams made, and no upstream has both; leave out the \
                               items, files or ids of one of them";
                Self::new(StatusCode::BAD_REQUEST, INVALID, message)
            }
        }
    }
}
