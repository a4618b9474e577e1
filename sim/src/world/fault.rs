//! What breaks, when, and how it heals.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::engine::Event;
use grapevine_core::fact::Phase;
use grapevine_core::ids::Generation;
use grapevine_core::residency::Residency;

use super::node::{self, IncarnationNumber};
use super::{World, WorldEvent};
use crate::chance;
use crate::check::Seen;
use crate::membership::NodeIndex;
use crate::network::{Rule, RuleEffect};
use crate::scenario::{UpstreamFault, What, Which};

/// Nodes that a new node joins by.
const SEEDS: u32 = 3;

/// How long a draining node takes to end at least.
const DRAIN: Duration = Duration::from_millis(1_500);

/// How long an upgraded node stays away.
const UPGRADE: Duration = Duration::from_millis(800);

/// A node learns of its earlier incarnation after that was silent for this long (ten intervals of gossip).
const EARLIER_INCARNATION_LEARNED: Duration = Duration::from_secs(3);

impl World {
    /// A node starts an incarnation, unless it is alive.
    pub(super) fn start(&mut self, node: NodeIndex) {
        let now = self.now;
        if self.nodes[node.at()].is_alive() {
            return;
        }
        let before = self.nodes[node.at()].generation;
        let scenario = &self.scenario;
        self.nodes[node.at()].begin(now, &scenario.atlas, &scenario.processing);
        let (Some(incarnation), generation) = (
            self.incarnation_of(node),
            self.nodes[node.at()].gossip_generation,
        ) else {
            return;
        };
        let seeds = (0..SEEDS.min(self.nodes.len() as u32)).map(NodeIndex);
        let seeds: Vec<NodeIndex> = seeds.filter(|seed| *seed != node).collect();
        self.members
            .join(now, node, Generation(generation), &seeds, &[]);
        self.checks.see(now, &Seen::Started { node });
        let upstreams = self.scenario.upstreams.iter();
        let own = upstreams.filter(|upstream| upstream.at[node.at()]);
        let specs = own.map(node::spec).collect();
        self.configure_rules(node);
        self.deliver(node, Event::Configured(specs));
        self.phase(node, Phase::Ready);
        // Each node polls and pings at its own moments.
        let moment = |within| Duration::from_millis(u64::from(node.0) * 37 % within);
        self.plan(now + moment(50), WorldEvent::Poll { node, incarnation });
        self.plan(now + moment(500), WorldEvent::Ping { node, incarnation });
        if self.nodes[node.at()].generation < before {
            let learned = WorldEvent::EarlierIncarnation { node, incarnation };
            self.plan(now + EARLIER_INCARNATION_LEARNED, learned);
        }
    }

    /// Passes a node's own rules to its engine. A mesh without any would only publish that it has none.
    fn configure_rules(&mut self, node: NodeIndex) {
        if self.scenario.has_rules {
            let rules = Residency::clone(&self.rules[node.at()]);
            self.deliver(node, Event::RulesChanged(rules));
        }
    }

    /// The rules in a node's configuration change.
    fn rule(&mut self, node: NodeIndex, rules: &Arc<Residency>) {
        self.rules[node.at()] = Arc::clone(rules);
        self.checks.see(self.now, &Seen::Ruled { node, rules });
        self.configure_rules(node);
    }

    fn phase(&mut self, node: NodeIndex, phase: Phase) {
        if let Some(process) = &mut self.nodes[node.at()].process {
            process.phase = phase;
        }
        self.deliver(node, Event::PhaseChanged(phase));
    }

    /// A node ends without notice.
    pub(super) fn crash(&mut self, node: NodeIndex) {
        let Some(process) = self.nodes[node.at()].process.take() else {
            return;
        };
        self.disturb();
        self.record.crashed(self.now, node);
        self.members.crash(self.now, node);
        self.calls_lost(node);
        self.checks.see(self.now, &Seen::Stopped { node });
        for peer in process.links.keys() {
            self.network.note_link(node, *peer, false);
        }
        let active: Vec<u64> = process.active.into_iter().collect();
        active
            .into_iter()
            .for_each(|request| self.entry_lost(request));
    }

    /// A node takes no more work and finishes what it has.
    pub(super) fn drain(&mut self, node: NodeIndex, incarnation: IncarnationNumber) {
        if self.is_incarnation(node, incarnation) {
            self.phase(node, Phase::Draining);
            self.plan(self.now + DRAIN, WorldEvent::Closes { node, incarnation });
        }
    }

    /// A drained node closes its connections and ends, once nothing is in flight.
    pub(super) fn close(&mut self, node: NodeIndex, incarnation: IncarnationNumber) {
        let Some(process) = &self.nodes[node.at()].process else {
            return;
        };
        if process.incarnation != incarnation {
            return;
        }
        if !process.active.is_empty() || self.calls.values().any(|call| call.owner == node) {
            let again = self.now + DRAIN / 10;
            self.plan(again, WorldEvent::Closes { node, incarnation });
            return;
        }
        let peers: Vec<NodeIndex> = process.links.keys().copied().collect();
        self.crash(node);
        // Peers see the connection close; the delay of that is left out.
        peers
            .into_iter()
            .for_each(|peer| self.link_lost(peer, node));
        self.plan(self.now + UPGRADE, WorldEvent::Starts { node });
    }

