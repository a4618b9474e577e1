//! Sends a call to the peer that owns the upstream, and returns its answer as it comes.
//!
//! Runs on the caller's thread: one stream of the peer's connection for each call, no lock of ours.
//! Dropping the future or the body resets the stream, which the peer sees within one round trip.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use grapevine_base::coarse;
use grapevine_base::exchange::{Answer, AnswerBody, Call, CallFailure, CallPeer};
use grapevine_base::headers;
use grapevine_core::ids::NodeName;
use grapevine_core::limit::InFlightGuard;
use grapevine_core::link::{CALLS_MAX, DIAL_TIMEOUT, outcome_of_silence};
use grapevine_core::outcome::{Outcome, Refusal};
use grapevine_proto::frame::{HEAD_BYTES_MAX, RequestHead, ResponseStart, reset};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use quinn::{ConnectionError, WriteError};
use tokio::time::Instant;

use super::answer::{AnswerStream, PeerBody};
use super::link::PeerLink;
use super::opener::LinkOpener;
use super::relay::{self, Relay};
use super::silence::silent;
use super::streams::{CallStream, ReceiveError};
use super::tunnel;

/// Forwards calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Forwarder {
    opener: LinkOpener,
}

impl Forwarder {
    /// Forwards over links that `opener` finds.
    pub(super) const fn new(opener: LinkOpener) -> Self {
        Self { opener }
    }

    /// The link to `peer`, opened where there is none: that waits for a dial, within core's limit and the call's own.
    async fn link(&self, peer: &NodeName, deadline: Instant) -> Result<Arc<PeerLink>, CallFailure> {
        let left = deadline.saturating_duration_since(Instant::now());
        let opened = self
            .opener
            .link_of_large(peer, DIAL_TIMEOUT.min(left))
            .await;
        opened.map_err(|error| {
            let detail = format!("no link to {peer}, {error}");
            CallFailure::new(Outcome::PeerUnreached, detail)
        })
    }
}

impl CallPeer for Forwarder {
    async fn call(&self, peer: &NodeName, call: Call) -> Result<Answer, CallFailure> {
        let link = match self.opener.links.get(peer) {
            Some(link) => link,
            None => self.link(peer, call.deadline).await?,
        };
        let relay = Relay::of_this_thread();
        let over = async |link: Arc<PeerLink>| send(&link, &call, relay.as_ref()).await;
        let mut sent = pin!(unless_superfluous(&self.opener, link, over));
        let mut deadline = coarse::sleep_until(call.deadline);
        let in_time =
            poll_fn(
                |context| match relay::poll_through(relay.as_ref(), sent.as_mut(), context) {
                    Poll::Ready(answered) => Poll::Ready(Some(answered)),
                    Poll::Pending => Pin::new(&mut deadline).poll(context).map(|()| None),
                },
            );
        match in_time.await {
            Some(answered) => answered,
            None => Err(CallFailure::new(
                Outcome::DeadlinePassed,
                format!("deadline passed before {peer} answered"),
            )),
        }
    }
}

/// Calls over `link`, and once more over another where either end closed it as superfluous at that very moment:
/// a node does so only when it knows of no call on it, so the peer has done nothing for this one.
pub(super) async fn unless_superfluous<T, F>(
    opener: &LinkOpener,
    link: Arc<PeerLink>,
    call: impl Fn(Arc<PeerLink>) -> F,
) -> Result<T, CallFailure>
where
    F: Future<Output = Result<T, CallFailure>>,
{
    let answered = call(Arc::clone(&link)).await;
    let is_lost = |failure: &CallFailure| failure.outcome == Outcome::PeerLost;
    if !answered.as_ref().is_err_and(is_lost) || !link.is_parting() {
        return answered;
    }
    // The task that serves the link forgets it too, and carries out what that changes.
    drop(opener.links.remove(&link));
    match opener.link_of_large(&link.peer, DIAL_TIMEOUT).await {
        Ok(other) => call(other).await,
        Err(_) => answered,
    }
}

