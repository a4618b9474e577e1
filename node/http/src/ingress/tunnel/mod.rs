//! A WebSocket as a client has it: bytes pass both ways as they are, as the body of its answer and as what it sends.
//!
//! Reading order: [`handshake`] (what opens it), [`opening`] (a client that names its model in its first message), [`Tunnel`] (the
//! answer's body), `pump` (the client's direction), `messages` (what must be read of it), `counting` (tokens).
//!
//! Invariants:
//! - Nothing that a client sends is read before an upstream has agreed, but for its first message where only that names the model.
//! - A tunnel ends with a Close frame wherever one may stand: a client learns whether to connect again.
//! - Dropping the body ends the upstream's connection, across the hop too.
//!
//! Bound: what is in flight is one read in each direction beside the windows of the connections, and one message where they are read.

mod close_watch;
mod counting;
pub(super) mod handshake;
pub(super) mod messages;
pub(super) mod opening;
mod pump;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{AnswerBody, CallFailure};
use grapevine_base::websocket::closing::{ClosingBody, TunnelEnd};
use grapevine_base::websocket::counts::{CountedTunnel, TunnelOutcome};
use grapevine_base::websocket::upload::TunnelUpload;
use http_body::{Body, Frame};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::broken::BrokenOff;
use super::problem::Problem;
use super::track::Track;
use counting::CountedFrames;
use opening::{Opened, Opening};
pub(super) use pump::{ClientSlot, ClientStream};
use pump::{Pump, PumpEnd, TunnelState};

/// How long a client may take to answer a Close frame before its connection is closed.
const PARTING_MAX: Duration = Duration::from_secs(2);

/// How long an upstream may go on after its client has ended its own direction.
const LEFT_MAX: Duration = Duration::from_secs(30);

/// The body of a WebSocket's answer.
pub(super) struct Tunnel(State);

enum State {
    /// The client was answered, and its first message is to be read. What it gets meanwhile comes by the receiver.
    Opening(Opening, mpsc::Receiver<Bytes>),
    Open(Box<OpenTunnel>),
    /// The client has all that it gets, and may still answer.
    Parting(Pin<Box<dyn Future<Output = ()> + Send>>, Vec<Bytes>),
    Over,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tunnel")
    }
}

/// An open one.
struct OpenTunnel {
    body: ClosingBody,
    counted: CountedFrames,
    state: Arc<TunnelState>,
    /// Counts it.
    tunnel: CountedTunnel,
    pump: Pump,
    /// How the client's direction ended; `None` while it goes on.
    client: Option<PumpEnd>,
    /// How long the rest may take, once one side has ended.
    left: Option<Pin<Box<Sleep>>>,
    /// Whether all that is left is the client's answer to a Close frame.
    is_parting: bool,
    track: Track,
}

impl Tunnel {
    /// Between `client` and an upstream whose bytes are `body` and which takes `upload`.
    pub(super) fn open(
        driver: &DriverHandle,
        tunnel: CountedTunnel,
        client: ClientStream,
        (body, upload): (AnswerBody, TunnelUpload),
        mut track: Track,
    ) -> Self {
        let state = Arc::new(TunnelState::new(tunnel.counts().clone()));
        let mut pump = Pump::start(client, upload, Arc::clone(&state));
        let (driver, idle) = (driver.clone(), track.settings().websocket_idle);
        let (watched, refused) = (Arc::clone(&state), pump.refused.take());
        let ending = Box::pin(async move {
            let refused = async {
                match refused {
                    Some(refused) => refused.await.ok(),
                    None => None,
                }
            };
            tokio::select! {
                () = driver.draining() => TunnelEnd::RESTART,
                () = watched.silent(idle) => TunnelEnd::SILENT,
                Some(end) = refused => end,
            }
        });
        track.answer_goes_on();
        Self(State::Open(Box::new(OpenTunnel {
            body: ClosingBody::new(body, ending, Arc::clone(&state.is_left)),
            counted: CountedFrames::default(),
            state,
            tunnel,
            pump,
            client: None,
            left: None,
            is_parting: false,
            track,
        })))
    }

