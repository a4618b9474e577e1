//! Makes a call: sends one request, returns the head of the answer, and its body as it arrives.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::UpstreamName;
use grapevine_core::outcome::{Outcome, Refusal, Stage};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::time::Instant;

use grapevine_base::answer_headers::AnswerHeaders;
use grapevine_base::exchange::{Answer, AnswerBody, Call, CallFailure, CallLocal};
use grapevine_base::headers;
use grapevine_base::listener::descriptors;
use grapevine_base::{causes, coarse};

use super::body::{Incoming, TimedBody, UpstreamTunnel, Waits};
use super::connect::{ConnectTimedOut, Connector};
use super::credential::EndpointClient;
use super::dialects::DialectWay;
use super::guard::Guarded;
use super::http1::{Http1, Http1Body, RequestHead, UpstreamStream};
use super::outbound::Outbound;
use super::pool::{Connection, Home, Http2, Pool};
use super::stale::{self, SentOnReused};
use super::target::{KeyHeader, UpstreamTarget, UpstreamTargets};

/// The time between two pings on an active HTTP/2 connection, and the wait for the answer to one.
const HTTP2_PING: Duration = Duration::from_secs(10);

/// Calls own upstreams from one runtime: its connections have the lifetime of that runtime, so each runtime
/// needs a client of its own. Cheap to clone.
#[derive(Clone)]
pub struct UpstreamClient {
    targets: UpstreamTargets,
    pub(super) passed: HeaderValue,
    pub(super) connector: Connector,
    /// Calls those who issue credentials.
    pub(super) endpoints: EndpointClient,
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
        let connector = Connector::new(targets.clone(), tls);
        Self {
            endpoints: EndpointClient::new(connector.clone()),
            connector,
            targets,
            passed,
            pool: Pool::default(),
        }
    }

    /// Sends a request, and once more on a new connection where the first one did not process it. That counts as one
    /// attempt: the way to the upstream was broken, and not the upstream.
    pub(super) async fn send(&self, request: &Outbound<'_>) -> Result<Sent, CallFailure> {
        if request.call.is_tunnel() {
            return Box::pin(self.send_handshake(request)).await;
        }
        let (connection, is_reused) = match self.pool.take(request.target.origin()) {
            Some(connection) => (connection, true),
            // Boxed, as the second time: it is rare, and much larger than what it would be a part of.
            None => (Box::pin(self.open(request.target)).await?, false),
        };
        let sent = self.send_on(connection, is_reused, request).await;
        let Err(SendFailed::NotProcessed(error)) = sent else {
            return Ok(sent?);
        };
        tracing::debug!(error, "request is sent again");
        Box::pin(self.send_on_new(request)).await
    }

    async fn send_on_new(&self, request: &Outbound<'_>) -> Result<Sent, CallFailure> {
        let connection = self.open(request.target).await?;
        Ok(self.send_on(connection, false, request).await?)
    }

    /// A new connection.
    async fn open(&self, target: &UpstreamTarget) -> Result<Connection, CallFailure> {
        let root = target.root().ok_or_else(unfit)?;
        let connected = self.connector.connect(root).await;
        let stream = connected.map_err(|error| unreachable(&*error))?;
        if !stream.connected().is_negotiated_h2() {
            return Ok(Connection::Http1(Box::new(Http1::new(stream.into()))));
        }
        let opened = http2(stream).await.map_err(|error| unreachable(&error))?;
        let origin = Arc::clone(target.origin());
        self.pool.share(origin, opened.clone());
        Ok(Connection::Http2(opened))
    }

    async fn send_on(
        &self,
        connection: Connection,
        is_reused: bool,
        request: &Outbound<'_>,
    ) -> Result<Sent, SendFailed> {
        match connection {
            Connection::Http1(connection) => {
                self.send_on_http1(connection, is_reused, request).await
            }
            Connection::Http2(connection) => {
                Box::pin(self.send_on_http2(connection, is_reused, request)).await
            }
        }
    }

    async fn send_on_http1(
        &self,
        mut connection: Box<Http1>,
        is_reused: bool,
        request: &Outbound<'_>,
    ) -> Result<Sent, SendFailed> {
        let Outbound { target, call, .. } = *request;
        let body = request.body().ok_or(SendFailed::Unfit)?;
        let path = request.path().ok_or(SendFailed::Unfit)?;
        let head = RequestHead::new(&call.method, &path, body.len(), |head| {
            request.write_headers(&self.passed, head);
        });
        let on_reused = is_reused.then(|| SentOnReused::now(connection.read_bytes()));
        let answered = connection.ask(head, body.into_pieces()).await;
        let head = answered.map_err(|error| {
            let was_stale = |sent: SentOnReused| sent.was_stale(connection.read_bytes());
            let is_stale = connection.is_untouched() || on_reused.is_some_and(was_stale);
            SendFailed::after(&error, is_reused && is_stale)
        })?;
        let has_no_body = call.method == Method::HEAD || headers::has_no_body(head.status);
        let body = if has_no_body {
            Http1Body::none()
        } else {
            let framing = head.framing();
            let framing = framing.map_err(|error| SendFailed::after(&error, false))?;
            Http1Body::new(connection, framing, head.is_kept)
        };
        Ok(Sent {
            status: head.status,
            headers: head.headers,
            body: Incoming::Http1(body),
            home: Some(self.pool.home(target.origin())),
            tunnel: None,
        })
    }

    async fn send_on_http2(
        &self,
        mut connection: Http2,
        is_reused: bool,
        request: &Outbound<'_>,
    ) -> Result<Sent, SendFailed> {
        let uri = request
            .path()
            .and_then(|path| request.target.absolute(path));
        let body = request.body().ok_or(SendFailed::Unfit)?;
        let mut sent = Request::new(body);
        *sent.method_mut() = request.call.method.clone();
        *sent.uri_mut() = uri.ok_or(SendFailed::Unfit)?;
        *sent.headers_mut() = request.headers(&self.passed);
        let on_reused = is_reused.then(|| SentOnReused::now(connection.reading.bytes()));
        let mut failed = match connection.sender.try_send_request(sent).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                return Ok(Sent {
                    status: head.status,
                    headers: head.headers.into(),
                    body: Incoming::Http2(body),
                    home: None,
                    tunnel: None,
                });
            }
            Err(failed) => failed,
        };
        let was_kept = failed.take_message().is_some();
        let error = failed.into_error();
        let was_stale = |sent: SentOnReused| was_kept || sent.was_stale(connection.reading.bytes());
        let is_stale = on_reused.is_some_and(was_stale) || stale::is_refused_stream(&error);
        Err(SendFailed::after(&error, is_stale))
    }

    /// Calls the upstream `target`, with its key in `key`.
    pub(super) async fn call_target(
        &self,
        target: &UpstreamTarget,
        call: &Call,
        key: KeyHeader,
    ) -> Result<Answer, CallFailure> {
        let began = Instant::now();
        let waits = Waits::begin(began, call.stream, call.deadline, &target.timeouts);
        let (due, outcome) = waits.before_first_byte();
        // Giving up here closes the connection on HTTP/1, and resets the stream on HTTP/2.
        let sent = match target.provided() {
            None => {
                let request = Outbound {
                    target,
                    call,
                    key,
                    provided: None,
                };
                coarse::timeout_at(due, pin!(self.send(&request))).await
            }
            // Boxed: larger than what most requests need.
            Some(provided) => {
                let asking = Box::pin(self.ask_provided(target, provided, call));
                coarse::timeout_at(due, asking).await
            }
        };
        match sent {
            Some(sent) => answer(sent?, waits),
            None => Err(CallFailure::new(outcome, "no answer in time")),
        }
    }

    /// Calls the upstream `target`, with its key where clients of the call's path have theirs.
    pub(super) async fn call_as_it_is(
        &self,
        target: &UpstreamTarget,
        call: &Call,
    ) -> Result<Answer, CallFailure> {
        let key = KeyHeader::of(call.path.path());
        self.call_target(target, call, key).await
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
    async fn call(&self, call: Box<Call>) -> Result<Answer, CallFailure> {
        let target = self.target(&call.upstream)?;
        if call.is_tunnel() {
            return Box::pin(self.call_tunnel(&target, *call)).await;
        }
        let model = target.rename(call.model.as_ref()).or(call.model.as_ref());
        match target.dialects.way(&call, model) {
            DialectWay::AsItIs => self.call_as_it_is(&target, &call).await,
            // Boxed: larger than what most requests need.
            way => Box::pin(self.call_otherwise(&target, *call, way)).await,
        }
    }
}

