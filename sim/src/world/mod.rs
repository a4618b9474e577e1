//! The world: nodes around the core that ships, the network between them, clients, faults.
//!
//! Reading order: [`happening`], this file (time, and how an engine is driven), [`node`] (what stands around an
//! engine), [`talk`] (gossip and rumors), [`links`] (connections), [`client`] (who asks), [`request`]
//! (the entry's side of a request), [`hop`] (its way to a peer and back), [`policy`] (its order of candidates),
//! [`serve`] (the owner's side), [`call`] (what its upstream does), [`ending`] (what comes of a request), [`fault`] (what breaks), [`tail`] (the last
//! events in words).
//!
//! What the shells of the product do is done here as they do it; what core decides is asked of core.
//! Views are drawn when a request needs one, and not when they fall due: nobody looks at the others.
//!
//! Invariant: every moment's events happen in the order they were planned in, nothing iterates an
//! unordered collection, and all randomness comes from the seed.

mod call;
mod client;
mod ending;
mod fault;
mod happening;
mod hop;
mod links;
pub(crate) mod node;
mod pings;
mod policy;
mod request;
mod serve;
mod state;
mod tail;
mod talk;
#[cfg(test)]
mod tests;

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
use happening::Happening;
use node::{LifeNumber, Node};
use request::ClientRequest;
use tail::Tail;
use talk::Sayings;

pub(crate) use state::Setup;

