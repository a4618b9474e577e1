//! An answer's body with its timeouts: the first byte, the pauses, the whole.
//!
//! The timer is armed only when the upstream has nothing ready, and not moved with every piece: when
//! it fires early it is set again. A busy stream so costs one reading of the clock for each piece.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use grapevine_core::outcome::{Outcome, Stage};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use grapevine_base::causes;
use grapevine_base::exchange::{AnswerBody, CallFailure};
use grapevine_base::websocket::upload::TunnelUpload;
use grapevine_config::checked::TimeoutConfig;

use super::http1::Http1Body;
use super::pool::Home;

/// The deadlines of one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// What the first byte may take, and which wait that is.
    first_byte: (Instant, Stage),
    deadline: Instant,
    total_at: Option<Instant>,
    idle: Option<Duration>,
}

impl Waits {
    /// The waits of a call that begins at `now`. Its `deadline` holds until the first byte: from
    /// there on the client is being served, and only the upstream's own limits count.
    pub(super) fn begin(
        now: Instant,
        is_stream: bool,
        deadline: Instant,
        timeouts: &TimeoutConfig,
    ) -> Self {
        let first_byte = match is_stream {
            true => (now + timeouts.first_byte, Stage::FirstByte),
            false => (now + timeouts.answer, Stage::Answer),
        };
        Self {
            first_byte,
            deadline,
            total_at: timeouts.total.map(|total| now + total),
            idle: timeouts.idle,
        }
    }

    /// The next wait to run out before the first byte, and what that means.
    pub(super) fn before_first_byte(&self) -> (Instant, Outcome) {
        let (due, stage) = self.first_byte;
        let own = earlier(Some((due, Outcome::TimedOut(stage))), self.total());
        let deadline = (self.deadline, Outcome::DeadlinePassed);
        own.filter(|own| own.0 < deadline.0).unwrap_or(deadline)
    }

    /// The same after a piece that came at `piece_at`; `None` where nothing limits the rest.
    fn after(&self, piece_at: Instant) -> Option<(Instant, Outcome)> {
        let idle = self
            .idle
            .map(|idle| (piece_at + idle, Outcome::TimedOut(Stage::Idle)));
        earlier(idle, self.total())
    }

    fn total(&self) -> Option<(Instant, Outcome)> {
        let due = self.total_at?;
        Some((due, Outcome::TimedOut(Stage::Total)))
    }
}

/// The earlier of two waits, the first where they are equal.
fn earlier(
    a: Option<(Instant, Outcome)>,
    b: Option<(Instant, Outcome)>,
) -> Option<(Instant, Outcome)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// Both directions of an open tunnel, which has no timeouts of an answer's.
pub(super) struct UpstreamTunnel {
    pub(super) body: AnswerBody,
    pub(super) upload: TunnelUpload,
}

/// The body as it comes from its connection.
#[derive(Debug)]
pub(super) enum Incoming {
    Http1(Http1Body),
    Http2(hyper::body::Incoming),
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Http2(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// An upstream's body. After a failure it has ended; dropping it cancels the call.
#[derive(Debug)]
pub(super) struct TimedBody {
    /// `None` once it failed.
    incoming: Option<Incoming>,
    waits: Waits,
    /// When the last piece arrived; `None` before the first.
    piece_at: Option<Instant>,
    /// `None` until the upstream was slower than its reader for the first time.
    timer: Option<Pin<Box<Sleep>>>,
    /// Where the connection goes that it comes on, once it has ended.
    home: Option<Home>,
}

impl TimedBody {
    pub(super) fn new(incoming: Incoming, waits: Waits, home: Option<Home>) -> Self {
        let mut body = Self {
            incoming: Some(incoming),
            waits,
            piece_at: None,
            timer: None,
            home,
        };
        body.release_at_end();
        body
    }

    /// Gives the connection back where nothing more comes.
    fn release_at_end(&mut self) {
        if self.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        let Some(Incoming::Http1(body)) = &mut self.incoming else {
            return;
        };
        if let (Some(home), Some(connection)) = (self.home.take(), body.take_connection()) {
            home.give_back(connection);
        }
    }

    /// Ready with the outcome once a wait has run out.
    fn poll_waits(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        let wait = match self.piece_at {
            Some(piece_at) => self.waits.after(piece_at),
            None => Some(self.waits.before_first_byte()),
        };
        let Some((due, outcome)) = wait else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        loop {
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if timer.deadline() >= due {
                return Poll::Ready(outcome);
            }
            timer.as_mut().reset(due);
        }
    }

    fn fail(&mut self, outcome: Outcome, detail: impl Into<String>) -> CallFailure {
        self.incoming = None;
        self.home = None;
        CallFailure::new(outcome, detail)
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallFailure>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        match Pin::new(incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.piece_at = Some(Instant::now());
                self.release_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let outcome = match self.piece_at {
                    Some(_) => Outcome::BrokenOff,
                    None => Outcome::Reset,
                };
                Poll::Ready(Some(Err(self.fail(outcome, causes::joined(&*error)))))
            }
            Poll::Ready(None) => {
                self.release();
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_waits(context).map(|outcome| {
                Some(Err(
                    self.fail(outcome, "the answer's body did not arrive in time")
                ))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}
