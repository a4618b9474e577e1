//! What the shells pass to each other: a call, its answer, or its failure.
//!
//! Ingress makes calls, `upstream` answers those for own upstreams, `mesh` carries the others to
//! peers and receives theirs. They know these types and traits, not each other.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use grapevine_core::fact::Load;
use grapevine_core::ids::{ModelName, NodeName, RegionName, ServiceKey, UpstreamName};
use grapevine_core::latency::RequestShape;
use grapevine_core::outcome::Outcome;
use grapevine_core::residency::{ClientOrigin, ResidencyQuestion};
use grapevine_core::share::ShareExceeded;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;

use crate::answer_headers::AnswerHeaders;
use crate::call_body::CallBody;
use crate::coding::CodingError;
use crate::limits::HolderLimits;
use crate::websocket::upload::TunnelUpload;

/// Names a request over all of its attempts and hops. At most 128 visible ASCII characters.
pub type RequestId = Arc<str>;

/// One attempt at one upstream.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request it belongs to, by an id of the entry node's own: equal over its attempts, and no
    /// other request's.
    pub request_id: RequestId,
    /// The upstream, by its name at its owner.
    pub upstream: UpstreamName,
    /// The model as the client named it.
    pub model: Option<ModelName>,
    /// The client's method; `CONNECT` opens a WebSocket.
    pub method: Method,
    /// The client's path and query, such as `/v1/chat/completions`.
    pub path: PathAndQuery,
    /// The client's headers, without credentials, hop-by-hop headers and our own; shared by its attempts.
    pub headers: Arc<HeaderMap>,
    /// The whole body; kept so that another attempt can send it again.
    pub body: CallBody,
    /// Whether the answer is a stream (see [`is_stream`]): a stream and another answer wait differently long for
    /// their first byte.
    pub stream: bool,
    /// The deadline of the first byte of the answer's body; its upstream's own limits apply after it.
    pub deadline: tokio::time::Instant,
    /// Whether to try the upstream although it is ejected.
    pub last_resort: bool,
    /// The regions that may answer it; empty when all may. At most 64.
    pub allow_regions: Arc<[RegionName]>,
    /// The client, for the serving node's own residency rules.
    pub caller: Caller,
}

impl Call {
    /// Whether it opens a WebSocket.
    pub fn is_tunnel(&self) -> bool {
        self.method == Method::CONNECT
    }

    /// What its answer's time depends on.
    pub fn shape(&self) -> RequestShape {
        RequestShape::new(self.stream, self.body.len())
    }
}

/// Audio that is sent while it is made, whatever the body asks for.
const STREAMING_PATHS: [&str; 1] = ["/v1/audio/speech"];

/// Whether the answer to a request for `path` arrives as it is made: its body asks for that, its query does (a
/// stored response that is read again), or the path knows no other way.
pub fn is_stream(path: &PathAndQuery, body_asks: bool) -> bool {
    let asks = |query: &str| query.split('&').any(|pair| pair == "stream=true");
    body_asks || STREAMING_PATHS.contains(&path.path()) || path.query().is_some_and(asks)
}

/// What residency rules ask about a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Where it is.
    pub client: ClientOrigin,
    /// The name of its key, where it has one.
    pub key: Option<Arc<str>>,
    /// Tells it from other clients, and says nothing else of it; zero where that is not known.
    pub mark: u64,
    /// Whether it accepts what a translation of its request into another dialect loses; `None` leaves that to the
    /// operator of the upstream.
    pub lossy: Option<bool>,
}

impl Caller {
    /// The residency question about it, for a model to be added.
    pub fn question(&self) -> ResidencyQuestion<'_> {
        ResidencyQuestion {
            client: self.client,
            key: self.key.as_deref(),
            model: None,
        }
    }
}

/// The head of an answer, and its body as it arrives.
#[derive(Debug)]
pub struct Answer {
    /// The upstream's status.
    pub status: StatusCode,
    /// The upstream's headers, without hop-by-hop headers.
    pub headers: AnswerHeaders,
    /// The body. Dropping it cancels the call, across the hop too.
    pub body: AnswerBody,
    /// The load of the upstream that answered, as its owner reported it with the answer; `None` for an
    /// own upstream, whose load is known.
    pub load: Option<Load>,
    /// Where what the client sends goes, if a tunnel was asked for and opened; the body is then what comes back through it.
    pub upload: Option<TunnelUpload>,
}

