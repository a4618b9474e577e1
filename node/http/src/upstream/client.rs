//! Makes a call: sends one request, returns the head of the answer, and its body as it arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use grapevine_core::ids::UpstreamName;
use grapevine_core::outcome::{Outcome, Refusal, Stage};
use http::{HeaderValue, Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::time::Instant;

use grapevine_base::causes;
use grapevine_base::exchange::{Answer, AnswerBody, Call, CallFailure, CallLocal};
use grapevine_base::headers;
use grapevine_base::listener::descriptors;

use super::body::{TimedBody, Waits};
use super::connect::{ConnectTimedOut, Connector};
use super::guard::UpstreamConnection;
use super::payload::Payload;
use super::stale;
use super::target::{KeyHeader, UpstreamTarget, UpstreamTargets};

/// A connection that was idle for this long is closed.
const POOL_IDLE: Duration = Duration::from_secs(60);

/// Idle connections kept for each host by one client.
const POOL_IDLE_MAX: usize = 256;

/// The most headers of an answer.
const ANSWER_HEADERS_MAX: usize = 128;

/// What a connection reads, or holds to be written, at once: an idle one keeps the last buffer that it read
/// into. It bounds the head of an answer too.
const BUFFER_BYTES: usize = 64 * 1_024;

/// The most interim answers (1xx) before the answer. hyper passes over any number of them: an upstream that
/// sends them without end would keep a thread of the node busy, and all that it serves waiting, until the
/// time for the first byte is over. One that sends `102` every few seconds while it works stays below it.
const INTERIM_ANSWERS_MAX: usize = 256;

/// The time between two pings on an active HTTP/2 connection, and the wait for the answer to one.
const HTTP2_PING: Duration = Duration::from_secs(10);

/// Calls own upstreams from one runtime: its connections have the lifetime of that runtime, so each runtime
/// needs a client of its own. Cheap to clone.
#[derive(Clone)]
pub struct UpstreamClient {
    targets: UpstreamTargets,
    passed: HeaderValue,
    client: Client<Connector, Payload>,
    /// Opens a connection for each request, and keeps none.
    unpooled: Client<Connector, Payload>,
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
        let connector = Connector::new(targets.clone(), tls);
        let client = |idle_max| {
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(POOL_IDLE)
                .pool_max_idle_per_host(idle_max)
                .http1_max_headers(ANSWER_HEADERS_MAX)
                .http1_max_buf_size(BUFFER_BYTES)
                .http2_adaptive_window(true)
                .http2_keep_alive_interval(HTTP2_PING)
                .http2_keep_alive_timeout(HTTP2_PING)
                .build(connector.clone())
        };
        Self {
            targets,
            passed,
            client: client(POOL_IDLE_MAX),
            unpooled: client(0),
        }
    }

    fn request(
        &self,
        target: &UpstreamTarget,
        call: Call,
        key: KeyHeader,
    ) -> Option<Request<Payload>> {
        let uri = target.uri(&call.path)?;
        let body = match target.rename(call.model.as_ref()) {
            Some(model) => Payload::renamed(&call.body, &call.headers, model)?,
            None => Payload::whole(&call.body),
        };
        let mut request = Request::new(body);
        *request.method_mut() = call.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = call.headers;
        target.dress(request.headers_mut(), key, &self.passed);
        Some(request)
    }

    /// Sends `request`, and once more on a connection of its own where the first one did not process it. That
    /// counts as one attempt: the way to the upstream was broken, and not the upstream.
    async fn send(
        &self,
        request: Request<Payload>,
        began: Instant,
    ) -> Result<Response<Incoming>, CallFailure> {
        let again = request.clone();
        match send_by(&self.client, request).await {
            Err(SendFailed::Sent(error)) if stale::was_not_processed(&error, began) => {
                tracing::debug!(error = %causes::joined(&error), "request is sent again");
                Ok(send_by(&self.unpooled, again).await?)
            }
            sent => Ok(sent?),
        }
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
        let Some(request) = self.request(target, call, key) else {
            let what = "the path does not fit the upstream's base URL, or the body has no certain model to rename";
            return Err(CallFailure::new(
                Outcome::Refused(Refusal::UnknownUpstream),
                what,
            ));
        };
        let is_head = *request.method() == Method::HEAD;
        let (due, outcome) = waits.before_first_byte();
        // Giving up here closes the connection on HTTP/1, and resets the stream on HTTP/2.
        match tokio::time::timeout_at(due, self.send(request, began)).await {
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

/// Why a request that was sent once has no answer.
enum SendFailed {
    Sent(legacy::Error),
    TooManyInterimAnswers,
}

impl From<SendFailed> for CallFailure {
    fn from(failed: SendFailed) -> Self {
        match failed {
            SendFailed::Sent(error) => failure(&error),
            SendFailed::TooManyInterimAnswers => {
                Self::new(Outcome::Reset, "interim answers (1xx) without an end")
            }
        }
    }
}

async fn send_by(
    client: &Client<Connector, Payload>,
    mut request: Request<Payload>,
) -> Result<Response<Incoming>, SendFailed> {
    let too_many = limit_interim_answers(&mut request);
    tokio::select! {
        answered = client.request(request) => answered.map_err(SendFailed::Sent),
        () = too_many.notified() => Err(SendFailed::TooManyInterimAnswers),
    }
}

/// Counts the interim answers to `request`; notifies the result of more than [`INTERIM_ANSWERS_MAX`].
fn limit_interim_answers(request: &mut Request<Payload>) -> Arc<Notify> {
    let too_many = Arc::new(Notify::new());
    let (notified, count) = (Arc::clone(&too_many), AtomicUsize::new(0));
    hyper::ext::on_informational(request, move |_| {
        if count.fetch_add(1, Ordering::Relaxed) == INTERIM_ANSWERS_MAX {
            notified.notify_one();
        }
    });
    too_many
}

/// The answer, where its head is unambiguous about its end. On HTTP/1 a connection is not reused after an
/// ambiguous head, and after one without a body, since some servers send a body all the same.
fn answer(
    response: Response<Incoming>,
    waits: Waits,
    is_head: bool,
) -> Result<Answer, CallFailure> {
    let (mut head, body) = response.into_parts();
    let settled = headers::settle_answer(head.status, &mut head.headers);
    let has_no_body = is_head || headers::has_no_body(head.status);
    if (settled.is_err() || has_no_body)
        && head.version < Version::HTTP_2
        && let Some(connection) = head.extensions.get::<UpstreamConnection>()
    {
        connection.give_up();
    }
    settled.map_err(|fault| CallFailure::new(Outcome::Reset, fault.to_string()))?;
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: AnswerBody::new(TimedBody::new(body, waits).boxed_unsync()),
        load: None,
    })
}

fn failure(error: &legacy::Error) -> CallFailure {
    let timed_out = causes::each(error).any(|cause| cause.is::<ConnectTimedOut>());
    let outcome = if descriptors::lack(error) {
        Outcome::Refused(Refusal::Full)
    } else if timed_out {
        Outcome::TimedOut(Stage::Connect)
    } else if error.is_connect() {
        Outcome::ConnectFailed
    } else {
        Outcome::Reset
    };
    CallFailure::new(outcome, causes::joined(error))
}
