//! The public API: receives requests, finds them an upstream, returns the answer.
//!
//! Reading order: [`IngressSettings`] and [`Context`], [`listen`] (sockets and threads), `connection` (one
//! client), `proxy_header` (the client behind a balancer), `service` (routes by path), `client_headers` (the
//! head of a request), `visitor` (where the client is, and where its request may go), `limits` (what it takes of its
//! key's limits) and `limited`, `request` (attempts until one answers), `outgoing` (the answer, streamed), `sealed` (the ids that upstreams made), `uploads` (files that they keep), `reply` and `problem` (our headers, our errors),
//! `background` (requests for background work), `own` (requests of background work).
//!
//! What this module does not know: how upstreams and peers are called, and how routes are chosen. It
//! follows `route::plan` and each [`Outcome`](grapevine_core::outcome::Outcome)'s verdict.
//!
//! Invariants: a request's answer is from one upstream only; a broken stream never ends cleanly; when a
//! client goes away, everything done for it is dropped.

mod background;
mod breakable;
mod broken;
mod client_headers;
mod connection;
mod cors;
mod cost;
mod decoded;
mod due;
mod explain;
mod following;
mod handed;
mod intake;
mod keys;
mod limited;
pub(crate) mod limits;
pub mod listen;
mod listen_settings;
mod listing;
mod nearest;
mod outgoing;
mod own;
mod own_path;
mod polls;
#[doc(hidden)]
pub mod probes;
pub(crate) mod problem;
mod proxy_header;
mod proxy_protocol;
mod refuse;
mod reply;
mod reply_body;
mod request;
mod sealed;
mod service;
mod sse;
mod track;
mod tunnel;
mod uploads;
pub(crate) mod usage;
mod usage_event;
mod usage_refusals;
mod visitor;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_core::escrow::growth::OverrunRule;
use grapevine_core::forwarding::Forwarding;
use grapevine_core::hedge_budget::HedgeBudget;
use grapevine_core::homes::Homes;
use grapevine_core::ids::{ModelName, NodeName, RegionName};
use grapevine_core::request::{FailoverPolicy, FallbackModels};
use grapevine_core::residency::Residency;
use grapevine_core::route::Strategy;
use http::HeaderValue;

use grapevine_base::bodies::BodyBudget;
use grapevine_base::driver::DriverHandle;
use grapevine_base::limits::LimitsHandle;
use grapevine_base::queue::QueueHandle;
use grapevine_base::readiness::Readiness;
use grapevine_base::websocket::counts::TunnelCounts;
use grapevine_config::address::Network;
use grapevine_config::checked::ProxyProtocol;
use grapevine_observe::record::Recorder;
use grapevine_observe::trace::Sampler;

pub use background::Background;
pub use cors::Cors;
pub use explain::{Explainer, Supposed, UnknownKey};
pub use keys::Keys;
pub use listen::{Workers, check_free};
pub use listen_settings::{ListenSettings, ListenTlsError, TlsHandle, tls_config};
pub use listing::ModelNotes;
pub use own::OwnCalls;
pub use sealed::SealKeys;
pub use usage_refusals::UsageRefusals;
pub use visitor::{ClientLocation, Locate};

/// The settings of the ingress; replaced as a whole on reload.
#[derive(Clone, Debug)]
pub struct IngressSettings {
    /// This node.
    pub node: NodeName,
    /// Its region.
    pub region: RegionName,
    /// The largest request body in bytes.
    pub body_bytes_max: usize,
    /// How long a client may pause within a body.
    pub body_timeout: Duration,
    /// How long a WebSocket may be silent in both directions.
    pub websocket_idle: Duration,
    /// The most requests in flight, over all threads.
    pub in_flight_max: u32,
    /// The most waiting polls for tasks, over all threads; at most half of them of one client.
    pub polls_max: u32,
    /// Networks whose PROXY headers are trusted.
    pub trusted_proxies: Vec<Network>,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// The paths that may be forwarded to upstreams.
    pub forwarding: Forwarding,
    /// How candidates are ordered.
    pub strategy: Strategy,
    /// How much of what a warm cache saves counts against a nearer upstream.
    pub cache_weight: f64,
    /// What ids of upstreams are sealed with.
    pub seal_keys: SealKeys,
    /// Which regions serve which clients, under the `geo` strategy.
    pub homes: Homes,
    /// Where requests may be answered.
    pub residency: Residency,
    /// The limits of failover within one request.
    pub failover: Arc<FailoverPolicy>,
    /// What second attempts beside late ones are taken from; `None` makes none.
    pub hedge: Option<HedgeBudget>,
    /// The models that stand in for others, by the model that clients ask for.
    pub fallbacks: Arc<BTreeMap<ModelName, FallbackModels>>,
    /// What clients are told of models in addition to what the mesh knows.
    pub model_notes: Arc<ModelNotes>,
    /// From a request's arrival to the first byte of its answer, over all attempts.
    pub deadline: Duration,
    /// Tokens of an answer that are reserved where a request does not say how many it allows.
    pub output_cap: u64,
    /// What becomes of a stream that used more than its key's limits have left.
    pub overrun: OverrunRule,
    /// Whether streams that would not report their usage are asked to.
    pub asks_usage: bool,
    /// The client keys.
    pub keys: Keys,
    /// Which web origins may call from a browser.
    pub cors: Cors,
    /// A stream that is silent for this long gets a comment, so that no intermediary closes it.
    pub ping_interval: Duration,
    /// The mark of this mesh in `CDN-Loop`; a request that carries it already is refused.
    pub passed: HeaderValue,
    /// Decides which requests are traced; `None` traces none and passes their trace context on.
    pub sampler: Option<Sampler>,
}

/// The context of a request thread. `local` belongs to the thread's own runtime.
#[derive(Clone, Debug)]
pub struct Context<L, P> {
    /// The settings of the ingress.
    pub settings: Arc<ArcSwap<IngressSettings>>,
    /// The handle of core's driver.
    pub driver: DriverHandle,
    /// Where reports and records go.
    pub recorder: Recorder,
    /// The memory budget of request bodies.
    pub bodies: BodyBudget,
    /// The limits of keys.
    pub limits: LimitsHandle,
    /// Where requests wait for a slot.
    pub queue: QueueHandle,
    /// Counts the WebSockets of clients.
    pub tunnels: TunnelCounts,
    /// The upstreams that are not asked for token counts.
    pub usage_refusals: UsageRefusals,
    /// Calls own upstreams.
    pub local: L,
    /// Calls peers.
    pub peers: P,
    /// Whether the node is ready.
    pub readiness: Readiness,
    /// Locates clients.
    pub locate: Locate,
    /// Serves requests for background work.
    pub background: Background,
}
#[cfg(test)]
mod tests {
    use grapevine_base::exchange::{Answer, Call, CallFailure, CallPeer};

    use super::*;
    use crate::upstream::UpstreamClient;

    /// hyper moves the future of every request twice.
    const FUTURE_BYTES_MAX: usize = 3_072;

    #[derive(Clone, Debug)]
    struct NoPeers;

    impl CallPeer for NoPeers {
        async fn call(&self, _: &NodeName, _: Call) -> Result<Answer, CallFailure> {
            unreachable!("nothing is called")
        }
    }

    fn bytes_of<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn future_of_a_request_is_small() {
        type Served = Context<UpstreamClient, NoPeers>;
        let bytes = bytes_of(|context: &'static Arc<Served>, request, peer| {
            service::serve(context, request, peer)
        });
        assert!((1_024..=FUTURE_BYTES_MAX).contains(&bytes), "{bytes} bytes");
    }
}
