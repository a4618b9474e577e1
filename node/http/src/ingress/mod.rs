//! The public door: takes API requests, finds them an upstream, hands back the answer.
//!
//! Reading order: [`IngressSettings`] and [`Context`] (what it is given), [`listen`] (sockets and threads), `connection` (one client), `introduction` (whom a balancer stands for),
//! `service` (which path is whose), `client_headers` (who asks, and what for),
//! `visitor` (where the client is, and where its request may go),
//! `request` (attempts until one answers), `outgoing` (the answer on its way), `reply` and `problem`
//! (our headers, our errors), `background` (what is handed to background work), `own` (what background work
//! asks for).
//!
//! What this module does not know: how upstreams and peers are called, and how routes are chosen. It
//! follows `route::plan` and each [`Outcome`](grapevine_core::outcome::Outcome)'s verdict.
//!
//! Invariants: a request's answer comes from one upstream only; a broken stream never ends cleanly; a
//! client that goes away drops everything done for it.

mod background;
mod broken;
mod client_headers;
mod connection;
mod cors;
mod due;
mod explain;
mod handed;
mod intake;
mod introduction;
mod keys;
pub mod listen;
mod listen_settings;
mod listing;
mod nearest;
mod outgoing;
mod own;
mod polls;
#[doc(hidden)]
pub mod probes;
mod problem;
mod proxy_protocol;
mod refuse;
mod reply;
mod reply_body;
mod request;
mod service;
mod sse;
mod track;
mod usage;
mod visitor;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_core::forwarding::Forwarding;
use grapevine_core::homes::Homes;
use grapevine_core::ids::{NodeName, RegionName};
use grapevine_core::request::FailoverPolicy;
use grapevine_core::residency::Residency;
use grapevine_core::route::Strategy;
use http::HeaderValue;

use grapevine_base::bodies::BodyBudget;
use grapevine_base::driver::DriverHandle;
use grapevine_base::readiness::Readiness;
use grapevine_config::address::Network;
use grapevine_config::checked::ProxyProtocol;
use grapevine_observe::record::Recorder;
use grapevine_observe::trace::Sampler;

pub use background::Background;
pub use cors::Cors;
pub use explain::{Explainer, Supposed, UnknownKey};
pub use keys::{ClientKey, Keys};
pub use listen::{Workers, check_free};
pub use listen_settings::{ListenSettings, ListenTlsError, TlsHandle, tls_config};
pub use own::OwnCalls;
pub use visitor::{Locate, Whereabouts};

/// What the door is told; replaced as a whole on reload.
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
    /// Requests under way at once, over all threads.
    pub in_flight_max: u32,
    /// Polls that wait for tasks at once, over all threads; half of them of one client at most.
    pub polls_max: u32,
    /// Networks whose PROXY headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// What may be asked of upstreams.
    pub forwarding: Forwarding,
    /// How candidates are ordered.
    pub strategy: Strategy,
    /// Which regions serve which clients, under the `geo` strategy.
    pub homes: Homes,
    /// Where requests may be answered.
    pub residency: Residency,
    /// How far one request may go to find an answer.
    pub failover: Arc<FailoverPolicy>,
    /// From a request's arrival to the first byte of its answer, over all attempts.
    pub deadline: Duration,
    /// Who may ask.
    pub keys: Keys,
    /// Which web pages may ask from a browser.
    pub cors: Cors,
    /// A stream that is silent for this long gets a comment, so that nothing on the way gives it up.
    pub ping_interval: Duration,
    /// What marks requests of this mesh in `CDN-Loop`; one that carries it already is refused.
    pub passed: HeaderValue,
    /// Decides which requests are traced; `None` traces none and passes on what they say.
    pub sampler: Option<Sampler>,
}

/// What a request thread works with. `local` belongs to the thread's own runtime.
#[derive(Clone, Debug)]
pub struct Context<L, P> {
    /// The door's settings.
    pub settings: Arc<ArcSwap<IngressSettings>>,
    /// The way to core.
    pub desk: DriverHandle,
    /// Where reports and records go.
    pub recorder: Recorder,
    /// What request bodies may take of memory.
    pub bodies: BodyBudget,
    /// Calls own upstreams.
    pub local: L,
    /// Calls peers.
    pub peers: P,
    /// Whether the node is ready.
    pub readiness: Readiness,
    /// Tells where clients are.
    pub locate: Locate,
    /// Answers what is asked about background work.
    pub background: Background,
}
#[cfg(test)]
mod tests {
    use grapevine_base::exchange::{Answer, Call, CallFailure, CallPeer};

    use super::*;
    use crate::upstream::UpstreamClient;

    /// hyper moves the future of every request twice.
    const FUTURE_BYTES_MAX: usize = 6_144;

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
        let bytes = bytes_of(|context: &'static Served, request, peer| {
            service::serve(context, request, peer)
        });
        assert!((1_024..=FUTURE_BYTES_MAX).contains(&bytes), "{bytes} bytes");
    }
}
