//! What a node knows of a peer: its facts in the order of their stamps, and the state of the link.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::event::{AttemptReport, Effect, Via};
use super::few::Few;
use super::remote::Remote;
use super::{Engine, PEERS_MAX, ViewDue};
use crate::fact::{Fact, FactChange, FactKey, Load, NodeFact, Phase, ServicesFact, UpstreamFact};
use crate::ids::{Generation, NodeName, Stamp, UpstreamName};
use crate::limit::InFlight;
use crate::link::DIAL_PAUSE;
use crate::links::MeshSize;
use crate::notice::Notice;
use crate::outcome::{Blame, Outcome, Refusal, RetryOn};
use crate::residency::RulesFact;
use crate::time::Instant;
use crate::view::Reach;

/// Upstreams kept for one peer: its gossiped state has no room for more.
const UPSTREAMS_MAX: usize = 64;

/// One that refused work or limited rates counts as hot for this long.
const HOT_FOR: Duration = Duration::from_secs(1);

/// A peer that lost a request gets no new one for this long, unless its link proves healthy before.
const SUSPECT_FOR: Duration = Duration::from_millis(500);

/// A node that started less than this ago applies no slow start: that is for peers that come later.
const ACQUAINTED_AFTER: Duration = Duration::from_secs(10);

/// A peer dead for this long may come back in any incarnation, also an earlier one by a clock that went back: for
/// five minutes gossip reports the later one to it, which it then supersedes, and this is safely within them.
const INCARNATION_LAPSES_AFTER: Duration = Duration::from_secs(240);

/// What is known of a peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) generation: Generation,
    pub(super) fact: Option<NodeFact>,
    pub(super) phase: Phase,
    pub(super) services: Option<Arc<ServicesFact>>,
    pub(super) upstreams: Few<UpstreamName, Remote>,
    pub(super) live: bool,
    pub(super) died_at: Option<Instant>,
    pub(super) link: LinkStatus,
    /// Requests that this node has in flight there, whatever the upstream.
    pub(super) calls: InFlight,
    pub(super) rtt: Option<Duration>,
    /// The residency rules that it published last, in any incarnation.
    pub(super) rules: Option<Arc<RulesFact>>,
    /// Since when its rules have been others than this node's; `None` while they are the same.
    pub(super) rules_differ_since: Option<Instant>,
    stamps: Few<FactKey, Stamp>,
    /// Whether it came back after [`INCARNATION_LAPSES_AFTER`], and has published nothing since.
    lapsed: bool,
    pub(super) suspect_until: Option<Instant>,
    /// Until when no link is opened for a request.
    pub(super) dials_after: Option<Instant>,
    /// Whether its last link was closed as idle.
    pub(super) parted: bool,
}

/// The link to a peer, as the data path reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkStatus {
    Down,
    Silent,
    Up,
}

