//! Answers a forwarded request: checks it, calls the own upstream, relays the answer.
//!
//! This node is the upstream's owner, so its measurements of the attempt count for the upstream's health;
//! the sender reports the same attempt as one at a peer.

use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use grapevine_base::bodies::BodySender;
use grapevine_base::coarse::timeout_at;
use grapevine_base::exchange::{Answer, AnswerBody, Call, CallFailure, CallLocal};
use grapevine_base::overdue::Overdue;
use grapevine_base::{headers, shown};
use grapevine_core::admission::ForwardRefused;
use grapevine_core::forwarding::PathScope;
use grapevine_core::health::Witness;
use grapevine_core::ids::UpstreamName;
use grapevine_core::link::CALLS_MAX;
use grapevine_core::outcome::{Blame, Finding, Outcome, Refusal};
use grapevine_core::request::{RequestReport, UpstreamCall};
use grapevine_proto::frame::{
    HEAD_BYTES_MAX, InsideHead, RequestHead, ResponseHead, ResponseStart, WireLoad, reset,
};
use http::Method;
use http_body::Body;
use quinn::{RecvStream, SendStream};
use tokio::time::Instant;
use tracing::{Instrument, debug, debug_span};

use super::admission::{admit, check_against_head, enter};
use super::framed;
use super::halves::SendHalf;
use super::hub::Hub;
use super::inside;
use super::link::PeerLink;
use super::receive::{no_room, receive_body};
use super::respond::{delivered, refuse, send_failure, wire_load, write};
use super::streams::{CallStream, ReceiveError};
use super::tunnel;

/// How long the head of a request may take to come in.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// No request waits longer than this, whatever deadline its caller sets.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Serves one forwarded request, whatever it contains.
///
/// Its large parts are boxed: the task's future is moved several times as it starts and ends, and a part that is over should
/// hold no memory for as long as an answer takes.
pub(super) async fn serve<L: CallLocal>(
    hub: &Hub<L>,
    link: &PeerLink,
    send: SendStream,
    recv: RecvStream,
) {
    let counted = link.calls.enter();
    link.note_call();
    let mut stream = CallStream::new(send, recv, reset::REFUSED);
    // Held as long as the head is, which is as long as the call takes.
    let mut charge = hub.bodies.account(BodySender::Peer(&link.peer));
    let head = {
        let charged = |bytes| charge.add(bytes).map_err(ReceiveError::NoRoom);
        let head = pin!(stream.head(HEAD_BYTES_MAX, charged));
        timeout_at(Instant::now() + HEAD_TIMEOUT, head).await
    };
    let payload = match head {
        Some(Ok(payload)) => payload,
        Some(Err(ReceiveError::Decode(error))) => {
            let refusal = ForwardRefused::new(Refusal::Protocol, error.to_string());
            return refuse(hub, link, &mut stream, None, refusal).await;
        }
        Some(Err(ReceiveError::NoRoom(over))) => {
            return refuse(hub, link, &mut stream, None, no_room(over)).await;
        }
        Some(Err(error)) => {
            return debug!(peer.name = %link.peer, %error, "request head did not come in");
        }
        None => {
            let refusal = ForwardRefused::new(Refusal::Protocol, "request head came too slowly");
            return refuse(hub, link, &mut stream, None, refusal).await;
        }
    };
    let head = match RequestHead::decode(&payload) {
        Ok(head) => head,
        Err(error) => {
            let refusal = ForwardRefused::new(Refusal::Protocol, error.to_string());
            return refuse(hub, link, &mut stream, None, refusal).await;
        }
    };
    if let Some(head) = InsideHead::of(&head) {
        return Box::pin(inside::serve(hub, link, &mut stream, &head, counted)).await;
    }
    let span = debug_span!("request", request.id = head.request_id);
    Box::pin(serve_request(hub, link, stream, &head))
        .instrument(span)
        .await;
}

