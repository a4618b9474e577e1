//! The state machine: events in, effects and views out.
//!
//! One engine holds what one node knows: its own upstreams ([`local`]) and its peers ([`peer`]).
//! Every change of its own that others must know becomes an effect ([`Effect::Publish`]); every change that
//! matters to routing makes a new [`View`] due ([`picture`]).
//!
//! Invariant: what a node publishes of its own upstreams comes from its own attempts and probes alone; what it holds
//! of a peer's upstreams comes from that peer alone, and is ordered by the peer's stamps.

mod accounts;
mod by_model;
mod checks;
mod event;
mod few;
mod join;
mod judge;
mod linking;
mod load;
mod local;
mod locals;
mod peer;
mod picture;
mod refusals;
mod remote;
mod rules;
mod status;
mod tiers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand_core::Rng;

use crate::fact::{Fact, FactChange, Phase, ServicesFact};
use crate::ids::{Generation, ModelName, NodeName, Stamp, UpstreamName};
use crate::links::MeshSize;
use crate::notice::Notice;
use crate::residency::{MeshRules, RulesFact};
use crate::time::Instant;
use crate::units::Tier;
use crate::view::View;

pub use event::{
    AnswerReport, AttemptReport, Effect, Event, Identity, LoadReport, Models, Probe, ProbeReport,
    QuotaReport, UpstreamSpec, UpstreamSwitch, Via, WaitReport,
};
use local::Local;
use peer::{LinkStatus, Peer, ReceivedFact};

/// Figures are published at most this often; transitions at once.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

/// The same for each peer that receives them: beyond 50 peers figures are published less often, so that a node
/// receives fewer than 50 values per second, some 20 kB, however large the mesh. Peers that get work report their
/// load and first byte with every answer and echo anyway.
const PUBLISH_INTERVAL_PER_PEER: Duration = Duration::from_millis(20);

/// Views with new figures are made at most this often; views with transitions at once.
const VIEW_INTERVAL: Duration = Duration::from_millis(50);

/// What a view may cost for each of its candidates: keeps making views under a few percent of a core
/// in a large mesh (20,000 candidates: every 100 ms).
const VIEW_INTERVAL_PER_CANDIDATE: Duration = Duration::from_micros(5);

/// Peers are looked at for suspicions that ended at most this often.
const PEERS_INTERVAL: Duration = Duration::from_millis(20);

/// Peers are looked at for those to be forgotten at most this often.
const FORGET_INTERVAL: Duration = Duration::from_secs(1);

/// Nodes kept at most, dead ones included.
const PEERS_MAX: usize = 4_096;

/// A dead node's records are dropped after this.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The state of one node: its own upstreams, and what it knows of its peers.
#[derive(Debug)]
pub struct Engine {
    identity: Identity,
    started_at: Instant,
    phase: Phase,
    services: Option<Arc<ServicesFact>>,
    version: u64,
    locals: BTreeMap<UpstreamName, Local>,
    peers: BTreeMap<NodeName, Peer>,
    incumbents: BTreeMap<(ModelName, Tier), (NodeName, UpstreamName)>,
    /// The own residency rules; `None` until they are configured, and nothing is published of them before.
    rules: Option<Arc<RulesFact>>,
    mesh_rules: Arc<MeshRules>,
    has_published: bool,
    /// What it waits for of the mesh that it joined.
    join: join::Join,
    peers_seen_at: Instant,
    forgot_at: Instant,
    /// The earliest of all peers; never later than the true one.
    suspicion_ends_at: Option<Instant>,
    mesh_size: MeshSize,
    /// When the first rest of an account ends that the latest view shows.
    account_rest_ends_at: Option<Instant>,
    view_due: ViewDue,
    view_made_at: Instant,
    view_candidates: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ViewDue {
    No,
    Soon,
    Now,
}

impl Engine {
    /// A node that knows nothing yet.
    pub fn new(now: Instant, identity: Identity) -> Self {
        Self {
            identity,
            started_at: now,
            phase: Phase::Joining,
            services: None,
            version: 0,
            locals: BTreeMap::new(),
            peers: BTreeMap::new(),
            incumbents: BTreeMap::new(),
            rules: None,
            mesh_rules: Arc::new(MeshRules::of_one()),
            has_published: false,
            join: join::Join::default(),
            peers_seen_at: now,
            forgot_at: now,
            suspicion_ends_at: None,
            mesh_size: MeshSize::default(),
            account_rest_ends_at: None,
            view_due: ViewDue::Now,
            view_made_at: now,
            view_candidates: 0,
        }
    }

    /// Residency rules of peers that bind this node where most nodes agree.
    pub fn mesh_rules(&self) -> &MeshRules {
        &self.mesh_rules
    }

