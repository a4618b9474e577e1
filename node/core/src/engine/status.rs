//! The nodes and their upstreams, for the operator.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::local::Local;
use super::remote::Remote;
use crate::fact::Standing;
use crate::latency::{ByClass, Latency};
use crate::time::Instant;
use crate::view::{NodeView, Reach, UpstreamStatus};

impl Engine {
    pub(super) fn nodes(&self, now: Instant) -> Vec<NodeView> {
        let own = NodeView {
            name: self.identity.node.clone(),
            fact: Some(self.identity.fact()),
            generation: self.identity.generation,
            phase: self.phase,
            live: true,
            reach: Reach::Open,
            rtt: Some(Duration::ZERO),
            services: self.services.clone(),
            upstreams: self
                .locals
                .values()
                .map(|local| own_status(now, local))
                .collect(),
            rules_differ_since: None,
        };
        let peers = self.peers.iter().map(|(name, peer)| NodeView {
            name: name.clone(),
            fact: peer.fact.clone(),
            generation: peer.generation,
            phase: peer.phase,
            live: peer.live,
            reach: peer.reach(self.mesh_size),
            rtt: peer.rtt,
            services: peer.services.clone(),
            upstreams: peer.upstreams.values().map(remote_status).collect(),
            rules_differ_since: peer.rules_differ_since,
        });
        std::iter::once(own).chain(peers).collect()
    }
}

fn own_status(now: Instant, local: &Local) -> UpstreamStatus {
    UpstreamStatus {
        fact: Arc::new(local.fact(now)),
        reported_at: now,
        stands_since: local.stands_since,
        again_at: local.again_at(now),
        in_flight: local.in_flight_now(),
        engine: local.load.metrics(),
        cache: local.cache.clone(),
        last_failure: local.last_failure.clone(),
        percentiles: ByClass::each(|class| {
            let known = local.latencies.overall(class);
            known.map(Latency::percentiles)
        }),
        checks: Some(local.checks()),
    }
}

fn remote_status(remote: &Remote) -> UpstreamStatus {
    UpstreamStatus {
        fact: Arc::clone(&remote.fact),
        reported_at: remote.reported_at,
        stands_since: remote.stands_since,
        again_at: match remote.fact.standing {
            Standing::CoolingDown { remaining } => Some(remote.reported_at + remaining),
            _ => None,
        },
        in_flight: remote
            .others_in_flight
            .saturating_add(remote.in_flight.count()),
        engine: None,
        cache: remote.cache.clone(),
        last_failure: None,
        checks: None,
        percentiles: ByClass::default(),
    }
}