async fn serve_request<L: CallLocal>(
    hub: &Hub<L>,
    link: &PeerLink,
    mut stream: CallStream,
    head: &RequestHead<'_>,
) {
    let deadline = Instant::now() + head.remaining.min(DEADLINE_MAX);
    let upstream = head.upstream.clone();
    let Some(_served) = link.served.enter_below(CALLS_MAX) else {
        let refusal =
            ForwardRefused::new(Refusal::Full, "the link carries as many requests as it may");
        return refuse(hub, link, &mut stream, Some(&upstream), refusal).await;
    };
    let admitted = admit(hub, head);
    let taken = match admitted {
        Ok((scope, call)) => {
            let received = async {
                match call.is_tunnel() {
                    true => Ok(Bytes::new()),
                    false => receive_body(hub, link, &mut stream, head.body_bytes, deadline).await,
                }
            };
            match Box::pin(received).await {
                Ok(body) => {
                    let body = body.into();
                    check_against_head(hub, scope, Call { body, ..call }).map(|call| (scope, call))
                }
                Err(Some(refusal)) => Err(refusal),
                // The caller gave up: its stream was reset, and so is this end of it.
                Err(None) => return,
            }
        }
        Err(refusal) => Err(refusal),
    };
    // A request takes its slots once it is received as a whole: one that was only announced holds none.
    let entered = taken.and_then(|(scope, call)| Ok((enter(hub, link, &call)?, scope, call)));
    match entered {
        Ok((admission, scope, call)) => {
            let call = Call { deadline, ..call };
            Box::pin(answer(hub, &mut stream, call, scope)).await;
            drop(admission);
            delivered(hub, &stream).await;
        }
        Err(refusal) => refuse(hub, link, &mut stream, Some(&upstream), refusal).await,
    }
}

/// Calls the upstream and relays its answer; ends at once when the caller does.
async fn answer<L: CallLocal>(hub: &Hub<L>, stream: &mut CallStream, call: Call, scope: PathScope) {
    stream.set_code(reset::BROKEN_OFF);
    let (name, model) = (call.upstream.clone(), call.model.clone());
    let (shape, witness) = (call.shape(), witness(&call, hub.driver.now()));
    let is_judged = scope == PathScope::Inference && call.method != Method::HEAD;
    let mut own = UpstreamCall::of_own(name.clone(), scope, model.clone(), shape, witness);
    let mut overdue = Overdue::new(&hub.driver, scope, name.clone(), model, shape, witness);
    // Created before the first write, or a stop that came before it would be missed.
    let mut stopped = pin!(stream.send.stopped());
    let asked = Arc::clone(&call.headers);
    let called = Box::pin(async {
        let mut answer = hub.local.call(Box::new(call)).await?;
        let shown = shown::by_answer(&mut answer, &asked).await;
        Ok::<_, CallFailure>((answer, shown))
    });
    let answered = tokio::select! {
        biased;
        _ = &mut stopped => None,
        answered = overdue.during(called) => Some(answered),
    };
    match answered {
        None => report(hub, own.ended(hub.driver.now(), Outcome::Cancelled, None)).await,
        Some(Err(failure)) => {
            let detail = Some(failure.detail.as_str().into());
            report(hub, own.ended(hub.driver.now(), failure.outcome, detail)).await;
            send_failure(hub, stream, Some(&name), &failure).await;
        }
        Some(Ok((answer, shown))) => {
            let (answer, tunnel) = tunnel::taken(&hub.driver, answer);
            let outcome = outcome_of(&answer, shown.finding);
            let detail = shown.detail.map(Into::into);
            // A bad answer counts for the upstream before its body is relayed.
            let own = match outcome.blame() {
                Blame::Success => {
                    if let Some(began) = own.answer_goes_on(hub.driver.now()) {
                        report(hub, began).await;
                    }
                    Some(own)
                }
                _ => {
                    report(hub, own.ended(hub.driver.now(), outcome, detail)).await;
                    None
                }
            };
            let received = (&mut *stream.recv, std::mem::take(&mut stream.rest));
            let relayed = relay(hub, &mut stream.send, &name, answer, is_judged);
            let relayed = tunnel::both(received, tunnel, relayed);
            let ended = tokio::select! {
                biased;
                _ = &mut stopped => Err(Outcome::Cancelled),
                ended = Box::pin(relayed) => ended,
            };
            stream.settle();
            if let Err(broken) = &ended
                && !stream.is_complete()
            {
                stream.set_code(reset::code(broken));
            }
            if let Some(own) = own {
                let ended = match ended {
                    Ok(None) => outcome,
                    Ok(Some(finding)) => outcome.shown_as(finding),
                    Err(broken) => broken,
                };
                report(hub, own.ended(hub.driver.now(), ended, None)).await;
            }
        }
    }
}

/// Reports to the engine. A full inbox drops a report that is not urgent: the next one contains the same.
async fn report<L>(hub: &Hub<L>, report: RequestReport) {
    if report.is_urgent {
        hub.driver.send(report.event).await;
    } else {
        let _ = hub.driver.try_send(report.event);
    }
}