/// A verified fact as received.
#[derive(Debug)]
pub(super) struct ReceivedFact {
    pub(super) node: NodeName,
    pub(super) stamp: Stamp,
    pub(super) fact: Fact,
    pub(super) via: Via,
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            generation: Generation::default(),
            fact: None,
            phase: Phase::Joining,
            services: None,
            upstreams: Few::new(),
            live: false,
            died_at: Some(now),
            link: LinkStatus::Down,
            calls: InFlight::default(),
            rtt: None,
            rules: None,
            rules_differ_since: None,
            stamps: Few::new(),
            lapsed: false,
            suspect_until: None,
            dials_after: None,
            parted: false,
        }
    }

    /// Whether work can be sent there, as one of a mesh that is linked whole, or of a larger one.
    pub(super) fn reach(&self, mesh: MeshSize) -> Reach {
        let serves = self.fact.as_ref().is_some_and(|fact| fact.serves_requests);
        let is_dialled = || mesh == MeshSize::Large && self.live && self.dials_after.is_none();
        match self.link {
            LinkStatus::Down if serves && self.phase == Phase::Ready && is_dialled() => {
                Reach::Unlinked
            }
            LinkStatus::Down => Reach::Down,
            _ if !serves || self.phase != Phase::Ready => Reach::Closed,
            LinkStatus::Silent => Reach::Silent,
            LinkStatus::Up if self.suspect_until.is_some() => Reach::Silent,
            LinkStatus::Up => Reach::Open,
        }
    }

    /// Whether it has published what a node publishes first: its rules, itself, its upstreams and its phase.
    pub(super) fn is_complete(&self) -> bool {
        self.fact.is_some() && self.stamps.contains(&FactKey::Phase)
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.suspect_until.into_iter().chain(self.dials_after).min()
    }

    /// Clears a suspicion, or a pause of dials, whose time is over; true when there was one.
    pub(super) fn suspicion_ended(&mut self, now: Instant) -> bool {
        let mut waits = [&mut self.suspect_until, &mut self.dials_after];
        let ended = waits
            .iter_mut()
            .filter_map(|wait| wait.take_if(|until| *until <= now));
        ended.count() > 0
    }

    /// Takes how an attempt of this node at the peer ended, before the peer itself reports it.
    pub(super) fn attempt_ended(&mut self, now: Instant, report: &AttemptReport, mesh: MeshSize) {
        match report.outcome {
            Outcome::PeerUnreached if self.link == LinkStatus::Down && mesh == MeshSize::Large => {
                self.dials_after = Some(now + DIAL_PAUSE);
            }
            Outcome::PeerLost | Outcome::PeerUnreached => {
                self.suspect_until = Some(now + SUSPECT_FOR)
            }
            Outcome::Refused(Refusal::Draining) => self.phase = Phase::Draining,
            _ => {}
        }
        let Some(remote) = self.upstreams.get_mut(&report.upstream) else {
            return;
        };
        let (model, class) = (report.model.as_ref(), report.shape.class);
        match (report.outcome.blame(), report.first_byte) {
            (Blame::Success, Some(first_byte)) => {
                remote.answer_times.answered(model, class, first_byte);
            }
            (_, Some(waited)) if report.outcome.is_in_vain() => {
                remote.answer_times.waited_in_vain(model, class, waited);
            }
            _ => {}
        }
        match report.outcome.verdict(&RetryOn::default()).blame {
            Blame::Success => remote.tries.answered(now),
            blame => {
                let in_vain = blame != Blame::Nobody || report.outcome.is_in_vain();
                remote.tries.failed(now, in_vain);
            }
        }
        match report.outcome {
            // What its owner publishes is to come.
            Outcome::Refused(Refusal::Ejected | Refusal::UnknownUpstream)
                if remote.refused(now, report.model.as_ref()) => {}
            // Nothing new of its other models.
            outcome if outcome.limits_model() && remote.limited(now, report.model.as_ref()) => {}
            Outcome::Refused(Refusal::Full | Refusal::Ejected)
            | Outcome::Status { status: 429, .. } => remote.hot_until = Some(now + HOT_FOR),
            Outcome::Status { .. } => remote.figures_at = now,
            _ => {}
        }
    }

    pub(super) fn load_received(&mut self, now: Instant, load: &Load) {
        if let Some(remote) = self.upstreams.get_mut(&load.upstream) {
            remote.load_received(now, load);
        }
    }

    /// Whether its known incarnation may be followed by an earlier one.
    fn has_lapsed(&self, now: Instant) -> bool {
        let long_ago = |died| now.since(died) >= INCARNATION_LAPSES_AFTER;
        self.lapsed || self.died_at.is_some_and(long_ago)
    }

    /// Whether a fact of `stamp` under `key` is newer than the known one; a new incarnation replaces the one before.
    fn is_newer(&mut self, now: Instant, key: &FactKey, stamp: Stamp) -> bool {
        if stamp.generation < self.generation && !self.has_lapsed(now) {
            return false;
        }
        self.lapsed = false;
        if stamp.generation != self.generation {
            self.generation = stamp.generation;
            self.stamps.clear();
            self.upstreams.clear();
            self.services = None;
            self.phase = Phase::Joining;
        }
        let is_newer = self
            .stamps
            .get_mut(key)
            .is_none_or(|newest| stamp > *newest);
        if is_newer {
            self.stamps.insert(key.clone(), stamp);
        }
        is_newer
    }

    fn upstream_changed(&mut self, now: Instant, fact: UpstreamFact, newcomer: bool) -> bool {
        if let Some(remote) = self.upstreams.get_mut(&fact.name) {
            let transition = fact.standing.differs_in_kind(remote.fact.standing)
                || fact.account_differs(&remote.fact);
            remote.update(now, fact);
            return transition;
        }
        let fits = self.upstreams.len() < UPSTREAMS_MAX;
        if fits {
            let returned_at = newcomer.then_some(now);
            let mut remote = Remote::new(now, fact, returned_at);
            remote.in_flight = InFlight::over(&self.calls);
            self.upstreams.insert(remote.fact.name.clone(), remote);
        }
        fits
    }
}

