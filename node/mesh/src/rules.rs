//! This node's rules for the requests of peers.

use arc_swap::ArcSwap;
use grapevine_core::forwarding::Forwarding;
use grapevine_core::residency::Residency;
use grapevine_observe::metrics::Metrics;
use tokio::time::Instant;
use tracing::warn;

use super::complaints::Complaints;
use super::link::PeerLink;

/// This node's own rules for the requests that it serves to peers: it applies them whatever the peer applied.
#[derive(Clone, Debug, Default)]
pub struct ServingRules {
    /// Which requests may be answered in this node's region.
    pub residency: Residency,
    /// Which requests may be sent to upstreams.
    pub forwarding: Forwarding,
}

/// The rules in force, and how refused requests are reported.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) serving: ArcSwap<ServingRules>,
    metrics: Metrics,
    complaints: Complaints,
}

impl Rules {
    pub(super) fn new(rules: ServingRules, metrics: Metrics) -> Self {
        Self {
            serving: ArcSwap::from_pointee(rules),
            metrics,
            complaints: Complaints::default(),
        }
    }

    /// A request of the peer of `link` may not be answered here. The peer's own rules should have refused
    /// it: an operator should compare the two.
    pub(super) fn refused(&self, link: &PeerLink, detail: &str) {
        self.metrics.residency_refused_to_peer();
        let address = link.connection.remote_address().ip();
        if self.complaints.may(address, Instant::now()) {
            warn!(
                peer.name = %link.peer,
                detail,
                "a peer's request may not be answered here; compare the residency rules of both nodes"
            );
        }
    }
}
