//! The world: nodes around the core that ships, the network between them, clients, faults.
//!
//! Reading order: [`event`], this file (time, and how an engine is driven), [`node`] (what surrounds an
//! engine), [`gossip`] (gossip and rumors), [`links`] (connections), [`client`] (the clients), [`asks`] (what they ask for), [`request`]
//! (the entry's side of a request), [`hop`] (its way to a peer and back), [`policy`] (its order of candidates),
//! [`serve`] (the owner's side), [`call`] (what its upstream does), [`ending`] (its outcome), [`fault`] (what breaks),
//! [`tail`] (the last events, as text).
//!
//! The world does what the shells of the product do, in the same way; core makes the same decisions.
//! Views are drawn when a request needs one, and not when they fall due: no others would be read.
//!
//! Invariant: every moment's events happen in the order in which they were planned, nothing iterates an
//! unordered collection, and all randomness comes from the seed.

mod asks;
mod call;
mod client;
mod ending;
mod engines;
mod event;
mod fault;
mod gossip;
mod hop;
mod links;
pub(crate) mod node;
mod opening;
mod pings;
mod policy;
mod request;
mod serve;
mod state;
mod tail;
#[cfg(test)]
mod tests;
mod waits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::engine::{Effect, Event, ProbeReport};
use grapevine_core::ids::UpstreamName;
use grapevine_core::request::FailoverPolicy;
use grapevine_core::residency::Residency;
use grapevine_core::view::View;

use crate::chance::{self, Chance};
use crate::check::Checks;
use crate::digest::Digest;
use crate::endpoint::Endpoint;
use crate::heap::Heap;
use crate::membership::{Membership, NodeIndex};
use crate::network::Network;
use crate::policy::Policy;
use crate::record::Record;
use crate::sabotage::Sabotage;
use crate::scenario::Scenario;
use call::Call;
use client::Clients;
use event::WorldEvent;
use gossip::PublishedFacts;
use node::{IncarnationNumber, Node};
use request::ClientRequest;
use tail::Tail;

pub(crate) use state::Setup;

/// Requests in flight at most in all; a run that reaches it has lost control.
pub(crate) const REQUESTS_MAX: usize = 200_000;

/// How often checkers that look at the whole world do so.
const INSPECTION: Duration = Duration::from_millis(500);

/// Everything.
pub(crate) struct World {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) policy: Policy,
    pub(crate) rumors: bool,
    failover: Arc<FailoverPolicy>,
    /// Each node's own rules, as its configuration has them now.
    rules: Vec<Arc<Residency>>,
    now: Instant,
    heap: Heap<WorldEvent>,
    nodes: Vec<Node>,
    endpoints: Vec<Endpoint>,
    pub(crate) network: Network,
    members: Box<dyn Membership>,
    published: PublishedFacts,
    /// The sender of the rumor that is being received.
    rumor_sender: Option<NodeIndex>,
    chance: Chance,
    clients: Clients,
    /// Since when nothing has kept packets from arriving; `None` while something does.
    calm_since: Option<Instant>,
    /// The end of the last such time.
    calm_until: Instant,
    requests: BTreeMap<u64, ClientRequest>,
    calls: BTreeMap<(u64, u32), Call>,
    pub(crate) record: Record,
    pub(crate) checks: Checks,
    digest: Digest,
    pub(crate) tail: Tail,
    sabotage: Sabotage,
    events: u64,
}

impl World {
    pub(crate) const fn now(&self) -> Instant {
        self.now
    }

    pub(crate) const fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    /// Lets everything happen until `until`, or until a checker reports a violation.
    pub(crate) fn run_until(&mut self, until: Instant) {
        loop {
            let own = self.heap.next_at();
            let gossip = self.members.next_due();
            let Some(next) = own.into_iter().chain(gossip).min() else {
                break;
            };
            if next > until || self.checks.is_violated() {
                break;
            }
            self.events += 1;
            if gossip.is_some_and(|due| own.is_none_or(|own| due < own)) {
                self.gossip_until(next);
                continue;
            }
            let Some((at, event)) = self.heap.take_next() else {
                break;
            };
            self.now = at;
            self.handle(event);
        }
        self.now = self.now.max(until);
    }

    fn handle(&mut self, event: WorldEvent) {
        if let Some(event) = self.unless_stalled(event) {
            self.trace(&event);
            self.dispatch(event);
        }
    }

