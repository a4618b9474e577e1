//! Whether a link's silence ends an answer: before the client has any of it, and not after.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use grapevine_base::exchange::CallFailure;
use grapevine_core::ids::NodeName;
use grapevine_core::outcome::Outcome;

use super::link::PeerLink;

/// Whether the link's silence matters to an answer's body.
pub(super) enum Silence {
    /// It will, if nothing of the body is there when it is first polled.
    Unwatched,
    /// Nothing of the body was received: the request may still go elsewhere.
    Watched(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The client has some of it: the answer continues when the peer does.
    Committed,
}

impl Silence {
    /// Ready when `link` falls silent before anything of the body came.
    pub(super) fn poll(&mut self, link: &Arc<PeerLink>, context: &mut Context<'_>) -> Poll<()> {
        if matches!(self, Self::Unwatched) {
            let link = Arc::clone(link);
            *self = Self::Watched(Box::pin(async move { link.fell_silent().await }));
        }
        let Self::Watched(fell_silent) = self else {
            return Poll::Pending;
        };
        ready!(fell_silent.as_mut().poll(context));
        Poll::Ready(())
    }
}

/// The failure of a call whose link fell silent before anything of the answer came.
pub(super) fn silent(peer: &NodeName) -> CallFailure {
    let detail = format!("link to {peer} fell silent before the answer");
    CallFailure::new(Outcome::PeerLost, detail)
}

impl std::fmt::Debug for Silence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Unwatched => "Unwatched",
            Self::Watched(_) => "Watched",
            Self::Committed => "Committed",
        })
    }
}
