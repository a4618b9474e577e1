//! When a node that has joined a mesh is ready, and when it knows all of it.
//!
//! Until it knows its peers it can say neither that nobody serves a model nor that no candidate is inside a
//! fence; both are final for a client. So it stays in [`Phase::Joining`], in which it serves what it can and
//! answers the rest with "try again", until each live peer has published its facts and one of them can be
//! reached. A node whose peers are all away does not wait for them for long: it serves on its own.
//!
//! Being ready is not knowing all: the first peer may be met seconds before the others, and one that starts again has
//! published nothing yet. So the node also notes when it met anybody last, a new node or a new incarnation, and its views
//! are *settled* once that is a while ago and each live peer is complete ([`View::settled`](crate::view::View::settled)).

use std::time::Duration;

use super::peer::{LinkStatus, Peer};
use super::{Effect, Engine, ViewDue};
use crate::fact::{Fact, Phase};
use crate::time::Instant;

/// The longest wait for peers: gossip brings a whole mesh of 100 nodes in well under a second.
const JOIN_MAX: Duration = Duration::from_secs(2);

/// Who met nobody for so long, and knows what each live peer has, knows all: rounds of gossip name every node that the
/// other side knows, and there are several in that time.
const QUIET: Duration = Duration::from_millis(500);

/// Knows all after this, whatever is missing: nodes that are listed and never publish anything, or a mesh that is away.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// What a node waits for of its mesh.
#[derive(Debug, Default)]
pub(super) struct Join {
    /// When it stops waiting for its peers and is ready; `None` while it does not wait.
    ends_at: Option<Instant>,
    /// Set while it may yet hear of nodes or of their upstreams.
    unsettled: Option<Unsettled>,
}

/// Who may yet hear of nodes or of their upstreams.
#[derive(Clone, Copy, Debug)]
struct Unsettled {
    /// When to look whether it knows all.
    looks_at: Instant,
    /// When it is settled in any case.
    ends_at: Instant,
}

impl Join {
    /// When time alone changes something.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let looks_at = self.unsettled.map(|unsettled| unsettled.looks_at);
        self.ends_at.into_iter().chain(looks_at).min()
    }
}

impl Engine {
    /// Publishes the node's own phase.
    pub(super) fn change_phase(&mut self, phase: Phase, effects: &mut Vec<Effect>) {
        if self.phase != phase {
            self.phase = phase;
            self.publish(Fact::Phase(phase), true, effects);
            self.view_becomes(ViewDue::Now);
        }
    }

    /// Begins to wait for peers where it `has_seeds`. The first of a mesh knows none to wait for: it is ready, and settled
    /// until somebody joins it.
    pub(super) fn begin_join(&mut self, now: Instant, has_seeds: bool, effects: &mut Vec<Effect>) {
        if !has_seeds {
            return self.change_phase(Phase::Ready, effects);
        }
        self.met(now);
        if self.phase == Phase::Joining {
            self.join.ends_at = Some(now + JOIN_MAX);
        }
    }

    /// A node appeared, or began anew.
    pub(super) fn met(&mut self, now: Instant) {
        if self.join.unsettled.is_none() {
            self.view_becomes(ViewDue::Now);
        }
        self.join.unsettled = Some(Unsettled {
            looks_at: now + QUIET,
            ends_at: now + SETTLE_MAX,
        });
    }

    /// Becomes ready once the peers are known or the wait is over. Costs one look at each peer, and only while
    /// the node joins.
    pub(super) fn end_join(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Some(ends_at) = self.join.ends_at else {
            return;
        };
        if self.phase != Phase::Joining {
            self.join.ends_at = None;
        } else if now >= ends_at || self.knows_its_peers() {
            self.join.ends_at = None;
            self.change_phase(Phase::Ready, effects);
        }
    }

    /// Is settled once all is known or the wait is over. Costs one look at each peer every [`QUIET`] at most.
    pub(super) fn settle(&mut self, now: Instant) {
        let Some(unsettled) = &mut self.join.unsettled else {
            return;
        };
        if now < unsettled.looks_at {
            return;
        }
        unsettled.looks_at = now + QUIET;
        if now >= unsettled.ends_at || self.knows_its_peers() {
            self.join.unsettled = None;
            self.view_becomes(ViewDue::Now);
        }
    }

    /// Whether what it does not know does not exist.
    pub(super) fn is_settled(&self) -> bool {
        self.join.unsettled.is_none() && self.phase != Phase::Joining
    }

    fn knows_its_peers(&self) -> bool {
        let live = || self.peers.values().filter(|peer| peer.live);
        live().all(Peer::is_complete) && live().any(|peer| peer.link == LinkStatus::Up)
    }
}