/// The head of an answer, its body, and where its connection goes afterwards.
pub(super) struct Sent {
    pub(super) status: StatusCode,
    pub(super) headers: AnswerHeaders,
    pub(super) body: Incoming,
    pub(super) home: Option<Home>,
    /// The open tunnel that the answer is, and then it has no other body.
    pub(super) tunnel: Option<Box<UpstreamTunnel>>,
}

/// Why a request that was sent once has no answer.
enum SendFailed {
    /// It was surely not processed.
    NotProcessed(String),
    Sent(String),
    Unfit,
}

impl SendFailed {
    fn after(error: &(dyn Error + 'static), is_stale: bool) -> Self {
        let shown = causes::joined(error);
        match is_stale {
            true => Self::NotProcessed(shown),
            false => Self::Sent(shown),
        }
    }
}

impl From<SendFailed> for CallFailure {
    fn from(failed: SendFailed) -> Self {
        match failed {
            SendFailed::NotProcessed(error) | SendFailed::Sent(error) => {
                Self::new(Outcome::Reset, error)
            }
            SendFailed::Unfit => unfit(),
        }
    }
}

async fn http2(stream: UpstreamStream) -> hyper::Result<Http2> {
    let stream = Guarded::new(TokioIo::new(stream));
    let reading = stream.reading().clone();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let builder = builder
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async {
        // Its requests learn of an error by themselves.
        if let Err(error) = connection.await {
            tracing::debug!(error = %causes::joined(&error), "connection to an upstream ended");
        }
    });
    Ok(Http2 { sender, reading })
}

/// The answer, where its head is unambiguous about its end.
fn answer(mut sent: Sent, waits: Waits) -> Result<Answer, CallFailure> {
    let settled = sent.headers.settle(sent.status);
    settled.map_err(|fault| CallFailure::new(Outcome::Reset, fault.to_string()))?;
    if sent.status == StatusCode::TOO_MANY_REQUESTS {
        // It is what nodes say to one another.
        sent.headers.remove(headers::ACCOUNT_LIMIT);
    }
    let (body, upload) = match sent.tunnel {
        None => {
            let body = TimedBody::new(sent.body, waits, sent.home).boxed_unsync();
            (AnswerBody::new(body), None)
        }
        // The limits of an answer are not those of a tunnel, which is silent as long as both sides like.
        Some(tunnel) => (tunnel.body, Some(tunnel.upload)),
    };
    Ok(Answer {
        status: sent.status,
        headers: sent.headers,
        body,
        load: None,
        upload,
    })
}

pub(super) fn unfit() -> CallFailure {
    CallFailure::new(
        Outcome::Refused(Refusal::UnknownUpstream),
        "the path does not fit the upstream's base URL, or the body has no certain model to rename",
    )
}

/// Why there is no connection.
pub(super) fn unreachable(error: &(dyn Error + 'static)) -> CallFailure {
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
