//! Serves HTTP/1 and HTTP/2 on a connection, within its deadlines.
//!
//! A client that trickles a head should go within seconds, and an idle one must be kept for longer than
//! the balancer in front keeps it: if this side closes first while the other sends, a request is lost. So
//! the connection's task keeps one timer for whatever comes next. HTTP/1 is served by [`http1`], HTTP/2 by hyper.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use grapevine_core::Instant;
use grapevine_core::connection::{CloseReason, ConnectionState, Patience};
use http::Request;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::activity::{OpenReply, Protocol, ShutdownReason};
use super::http1::{self, HeadLimits, RequestBody};
use super::observed::Observed;
use super::streams::Streams;
use super::tunnels::{self, StreamReply};
use super::{Activity, ConnectionEntry};
use crate::head_lines::IntoReply;

/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// The time between two pings on an HTTP/2 connection, and the wait for the answer to one.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// What a connection may cost.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// The most header lines of a request.
    pub header_count_max: usize,
    /// The largest request head in bytes.
    pub header_bytes_max: usize,
    /// How long to wait for requests.
    pub patience: Patience,
    /// How long a client may read none of an answer.
    pub stall: Duration,
}

/// Serves the requests on `stream`, until it ends or is due to.
pub async fn serve<S, R, F, B>(
    stream: S,
    protocol: Protocol,
    limits: HttpLimits,
    entry: &ConnectionEntry,
    respond: R,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Fn(Request<RequestBody>) -> F + Send + 'static,
    F: Future<Output: IntoReply<Body = B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + Send + 'static,
{
    let activity = entry.activity();
    activity.speaks(protocol);
    let counting = Arc::clone(activity);
    let respond = move |request| {
        let open = counting.enter();
        OpenReply::new(respond(request), open)
    };
    let stream = Observed::new(stream, protocol, Arc::clone(activity), limits.stall);
    // A connection ends in an error when its client goes away or breaks the protocol; what can be answered was, and
    // the requests on it were dropped.
    let closed = match protocol {
        Protocol::Http1 => {
            let heads = HeadLimits {
                count_max: limits.header_count_max,
                bytes_max: limits.header_bytes_max,
            };
            let connection = http1::Connection::new(stream, heads, respond);
            let end = http1::Connection::end;
            guarded(connection, end, activity, limits.patience, |_| false).await
        }
        Protocol::Http2 => {
            let service = service_fn(move |request: Request<Incoming>| {
                let (request, tunnel) = tunnels::offered(request);
                let reply = respond(request);
                async move {
                    let (mut reply, lines) = reply.await;
                    lines.move_into(reply.headers_mut());
                    Ok::<_, Infallible>(match tunnel {
                        None => reply.map(StreamReply::some),
                        Some(tunnel) => tunnel.answer(reply, limits.stall),
                    })
                }
            });
            let connection =
                http2_server(activity, limits).serve_connection(TokioIo::new(stream), service);
            let end = http2::Connection::graceful_shutdown;
            let is_ping = hyper::Error::is_timeout;
            // Boxed: every connection of HTTP/1 would hold room for it.
            Box::pin(guarded(connection, end, activity, limits.patience, is_ping)).await
        }
    };
    if let Some(reason) = closed {
        entry.closed(reason);
    }
}

/// What HTTP/2 is served with.
fn http2_server(activity: &Arc<Activity>, limits: HttpLimits) -> http2::Builder<Streams> {
    let streams = Streams {
        activity: Arc::clone(activity),
        stall: limits.stall,
    };
    let head_bytes_max = u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX);
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(head_bytes_max)
        .enable_connect_protocol()
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING)
        .adaptive_window(true);
    builder
}

/// Drives a connection until it ends by itself or is due to; why this side closed it, if it did. `end`
/// lets it end in order, `is_ping` says whether it ended for a ping that was not answered.
async fn guarded<C, E>(
    connection: C,
    end: impl Fn(Pin<&mut C>),
    activity: &Activity,
    patience: Patience,
    is_ping: impl Fn(&E) -> bool,
) -> Option<CloseReason>
where
    C: Future<Output = Result<(), E>>,
{
    let mut connection = pin!(connection);
    let mut guard = Guard {
        activity,
        patience,
        timer: None,
        ending: None,
    };
    std::future::poll_fn(|context| {
        loop {
            activity.register(context);
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                let is_ping = ended.as_ref().is_err_and(&is_ping);
                return Poll::Ready(guard.reason(is_ping));
            }
            match guard.poll_step(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ServingStep::End) => end(connection.as_mut()),
                Poll::Ready(ServingStep::Cut(reason)) => return Poll::Ready(reason),
            }
        }
    })
    .await
}

/// What is to be done with a connection.
enum ServingStep {
    /// Let it end in order.
    End,
    /// Break it off.
    Cut(Option<CloseReason>),
}

/// A connection that was asked to end in order.
struct Ending {
    since: Instant,
    /// `None` where that is no fault of its own.
    reason: Option<CloseReason>,
}

/// Keeps a connection's deadline.
struct Guard<'a> {
    activity: &'a Activity,
    patience: Patience,
    /// Never set later than what is due; where it is set earlier, it is set again when it fires, which costs less
    /// than to set it with every request.
    timer: Option<Pin<Box<Sleep>>>,
    ending: Option<Ending>,
}

impl Guard<'_> {
    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<ServingStep> {
        if self.ending.is_none()
            && let Some(reason) = self.activity.shutdown_reason()
        {
            return Poll::Ready(self.shut_down(reason));
        }
        let clock = self.activity.clock();
        loop {
            let Some((due, reason)) = self.due() else {
                return Poll::Pending;
            };
            let at = clock.timer(due);
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.deadline() > at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let now = clock.now();
            if now < due {
                timer.as_mut().reset(at);
                continue;
            }
            return Poll::Ready(self.act(now, reason));
        }
    }

    /// When something is to be done, and why.
    fn due(&self) -> Option<(Instant, Option<CloseReason>)> {
        let state = self.activity.state();
        match &self.ending {
            Some(ending) if !state.in_flight => {
                let since = ending.since.max(state.quiet_since);
                Some((since + self.patience.head, ending.reason))
            }
            Some(_) | None => {
                let due = self.patience.due(state);
                due.map(|(at, reason)| (at, Some(reason)))
            }
        }
    }

    fn act(&mut self, now: Instant, reason: Option<CloseReason>) -> ServingStep {
        if self.ending.is_some() || reason != Some(CloseReason::Idle) {
            return ServingStep::Cut(reason);
        }
        self.ending = Some(Ending { since: now, reason });
        ServingStep::End
    }

    /// Ends a connection that was asked to shut down. One without a request so far has nothing to lose.
    fn shut_down(&mut self, shutdown: ShutdownReason) -> ServingStep {
        let reason = match shutdown {
            ShutdownReason::Drain => None,
            ShutdownReason::Shed => Some(CloseReason::Shed),
        };
        let state = self.activity.state();
        let is_silent = matches!(
            state,
            ConnectionState {
                in_flight: false,
                head_since: Some(_),
                ..
            }
        );
        if is_silent && shutdown == ShutdownReason::Shed {
            return ServingStep::Cut(reason);
        }
        let since = self.activity.now();
        self.ending = Some(Ending { since, reason });
        ServingStep::End
    }

    /// Why a connection has ended, if that was this side's doing.
    fn reason(&self, is_ping: bool) -> Option<CloseReason> {
        if self.activity.has_stalled() {
            return Some(CloseReason::Stalled);
        }
        if let Some(ending) = &self.ending {
            return ending.reason;
        }
        is_ping.then_some(CloseReason::Ping)
    }
}