    /// Takes an event and returns what to do, in order.
    pub fn handle(&mut self, now: Instant, event: Event, rng: &mut impl Rng) -> Vec<Effect> {
        let mut effects = Vec::new();
        if !self.has_published {
            self.has_published = true;
            for fact in self.first_facts() {
                self.publish(fact, false, &mut effects);
            }
        }
        self.take(now, event, rng, &mut effects);
        self.advance(now, &mut effects);
        effects
    }

    fn take(&mut self, now: Instant, event: Event, rng: &mut impl Rng, effects: &mut Vec<Effect>) {
        match event {
            Event::Configured(specs) => self.configure(now, specs, effects),
            Event::UpstreamSwitched(switch) => self.switch(now, &switch),
            Event::RulesChanged(rules) => self.rules_changed(now, rules, effects),
            Event::JoinBegan { has_seeds } => self.begin_join(now, has_seeds, effects),
            Event::PhaseChanged(phase) => self.change_phase(phase, effects),
            Event::ServicesChanged(fact) => self.change_services(fact, effects),
            Event::AnswerBegan(report) => self.local_answer_began(now, &report, effects),
            Event::AnswerAwaited(report) => self.local_answer_awaited(now, &report, rng, effects),
            Event::BlameDoubted { upstream, request } => {
                self.blame_doubted(now, &upstream, request, effects);
            }
            Event::AttemptEnded(report) => match &report.peer {
                None => self.local_attempt_ended(now, &report, rng, effects),
                Some(peer) => {
                    if let Some(peer) = self.peers.get_mut(peer) {
                        peer.attempt_ended(now, &report, self.mesh_size);
                        let ends_at = peer.next_wake();
                        self.suspicion_ends_at =
                            self.suspicion_ends_at.into_iter().chain(ends_at).min();
                        self.view_becomes(ViewDue::Soon);
                    }
                }
            },
            Event::QuotaReported(report) => self.quota_reported(now, &report, effects),
            Event::ProbeEnded(report) => self.probe_ended(now, report, rng, effects),
            Event::LoadRead(report) => self.load_read(now, &report),
            Event::MembersChanged(live) => self.members_changed(now, &live, effects),
            Event::FactReceived {
                node,
                stamp,
                fact,
                via,
            } => {
                self.fact_received(
                    now,
                    ReceivedFact {
                        node,
                        stamp,
                        fact,
                        via,
                    },
                    effects,
                );
            }
            Event::LinkUp { peer } => self.link_changed(now, peer, LinkStatus::Up, effects),
            Event::LinkDown { peer } => self.link_changed(now, peer, LinkStatus::Down, effects),
            Event::LinkClosed { peer } => self.link_closed(&peer),
            Event::LinkSilent { peer } => self.link_changed(now, peer, LinkStatus::Silent, effects),
            Event::LinkRecovered { peer } => self.link_changed(now, peer, LinkStatus::Up, effects),
            Event::RttMeasured { peer, rtt } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.rtt = Some(rtt);
                    self.view_becomes(ViewDue::Soon);
                }
            }
            Event::LoadReceived { peer, loads } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    loads.iter().for_each(|load| peer.load_received(now, load));
                    self.view_becomes(ViewDue::Soon);
                }
            }
            Event::FormerIncarnation { generation } => self.supersede(generation, effects),
            Event::Tick => {}
        }
    }

    /// Applies the passing of time: cooldowns end, probes fall due, figures are published, the dead forgotten.
    fn advance(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.advance_locals(now, effects);
        self.end_join(now, effects);
        self.settle(now);
        self.end_account_rests(now);
        // Looking at every peer after every event would cost more than the event, in a large mesh.
        if now.since(self.peers_seen_at) < PEERS_INTERVAL {
            return;
        }
        if self.suspicion_ends_at.is_some_and(|at| at <= now) {
            self.peers_seen_at = now;
            self.end_suspicions(now);
        }
        if now.since(self.forgot_at) >= FORGET_INTERVAL {
            self.forgot_at = now;
            self.forget_peers(now, effects);
        }
    }

    fn end_suspicions(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            if peer.suspicion_ended(now) {
                self.view_due = ViewDue::Now;
            }
        }
        self.suspicion_ends_at = self.peers.values().filter_map(Peer::next_wake).min();
    }

    fn forget_peers(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let is_forgotten = |peer: &Peer| {
            let long_dead = peer
                .died_at
                .is_some_and(|died| now.since(died) >= FORGET_AFTER);
            long_dead && peer.link == LinkStatus::Down
        };
        let gone = self.peers.iter().filter(|(_, peer)| is_forgotten(peer));
        let gone: Vec<NodeName> = gone.map(|(name, _)| name.clone()).collect();
        let any_gone = !gone.is_empty();
        for peer in gone {
            self.peers.remove(&peer);
            effects.push(Effect::Notice(Notice::PeerForgotten { peer }));
            self.view_becomes(ViewDue::Soon);
        }
        if any_gone {
            self.gather_rules();
        }
    }

    /// When time alone will change something or make a view due; `None` while nothing waits.
    pub fn next_wake(&self) -> Option<Instant> {
        let view = match self.view_due {
            ViewDue::No => None,
            ViewDue::Soon | ViewDue::Now => Some(self.view_made_at + self.view_interval()),
        };
        self.next_change().into_iter().chain(view).min()
    }

    /// When time alone will change something, views aside: for a caller that draws a view only when it
    /// is asked for one.
    pub fn next_change(&self) -> Option<Instant> {
        let interval = self.publish_interval();
        let locals = self.locals.values();
        let locals = locals.filter_map(|local| local.next_wake(interval));
        let suspicion = self.suspicion_ends_at;
        let suspicion = suspicion.map(|at| at.max(self.peers_seen_at + PEERS_INTERVAL));
        let waits = [suspicion, self.join.next_wake(), self.account_rest_ends_at];
        locals.chain(waits.into_iter().flatten()).min()
    }

    /// Whether a new view should be published.
    pub fn view_is_due(&self, now: Instant) -> bool {
        match self.view_due {
            ViewDue::No => false,
            ViewDue::Soon => now.since(self.view_made_at) >= self.view_interval(),
            ViewDue::Now => true,
        }
    }

    /// The mesh as this node sees it now.
    pub fn view(&mut self, now: Instant) -> View {
        let view = self.draw(now);
        self.view_due = ViewDue::No;
        self.view_made_at = now;
        self.view_candidates = picture::candidates(&view);
        view
    }

    fn view_interval(&self) -> Duration {
        let candidates = u32::try_from(self.view_candidates).unwrap_or(u32::MAX);
        VIEW_INTERVAL.max(VIEW_INTERVAL_PER_CANDIDATE.saturating_mul(candidates))
    }

    /// How often figures may be published in a mesh of this size.
    fn publish_interval(&self) -> Duration {
        let peers = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        PUBLISH_INTERVAL.max(PUBLISH_INTERVAL_PER_PEER.saturating_mul(peers))
    }

    fn view_becomes(&mut self, due: ViewDue) {
        self.view_due = self.view_due.max(due);
    }

    /// What it publishes of itself first, without its upstreams.
    fn first_facts(&self) -> Vec<Fact> {
        // The rules first: a peer that knows the node then knows them.
        let rules = self
            .rules
            .iter()
            .map(|rules| Fact::Rules(Arc::clone(rules)));
        let rest = [Fact::Node(self.identity.fact()), Fact::Phase(self.phase)];
        rules.chain(rest).collect()
    }

    /// Takes a generation above an earlier incarnation of this node and publishes everything again.
    ///
    /// Peers drop what is older than the newest incarnation they know. So after the wall clock went back they would
    /// keep the earlier incarnation, which may have ended in draining, and never accept this one. Only a later
    /// generation counts: an equal one is this node's own echo, and anybody can repeat it.
    fn supersede(&mut self, former: Generation, effects: &mut Vec<Effect>) {
        let now = self.identity.generation;
        if former <= now {
            return;
        }
        effects.push(Effect::Notice(Notice::ClockWentBack { former, now }));
        self.identity.generation = Generation(former.0.saturating_add(1));
        self.version = 0;
        let services = self.services.as_deref().cloned().map(Fact::Services);
        for fact in self.first_facts().into_iter().chain(services) {
            self.publish(fact, true, effects);
        }
        // They are published as transitions when this event is done.
        self.locals.values_mut().for_each(Local::forget_published);
        self.view_becomes(ViewDue::Now);
    }

    /// Publishes what changed of the background work. Its shell reports figures at most once a second.
    fn change_services(&mut self, fact: ServicesFact, effects: &mut Vec<Effect>) {
        let change = match &self.services {
            Some(published) => fact.change_since(published),
            None => FactChange::Transition,
        };
        if change != FactChange::Little {
            self.services = Some(Arc::new(fact.clone()));
            let urgent = change == FactChange::Transition;
            self.publish(Fact::Services(fact), urgent, effects);
            self.view_becomes(ViewDue::Soon);
        }
    }

    fn publish(&mut self, fact: Fact, urgent: bool, effects: &mut Vec<Effect>) {
        self.version += 1;
        let stamp = Stamp {
            generation: self.identity.generation,
            version: self.version,
        };
        effects.push(Effect::Publish {
            fact,
            stamp,
            urgent,
        });
    }
}

#[cfg(test)]
mod tests;