/// Who sees how a peer's call goes: its request by the id that is equal over its attempts, its client by the mark that
/// its entry gave it, else by its key.
fn witness(call: &Call, began_at: grapevine_core::Instant) -> Witness {
    static MARKS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let client = match call.caller.mark {
        0 => MARKS.hash_one(&call.caller.key),
        mark => mark,
    };
    Witness {
        request: MARKS.hash_one(&call.request_id),
        client,
        began_at,
        is_doubtful: false,
    }
}

/// Sends an answer's head and body. Returns what its first piece shows, where it is none of an answer and
/// `is_judged`.
///
/// # Errors
/// How it ended, where it did not end cleanly. The stream must be reset where it is not complete.
async fn relay<L>(
    hub: &Hub<L>,
    send: &mut SendHalf,
    upstream: &UpstreamName,
    answer: Answer,
    is_judged: bool,
) -> Result<Option<Finding>, Outcome> {
    let frame = head_frame(hub, upstream, &answer)?;
    let (status, headers) = (answer.status, answer.headers);
    let mut body = answer.body;
    let shows = |first: Option<&[u8]>| {
        is_judged
            .then(|| shown::by_first_piece(status, &headers, first))
            .flatten()
    };
    let mut finding = None;
    let mut is_first = true;
    // A first piece that is there already goes out in the same packet as the head.
    let mut next = poll_fn(|context| Poll::Ready(pin!(next_chunk(&mut body)).poll(context))).await;
    let mut parts = [Bytes::from(frame), Bytes::new(), Bytes::new()];
    match &mut next {
        Poll::Ready(Some(Ok(chunk))) => {
            finding = shows(Some(&**chunk));
            is_first = false;
            parts[1] = framed::prefix(chunk);
            parts[2] = std::mem::take(chunk);
            next = Poll::Pending;
        }
        // Nothing is sent: the sender may still go on to another candidate.
        Poll::Ready(Some(Err(failure))) => return Err(failure.outcome),
        Poll::Ready(None) | Poll::Pending => {}
    }
    write(send, &mut parts).await?;
    let ended = loop {
        let chunk = match std::mem::replace(&mut next, Poll::Pending) {
            Poll::Ready(chunk) => chunk,
            Poll::Pending => next_chunk(&mut body).await,
        };
        if std::mem::take(&mut is_first) && !matches!(chunk, Some(Err(_))) {
            let first = chunk.as_ref().and_then(|chunk| chunk.as_ref().ok());
            finding = shows(first.map(|chunk| &**chunk));
        }
        match chunk {
            None => break Ok(finding),
            Some(Err(failure)) => break Err(failure.outcome),
            Some(Ok(chunk)) => {
                write(send, &mut [framed::prefix(&chunk), chunk]).await?;
            }
        }
    };
    // Sent after the last piece rather than by a reset, which would overtake it.
    let code = ended.as_ref().map_or_else(reset::code, |_| framed::CLEAN);
    write(send, &mut [framed::end(code)]).await?;
    if send.finish().is_ok() {
        send.complete();
    }
    ended
}

/// The frame of an answer's head, with the load of its upstream.
fn head_frame<L>(
    hub: &Hub<L>,
    upstream: &UpstreamName,
    answer: &Answer,
) -> Result<Vec<u8>, Outcome> {
    let none = WireLoad {
        in_flight: 0,
        ttft: Duration::ZERO,
    };
    let head = ResponseHead {
        status: answer.status.as_u16(),
        headers: answer.headers.pairs(),
        load: wire_load(hub, upstream).unwrap_or(none),
    };
    ResponseStart::Answer(head).encode().map_err(|error| {
        debug!(upstream.name = %upstream, %error, "answer's head does not fit a frame");
        Outcome::BrokenOff
    })
}

/// The next piece of a body; trailers are left out.
async fn next_chunk(body: &mut AnswerBody) -> Option<Result<Bytes, CallFailure>> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(chunk)) if chunk.is_empty() => {}
            Ok(Ok(chunk)) => return Some(Ok(chunk)),
            Ok(Err(_trailers)) => {}
            Err(failure) => return Some(Err(failure)),
        }
    }
}

/// How an answer counts that shows `finding`.
fn outcome_of(answer: &Answer, finding: Finding) -> Outcome {
    Outcome::Status {
        status: answer.status.as_u16(),
        retry_after: headers::retry_after(&answer.headers, SystemTime::now()),
        finding,
    }
}