/// Requests under way at most in all; a run that reaches it has lost control.
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
    heap: Heap<Happening>,
    nodes: Vec<Node>,
    endpoints: Vec<Endpoint>,
    pub(crate) network: Network,
    members: Box<dyn Membership>,
    sayings: Sayings,
    /// Who brought the rumor that is being heard.
    heard_from: Option<NodeIndex>,
    chance: Chance,
    clients: Clients,
    /// From when on nothing keeps packets from coming; while something does, `None`.
    calm_since: Option<Instant>,
    /// The end of the last time in which nothing did.
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

    /// Lets everything happen until `until`, or until a checker complains.
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
            let Some((at, happening)) = self.heap.take_next() else {
                break;
            };
            self.now = at;
            self.happen(happening);
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, happening: Happening) {
        if let Some(happening) = self.unless_stalled(happening) {
            self.trace(&happening);
            self.take(happening);
        }
    }

    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Wake { node, life } => self.wake(node, life),
            Happening::Poll { node, life } => self.poll(node, life),
            Happening::Ping { node, life } => self.ping(node, life),
            Happening::Pong {
                node,
                life,
                peer,
                round_trip,
                datagram,
            } => self.pong(node, life, peer, round_trip, &datagram),
            Happening::Dialled {
                node,
                life,
                peer,
                peer_life,
            } => self.dialled((node, life), (peer, peer_life)),
            Happening::Members { node, life } => self.members_changed(node, life),
            Happening::Rumor {
                node,
                life,
                from,
                said,
            } => self.rumor_arrives(node, life, from, &said),
            Happening::FormerLife { node, life } => self.former_life(node, life),
            Happening::Probed { node, life, report } => {
                if self.is_life(node, life) {
                    self.tell(node, Event::ProbeEnded(*report));
                }
            }
            Happening::Asks => self.client_asks(),
            Happening::Enters { request, entry } => self.enters(request, entry),
            Happening::HasRead { request, entry } => self.has_read(request, entry),
            Happening::Hops {
                from,
                owner,
                attempt,
                frame,
            } => self.hop_arrives(from, owner, attempt, frame),
            Happening::HasReadHop {
                from,
                owner,
                attempt,
                frame,
            } => self.has_read_hop(from, owner, attempt, &frame),
            Happening::Reacts { call } => self.reacts(call),
            Happening::Awaits { call } => self.awaits(call),
            Happening::BodyEnds { call } => self.body_ends(call),
            Happening::Returns { attempt, frame } => self.returns(attempt, &frame),
            Happening::Ends { attempt, broken } => self.end_comes(attempt, broken),
            Happening::SendsAgain {
                from,
                to,
                attempt,
                word,
            } => self.send_word((from, to), attempt, word),
            Happening::Cancels { call } => self.cancelled(call),
            Happening::Deadline { request } => self.deadline(request),
            Happening::Breaks { fault } => self.breaks(fault),
            Happening::Heals { fault } => self.heals(fault),
            Happening::Crashes { node } => self.crash(node),
            Happening::Starts { node } => self.start(node),
            Happening::Drains { node, life } => self.drain(node, life),
            Happening::Closes { node, life } => self.close(node, life),
            Happening::Inspection => self.inspect(),
        }
    }

    fn plan(&mut self, at: Instant, happening: Happening) {
        self.heap.plan(at, happening);
    }

    /// Writes what happens into the digest: its time, its kind and whom it concerns.
    fn trace(&mut self, happening: &Happening) {
        self.tail.add(self.now, || happening.words());
        let (kind, who) = happening.tag();
        self.digest
            .words(&[self.now.since_start().as_nanos() as u64, kind, who]);
    }

    /// Tells a node's engine something, and carries out what it asks for.
    pub(crate) fn tell(&mut self, node: NodeIndex, event: Event) {
        let now = self.now;
        let Some(life) = &mut self.nodes[node.at()].life else {
            return;
        };
        let effects = life.engine.handle(now, event, &mut self.chance.routing);
        for effect in effects {
            self.carry_out(node, effect);
        }
        self.plan_wake(node);
    }

    /// Tells a node's engine news of a peer that asks for nothing: for those that come most often.
    fn tell_quietly(&mut self, node: NodeIndex, events: impl Iterator<Item = Event>) {
        let now = self.now;
        let Some(life) = &mut self.nodes[node.at()].life else {
            return;
        };
        let rng = &mut self.chance.routing;
        let mut effects = Vec::new();
        for event in events {
            effects.extend(life.engine.handle(now, event, rng));
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
            Effect::Notice(notice) => {
                let words = || Some(format!("n{} notices: {notice:?}", node.0));
                self.tail.add(self.now, words);
            }
        }
    }

    fn plan_wake(&mut self, node: NodeIndex) {
        let now = self.now;
        let Some(life) = &mut self.nodes[node.at()].life else {
            return;
        };
        let Some(at) = life.engine.next_change().map(|at| at.max(now)) else {
            return;
        };
        let planned = life.wake_at.filter(|planned| *planned > now);
        if planned.is_none_or(|planned| at < planned) {
            life.wake_at = Some(at);
            let life = life.number;
            self.plan(at, Happening::Wake { node, life });
        }
    }

    fn wake(&mut self, node: NodeIndex, number: LifeNumber) {
        let now = self.now;
        let life = self.nodes[node.at()].life.as_mut();
        let Some(life) = life.filter(|life| life.number == number) else {
            return;
        };
        // An earlier one may have replaced it.
        if life.wake_at == Some(now) {
            life.wake_at = None;
            self.tell(node, Event::Tick);
        }
    }

    fn probe(&mut self, node: NodeIndex, upstream: UpstreamName) {
        let Some(endpoint) = self.endpoint_of(node, &upstream) else {
            return;
        };
        let nanos = self.now.since_start().as_nanos() as u64;
        let luck = chance::hash(&[self.chance.seed, 77, nanos, u64::from(node.0)]);
        let reaction = self.endpoints[endpoint].probe(luck);
        let report = Box::new(ProbeReport {
            upstream,
            outcome: reaction.outcome,
            first_byte: None,
            models: None,
        });
        if let Some(life) = self.life_of(node) {
            let at = self.now + reaction.after;
            self.plan(at, Happening::Probed { node, life, report });
        }
    }

    fn endpoint_of(&self, node: NodeIndex, upstream: &UpstreamName) -> Option<usize> {
        self.nodes[node.at()].endpoints.get(upstream).copied()
    }

    fn life_of(&self, node: NodeIndex) -> Option<LifeNumber> {
        self.nodes[node.at()].life.as_ref().map(|life| life.number)
    }

    fn is_life(&self, node: NodeIndex, number: LifeNumber) -> bool {
        self.life_of(node) == Some(number)
    }

    /// The view that a request at `node` would read now.
    pub(crate) fn view(&mut self, node: NodeIndex) -> Option<Arc<View>> {
        let now = self.now;
        let life = self.nodes[node.at()].life.as_mut()?;
        if life.view.is_none() || life.engine.view_is_due(now) {
            life.view = Some(Arc::new(life.engine.view(now)));
        }
        life.view.clone()
    }

    /// Forgets a view that no request would read any more: a thousand views of a thousand nodes take 600 MB.
    fn drop_view(&mut self, node: NodeIndex) {
        let now = self.now;
        if let Some(life) = &mut self.nodes[node.at()].life
            && life.engine.view_is_due(now)
        {
            life.view = None;
        }
    }

    /// The view of this very moment, which the next request need not see.
    pub(crate) fn fresh_view(&mut self, node: NodeIndex) -> Option<View> {
        let now = self.now;
        let life = self.nodes[node.at()].life.as_mut()?;
        Some(life.engine.view(now))
    }
}
