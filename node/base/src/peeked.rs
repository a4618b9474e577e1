//! An answer's body of which a part was read and put back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::exchange::{AnswerBody, CallFailure};

/// A body whose beginning was read before.
#[derive(Default)]
pub struct Peeked {
    /// What was read, to be read again.
    pub frames: VecDeque<Frame<Bytes>>,
    /// How it broke off, where it did.
    pub failure: Option<CallFailure>,
    /// What was not read; `None` where it had ended.
    pub rest: Option<AnswerBody>,
}

impl Body for Peeked {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallFailure>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_over = self.rest.as_ref().is_none_or(Body::is_end_stream);
        self.frames.is_empty() && self.failure.is_none() && is_over
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
