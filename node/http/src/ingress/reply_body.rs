//! The body of an answer, whatever its source.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::broken::BrokenOff;
use super::handed::Handed;
use super::outgoing::{Begun, Outgoing};
use super::tunnel::Tunnel;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum ReplyBody {
    /// All of it at once.
    Whole(Bytes),
    /// Streamed from an upstream.
    Flowing(Box<Outgoing>),
    /// Streamed from background work.
    Handed(Box<Handed>),
    /// Both ways, once the client was answered.
    Tunnel(Box<Tunnel>),
}

impl ReplyBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }

    pub(super) fn empty() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Flowing(outgoing) => outgoing.poll_frame(context),
            Self::Handed(handed) => handed.poll_frame(context),
            Self::Tunnel(tunnel) => tunnel.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Flowing(_) | Self::Handed(_) | Self::Tunnel(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Flowing(_) | Self::Handed(_) | Self::Tunnel(_) => SizeHint::default(),
        }
    }
}

impl From<Begun> for ReplyBody {
    fn from(begun: Begun) -> Self {
        match begun {
            Begun::Whole(bytes) => Self::Whole(bytes),
            Begun::Flowing(outgoing) => Self::Flowing(outgoing),
        }
    }
}