    pub(super) fn breaks(&mut self, index: usize) {
        let fault = self.scenario.faults[index].clone();
        let ends = self.now + fault.lasts;
        self.checks.see(self.now, &Seen::Disturbed);
        self.disturb();
        self.plan(ends, WorldEvent::Heals { fault: index });
        let rule = |from: &[bool], to: &[bool], effect| Rule {
            id: index,
            from: from.to_vec(),
            to: to.to_vec(),
            effect,
        };
        match &fault.what {
            What::Crash(who) => each(who, |node| self.crash(node)),
            What::Flap { who, every } => self.flap(who, *every, ends),
            What::Rolling { who, every } => self.roll(who, *every),
            What::Stall(who) => {
                let (now, lasts) = (self.now, fault.lasts);
                each(who, |node| self.nodes[node.at()].stalls(now, lasts));
                let all = vec![true; who.len()];
                self.network.add(rule(who, &all, RuleEffect::Cut));
                self.network.add(rule(&all, who, RuleEffect::Cut));
            }
            What::ClockBack { who, back } => each(who, |node| {
                self.nodes[node.at()].clock_back = *back;
                self.crash(node);
                let starts = self.now + UPGRADE;
                self.plan(starts, WorldEvent::Starts { node });
            }),
            What::Cut { who, to, both_ways } => {
                self.network.add(rule(who, to, RuleEffect::Cut));
                if *both_ways {
                    self.network.add(rule(to, who, RuleEffect::Cut));
                }
            }
            What::Loss { who, to, share } => {
                self.network.add(rule(who, to, RuleEffect::Loss(*share)));
            }
            What::SlowLink { who, to, delay } => {
                self.network.add(rule(who, to, RuleEffect::Delay(*delay)));
            }
            What::Rules { who, rules } => {
                each(who, |node| self.rule(node, &rules[node.at()]));
            }
            What::Upstream { which, how } => {
                let met = self.which(which);
                met.into_iter().for_each(|at| {
                    self.endpoints[at].add_fault(index, how.clone(), which.model.clone())
                });
                match how {
                    UpstreamFault::Down => self.break_answers(&self.met_by(index)),
                    UpstreamFault::Pauses => self.pause_answers(&self.met_by(index)),
                    _ => {}
                }
            }
        }
    }

    /// The endpoints that a fault affects.
    fn met_by(&self, index: usize) -> Vec<usize> {
        match &self.scenario.faults[index].what {
            What::Upstream { which, .. } => self.which(which),
            _ => Vec::new(),
        }
    }

    pub(super) fn heals(&mut self, index: usize) {
        self.checks.see(self.now, &Seen::Disturbed);
        self.network.remove(index);
        self.endpoints
            .iter_mut()
            .for_each(|endpoint| endpoint.remove_fault(index));
        let mut met = self.met_by(index);
        met.retain(|endpoint| !self.endpoints[*endpoint].is_paused());
        self.resume_answers(&met);
        if let What::Crash(who) | What::Flap { who, .. } = &self.scenario.faults[index].what {
            // They return together: a thundering herd, where there are many.
            for node in members(who) {
                self.plan(self.now, WorldEvent::Starts { node });
            }
        }
    }

    /// An event for a stopped process waits until it goes on.
    pub(super) fn unless_stalled(&mut self, event: WorldEvent) -> Option<WorldEvent> {
        let stalled = event
            .process()
            .and_then(|node| self.nodes[node.at()].stalled_until)
            .filter(|until| *until > self.now);
        let Some(until): Option<Instant> = stalled else {
            return Some(event);
        };
        self.plan(until, event);
        None
    }

    fn flap(&mut self, who: &[bool], every: Duration, ends: Instant) {
        let mut at = self.now;
        while at < ends {
            for node in members(who) {
                let jitter = every.mul_f64(0.2 * chance::unit(&mut self.chance.faults));
                self.plan(at + jitter, WorldEvent::Crashes { node });
                self.plan(at + jitter + every / 2, WorldEvent::Starts { node });
            }
            at = at + every;
        }
    }

    fn roll(&mut self, who: &[bool], every: Duration) {
        for (turn, node) in members(who).enumerate() {
            let at = self.now + every * turn as u32;
            if let Some(incarnation) = self.incarnation_of(node) {
                self.plan(at, WorldEvent::Drains { node, incarnation });
            }
        }
    }

    fn which(&self, which: &Which) -> Vec<usize> {
        let mut met = Vec::new();
        for upstream in &self.scenario.upstreams {
            let named = which
                .upstream
                .as_ref()
                .is_none_or(|name| *name == upstream.name);
            let provided = which.provider.as_ref();
            if !named || provided.is_some_and(|name| *name != upstream.provider) {
                continue;
            }
            let nodes =
                members(&which.nodes).filter_map(|node| self.endpoint_of(node, &upstream.name));
            met.extend(nodes);
        }
        met
    }
}

fn members(who: &[bool]) -> impl Iterator<Item = NodeIndex> + use<> {
    let chosen: Vec<usize> = (0..who.len()).filter(|node| who[*node]).collect();
    chosen.into_iter().map(|node| NodeIndex(node as u32))
}

fn each(who: &[bool], act: impl FnMut(NodeIndex)) {
    members(who).for_each(act);
}