/// A body as it arrives. It ends cleanly only where the upstream's did.
pub type AnswerBody = UnsyncBoxBody<Bytes, CallFailure>;

/// Why there is no answer, or no more of it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct CallFailure {
    /// What happened.
    pub outcome: Outcome,
    /// The same for the operator, with the cause. Never holds a secret, a prompt or a body.
    pub detail: String,
    /// The load that the peer reported, where it refused.
    pub load: Option<Load>,
}

impl CallFailure {
    /// A failure without a load.
    pub fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            detail: detail.into(),
            load: None,
        }
    }
}

/// Calls own upstreams.
pub trait CallLocal: Clone + Send + Sync + 'static {
    /// Makes the call; dropping the future cancels it. Applies the upstream's own timeouts and the
    /// call's deadline. The call is boxed: each of the futures that it is handed through would hold room for it.
    fn call(&self, call: Box<Call>) -> impl Future<Output = Result<Answer, CallFailure>> + Send;
}

/// Probes own upstreams.
pub trait ProbeLocal: Clone + Send + Sync + 'static {
    /// Makes a probe's call as [`CallLocal::call`] makes a request's, except that it finds out in which header the
    /// upstream takes its key.
    fn probe(&self, call: Call) -> impl Future<Output = Result<Answer, CallFailure>> + Send;

    /// The URL of `path` at `upstream` as it may be shown: without credentials and query. `None` where there is
    /// no such upstream.
    fn shown_url(&self, upstream: &UpstreamName, path: &PathAndQuery) -> Option<String>;
}

/// Carries calls to peers.
pub trait CallPeer: Clone + Send + Sync + 'static {
    /// Sends the call to `peer`; dropping the future cancels it there too.
    fn call(
        &self,
        peer: &NodeName,
        call: Call,
    ) -> impl Future<Output = Result<Answer, CallFailure>> + Send;
}

/// A request of this node's own, to be routed like a client's.
#[derive(Clone, Debug)]
pub struct OwnRequest {
    /// The method.
    pub method: Method,
    /// The path and query, such as `/v1/chat/completions`.
    pub path: PathAndQuery,
    /// Headers for the upstream, without credentials.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The client on whose behalf it is made: residency rules apply to it.
    pub caller: Caller,
    /// The regions that may answer it, further restricted by the current rules; empty when all may.
    pub allow_regions: Vec<RegionName>,
    /// The models that its key may use; `None` is every model.
    pub allow_models: Option<Arc<BTreeSet<ModelName>>>,
    /// The limits of its issued key, of all models; empty where it has none, and of a static key, whose are looked up.
    pub limits: Vec<HolderLimits>,
    /// Equal for requests of the same conversation.
    pub session: Option<u64>,
    /// The time limit of the answer's first byte; `None` uses the configured one.
    pub timeout: Option<std::time::Duration>,
}

/// The answer to a request of this node's own: an upstream's, or an error of the node's in the API's shape.
#[derive(Debug)]
pub struct OwnAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers, `x-request-id` and our own among them.
    pub headers: HeaderMap,
    /// The body. Dropping it cancels the request.
    pub body: AnswerBody,
}

/// Routes requests of this node's own through the mesh, at low priority: a client's request is never
/// refused for one of these.
#[async_trait::async_trait]
pub trait CallApi: Send + Sync + 'static {
    /// Makes the request; dropping the future cancels it. An error is an answer too.
    async fn call(&self, request: OwnRequest) -> OwnAnswer;
}

