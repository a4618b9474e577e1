//! Makes a call: sends one request, returns the head of the answer, and its body as it arrives.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::UpstreamName;
use grapevine_core::outcome::{Outcome, Refusal, Stage};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::client::legacy::connect::Connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::Instant;

use grapevine_base::causes;
use grapevine_base::exchange::{Answer, AnswerBody, Call, CallFailure, CallLocal};
use grapevine_base::headers;
use grapevine_base::listener::descriptors;

use super::body::{TimedBody, Waits};
use super::connect::{ConnectTimedOut, Connector, UpstreamStream};
use super::payload::Payload;
use super::pool::{Lease, Pool, Sender};
use super::stale::{self, SentOnReused};
use super::target::{KeyHeader, UpstreamTarget, UpstreamTargets};

/// The most headers of an answer.
const ANSWER_HEADERS_MAX: usize = 128;

/// What a connection reads, or holds to be written, at once: an idle one keeps the last buffer that it read
/// into. It bounds the head of an answer too.
const BUFFER_BYTES: usize = 64 * 1_024;

/// What may come before the head of an answer is whole: the head itself, and interim answers (1xx). An upstream that
/// sends `102` every few seconds while it works stays far below it.
const BEFORE_ANSWER_MAX: u64 = 2 * BUFFER_BYTES as u64;

/// The time between two pings on an active HTTP/2 connection, and the wait for the answer to one.
const HTTP2_PING: Duration = Duration::from_secs(10);

/// Calls own upstreams from one runtime: its connections have the lifetime of that runtime, so each runtime
/// needs a client of its own. Cheap to clone.
#[derive(Clone)]
pub struct UpstreamClient {
    targets: UpstreamTargets,
    passed: HeaderValue,
    connector: Connector,
    pool: Pool,
}

impl std::fmt::Debug for UpstreamClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("UpstreamClient")
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}

impl UpstreamClient {
    /// A client of the upstreams in `targets`, which may be replaced while it runs. `passed` marks
    /// requests in `CDN-Loop`; `tls` must name no ALPN protocols ([`super::tls_config`] makes one).
    ///
    /// # Panics
    /// When `tls` names ALPN protocols.
    pub fn new(targets: UpstreamTargets, passed: HeaderValue, tls: ClientConfig) -> Self {
        Self {
            connector: Connector::new(targets.clone(), tls),
            targets,
            passed,
            pool: Pool::default(),
        }
    }

    fn request(&self, sent: &Outbound<'_>, is_http2: bool) -> Option<Request<Payload>> {
        let Outbound { target, call, key } = *sent;
        let body = match target.rename(call.model.as_ref()) {
            Some(model) => Payload::renamed(&call.body, &call.headers, model)?,
            None => Payload::whole(&call.body),
        };
        let mut request = Request::new(body);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = match is_http2 {
            true => target.uri(&call.path)?,
            false => target.path(&call.path)?.into(),
        };
        *request.headers_mut() = target.dressed(&call.headers, key, (&self.passed, is_http2));
        Some(request)
    }

    /// Sends a request, and once more on a new connection where the first one did not process it. That counts as one
    /// attempt: the way to the upstream was broken, and not the upstream.
    async fn send(&self, request: &Outbound<'_>) -> Result<Sent, CallFailure> {
        let lease = match self.pool.take(request.target.origin()) {
            Some(lease) => lease,
            // Boxed, as the second time: it is rare, and much larger than what it would be a part of.
            None => Box::pin(self.open(request.target)).await?,
        };
        let sent = self.send_on(lease, request).await;
        let Err(SendFailed::NotProcessed(error)) = sent else {
            return Ok(sent?);
        };
        tracing::debug!(error = %causes::joined(&error), "request is sent again");
        Box::pin(self.send_on_new(request)).await
    }

    async fn send_on_new(&self, request: &Outbound<'_>) -> Result<Sent, CallFailure> {
        let lease = self.open(request.target).await?;
        Ok(self.send_on(lease, request).await?)
    }

    /// A new connection.
    async fn open(&self, target: &UpstreamTarget) -> Result<Lease, CallFailure> {
        let root = target.root().ok_or_else(unfit)?;
        let connected = self.connector.connect(root).await;
        let stream = connected.map_err(|error| unreachable(&*error))?;
        let reading = stream.inner().reading().clone();
        let origin = Arc::clone(target.origin());
        let opened = if stream.inner().connected().is_negotiated_h2() {
            let opened = http2(stream).await;
            opened.map(|sender| {
                let (origin, reading) = (Arc::clone(&origin), reading.clone());
                self.pool.share(origin, sender.clone(), reading);
                Sender::Http2(sender)
            })
        } else {
            http1(stream).await.map(Sender::Http1)
        };
        let sender = opened.map_err(|error| unreachable(&error))?;
        Ok(Lease::new(sender, reading, origin, self.pool.clone()))
    }

