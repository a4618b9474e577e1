//! The answer of another part of this node, streamed to the client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use grapevine_base::exchange::AnswerBody;
use http_body::{Body, Frame};

use super::broken::BrokenOff;
use super::track::Track;

/// The body of background work's answer, and the record that ends with it.
#[derive(Debug)]
pub(super) struct Handed {
    body: AnswerBody,
    /// Remaining bytes, where the head has a length: the body is not polled after the last of them.
    left: Option<u64>,
    track: Track,
}

impl Handed {
    /// `None`, and the record is written, where there is no body.
    pub(super) fn start(
        body: AnswerBody,
        left: Option<u64>,
        mut track: Track,
    ) -> Option<Box<Self>> {
        if body.is_end_stream() || left == Some(0) {
            track.finish_answer();
            return None;
        }
        Some(Box::new(Self { body, left, track }))
    }

    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(frame) => frame,
        };
        Poll::Ready(match frame {
            None => {
                self.track.finish_answer();
                None
            }
            Some(Err(failure)) => {
                let word = failure.outcome.as_str();
                self.track.finish_broken(failure, word);
                Some(Err(BrokenOff))
            }
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.left = self.left.map(|left| left.saturating_sub(length));
                if self.left == Some(0) || self.body.is_end_stream() {
                    self.track.finish_answer();
                }
                Some(Ok(frame))
            }
        })
    }
}