/// The authenticated caller of the task API at the public listener.
#[derive(Clone, Debug, Default)]
pub struct TaskCaller {
    /// The request's name, as in the answer's `x-request-id`.
    pub request_id: RequestId,
    /// The name of its key; `None` where requests are not authenticated.
    pub key: Option<Arc<str>>,
    /// The client's network, where it has no key; `None` when that is not known.
    pub network: Option<Arc<str>>,
    /// The services that its key is for, and nothing else; `None` is an ordinary key, or none.
    pub services: Option<Arc<BTreeSet<ServiceKey>>>,
    /// The models that its key may use; `None` is every model.
    pub models: Option<Arc<BTreeSet<ModelName>>>,
    /// The limits of its issued key, of all models; empty where it has none, and of a static key.
    pub limits: Vec<HolderLimits>,
    /// Where it is.
    pub client: ClientOrigin,
    /// The regions that may see its content, this node's among them; empty when all may.
    pub regions: Arc<[RegionName]>,
}

/// A caller's body as it arrives.
pub type TaskRequestBody = UnsyncBoxBody<Bytes, RequestBodyError>;

/// A caller's body did not arrive whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestBodyError {
    /// It broke off.
    #[error("the request body broke off")]
    BrokenOff,
    /// It paused for too long.
    #[error("the request body did not arrive in time")]
    Paused,
    /// What it is part of holds as much memory as it may.
    #[error("no memory is left for the request body (limits.body_memory)")]
    NoRoom(ShareExceeded),
    /// It cannot be decoded.
    #[error(transparent)]
    Coding(#[from] CodingError),
}

/// Serves the task API of the public listener.
#[async_trait::async_trait]
pub trait ServeTasks: Send + Sync + 'static {
    /// Whether `name`, out of a path such as `/v1/responses/{name}`, is of a response that this mesh makes in
    /// the background, and not of one that an upstream keeps.
    fn is_response(&self, name: &str) -> bool;

    /// Answers; dropping the future cancels the request. May be called on any runtime.
    async fn serve(&self, caller: TaskCaller, request: http::Request<TaskRequestBody>)
    -> OwnAnswer;
}

/// A call of one node to the inside of another, which no client can make: a path, a body, an answer.
#[derive(Clone, Debug)]
pub struct InsideCall {
    /// What is called, such as `/tasks/lease`.
    pub path: PathAndQuery,
    /// The whole body: JSON, or bytes for paths that take bytes.
    pub body: Bytes,
    /// How long the answer may take.
    pub timeout: std::time::Duration,
}

/// Calls the inside of peers.
#[async_trait::async_trait]
pub trait CallInside: Send + Sync + 'static {
    /// Sends the call to `peer` and receives the whole answer: a status and a body of at most `32 MiB`.
    async fn call(
        &self,
        peer: &NodeName,
        call: InsideCall,
    ) -> Result<(StatusCode, Bytes), CallFailure>;
}

/// Answers calls of peers to this node's inside.
#[async_trait::async_trait]
pub trait ServeInside: Send + Sync + 'static {
    /// Answers a call of `peer`, whose identity is proven.
    async fn serve(&self, peer: &NodeName, path: &str, body: Bytes) -> (StatusCode, Bytes);
}

/// Answers calls of peers by a handler that is set later, and 404 until then. Cheap to clone.
#[derive(Clone, Default)]
pub struct InsideSlot(Arc<OnceLock<Arc<dyn ServeInside>>>);

impl InsideSlot {
    /// From now on `handler` answers; false, and nothing changes, where one was set before.
    pub fn open(&self, handler: Arc<dyn ServeInside>) -> bool {
        self.0.set(handler).is_ok()
    }
}

#[async_trait::async_trait]
impl ServeInside for InsideSlot {
    async fn serve(&self, peer: &NodeName, path: &str, body: Bytes) -> (StatusCode, Bytes) {
        match self.0.get() {
            Some(handler) => handler.serve(peer, path, body).await,
            None => (StatusCode::NOT_FOUND, Bytes::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_asked_for_by_body_query_or_path() {
        let asks = |path, body_asks| is_stream(&PathAndQuery::from_static(path), body_asks);
        assert!(asks("/v1/chat/completions", true));
        assert!(asks("/v1/responses/resp_1?include=x&stream=true", false));
        assert!(asks("/v1/audio/speech", false));
        for path in [
            "/v1/chat/completions",
            "/v1/responses/resp_1?stream=false",
            "/v1/responses/resp_1?upstream=true",
            "/v1/audio/speeches",
        ] {
            assert!(!asks(path, false), "{path}");
        }
    }
}