/// Sends the call and waits for the head of its answer, as long as the link speaks. Refuses at once where
/// the link carries all that it may.
async fn send(
    link: &Arc<PeerLink>,
    call: &Call,
    relay: Option<&Relay>,
) -> Result<Answer, CallFailure> {
    let counted = link.sent.enter_below(CALLS_MAX);
    let counted = counted.ok_or_else(|| full(&link.peer))?;
    link.note_call();
    let sent_at = Instant::now();
    let answered = tokio::select! {
        biased;
        answered = exchange(link, call, counted, relay) => answered,
        () = link.fell_silent() => Err(silent(&link.peer)),
    };
    answered.map_err(|failure| unless_reached(failure, link, sent_at))
}

/// Determines for a lost call whether its request may have arrived. A silent link can also be closed, on proof
/// that the peer is gone, before each of its calls has seen the silence.
fn unless_reached(mut failure: CallFailure, link: &PeerLink, sent_at: Instant) -> CallFailure {
    if failure.outcome == Outcome::PeerLost
        && let Some(spoke_at) = link.spoke_at()
    {
        let spoke_after = spoke_at.saturating_duration_since(sent_at);
        failure.outcome = outcome_of_silence(spoke_after, link.connection.rtt());
    }
    failure
}

async fn exchange(
    link: &Arc<PeerLink>,
    call: &Call,
    counted: InFlightGuard,
    relay: Option<&Relay>,
) -> Result<Answer, CallFailure> {
    let head = encode_head(call)?;
    let [first, second, third, fourth, fifth] = call.body.pieces();
    let pieces = &mut [head.into(), first, second, third, fourth, fifth];
    let mut stream = match call.is_tunnel() {
        true => open_half(link, pieces).await?,
        false => open(link, pieces).await?,
    };
    let payload = stream
        .head(HEAD_BYTES_MAX, |_| Ok(()))
        .await
        .map_err(|error| no_head(&link.peer, &error))?;
    start(link, stream, (counted, relay), &payload, call)
}

/// Opens a stream for a call and sends the whole of it, piece by piece: its head as a frame, and its body.
pub(super) async fn open(
    link: &Arc<PeerLink>,
    pieces: &mut [Bytes],
) -> Result<CallStream, CallFailure> {
    let mut stream = open_half(link, pieces).await?;
    // Only a stream that ended before cannot be finished.
    let _ = stream.send.finish();
    Ok(stream)
}

/// The same for a call whose client goes on sending.
async fn open_half(link: &Arc<PeerLink>, pieces: &mut [Bytes]) -> Result<CallStream, CallFailure> {
    let (send, recv) = {
        let mut opening = pin!(link.connection.open_bi());
        // Polled once: QUIC would wait for a stream without an error, and as long as the peer wants.
        match poll_fn(|context| Poll::Ready(opening.as_mut().poll(context))).await {
            Poll::Ready(Ok(halves)) => halves,
            Poll::Ready(Err(error)) => return Err(lost(&link.peer, &error)),
            Poll::Pending => return Err(full(&link.peer)),
        }
    };
    let mut stream = CallStream::new(send, recv, reset::CANCELLED);
    match stream.send.write_all_chunks(pieces).await {
        // The peer may answer before it has read all: a refusal, which the caller reads.
        Ok(()) | Err(WriteError::Stopped(_)) => {}
        Err(WriteError::ConnectionLost(error)) => return Err(lost(&link.peer, &error)),
        Err(error) => {
            let detail = format!("request could not be sent to {}: {error}", link.peer);
            return Err(CallFailure::new(Outcome::PeerLost, detail));
        }
    }
    Ok(stream)
}

fn full(peer: &NodeName) -> CallFailure {
    let detail = format!("link to {peer} takes no more requests");
    CallFailure::new(Outcome::Refused(Refusal::Full), detail)
}

