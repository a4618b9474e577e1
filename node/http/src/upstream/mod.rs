//! Calls own upstreams: HTTP/1.1 or HTTP/2, plain or TLS, over connections that are kept.
//!
//! Reading order: [`UpstreamSettings`] (what an upstream is), `target` (the same, ready for use),
//! [`UpstreamTargets`] (the table all threads share), [`UpstreamClient`] (one per runtime), `body` (the answer
//! as it arrives, with its timeouts), `dress` and `payload` (the request's headers, and its body with the model
//! renamed), `provider` and `credential` (what another API than OpenAI's makes of a request, and what it is authenticated
//! with), `identity` (the keys of clients' identity provider), `provided` (the two on a call), `dialects` and `translated` (a call between two dialects), `http1` (a connection over HTTP/1.1), `pool` (connections that are kept), `connect` and `dial` (new
//! ones), `guard` (how one over HTTP/2 ends), `stale` (what is sent again for free).
//!
//! What this module does not know: health, routes, peers. It reports how a call ended as an
//! [`Outcome`](grapevine_core::outcome::Outcome) and leaves the judgement to core.
//!
//! Invariant: a client's credential never reaches an upstream, nor an upstream's a client.

mod body;
mod client;
mod connect;
mod credential;
mod dial;
mod dialects;
mod dress;
mod guard;
mod http1;
mod identity;
mod outbound;
mod payload;
mod pool;
mod probe;
mod provided;
mod provider;
mod stale;
mod target;
mod translated;
mod tunnel;

pub use client::UpstreamClient;
pub use connect::tls_config;
#[cfg(test)]
pub(crate) use connect::tls_without_roots;
pub use credential::{CredentialFailure, CredentialState};
#[doc(hidden)]
pub use http1::probes;
pub use identity::{IdentityClient, IdentityFailure};
pub(crate) use target::{HEALTH_PATH, METRICS_PATH};
pub use target::{SettingsError, UpstreamSettings, UpstreamTargets};
