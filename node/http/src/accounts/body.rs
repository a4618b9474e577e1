//! A good answer's body as it passes: at its end its call is settled by the tokens that it reported.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grapevine_base::clock::Clock;
use grapevine_base::exchange::{AnswerBody, CallFailure};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::rights::AccountRights;
use crate::ingress::usage::Usage;

/// The body, and what is to be settled. One that is dropped before its end is settled by what was reported until then.
pub(super) struct SettledBody {
    body: AnswerBody,
    usage: Usage,
    clock: Clock,
    rights: Option<AccountRights>,
}

impl SettledBody {
    /// The body of an answer with `headers` to a request for `path`.
    pub(super) fn new(
        body: AnswerBody,
        clock: Clock,
        rights: AccountRights,
        path: &str,
        headers: &HeaderMap,
    ) -> Self {
        Self {
            body,
            usage: Usage::of(path, headers),
            clock,
            rights: Some(rights),
        }
    }

    fn settle(&mut self) {
        if let Some(rights) = self.rights.take() {
            rights.answered(self.clock.now(), self.usage.tokens());
        }
    }
}

impl Body for SettledBody {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallFailure>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(piece) = frame.data_ref() {
                    self.usage.look(piece);
                }
            }
            Some(Err(_)) | None => self.settle(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for SettledBody {
    fn drop(&mut self) {
        self.settle();
    }
}
