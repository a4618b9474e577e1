//! When a node that has joined a mesh is ready.
//!
//! Until it knows its peers it can say neither that nobody serves a model nor that no candidate is inside a
//! fence; both are final for a client. So it stays in [`Phase::Joining`], in which it serves what it can and
//! answers the rest with "try again", until each live peer has published its facts and one of them can be
//! reached. A node whose peers are all away does not wait for them for long: it serves on its own.

use std::time::Duration;

use super::peer::{LinkStatus, Peer};
use super::{Effect, Engine, ViewDue};
use crate::fact::{Fact, Phase};
use crate::time::Instant;

/// The longest wait for peers: gossip brings a whole mesh of 100 nodes in well under a second.
const JOIN_MAX: Duration = Duration::from_secs(2);

impl Engine {
    /// Publishes the node's own phase.
    pub(super) fn change_phase(&mut self, phase: Phase, effects: &mut Vec<Effect>) {
        if self.phase != phase {
            self.phase = phase;
            self.publish(Fact::Phase(phase), true, effects);
            self.view_becomes(ViewDue::Now);
        }
    }

    /// Begins to wait for peers.
    pub(super) fn begin_join(&mut self, now: Instant) {
        if self.phase == Phase::Joining {
            self.join_ends_at = Some(now + JOIN_MAX);
        }
    }

    /// Becomes ready once the peers are known or the wait is over. Costs one look at each peer, and only while
    /// the node joins.
    pub(super) fn end_join(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Some(ends_at) = self.join_ends_at else {
            return;
        };
        if self.phase != Phase::Joining {
            self.join_ends_at = None;
        } else if now >= ends_at || self.knows_its_peers() {
            self.join_ends_at = None;
            self.change_phase(Phase::Ready, effects);
        }
    }

    fn knows_its_peers(&self) -> bool {
        let live = || self.peers.values().filter(|peer| peer.live);
        live().all(Peer::is_complete) && live().any(|peer| peer.link == LinkStatus::Up)
    }
}
