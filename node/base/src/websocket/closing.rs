//! What an upstream sends through a tunnel, as far as it goes: at an end that is not the upstream's own, a Close frame follows.
//!
//! Bytes pass as they are. Where the node must end the tunnel (it stops, or nobody sends anything), or the upstream breaks off,
//! a Close frame takes the place of what would have come next, so that a client reads why and whether to come again. It can stand
//! between two frames only: inside of one the client gets the end of the connection and nothing else.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use grapevine_core::outcome::Outcome;
use http_body::{Body, Frame};

use super::frames::{FrameHead, FramePart, FrameReader, Opcode};
use super::own::{CloseCode, close_frame};
use crate::exchange::{AnswerBody, CallFailure};

/// Why the node ends a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelEnd {
    /// The code that the client reads.
    pub code: CloseCode,
    /// The same for people.
    pub reason: &'static str,
}

impl TunnelEnd {
    /// The node stops.
    pub const RESTART: Self = Self {
        code: CloseCode::Restart,
        reason: "this node is shutting down; connect again",
    };
    /// Nothing has passed for too long.
    pub const SILENT: Self = Self {
        code: CloseCode::GoingAway,
        reason: "nothing was sent for too long (limits.websocket_idle); send pings to keep it open",
    };
    const UPSTREAM_LOST: Self = Self {
        code: CloseCode::Failed,
        reason: "the upstream, or the way to it, broke off",
    };
}

/// Says when the node ends a tunnel, and why.
pub type Ending = Pin<Box<dyn Future<Output = TunnelEnd> + Send>>;

/// The body of a tunnel's answer; see the module.
pub struct ClosingBody {
    body: AnswerBody,
    frames: FrameReader,
    /// Whether where frames end is still known.
    is_readable: bool,
    /// The upstream sent its Close frame, or this node did.
    has_closed: bool,
    /// Whether the client sends nothing more: an upstream then ends as it likes.
    is_left: Arc<AtomicBool>,
    /// `None` once it is due.
    ending: Option<Ending>,
    due: Option<TunnelEnd>,
    /// What comes after a last frame of our own: a failure, or the end.
    last: Option<Option<CallFailure>>,
}

impl std::fmt::Debug for ClosingBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClosingBody")
            .field("has_closed", &self.has_closed)
            .finish_non_exhaustive()
    }
}

impl ClosingBody {
    /// What `body` brings, until `ending`. `is_left` is set once the client has ended its own direction.
    pub fn new(body: AnswerBody, ending: Ending, is_left: Arc<AtomicBool>) -> Self {
        Self {
            body,
            frames: FrameReader::default(),
            is_readable: true,
            has_closed: false,
            is_left,
            ending: Some(ending),
            due: None,
            last: None,
        }
    }

    /// Follows `data`. Returns where a frame of our own may stand in it, if one is due.
    fn follow(&mut self, data: &[u8]) -> Option<usize> {
        let mut offset = 0;
        while self.is_readable && offset < data.len() {
            match self.frames.next(&data[offset..]) {
                Err(_) => self.is_readable = false,
                Ok((taken, part)) => {
                    offset += taken;
                    self.has_closed |= matches!(
                        part,
                        Some(FramePart::Head(FrameHead {
                            opcode: Opcode::Close,
                            ..
                        }))
                    );
                    if self.due.is_some() && self.may_close() {
                        return Some(offset);
                    }
                }
            }
        }
        None
    }

    /// Whether a Close frame has passed, the upstream's or this node's.
    pub const fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Why the node has ended it, or is about to.
    pub const fn end_of_the_node(&self) -> Option<TunnelEnd> {
        self.due
    }

    /// Whether a Close frame may come next.
    const fn may_close(&self) -> bool {
        self.is_readable && !self.has_closed && self.frames.is_between()
    }

    fn close(&mut self, end: TunnelEnd, then: Option<CallFailure>) -> Bytes {
        self.has_closed = true;
        self.last = Some(then);
        close_frame(end.code, end.reason)
    }

    /// The upstream's own end, or a failure.
    fn over(&mut self, failure: Option<CallFailure>) -> Option<Result<Frame<Bytes>, CallFailure>> {
        let is_left = self.is_left.load(Ordering::Acquire);
        let failure = failure.or_else(|| {
            let detail = "the upstream ended the connection without a Close frame";
            let is_abrupt = !self.has_closed && !is_left;
            is_abrupt.then(|| CallFailure::new(Outcome::BrokenOff, detail))
        });
        match failure {
            Some(failure) if self.may_close() => {
                let frame = self.close(TunnelEnd::UPSTREAM_LOST, Some(failure));
                Some(Ok(Frame::data(frame)))
            }
            failure => {
                self.last = Some(None);
                failure.map(Err)
            }
        }
    }
}

