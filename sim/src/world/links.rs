//! Connections between nodes: kept warm, pinged, found silent, lost, dialled again.
//!
//! What silence means and whom to stay connected to is core's decision. Of the packets of a connection only the
//! keep-alives are simulated, by a draw each, and the pings. The host of a crashed node still answers that
//! nobody listens there.

use std::collections::BTreeSet;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::engine::Event;
use grapevine_core::link::{
    self, ECHO_MISSING, KEEP_ALIVE, LOST, LinkState, PING_UNECHOED, POLL, UNECHOED_MIN,
};
use grapevine_core::links::{self, Member};
use grapevine_core::outcome::Outcome;

use super::event::CallMessage;
use super::node::{IncarnationNumber, LastSeen, Link, Node};
use super::{World, WorldEvent};
use crate::membership::NodeIndex;

/// A keep-alive comes with every third poll.
const POLLS_PER_KEEP_ALIVE: u64 = polls(KEEP_ALIVE);

/// While echoes are missing a ping is sent with every second poll.
const POLLS_PER_PING_UNECHOED: u64 = polls(PING_UNECHOED);

const fn polls(span: Duration) -> u64 {
    (span.as_millis() / POLL.as_millis()) as u64
}

/// How often what a cut path holds up is sent again.
const SEND_AGAIN: Duration = Duration::from_millis(250);

/// The bytes of a cancellation.
const CANCEL_BYTES: usize = 100;

/// A keep-alive's bytes on the wire.
const KEEP_ALIVE_BYTES: usize = 40;

/// The outcome of a keep-alive.
enum KeepAlive {
    Comes,
    Missing,
    Reset,
}

/// What happened to one end of a connection.
enum Change {
    Silent,
    Recovered,
    Lost,
}

/// The event that a message causes where it arrives.
fn arrival(
    (from, to): (NodeIndex, NodeIndex),
    attempt: (u64, u32),
    message: CallMessage,
) -> WorldEvent {
    let ends = |broken| WorldEvent::Ends { attempt, broken };
    match message {
        CallMessage::Request {
            from: incarnation,
            to: owner_incarnation,
            frame,
        } => WorldEvent::Hops {
            from: (from, incarnation),
            owner: (to, owner_incarnation),
            attempt,
            frame,
        },
        CallMessage::Answer(answer) => WorldEvent::Returns { attempt, answer },
        CallMessage::End => ends(None),
        CallMessage::Broken(code) => ends(Some(code)),
        CallMessage::Cancel => WorldEvent::Cancels { call: attempt },
    }
}

impl World {
    pub(super) fn poll(&mut self, node: NodeIndex, incarnation: IncarnationNumber) {
        if !self.is_incarnation(node, incarnation) {
            return;
        }
        let now = self.now;
        self.plan(now + POLL, WorldEvent::Poll { node, incarnation });
        let tick = now.since_start().as_millis() as u64 / POLL.as_millis() as u64;
        let is_calm = |since: Instant| now.since(since) > LOST + POLL * 2;
        if self.calm_since.is_some_and(is_calm) {
            return;
        }
        let mut changes = Vec::new();
        let Some(mut process) = self.nodes[node.at()].process.take() else {
            return;
        };
        for (peer, link) in &mut process.links {
            let change = self.polled((node, incarnation), *peer, link, tick);
            changes.extend(change.map(|change| (*peer, change)));
        }
        self.nodes[node.at()].process = Some(process);
        for (peer, change) in changes {
            self.link_changed(node, peer, change);
        }
    }

    /// What a poll of one end of a connection finds changed.
    fn polled(
        &mut self,
        (node, incarnation): (NodeIndex, IncarnationNumber),
        peer: NodeIndex,
        link: &mut Link,
        tick: u64,
    ) -> Option<Change> {
        let now = self.now;
        // While all was calm every packet came, and no poll was needed.
        link.received_at = link.received_at.max(self.calm_until);
        link.echoed_at = link.echoed_at.max(self.calm_until);
        let is_missing = now.since(link.echoed_at) >= ECHO_MISSING;
        if is_missing && tick.is_multiple_of(POLLS_PER_PING_UNECHOED) {
            link.unechoed = link.unechoed.saturating_add(1);
            if self.echoes((node, incarnation), peer, link.incarnation) {
                link.echoed(now);
            }
        }
        if (tick + u64::from(peer.0)).is_multiple_of(POLLS_PER_KEEP_ALIVE) {
            match self.keep_alive((node, incarnation), peer, link.incarnation) {
                KeepAlive::Comes => link.received_at = now,
                KeepAlive::Reset => return Some(Change::Lost),
                KeepAlive::Missing => {}
            }
        }
        let unechoed = match link.unechoed < UNECHOED_MIN {
            true => Duration::ZERO,
            false => now.since(link.echoed_at),
        };
        let found = link::silence(now.since(link.received_at), unechoed);
        let is_silent = found.is_some();
        let changed = is_silent != link.silent;
        link.silent = is_silent;
        if found == Some(LinkState::Lost) || is_silent && self.is_gone(node, peer) {
            return Some(Change::Lost);
        }
        changed.then_some(match is_silent {
            true => Change::Silent,
            false => Change::Recovered,
        })
    }

