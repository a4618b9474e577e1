//! Calls to the inside of peers, both ends: a path, a body, and a whole answer.
//!
//! They use the links that carry forwarded requests, one stream each, and have a limit of their own.
//! They also go to nodes that serve no requests, and to those that drain: a node that runs a task for
//! such a node must be able to report its outcome. A peer without a link is dialled.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_base::bodies::{BodyBudget, BodyBuffer, BodySender};
use grapevine_base::exchange::{CallFailure, CallInside, InsideCall};
use grapevine_core::admission::ForwardRefused;
use grapevine_core::ids::NodeName;
use grapevine_core::limit::InFlightGuard;
use grapevine_core::link::INSIDE_CALLS_MAX;
use grapevine_core::outcome::{Outcome, Refusal};
use grapevine_proto::frame::{
    BODY_BYTES_MAX, HEAD_BYTES_MAX, InsideHead, LENGTH_BYTES, ResponseHead, ResponseStart,
    WireLoad, reset,
};
use http::StatusCode;
use quinn::RecvStream;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::endpoint::HANDSHAKE_TIMEOUT;
use super::forward::{no_head, open, unless_superfluous};
use super::framed;
use super::hub::Hub;
use super::link::PeerLink;
use super::opener::{LinkOpener, OpenError};
use super::receive::receive_body;
use super::respond::{delivered, refuse, write};
use super::streams::{self, CallStream, ReceiveError};

/// The longest that a call is served, whatever its caller allows.
const SERVE_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Calls the inside of peers.
#[derive(Clone, Debug)]
pub(super) struct Insider {
    opener: LinkOpener,
    /// The memory that received bodies may take.
    bodies: BodyBudget,
}

#[async_trait]
impl CallInside for Insider {
    async fn call(
        &self,
        peer: &NodeName,
        call: InsideCall,
    ) -> Result<(StatusCode, Bytes), CallFailure> {
        let deadline = Instant::now() + call.timeout;
        match timeout_at(deadline, self.exchange(peer, &call, deadline)).await {
            Ok(answered) => answered,
            Err(_) => {
                let detail = format!("{peer} did not answer within {:?}", call.timeout);
                Err(CallFailure::new(Outcome::DeadlinePassed, detail))
            }
        }
    }
}

impl Insider {
    /// Calls peers over links that `opener` finds.
    pub(super) const fn new(opener: LinkOpener, bodies: BodyBudget) -> Self {
        Self { opener, bodies }
    }

    async fn exchange(
        &self,
        peer: &NodeName,
        call: &InsideCall,
        deadline: Instant,
    ) -> Result<(StatusCode, Bytes), CallFailure> {
        let link = self.opener.link(peer, HANDSHAKE_TIMEOUT).await;
        let lost = |error: OpenError| {
            CallFailure::new(Outcome::PeerLost, format!("no link to {peer}, {error}"))
        };
        let over = async |link: Arc<PeerLink>| self.over(&link, call, deadline).await;
        unless_superfluous(&self.opener, link.map_err(lost)?, over).await
    }

    async fn over(
        &self,
        link: &Arc<PeerLink>,
        call: &InsideCall,
        deadline: Instant,
    ) -> Result<(StatusCode, Bytes), CallFailure> {
        let full = || {
            let detail = format!("too many calls to {} are in flight", link.peer);
            CallFailure::new(Outcome::Refused(Refusal::Full), detail)
        };
        let counted = link
            .inside
            .sent
            .enter_below(INSIDE_CALLS_MAX)
            .ok_or_else(full)?;
        link.note_call();
        let answered = self.answer(link, call, deadline, counted);
        tokio::select! {
            biased;
            answered = answered => answered,
            () = link.fell_silent() => {
                let detail = format!("link to {} fell silent before the answer", link.peer);
                Err(CallFailure::new(Outcome::PeerLost, detail))
            }
        }
    }

    async fn answer(
        &self,
        link: &Arc<PeerLink>,
        call: &InsideCall,
        deadline: Instant,
        _counted: InFlightGuard,
    ) -> Result<(StatusCode, Bytes), CallFailure> {
        let head = InsideHead {
            path: call.path.as_str(),
            body_bytes: call.body.len(),
            remaining: deadline.saturating_duration_since(Instant::now()),
        };
        let head = head.encode().map_err(|error| {
            let detail = format!("call cannot be sent: {error}");
            CallFailure::new(Outcome::Refused(Refusal::Protocol), detail)
        })?;
        let mut stream = open(link, &mut [head.into(), call.body.clone()]).await?;
        let payload = streams::read_frame(&mut stream.recv, HEAD_BYTES_MAX)
            .await
            .map_err(|error| no_head(&link.peer, &error))?;
        let malformed = |what: &str| {
            let detail = format!("answer of {} is malformed: {what}", link.peer);
            CallFailure::new(Outcome::Refused(Refusal::Protocol), detail)
        };
        let head = match ResponseStart::decode(&payload) {
            Ok(ResponseStart::Answer(head)) => head,
            Ok(ResponseStart::None(none)) => {
                stream.complete();
                let detail = match none.outcome {
                    Outcome::Refused(Refusal::UnknownUpstream) => "takes no such calls; update it",
                    _ => none.detail,
                };
                let detail = format!("{}: {detail}", link.peer);
                return Err(CallFailure::new(none.outcome, detail));
            }
            Err(error) => return Err(malformed(&error.to_string())),
        };
        let status = StatusCode::from_u16(head.status).map_err(|_| malformed("status"))?;
        let body = self.body(&link.peer, &mut stream.recv).await?;
        stream.complete();
        Ok((status, body))
    }