impl Body for ClosingBody {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallFailure>>> {
        let this = &mut *self;
        if let Some(last) = &mut this.last {
            return Poll::Ready(last.take().map(Err));
        }
        if let Some(ending) = &mut this.ending
            && let Poll::Ready(end) = ending.as_mut().poll(context)
        {
            (this.due, this.ending) = (Some(end), None);
        }
        if let Some(end) = this.due
            && this.may_close()
        {
            return Poll::Ready(Some(Ok(Frame::data(this.close(end, None)))));
        }
        loop {
            let next = std::task::ready!(Pin::new(&mut this.body).poll_frame(context));
            let data = match next.map(|frame| frame.map(Frame::into_data)) {
                None => return Poll::Ready(this.over(None)),
                Some(Err(failure)) => return Poll::Ready(this.over(Some(failure))),
                Some(Ok(Ok(data))) if !data.is_empty() => data,
                Some(Ok(_)) => continue,
            };
            let passed = match this.follow(&data) {
                Some(at) => data.slice(..at),
                None => data,
            };
            return Poll::Ready(Some(Ok(Frame::data(passed))));
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.last, Some(None))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use http_body_util::{BodyExt, StreamBody};

    use super::super::own::text_frame;
    use super::*;

    type Piece = Result<Frame<Bytes>, CallFailure>;

    fn body(pieces: Vec<Piece>) -> AnswerBody {
        StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync()
    }

    async fn passed(
        pieces: Vec<Piece>,
        ending: Ending,
        is_left: bool,
    ) -> (Vec<u8>, Option<Outcome>) {
        let is_left = Arc::new(AtomicBool::new(is_left));
        let mut body = ClosingBody::new(body(pieces), ending, is_left);
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend(frame.into_data().expect("data")),
                Err(failure) => return (bytes, Some(failure.outcome)),
            }
        }
        assert!(body.frame().await.is_none(), "it stays over");
        (bytes, None)
    }

    fn data(bytes: &[u8]) -> Piece {
        Ok(Frame::data(Bytes::copy_from_slice(bytes)))
    }

    fn never() -> Ending {
        Box::pin(pending())
    }

    fn at_once() -> Ending {
        Box::pin(ready(TunnelEnd::RESTART))
    }

    #[tokio::test]
    async fn end_of_the_node_waits_for_the_end_of_a_frame() {
        let text = text_frame("hello");
        let restart = close_frame(CloseCode::Restart, TunnelEnd::RESTART.reason);
        assert_eq!(
            passed(vec![data(&text)], at_once(), false).await,
            (restart.to_vec(), None)
        );
        let mut body = ClosingBody::new(
            body(vec![
                data(&text[..3]),
                data(&[&text[3..], &text[..]].concat()),
            ]),
            never(),
            Arc::default(),
        );
        let first = body.frame().await.expect("a piece").expect("no failure");
        assert_eq!(first.into_data().expect("data"), text[..3]);
        body.ending = Some(at_once());
        let rest = body.frame().await.expect("a piece").expect("no failure");
        assert_eq!(rest.into_data().expect("data"), text[3..]);
        let close = body.frame().await.expect("a piece").expect("no failure");
        assert_eq!(close.into_data().expect("data"), restart);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn upstream_that_breaks_off_becomes_a_close_frame_where_one_may_stand() {
        let text = text_frame("hello");
        let lost = close_frame(CloseCode::Failed, TunnelEnd::UPSTREAM_LOST.reason);
        let broke = || Err(CallFailure::new(Outcome::BrokenOff, "reset"));
        for pieces in [vec![data(&text), broke()], vec![data(&text)]] {
            let (bytes, outcome) = passed(pieces, never(), false).await;
            assert_eq!(bytes, [&text[..], &lost[..]].concat());
            assert_eq!(outcome, Some(Outcome::BrokenOff));
        }
        let within = passed(vec![data(&text[..4]), broke()], never(), false).await;
        assert_eq!(within, (text[..4].to_vec(), Some(Outcome::BrokenOff)));
        let no_frames = passed(vec![data(b"\xff\xff\xff\xff")], never(), false).await;
        let outcome = Some(Outcome::BrokenOff);
        assert_eq!(no_frames, (b"\xff\xff\xff\xff".to_vec(), outcome));
    }

    #[tokio::test]
    async fn end_after_a_close_frame_or_after_the_clients_own_is_a_clean_one() {
        let close = close_frame(CloseCode::GoingAway, "");
        let closed = passed(vec![data(&close)], at_once(), false).await;
        assert_ne!(closed.0, close, "the node's own came first");
        let closed = passed(vec![data(&close)], never(), false).await;
        assert_eq!(closed, (close.to_vec(), None));
        assert_eq!(passed(vec![], never(), true).await, (vec![], None));
    }
}