    /// The outcome of a peer's keep-alive to one end of a connection.
    fn keep_alive(
        &mut self,
        (node, incarnation): (NodeIndex, IncarnationNumber),
        peer: NodeIndex,
        peer_incarnation: IncarnationNumber,
    ) -> KeepAlive {
        let other = &self.nodes[peer.at()];
        let Some(process) = other.process.as_ref().filter(|_| other.runs(self.now)) else {
            return KeepAlive::Missing;
        };
        if process.incarnation != peer_incarnation {
            // Its next incarnation answers a packet of the earlier connection with a reset.
            return match self.network.is_cut(peer, node) {
                true => KeepAlive::Missing,
                false => KeepAlive::Reset,
            };
        }
        // An end that gave up sends nothing more.
        let is_held = process
            .links
            .get(&node)
            .is_some_and(|link| link.incarnation == incarnation);
        if is_held && self.network.gets_through(peer, node) {
            self.network.count(peer, KEEP_ALIVE_BYTES);
            KeepAlive::Comes
        } else {
            KeepAlive::Missing
        }
    }

    /// Whether a peer's host answers that nobody listens there.
    fn is_gone(&self, node: NodeIndex, peer: NodeIndex) -> bool {
        let is_cut = self.network.is_cut(node, peer) || self.network.is_cut(peer, node);
        !is_cut && !self.nodes[peer.at()].is_alive()
    }

    /// Sends something on a call's stream.
    pub(super) fn send_message(
        &mut self,
        between: (NodeIndex, NodeIndex),
        attempt: (u64, u32),
        message: CallMessage,
    ) {
        self.send_message_at(self.now, between, attempt, message);
    }

    /// The same, a moment later: repeatedly while the path is cut and the connection is open.
    pub(super) fn send_message_at(
        &mut self,
        sent_at: Instant,
        (from, to): (NodeIndex, NodeIndex),
        attempt: (u64, u32),
        message: CallMessage,
    ) {
        let workload = &self.scenario.workload;
        let bytes = match &message {
            CallMessage::Request { frame, .. } => frame.len() + self.request_bytes(attempt.0),
            CallMessage::Answer(answer) => answer.frame.len(),
            // The end of an answer comes behind all of it.
            CallMessage::End | CallMessage::Broken(_) => workload.answer_bytes,
            CallMessage::Cancel => CANCEL_BYTES,
        };
        if let Some(at) = self.network.stream(sent_at, from, to, bytes) {
            self.plan(at, arrival((from, to), attempt, message));
            return;
        }
        let process = self.nodes[from.at()].process.as_ref();
        // The request of an abandoned attempt is not sent again.
        let is_over = matches!(message, CallMessage::Request { .. }) && !self.is_current(attempt);
        if !is_over && process.is_some_and(|process| process.links.contains_key(&to)) {
            let again = WorldEvent::SendsAgain {
                from,
                to,
                attempt,
                message,
            };
            self.plan(sent_at + SEND_AGAIN, again);
        }
    }

    fn link_changed(&mut self, node: NodeIndex, peer: NodeIndex, change: Change) {
        let name = self.nodes[peer.at()].name.clone();
        match change {
            Change::Recovered => self.deliver(node, Event::LinkRecovered { peer: name }),
            Change::Silent => {
                let is_false = self.nodes[peer.at()].runs(self.now) && !self.network.is_disturbed();
                self.record.silence(self.now, node, peer, is_false);
                self.deliver(node, Event::LinkSilent { peer: name });
                let process = self.nodes[node.at()].process.as_ref();
                let last_seen = process.and_then(|process| process.links.get(&peer)?.last_seen());
                self.peer_lost(node, peer, false, last_seen);
            }
            Change::Lost => self.link_lost(node, peer),
        }
    }

    pub(super) fn link_lost(&mut self, node: NodeIndex, peer: NodeIndex) {
        let process = self.nodes[node.at()].process.as_mut();
        if let Some(link) = process.and_then(|process| process.links.remove(&peer)) {
            self.network.note_link(node, peer, false);
            let name = self.nodes[peer.at()].name.clone();
            self.deliver(node, Event::LinkDown { peer: name });
            self.peer_lost(node, peer, true, link.last_seen());
        }
    }