fn encode_head(call: &Call) -> Result<Vec<u8>, CallFailure> {
    let traceparent = call.headers.get("traceparent");
    let head = RequestHead {
        request_id: &call.request_id,
        upstream: call.upstream.clone(),
        model: call.model.clone(),
        method: call.method.as_str(),
        path: call.path.as_str(),
        headers: call
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect(),
        body_bytes: call.body.len(),
        remaining: call.deadline.saturating_duration_since(Instant::now()),
        hops: 1,
        last_resort: call.last_resort,
        allow_regions: call.allow_regions.to_vec(),
        traceparent: traceparent.and_then(|value| value.to_str().ok()),
        client: call.caller.client,
        key: call.caller.key.as_deref(),
        mark: call.caller.mark,
        lossy: call.caller.lossy,
    };
    // The request cannot take this hop; nobody is to blame, and another candidate may be local.
    head.encode().map_err(|error| {
        let detail = format!("request cannot be forwarded: {error}");
        CallFailure::new(Outcome::Refused(Refusal::HopLimit), detail)
    })
}

/// Turns the first frame into an answer, or into the failure that it reports.
fn start(
    link: &Arc<PeerLink>,
    mut stream: CallStream,
    (counted, relay): (InFlightGuard, Option<&Relay>),
    payload: &[u8],
    call: &Call,
) -> Result<Answer, CallFailure> {
    let malformed = |what: &str| {
        let detail = format!("answer of {} is malformed: {what}", link.peer);
        CallFailure::new(Outcome::Refused(Refusal::Protocol), detail)
    };
    match ResponseStart::decode(payload) {
        Ok(ResponseStart::Answer(head)) => {
            let status = StatusCode::from_u16(head.status).map_err(|_| malformed("status"))?;
            let mut headers = header_map(&head.headers).ok_or_else(|| malformed("header"))?;
            headers::settle_answer(status, &mut headers)
                .map_err(|fault| malformed(&fault.to_string()))?;
            let has_no_body = call.method == Method::HEAD || headers::has_no_body(status);
            let length = headers::content_length(&headers).filter(|_| !has_no_body);
            let is_open = call.is_tunnel() && status.is_success();
            let (stream, upload) = match is_open {
                true => tunnel::upload(stream),
                false => (AnswerStream::of(stream), None),
            };
            let body = PeerBody::new(stream, Arc::clone(link), length, (counted, relay.cloned()));
            Ok(Answer {
                status,
                headers: headers.into(),
                body: AnswerBody::new(body),
                load: Some(head.load.of(call.upstream.clone())),
                upload,
            })
        }
        Ok(ResponseStart::None(none)) => {
            stream.complete();
            Err(CallFailure {
                outcome: none.outcome,
                detail: format!("{}: {}", link.peer, none.detail),
                load: none.load.map(|load| load.of(call.upstream.clone())),
            })
        }
        Err(error) => Err(malformed(&error.to_string())),
    }
}

fn header_map(fields: &[(&str, &[u8])]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(headers)
}

fn lost(peer: &NodeName, error: &ConnectionError) -> CallFailure {
    let detail = format!("link to {peer} broke before the answer: {error}");
    CallFailure::new(Outcome::PeerLost, detail)
}

/// Why no head was received. A peer that resets without a code of the upstream's has dropped the call.
pub(super) fn no_head(peer: &NodeName, error: &ReceiveError) -> CallFailure {
    match error {
        ReceiveError::Lost(error) => lost(peer, error),
        ReceiveError::Decode(error) => {
            let detail = format!("answer of {peer} is malformed: {error}");
            CallFailure::new(Outcome::Refused(Refusal::Protocol), detail)
        }
        ReceiveError::Reset(code) if reset::is_upstreams(*code) => {
            // QUIC drops what was sent before a reset, the head included. The client has seen
            // nothing, so this is an upstream that broke before its head.
            let outcome = match reset::outcome(*code) {
                Outcome::BrokenOff => Outcome::Reset,
                outcome => outcome,
            };
            let detail = format!("answer through {peer} broke off before its head came");
            CallFailure::new(outcome, detail)
        }
        // A head is read without a charge and within the call's own time: the last two cannot happen here.
        ReceiveError::Reset(_)
        | ReceiveError::WrongLength
        | ReceiveError::TooSlow
        | ReceiveError::NoRoom(_) => {
            let detail = format!("{peer} dropped the request before the answer");
            CallFailure::new(Outcome::PeerLost, detail)
        }
    }
}