    /// One whose client was answered before anybody else was asked.
    pub(super) fn opening(opening: Opening, frames: mpsc::Receiver<Bytes>) -> Self {
        Self(State::Opening(opening, frames))
    }

    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        loop {
            match &mut self.0 {
                State::Opening(opening, frames) => {
                    if let Poll::Ready(Some(frame)) = frames.poll_recv(context) {
                        return Poll::Ready(Some(Ok(Frame::data(frame))));
                    }
                    let opened = std::task::ready!(opening.as_mut().poll(context));
                    self.0 = match opened {
                        Opened::Tunnel(tunnel) => tunnel.0,
                        Opened::Refused(frames, client) => {
                            State::Parting(Box::pin(client.parting()), frames)
                        }
                        Opened::Gone => State::Over,
                    };
                }
                State::Open(open) => {
                    let next = std::task::ready!(open.poll(context));
                    match next {
                        Passed::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Passed::Broken => {
                            self.0 = State::Over;
                            return Poll::Ready(Some(Err(BrokenOff)));
                        }
                        Passed::Ended => self.0 = State::Over,
                    }
                }
                State::Parting(parting, frames) => {
                    if !frames.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(frames.remove(0)))));
                    }
                    std::task::ready!(parting.as_mut().poll(context));
                    self.0 = State::Over;
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }
}

/// What comes next through an open tunnel.
enum Passed {
    Data(Bytes),
    /// Its end, after everything else.
    Ended,
    /// The same, in the middle of something.
    Broken,
}

impl OpenTunnel {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Passed> {
        if self.poll_client(context) == Some(PumpEnd::Gone) {
            return Poll::Ready(Passed::Broken);
        }
        if let Some(left) = &mut self.left
            && left.as_mut().poll(context).is_ready()
        {
            self.finish(None);
            return Poll::Ready(Passed::Ended);
        }
        if self.body.is_end_stream() {
            return self.poll_parting(context);
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                self.state.sent(data.len());
                self.counted.look(&data);
                Poll::Ready(Passed::Data(data))
            }
            Poll::Ready(Some(Err(failure))) => {
                self.finish(Some(failure));
                match self.body.has_closed() {
                    true => self.poll_parting(context),
                    false => Poll::Ready(Passed::Broken),
                }
            }
            Poll::Ready(None) => {
                self.finish(None);
                match self.body.has_closed() {
                    true => self.poll_parting(context),
                    false => Poll::Ready(Passed::Ended),
                }
            }
        }
    }

    /// Waits for the client's answer to a Close frame: a connection that is closed before may take the frame with it.
    fn poll_parting(&mut self, context: &mut Context<'_>) -> Poll<Passed> {
        if !self.is_parting {
            self.is_parting = true;
            self.left = Some(Box::pin(tokio::time::sleep(PARTING_MAX)));
        }
        let is_over = self.poll_client(context).is_some()
            || (self.left.as_mut()).is_none_or(|left| left.as_mut().poll(context).is_ready());
        match is_over {
            true => Poll::Ready(Passed::Ended),
            false => Poll::Pending,
        }
    }

    /// How the client's direction ended, once it has.
    fn poll_client(&mut self, context: &mut Context<'_>) -> Option<PumpEnd> {
        if self.client.is_none()
            && let Poll::Ready(end) = Pin::new(&mut self.pump.ended).poll(context)
        {
            self.client = Some(end.unwrap_or(PumpEnd::Gone));
            self.left = Some(Box::pin(tokio::time::sleep(LEFT_MAX)));
        }
        self.client
    }

    fn finish(&mut self, failure: Option<CallFailure>) {
        self.track.set_tokens(self.counted.tokens());
        self.tunnel
            .ends(match (&failure, self.body.end_of_the_node()) {
                (Some(_), _) => TunnelOutcome::Broken,
                (None, None) => TunnelOutcome::Closed,
                (None, Some(TunnelEnd::RESTART)) => TunnelOutcome::Drained,
                (None, Some(TunnelEnd::SILENT)) => TunnelOutcome::Silent,
                (None, Some(_)) => TunnelOutcome::Refused,
            });
        match failure {
            None => self.track.finish_answer(),
            Some(failure) => {
                let code = Problem::failed(&failure.outcome).code;
                self.track.finish_broken(failure, code);
            }
        }
    }
}

impl Drop for OpenTunnel {
    /// What was counted until its client went away holds.
    fn drop(&mut self) {
        self.track.set_tokens(self.counted.tokens());
    }
}