impl Engine {
    pub(super) fn fact_received(
        &mut self,
        now: Instant,
        received: ReceivedFact,
        effects: &mut Vec<Effect>,
    ) {
        let ReceivedFact {
            node,
            stamp,
            fact,
            via,
        } = received;
        let newcomer = now.since(self.started_at) > ACQUAINTED_AFTER;
        let Some(peer) = self.peer(now, &node, effects) else {
            return;
        };
        let key = fact.key();
        let before = peer.generation;
        if !peer.is_newer(now, &key, stamp) {
            return;
        }
        let began_anew = peer.generation != before;
        let mut due = ViewDue::Soon;
        match fact {
            Fact::Node(fact) => {
                let is_first = peer.fact.replace(fact).is_none();
                if is_first {
                    self.voter_appeared(now, &node);
                }
                due = ViewDue::Now;
            }
            Fact::Phase(phase) => {
                if phase == Phase::Draining && peer.phase != phase {
                    effects.push(Effect::Notice(Notice::PeerDraining { peer: node.clone() }));
                }
                peer.phase = phase;
                due = ViewDue::Now;
            }
            Fact::Services(fact) => {
                let published = peer.services.replace(Arc::new(fact));
                let change = peer.services.as_deref().zip(published.as_deref());
                if change.is_none_or(|(new, published)| {
                    new.change_since(published) == FactChange::Transition
                }) {
                    due = ViewDue::Now;
                }
            }
            Fact::Upstream(fact) => {
                if peer.upstream_changed(now, fact, newcomer) {
                    due = ViewDue::Now;
                }
            }
            Fact::UpstreamGone(name) => {
                peer.upstreams.remove(&name);
                due = ViewDue::Now;
            }
            Fact::Rules(rules) => self.rules_received(now, &node, rules, effects),
        }
        self.view_becomes(due);
        if began_anew {
            self.met(now);
        }
        if via == Via::Rumor {
            effects.push(Effect::Relay { node, key, stamp });
        }
    }

    pub(super) fn members_changed(
        &mut self,
        now: Instant,
        live: &BTreeSet<NodeName>,
        effects: &mut Vec<Effect>,
    ) {
        for name in live {
            // Nearly all of them were alive before: nothing else is looked at.
            if self.peers.get(name).is_some_and(|peer| peer.live) {
                continue;
            }
            let Some(peer) = self.peer(now, name, effects) else {
                continue;
            };
            if !peer.live {
                peer.lapsed = peer.has_lapsed(now);
                peer.live = true;
                peer.died_at = None;
                effects.push(Effect::Notice(Notice::PeerRevived { peer: name.clone() }));
                self.view_becomes(ViewDue::Now);
            }
        }
        let mut died = false;
        // Both are in the order of names.
        let mut listed = live.iter().peekable();
        for (name, peer) in &mut self.peers {
            while listed.next_if(|other| *other < name).is_some() {}
            let is_listed = listed.next_if_eq(&name).is_some();
            if peer.live && !is_listed {
                peer.live = false;
                peer.died_at = Some(now);
                effects.push(Effect::Notice(Notice::PeerDied { peer: name.clone() }));
                died = true;
            }
        }
        if died {
            self.view_becomes(ViewDue::Now);
        }
        self.mesh_size = MeshSize::of(live.len());
    }

    /// The record of `name`, made where there is none; `None` for this node itself and beyond the
    /// limit.
    pub(super) fn peer(
        &mut self,
        now: Instant,
        name: &NodeName,
        effects: &mut Vec<Effect>,
    ) -> Option<&mut Peer> {
        if *name == self.identity.node {
            return None;
        }
        if !self.peers.contains_key(name) {
            if self.peers.len() >= PEERS_MAX {
                effects.push(Effect::Notice(Notice::TooManyPeers { peer: name.clone() }));
                return None;
            }
            effects.push(Effect::Notice(Notice::PeerJoined { peer: name.clone() }));
            self.peers.insert(name.clone(), Peer::new(now));
            self.met(now);
        }
        self.peers.get_mut(name)
    }
}
