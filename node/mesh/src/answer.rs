//! The body of a peer's answer, as it comes over the call's stream.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use grapevine_base::exchange::CallFailure;
use grapevine_core::ids::NodeName;
use grapevine_core::limit::InFlightGuard;
use grapevine_core::outcome::Outcome;
use grapevine_proto::frame::reset;
use http_body::{Body, Frame};
use quinn::ReadError;

use super::framed::{self, Found, Unframer};
use super::halves::{RecvHalf, SendHalf};
use super::link::PeerLink;
use super::relay::{self, Relay};
use super::silence::{Silence, silent};
use super::streams::CallStream;

/// The stream of an answer.
#[derive(Debug)]
pub(super) struct AnswerStream {
    pub(super) recv: RecvHalf,
    /// `None` where what the client sends goes there.
    pub(super) send: Option<SendHalf>,
    /// What came with the head.
    pub(super) rest: Bytes,
}

impl AnswerStream {
    /// Of a call that was sent whole.
    pub(super) fn of(stream: CallStream) -> Self {
        let (send, recv, rest) = stream.into_halves();
        let send = Some(send);
        Self { recv, send, rest }
    }

    /// The answer came to its end.
    fn complete(&mut self) {
        self.recv.complete();
        if let Some(send) = &mut self.send {
            send.complete();
        }
    }
}

/// An answer's body. Dropping it resets the stream.
#[derive(Debug)]
pub(super) struct PeerBody {
    stream: AnswerStream,
    link: Arc<PeerLink>,
    unframer: Unframer,
    /// Bytes still to come, where the head contains the length.
    left: Option<u64>,
    ended: bool,
    /// What is wrong with its end, where that was found with the last bytes.
    failure: Option<Box<CallFailure>>,
    silence: Silence,
    relay: Option<Relay>,
    _counted: InFlightGuard,
}

impl Body for PeerBody {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallFailure>>> {
        let body = &mut *self;
        if let Some(failure) = body.failure.take() {
            return Poll::Ready(Some(Err(*failure)));
        }
        if body.ended {
            return Poll::Ready(None);
        }
        loop {
            match body.unframer.next() {
                Found::Data(data) => {
                    body.silence = Silence::Committed;
                    let frame = body.count(&data).map(|()| Frame::data(data));
                    if frame.is_ok() {
                        body.look_for_end();
                    }
                    return Poll::Ready(Some(frame));
                }
                Found::End(code) => return Poll::Ready(body.end(code).map(Err)),
                Found::Nothing => {}
            }
            // The future holds no state of its own: the stream keeps the waker, so that a new one
            // for each poll continues where the last one was dropped.
            let read = {
                let read = pin!(body.stream.recv.read_chunk(usize::MAX, true));
                relay::poll_through(body.relay.as_ref(), read, context)
            };
            let broken = match read {
                Poll::Ready(Ok(Some(chunk))) => {
                    body.unframer.feed(chunk.bytes);
                    continue;
                }
                Poll::Ready(Ok(None)) => unfinished(&body.link.peer),
                Poll::Ready(Err(error)) => broken_off(&body.link.peer, &error),
                Poll::Pending => {
                    ready!(body.silence.poll(&body.link, context));
                    silent(&body.link.peer)
                }
            };
            body.ended = true;
            return Poll::Ready(Some(Err(broken)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.failure.is_none()
    }
}

impl PeerBody {
    /// The body that comes over `stream`, of `length` bytes where the head contains the length.
    pub(super) fn new(
        mut stream: AnswerStream,
        link: Arc<PeerLink>,
        length: Option<u64>,
        (counted, relay): (InFlightGuard, Option<Relay>),
    ) -> Self {
        let mut unframer = Unframer::default();
        unframer.feed(std::mem::take(&mut stream.rest));
        Self {
            stream,
            link,
            unframer,
            left: length,
            ended: false,
            failure: None,
            silence: Silence::Unwatched,
            relay,
            _counted: counted,
        }
    }

    /// Checks the received bytes against the length in the head.
    fn count(&mut self, data: &Bytes) -> Result<(), CallFailure> {
        let Some(left) = &mut self.left else {
            return Ok(());
        };
        match left.checked_sub(data.len() as u64) {
            Some(rest) => *left = rest,
            None => {
                self.ended = true;
                let detail = format!(
                    "answer through {} is longer than its content-length",
                    self.link.peer
                );
                return Err(CallFailure::new(Outcome::BrokenOff, detail));
            }
        }
        Ok(())
    }

    /// Takes in the end that came with the last of the announced bytes: many ask for no more than those, and a body that
    /// is dropped before its end cancels the call, which costs both nodes a packet.
    fn look_for_end(&mut self) {
        if self.left != Some(0) || self.ended {
            return;
        }
        let failure = match self.unframer.next() {
            Found::End(code) => self.end(code),
            Found::Data(more) => self.count(&more).err(),
            Found::Nothing => None,
        };
        self.failure = failure.map(Box::new);
    }

    /// The body came to its end: a clean one, or the failure that `code` stands for.
    fn end(&mut self, code: u32) -> Option<CallFailure> {
        self.ended = true;
        self.stream.complete();
        // The stream's end is there mostly. One that is dropped before it is read would be stopped, which wakes the
        // connection for nothing.
        let end = pin!(self.stream.recv.read_chunk(usize::MAX, true));
        let _ = end.poll(&mut Context::from_waker(Waker::noop()));
        if code != framed::CLEAN {
            let detail = format!("answer through {} broke off", self.link.peer);
            return Some(CallFailure::new(reset::outcome(u64::from(code)), detail));
        }
        self.left.is_some_and(|left| left > 0).then(|| {
            let detail = format!(
                "answer through {} is shorter than its content-length",
                self.link.peer
            );
            CallFailure::new(Outcome::BrokenOff, detail)
        })
    }
}

fn unfinished(peer: &NodeName) -> CallFailure {
    let detail = format!("answer through {peer} ended without its end");
    CallFailure::new(Outcome::BrokenOff, detail)
}

/// How a body broke off.
fn broken_off(peer: &NodeName, error: &ReadError) -> CallFailure {
    match error {
        ReadError::Reset(code) => {
            let outcome = reset::outcome(code.into_inner());
            CallFailure::new(outcome, format!("answer through {peer} broke off"))
        }
        error => CallFailure::new(
            Outcome::BrokenOff,
            format!("link to {peer} broke within the answer: {error}"),
        ),
    }
}