    fn dispatch(&mut self, event: WorldEvent) {
        match event {
            WorldEvent::Wake { node, incarnation } => self.wake(node, incarnation),
            WorldEvent::Poll { node, incarnation } => self.poll(node, incarnation),
            WorldEvent::Ping { node, incarnation } => self.ping(node, incarnation),
            WorldEvent::Pong {
                node,
                incarnation,
                peer,
                round_trip,
                datagram,
            } => self.pong(node, incarnation, peer, round_trip, &datagram),
            WorldEvent::Dialled {
                node,
                incarnation,
                peer,
                peer_incarnation,
            } => self.dialled((node, incarnation), (peer, peer_incarnation)),
            WorldEvent::Members { node, incarnation } => self.members_changed(node, incarnation),
            WorldEvent::Rumor {
                node,
                incarnation,
                from,
                published,
            } => self.rumor_arrives(node, incarnation, from, &published),
            WorldEvent::EarlierIncarnation { node, incarnation } => {
                self.earlier_incarnation(node, incarnation)
            }
            WorldEvent::Probed {
                node,
                incarnation,
                report,
            } => self.probed(node, incarnation, *report),
            WorldEvent::Asks => self.client_asks(),
            WorldEvent::Arrives { arrival, before } => self.client_arrives(arrival, before),
            WorldEvent::Enters { request, entry } => self.enters(request, entry),
            WorldEvent::HasRead { request, entry } => self.has_read(request, entry),
            WorldEvent::Hops {
                from,
                owner,
                attempt,
                frame,
            } => self.hop_arrives(from, owner, attempt, frame),
            WorldEvent::HasReadHop {
                from,
                owner,
                attempt,
                frame,
            } => self.has_read_hop(from, owner, attempt, &frame),
            WorldEvent::Reacts { call } => self.reacts(call),
            WorldEvent::BodyEnds { call } => self.body_ends(call),
            WorldEvent::Returns { attempt, answer } => self.returns(attempt, &answer),
            WorldEvent::Ends { attempt, broken } => self.end_comes(attempt, broken),
            WorldEvent::SendsAgain {
                from,
                to,
                attempt,
                message,
            } => self.send_message((from, to), attempt, message),
            WorldEvent::Cancels { call } => self.cancelled(call),
            WorldEvent::Breaks { fault } => self.breaks(fault),
            WorldEvent::Heals { fault } => self.heals(fault),
            WorldEvent::Crashes { node } => self.crash(node),
            WorldEvent::Starts { node } => self.start(node),
            WorldEvent::Drains { node, incarnation } => self.drain(node, incarnation),
            WorldEvent::Closes { node, incarnation } => self.close(node, incarnation),
            WorldEvent::Inspection => self.inspect(),
            wait => self.wait_is_over(&wait),
        }
    }

    fn probed(&mut self, node: NodeIndex, incarnation: IncarnationNumber, report: ProbeReport) {
        if self.is_incarnation(node, incarnation) {
            self.deliver(node, Event::ProbeEnded(report));
        }
    }

    fn plan(&mut self, at: Instant, event: WorldEvent) {
        self.heap.plan(at, event);
    }

    /// Writes an event into the digest: its time, its kind and its subject.
    fn trace(&mut self, event: &WorldEvent) {
        self.tail.add(self.now, || event.describe());
        let (kind, who) = event.tag();
        self.digest
            .words(&[self.now.since_start().as_nanos() as u64, kind, who]);
    }

    /// Passes an event to a node's engine, and carries out its effects.
    pub(crate) fn deliver(&mut self, node: NodeIndex, event: Event) {
        let now = self.now;
        let Some(process) = &mut self.nodes[node.at()].process else {
            return;
        };
        let effects = process.engine.handle(now, event, &mut self.chance.routing);
        for effect in effects {
            self.carry_out(node, effect);
        }
        self.plan_wake(node);
    }

    /// Passes events to a node's engine that rarely have effects, without planning its next wake-up if there are none:
    /// for the most frequent ones.
    fn deliver_all(&mut self, node: NodeIndex, events: impl Iterator<Item = Event>) {
        let now = self.now;
        let Some(process) = &mut self.nodes[node.at()].process else {
            return;
        };
        let rng = &mut self.chance.routing;
        let mut effects = Vec::new();
        for event in events {
            effects.extend(process.engine.handle(now, event, rng));
        }
        if !effects.is_empty() {
            effects
                .into_iter()
                .for_each(|effect| self.carry_out(node, effect));
            self.plan_wake(node);
        }
    }

