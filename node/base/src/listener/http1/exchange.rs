//! One request and its answer, as their connection sees them.

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::{Pending, Terms};
use super::upload::{Step, Upload};
use crate::http1::fill;

/// What is known of the request in flight.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) terms: Terms,
    pub(super) is_kept: bool,
    /// `None` once all of the body was read, or it broke.
    pub(super) upload: Option<Upload>,
    /// Whether the end of the connection would go unnoticed: the request's body broke, and all that is left is to
    /// answer.
    pub(super) is_cut: bool,
    /// Whether its client waits to be told that another protocol begins: until then it has nothing to send.
    pub(super) is_offered: bool,
}

impl Exchange {
    /// Of what is no request.
    pub(super) const fn refused() -> Self {
        Self {
            terms: Terms {
                is_head: false,
                is_http10: false,
            },
            is_kept: false,
            upload: None,
            is_cut: true,
            is_offered: false,
        }
    }

    /// Whether an answer of `status` takes up what the client offered: from then on it may send.
    pub(super) fn takes_up(&mut self, status: StatusCode) -> bool {
        let is_taken_up = self.is_offered && status == StatusCode::SWITCHING_PROTOCOLS;
        self.is_offered &= !is_taken_up;
        is_taken_up
    }

    /// Reads what is wanted of the request's body; behind it, notices when the client goes away. Ready where somebody
    /// has something new to read.
    pub(super) fn poll_request<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
        incoming: &mut BytesMut,
        pending: &mut Pending,
    ) -> io::Result<Poll<()>> {
        let is_raw = self.upload.as_ref().is_some_and(Upload::is_raw);
        let Some(upload) = self.upload.as_mut().filter(|_| !self.is_offered) else {
            if self.is_cut || !incoming.is_empty() {
                return Ok(Poll::Pending);
            }
            return match fill(stream, context, incoming) {
                Poll::Ready(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(Err(error)) => Err(error),
                // The next request is read in its turn.
                Poll::Ready(Ok(_)) | Poll::Pending => Ok(Poll::Pending),
            };
        };
        loop {
            if let Poll::Ready(Err(error)) = pending.poll_write(context, stream) {
                return Err(error);
            }
            match upload.poll_step(context, stream, incoming) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Step::Continue) => {
                    pending.push_text(b"HTTP/1.1 100 Continue\r\n\r\n");
                    continue;
                }
                Poll::Ready(Step::Handed) => {}
                Poll::Ready(Step::Over) => {
                    self.upload = None;
                    // The other direction of a tunnel goes on.
                    self.is_cut |= is_raw;
                }
                Poll::Ready(Step::Broken) => {
                    self.upload = None;
                    (self.is_kept, self.is_cut) = (false, true);
                }
            }
            return Ok(Poll::Ready(()));
        }
    }
}