    /// Ends what was in flight between two nodes, as one end of their connection sees it, which was silent from
    /// `last_seen` on.
    fn peer_lost(
        &mut self,
        node: NodeIndex,
        peer: NodeIndex,
        is_gone: bool,
        last_seen: Option<LastSeen>,
    ) {
        let Some(process) = &self.nodes[node.at()].process else {
            return;
        };
        for request in process.active.iter().copied().collect::<Vec<_>>() {
            match self.waits_at(request) {
                Some((owner, false)) if owner == peer => {
                    let sent_at = self.sent_at(request).unwrap_or(self.now);
                    let outcome =
                        last_seen.map_or(Outcome::PeerLost, |last_seen| last_seen.outcome(sent_at));
                    self.attempt_failed(request, outcome, None);
                }
                Some((owner, true)) if owner == peer && is_gone => {
                    self.broken_off(request, Outcome::BrokenOff);
                }
                _ => {}
            }
        }
        if is_gone {
            let calls = self.calls.iter();
            let from_there = calls.filter(|(_, call)| call.owner == node && call.entry == peer);
            let calls: Vec<(u64, u32)> = from_there.map(|(key, _)| *key).collect();
            calls.into_iter().for_each(|call| self.cancelled(call));
        }
    }

    /// Dials the peers that a node wants a connection to and has none.
    pub(super) fn dial_wanted(&mut self, node: NodeIndex) {
        let process = self.nodes[node.at()].process.as_ref();
        let warm = match process.is_some_and(|process| process.warm.is_none()) {
            true => Some(self.warm_set(node)),
            false => None,
        };
        let Some(process) = &mut self.nodes[node.at()].process else {
            return;
        };
        let incarnation = process.incarnation;
        let (links, dials) = (&process.links, &process.dials);
        let missing = |peer: &&NodeIndex| !links.contains_key(peer) && !dials.contains(peer);
        process.warm = process.warm.take().or(warm);
        let wanted = process.warm.iter().flatten().filter(missing);
        let wanted: Vec<NodeIndex> = wanted.copied().collect();
        for peer in wanted {
            let round_trip = self.network.round_trip(node, peer);
            let is_cut = self.network.is_cut(node, peer) || self.network.is_cut(peer, node);
            let runs = self.nodes[peer.at()].runs(self.now);
            let Some(peer_incarnation) = self.incarnation_of(peer).filter(|_| runs && !is_cut)
            else {
                continue;
            };
            if let Some(process) = &mut self.nodes[node.at()].process {
                process.dials.insert(peer);
            }
            let dialled = WorldEvent::Dialled {
                node,
                incarnation,
                peer,
                peer_incarnation,
            };
            self.plan(self.now + round_trip.mul_f64(1.5), dialled);
        }
    }

    /// The members that a node stays connected to, by what it knows of the delay to them.
    fn warm_set(&self, node: NodeIndex) -> BTreeSet<NodeIndex> {
        let here = &self.nodes[node.at()];
        let Some(process) = &here.process else {
            return BTreeSet::new();
        };
        let place = |node: &Node| self.scenario.atlas.region(node.region).place;
        let member = |peer: &NodeIndex| {
            let there = &self.nodes[peer.at()];
            let measured = process.links.get(peer).and_then(Link::round_trip);
            Member {
                name: &there.name,
                rtt: measured.unwrap_or_else(|| place(here).rtt_prior(place(there))),
                answers: true,
                works: false,
            }
        };
        let warm = links::warm_set(&here.name, process.members.iter().map(member));
        warm.iter().filter_map(NodeIndex::of).collect()
    }

    pub(super) fn dialled(
        &mut self,
        (node, incarnation): (NodeIndex, IncarnationNumber),
        (peer, peer_incarnation): (NodeIndex, IncarnationNumber),
    ) {
        let process = self.nodes[node.at()].process.as_mut();
        if let Some(process) = process.filter(|process| process.incarnation == incarnation) {
            process.dials.remove(&peer);
        }
        let alive =
            self.is_incarnation(node, incarnation) && self.is_incarnation(peer, peer_incarnation);
        let is_cut = self.network.is_cut(node, peer) || self.network.is_cut(peer, node);
        if !alive || is_cut || !self.nodes[peer.at()].runs(self.now) {
            return;
        }
        self.link_both((node, incarnation), (peer, peer_incarnation));
    }

    pub(super) fn linked(
        &mut self,
        node: NodeIndex,
        peer: NodeIndex,
        peer_incarnation: IncarnationNumber,
    ) {
        let now = self.now;
        let links = |world: &Self| {
            let process = world.nodes[node.at()].process.as_ref()?;
            process.links.get(&peer).map(|link| link.incarnation)
        };
        match links(self) {
            Some(incarnation) if incarnation == peer_incarnation => return,
            Some(_) => self.link_lost(node, peer),
            None => {}
        }
        let rtt = self.network.round_trip(node, peer);
        self.network.note_link(node, peer, true);
        if let Some(process) = &mut self.nodes[node.at()].process {
            let link = process.links.entry(peer);
            link.or_insert_with(|| Link::new(now, peer_incarnation))
                .sampled(rtt);
        }
        let name = self.nodes[peer.at()].name.clone();
        self.deliver(node, Event::LinkUp { peer: name.clone() });
        self.deliver(node, Event::RttMeasured { peer: name, rtt });
    }
}