    fn carry_out(&mut self, node: NodeIndex, effect: Effect) {
        match effect {
            Effect::Publish {
                fact,
                stamp,
                urgent,
            } => self.publish(node, &fact, stamp, urgent),
            Effect::Relay {
                node: author,
                key,
                stamp,
            } => self.relay(node, &author, &key, stamp),
            Effect::Probe { upstream, .. } => self.probe(node, upstream),
            Effect::ReadLoad { upstream } => self.read_load(node, upstream),
            Effect::Notice(notice) => {
                let describe = || Some(format!("n{} notices: {notice:?}", node.0));
                self.tail.add(self.now, describe);
            }
        }
    }

    fn plan_wake(&mut self, node: NodeIndex) {
        let now = self.now;
        let Some(process) = &mut self.nodes[node.at()].process else {
            return;
        };
        let Some(at) = process.engine.next_change().map(|at| at.max(now)) else {
            return;
        };
        let planned = process.wake_at.filter(|planned| *planned > now);
        if planned.is_none_or(|planned| at < planned) {
            process.wake_at = Some(at);
            let incarnation = process.incarnation;
            self.plan(at, WorldEvent::Wake { node, incarnation });
        }
    }

    fn wake(&mut self, node: NodeIndex, incarnation: IncarnationNumber) {
        let now = self.now;
        let process = self.nodes[node.at()].process.as_mut();
        let Some(process) = process.filter(|process| process.incarnation == incarnation) else {
            return;
        };
        // An earlier one may have replaced it.
        if process.wake_at == Some(now) {
            process.wake_at = None;
            self.deliver(node, Event::Tick);
        }
    }

    fn probe(&mut self, node: NodeIndex, upstream: UpstreamName) {
        let Some(endpoint) = self.endpoint_of(node, &upstream) else {
            return;
        };
        let nanos = self.now.since_start().as_nanos() as u64;
        let draw = chance::hash(&[self.chance.seed, 77, nanos, u64::from(node.0)]);
        let reaction = self.endpoints[endpoint].probe(draw);
        let report = Box::new(ProbeReport {
            upstream,
            outcome: reaction.outcome,
            first_byte: None,
            models: None,
            detail: None,
        });
        if let Some(incarnation) = self.incarnation_of(node) {
            let at = self.now + reaction.after;
            self.plan(
                at,
                WorldEvent::Probed {
                    node,
                    incarnation,
                    report,
                },
            );
        }
    }

    fn endpoint_of(&self, node: NodeIndex, upstream: &UpstreamName) -> Option<usize> {
        self.nodes[node.at()].endpoints.get(upstream).copied()
    }

    fn incarnation_of(&self, node: NodeIndex) -> Option<IncarnationNumber> {
        self.nodes[node.at()]
            .process
            .as_ref()
            .map(|process| process.incarnation)
    }

    fn is_incarnation(&self, node: NodeIndex, incarnation: IncarnationNumber) -> bool {
        self.incarnation_of(node) == Some(incarnation)
    }

    /// The view that a request at `node` would read now.
    pub(crate) fn view(&mut self, node: NodeIndex) -> Option<Arc<View>> {
        let now = self.now;
        let process = self.nodes[node.at()].process.as_mut()?;
        if process.view.is_none() || process.engine.view_is_due(now) {
            process.view = Some(Arc::new(process.engine.view(now)));
        }
        process.view.clone()
    }

    /// Forgets a view that no request would read any more: a thousand views of a thousand nodes take 600 MB.
    fn drop_view(&mut self, node: NodeIndex) {
        let now = self.now;
        if let Some(process) = &mut self.nodes[node.at()].process
            && process.engine.view_is_due(now)
        {
            process.view = None;
        }
    }

    /// The view of this very moment, which the next request need not see.
    pub(crate) fn fresh_view(&mut self, node: NodeIndex) -> Option<View> {
        let now = self.now;
        let process = self.nodes[node.at()].process.as_mut()?;
        Some(process.engine.view(now))
    }
}