    async fn send_on(&self, mut lease: Lease, sent: &Outbound<'_>) -> Result<Sent, SendFailed> {
        let request = self.request(sent, lease.is_http2());
        let request = request.ok_or(SendFailed::Unfit)?;
        let on_reused = lease.is_reused.then(|| SentOnReused::now(&lease.reading));
        let answered = match &mut lease.sender {
            Sender::Http1(sender) => {
                lease.reading.limit(Some(BEFORE_ANSWER_MAX));
                sender.try_send_request(request).await
            }
            Sender::Http2(sender) => sender.try_send_request(request).await,
        };
        let mut failed = match answered {
            Ok(response) => {
                lease.reading.limit(None);
                return Ok(Sent { response, lease });
            }
            Err(failed) => failed,
        };
        if lease.reading.is_over() {
            return Err(SendFailed::TooMuchBeforeAnswer);
        }
        let was_kept = failed.take_message().is_some();
        let error = failed.into_error();
        let is_stale = on_reused.is_some_and(|sent| was_kept || sent.was_stale());
        if is_stale || stale::is_refused_stream(&error) {
            return Err(SendFailed::NotProcessed(error));
        }
        Err(SendFailed::Sent(error))
    }

    /// Calls the upstream `target`, with its key in `key`.
    pub(super) async fn call_target(
        &self,
        target: &UpstreamTarget,
        call: Call,
        key: KeyHeader,
    ) -> Result<Answer, CallFailure> {
        let began = Instant::now();
        let waits = Waits::begin(began, call.stream, call.deadline, &target.timeouts);
        let is_head = call.method == Method::HEAD;
        let request = Outbound {
            target,
            call: &call,
            key,
        };
        let (due, outcome) = waits.before_first_byte();
        // Giving up here closes the connection on HTTP/1, and resets the stream on HTTP/2.
        match tokio::time::timeout_at(due, self.send(&request)).await {
            Ok(sent) => answer(sent?, waits, is_head),
            Err(_) => Err(CallFailure::new(outcome, "no answer in time")),
        }
    }

    /// The upstream called `name`.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn target(&self, name: &UpstreamName) -> Result<Arc<UpstreamTarget>, CallFailure> {
        let unknown = Outcome::Refused(Refusal::UnknownUpstream);
        let target = self.targets.get(name);
        target.ok_or_else(|| CallFailure::new(unknown, "no such upstream"))
    }
}

impl CallLocal for UpstreamClient {
    async fn call(&self, call: Call) -> Result<Answer, CallFailure> {
        let target = self.target(&call.upstream)?;
        let key = KeyHeader::of(call.path.path());
        self.call_target(&target, call, key).await
    }
}

/// A call as one upstream gets it.
struct Outbound<'a> {
    target: &'a UpstreamTarget,
    call: &'a Call,
    key: KeyHeader,
}

/// The head of an answer, and the connection that its body comes on.
struct Sent {
    response: Response<Incoming>,
    lease: Lease,
}

/// Why a request that was sent once has no answer.
enum SendFailed {
    /// It was surely not processed.
    NotProcessed(hyper::Error),
    Sent(hyper::Error),
    TooMuchBeforeAnswer,
    Unfit,
}

impl From<SendFailed> for CallFailure {
    fn from(failed: SendFailed) -> Self {
        match failed {
            SendFailed::NotProcessed(error) | SendFailed::Sent(error) => {
                Self::new(Outcome::Reset, causes::joined(&error))
            }
            SendFailed::TooMuchBeforeAnswer => {
                Self::new(Outcome::Reset, "interim answers (1xx) without an end")
            }
            SendFailed::Unfit => unfit(),
        }
    }
}

async fn http1(stream: UpstreamStream) -> hyper::Result<http1::SendRequest<Payload>> {
    let mut builder = http1::Builder::new();
    let builder = builder
        .max_headers(ANSWER_HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES);
    let (sender, connection) = builder.handshake(stream).await?;
    tokio::spawn(run(connection));
    Ok(sender)
}

async fn http2(stream: UpstreamStream) -> hyper::Result<http2::SendRequest<Payload>> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let builder = builder
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING);
    let (sender, connection) = builder.handshake(stream).await?;
    tokio::spawn(run(connection));
    Ok(sender)
}

/// Drives a connection to its end. Its requests learn of an error by themselves.
async fn run(connection: impl Future<Output = hyper::Result<()>>) {
    if let Err(error) = connection.await {
        tracing::debug!(error = %causes::joined(&error), "connection to an upstream ended");
    }
}

/// The answer, where its head is unambiguous about its end. On HTTP/1 a connection is not reused after an
/// ambiguous head, and after one without a body, since some servers send a body all the same: it would be read as
/// the answer to another request.
fn answer(sent: Sent, waits: Waits, is_head: bool) -> Result<Answer, CallFailure> {
    let (mut head, body) = sent.response.into_parts();
    let settled = headers::settle_answer(head.status, &mut head.headers);
    settled.map_err(|fault| CallFailure::new(Outcome::Reset, fault.to_string()))?;
    let has_no_body = is_head || headers::has_no_body(head.status);
    let lease = (!has_no_body).then_some(sent.lease);
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: AnswerBody::new(TimedBody::new(body, waits, lease).boxed_unsync()),
        load: None,
    })
}

fn unfit() -> CallFailure {
    CallFailure::new(
        Outcome::Refused(Refusal::UnknownUpstream),
        "the path does not fit the upstream's base URL, or the body has no certain model to rename",
    )
}

/// Why there is no connection.
fn unreachable(error: &(dyn Error + 'static)) -> CallFailure {
    let timed_out = causes::each(error).any(|cause| cause.is::<ConnectTimedOut>());
    let outcome = if descriptors::lack(error) {
        Outcome::Refused(Refusal::Full)
    } else if timed_out {
        Outcome::TimedOut(Stage::Connect)
    } else {
        Outcome::ConnectFailed
    };
    CallFailure::new(outcome, causes::joined(error))
}