    /// Reads a whole body, within its own limit and that of all received bodies.
    async fn body(&self, peer: &NodeName, recv: &mut RecvStream) -> Result<Bytes, CallFailure> {
        let broken = |error: ReceiveError| {
            let detail = format!("answer of {peer} broke off: {error}");
            CallFailure::new(Outcome::BrokenOff, detail)
        };
        let charge = self.bodies.account(BodySender::Peer(peer));
        // The call's own time limit bounds its pauses.
        let mut body = BodyBuffer::begin(charge, None, SERVE_TIMEOUT_MAX);
        loop {
            let length = word(recv).await.map_err(broken)? as usize;
            if length == 0 {
                return match word(recv).await.map_err(broken)? {
                    framed::CLEAN => Ok(body.finish()),
                    code => Err(broken(ReceiveError::Reset(code.into()))),
                };
            }
            if body.len() + length > BODY_BYTES_MAX {
                let detail = format!("answer of {peer} is longer than {BODY_BYTES_MAX} bytes");
                return Err(CallFailure::new(
                    Outcome::Refused(Refusal::Protocol),
                    detail,
                ));
            }
            piece(recv, length, &mut body)
                .await
                .map_err(|error| match error {
                    ReceiveError::NoRoom(_) => {
                        let detail = "bodies hold the memory that this node has for them";
                        CallFailure::new(Outcome::Refused(Refusal::Full), detail)
                    }
                    error => broken(error),
                })?;
        }
    }
}

/// Four bytes as a number.
async fn word(recv: &mut RecvStream) -> Result<u32, ReceiveError> {
    let mut word = [0; LENGTH_BYTES];
    recv.read_exact(&mut word).await?;
    Ok(u32::from_le_bytes(word))
}

/// Appends the next `length` bytes to `body`.
async fn piece(
    recv: &mut RecvStream,
    length: usize,
    body: &mut BodyBuffer,
) -> Result<(), ReceiveError> {
    let mut left = length;
    while left > 0 {
        let chunk = recv.read_chunk(left, true).await?;
        let chunk = chunk.ok_or(ReceiveError::WrongLength)?;
        left -= chunk.bytes.len();
        body.take(chunk.bytes).map_err(ReceiveError::NoRoom)?;
    }
    Ok(())
}

/// Serves a call of a peer. `counted` counts it among the requests that a closing link waits for; it is
/// dropped while the call may wait for work.
pub(super) async fn serve<L>(
    hub: &Hub<L>,
    link: &PeerLink,
    stream: &mut CallStream,
    head: &InsideHead<'_>,
    counted: InFlightGuard,
) {
    link.note_call();
    let Some(_served) = link.inside.served.enter_below(INSIDE_CALLS_MAX) else {
        let refusal = ForwardRefused::new(Refusal::Full, "too many calls are in flight");
        return refuse(hub, link, stream, None, refusal).await;
    };
    drop(counted);
    let deadline = Instant::now() + head.remaining.min(SERVE_TIMEOUT_MAX);
    let body = match receive_body(hub, link, stream, head.body_bytes, deadline).await {
        Ok(body) => body,
        Err(Some(refusal)) => return refuse(hub, link, stream, None, refusal).await,
        // The caller gave up: its stream was reset, and so is this end of it.
        Err(None) => return,
    };
    stream.set_code(reset::DEADLINE);
    let limit = head.remaining.min(SERVE_TIMEOUT_MAX);
    let answered = {
        let mut stopped = pin!(stream.send.stopped());
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            answered = timeout(limit, hub.inside.serve(&link.peer, head.path, body)) => answered,
        }
    };
    let Ok((status, body)) = answered else {
        return debug!(peer.name = %link.peer, path = head.path, "call took too long");
    };
    if body.len() > BODY_BYTES_MAX {
        let refusal = ForwardRefused::new(Refusal::Protocol, "answer is too long");
        return refuse(hub, link, stream, None, refusal).await;
    }
    let _counted = link.calls.enter();
    if answer(stream, status, body).await.is_err() {
        return debug!(peer.name = %link.peer, path = head.path, "caller went away");
    }
    delivered(hub, stream).await;
}

async fn answer(stream: &mut CallStream, status: StatusCode, body: Bytes) -> Result<(), Outcome> {
    let load = WireLoad {
        in_flight: 0,
        ttft: Duration::ZERO,
    };
    let head = ResponseStart::Answer(ResponseHead {
        status: status.as_u16(),
        headers: Vec::new(),
        load,
    });
    let head = head.encode().map_err(|_| Outcome::BrokenOff)?;
    let prefix = match body.is_empty() {
        true => Bytes::new(),
        false => framed::prefix(&body),
    };
    let end = framed::end(framed::CLEAN);
    write(&mut stream.send, &mut [head.into(), prefix, body, end]).await?;
    if stream.send.finish().is_ok() {
        stream.complete();
    }
    Ok(())
}
