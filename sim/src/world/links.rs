//! Connections between nodes: kept warm, pinged, found silent, lost, dialled again.
//!
//! What silence means and whom to stay connected to is core's. Of the packets of a connection only the
//! keep-alives are followed, by a draw each, and the pings. A host whose node crashed still answers that
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

use super::happening::Word;
use super::node::{LifeNumber, Link, Node, Spoke};
use super::{Happening, World};
use crate::membership::NodeIndex;

/// A keep-alive comes with every third look.
const POLLS_PER_KEEP_ALIVE: u64 = polls(KEEP_ALIVE);

/// While echoes are missing a ping is sent with every second look.
const POLLS_PER_PING_UNECHOED: u64 = polls(PING_UNECHOED);

const fn polls(span: Duration) -> u64 {
    (span.as_millis() / POLL.as_millis()) as u64
}

/// How often what a cut way holds up is sent again.
const SEND_AGAIN: Duration = Duration::from_millis(250);

/// The bytes of a cancellation.
const CANCEL_BYTES: usize = 100;

/// A keep-alive's bytes on the wire.
const KEEP_ALIVE_BYTES: usize = 40;

/// What came of a keep-alive.
enum KeepAlive {
    Comes,
    Missing,
    Reset,
}

/// What happened to one end of a connection.
enum Change {
    Silent,
    Heard,
    Lost,
}

/// What a word is where it arrives.
fn arrival((from, to): (NodeIndex, NodeIndex), attempt: (u64, u32), word: Word) -> Happening {
    let ends = |broken| Happening::Ends { attempt, broken };
    match word {
        Word::Request {
            from: life,
            to: owner_life,
            frame,
        } => Happening::Hops {
            from: (from, life),
            owner: (to, owner_life),
            attempt,
            frame,
        },
        Word::Answer(frame) => Happening::Returns { attempt, frame },
        Word::End => ends(None),
        Word::Broken(code) => ends(Some(code)),
        Word::Cancel => Happening::Cancels { call: attempt },
    }
}

impl World {
    pub(super) fn poll(&mut self, node: NodeIndex, number: LifeNumber) {
        if !self.is_life(node, number) {
            return;
        }
        let now = self.now;
        self.plan(now + POLL, Happening::Poll { node, life: number });
        let tick = now.since_start().as_millis() as u64 / POLL.as_millis() as u64;
        let is_calm = |since: Instant| now.since(since) > LOST + POLL * 2;
        if self.calm_since.is_some_and(is_calm) {
            return;
        }
        let mut changes = Vec::new();
        let Some(mut life) = self.nodes[node.at()].life.take() else {
            return;
        };
        for (peer, link) in &mut life.links {
            let change = self.looked_at((node, number), *peer, link, tick);
            changes.extend(change.map(|change| (*peer, change)));
        }
        self.nodes[node.at()].life = Some(life);
        for (peer, change) in changes {
            self.link_changed(node, peer, change);
        }
    }

    /// What a look at one end of a connection finds changed.
    fn looked_at(
        &mut self,
        (node, number): (NodeIndex, LifeNumber),
        peer: NodeIndex,
        link: &mut Link,
        tick: u64,
    ) -> Option<Change> {
        let now = self.now;
        // While all was calm everything came, and nobody looked.
        link.heard_at = link.heard_at.max(self.calm_until);
        link.echoed_at = link.echoed_at.max(self.calm_until);
        let is_missing = now.since(link.echoed_at) >= ECHO_MISSING;
        if is_missing && tick.is_multiple_of(POLLS_PER_PING_UNECHOED) {
            link.unechoed = link.unechoed.saturating_add(1);
            if self.echoes((node, number), peer, link.life) {
                link.echoed(now);
            }
        }
        if (tick + u64::from(peer.0)).is_multiple_of(POLLS_PER_KEEP_ALIVE) {
            match self.keep_alive((node, number), peer, link.life) {
                KeepAlive::Comes => link.heard_at = now,
                KeepAlive::Reset => return Some(Change::Lost),
                KeepAlive::Missing => {}
            }
        }
        let unechoed = match link.unechoed < UNECHOED_MIN {
            true => Duration::ZERO,
            false => now.since(link.echoed_at),
        };
        let found = link::silence(now.since(link.heard_at), unechoed);
        let is_silent = found.is_some();
        let changed = is_silent != link.silent;
        link.silent = is_silent;
        if found == Some(LinkState::Lost) || is_silent && self.is_gone(node, peer) {
            return Some(Change::Lost);
        }
        changed.then_some(match is_silent {
            true => Change::Silent,
            false => Change::Heard,
        })
    }

    /// What comes of a peer's keep-alive to one end of a connection.
    fn keep_alive(
        &mut self,
        (node, number): (NodeIndex, LifeNumber),
        peer: NodeIndex,
        peer_number: LifeNumber,
    ) -> KeepAlive {
        let other = &self.nodes[peer.at()];
        let Some(life) = other.life.as_ref().filter(|_| other.runs(self.now)) else {
            return KeepAlive::Missing;
        };
        if life.number != peer_number {
            // Its next life answers a packet of the former connection with a reset.
            return match self.network.is_cut(peer, node) {
                true => KeepAlive::Missing,
                false => KeepAlive::Reset,
            };
        }
        // An end that gave up sends nothing more.
        let is_held = life
            .links
            .get(&node)
            .is_some_and(|link| link.life == number);
        if is_held && self.network.gets_through(peer, node) {
            self.network.count(peer, KEEP_ALIVE_BYTES);
            KeepAlive::Comes
        } else {
            KeepAlive::Missing
        }
    }

    /// Whether a peer's host says that nobody listens there.
    fn is_gone(&self, node: NodeIndex, peer: NodeIndex) -> bool {
        let is_cut = self.network.is_cut(node, peer) || self.network.is_cut(peer, node);
        !is_cut && !self.nodes[peer.at()].is_alive()
    }

    /// Sends something on a call's stream.
    pub(super) fn send_word(
        &mut self,
        between: (NodeIndex, NodeIndex),
        attempt: (u64, u32),
        word: Word,
    ) {
        self.send_word_at(self.now, between, attempt, word);
    }

    /// The same, a moment later: while the way is cut and the connection stands, again and again.
    pub(super) fn send_word_at(
        &mut self,
        sent_at: Instant,
        (from, to): (NodeIndex, NodeIndex),
        attempt: (u64, u32),
        word: Word,
    ) {
        let workload = &self.scenario.workload;
        let bytes = match &word {
            Word::Request { frame, .. } => frame.len() + workload.request_bytes,
            Word::Answer(frame) => frame.len(),
            // The end of an answer comes behind all of it.
            Word::End | Word::Broken(_) => workload.answer_bytes,
            Word::Cancel => CANCEL_BYTES,
        };
        if let Some(at) = self.network.stream(sent_at, from, to, bytes) {
            self.plan(at, arrival((from, to), attempt, word));
            return;
        }
        let life = self.nodes[from.at()].life.as_ref();
        // Nobody sends the request of an attempt that was given up.
        let is_over = matches!(word, Word::Request { .. }) && !self.is_current(attempt);
        if !is_over && life.is_some_and(|life| life.links.contains_key(&to)) {
            let again = Happening::SendsAgain {
                from,
                to,
                attempt,
                word,
            };
            self.plan(sent_at + SEND_AGAIN, again);
        }
    }

    fn link_changed(&mut self, node: NodeIndex, peer: NodeIndex, change: Change) {
        let name = self.nodes[peer.at()].name.clone();
        match change {
            Change::Heard => self.tell(node, Event::LinkRecovered { peer: name }),
            Change::Silent => {
                let is_false = self.nodes[peer.at()].runs(self.now) && !self.network.is_disturbed();
                self.record.silence(self.now, node, peer, is_false);
                self.tell(node, Event::LinkSilent { peer: name });
                let life = self.nodes[node.at()].life.as_ref();
                let spoke = life.and_then(|life| life.links.get(&peer)?.spoke());
                self.peer_lost(node, peer, false, spoke);
            }
            Change::Lost => self.link_lost(node, peer),
        }
    }

    pub(super) fn link_lost(&mut self, node: NodeIndex, peer: NodeIndex) {
        let life = self.nodes[node.at()].life.as_mut();
        if let Some(link) = life.and_then(|life| life.links.remove(&peer)) {
            let name = self.nodes[peer.at()].name.clone();
            self.tell(node, Event::LinkDown { peer: name });
            self.peer_lost(node, peer, true, link.spoke());
        }
    }

    /// Ends what was under way between two nodes, as one end of their connection sees it, which was silent from
    /// `spoke` on.
    fn peer_lost(&mut self, node: NodeIndex, peer: NodeIndex, is_gone: bool, spoke: Option<Spoke>) {
        let Some(life) = &self.nodes[node.at()].life else {
            return;
        };
        for request in life.active.iter().copied().collect::<Vec<_>>() {
            match self.waits_at(request) {
                Some((owner, false)) if owner == peer => {
                    let sent_at = self.sent_at(request).unwrap_or(self.now);
                    let outcome = spoke.map_or(Outcome::PeerLost, |spoke| spoke.outcome(sent_at));
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
        let life = self.nodes[node.at()].life.as_ref();
        let warm = match life.is_some_and(|life| life.warm.is_none()) {
            true => Some(self.warm_set(node)),
            false => None,
        };
        let Some(life) = &mut self.nodes[node.at()].life else {
            return;
        };
        let number = life.number;
        let (links, dials) = (&life.links, &life.dials);
        let missing = |peer: &&NodeIndex| !links.contains_key(peer) && !dials.contains(peer);
        life.warm = life.warm.take().or(warm);
        let wanted = life.warm.iter().flatten().filter(missing);
        let wanted: Vec<NodeIndex> = wanted.copied().collect();
        for peer in wanted {
            let round_trip = self.network.round_trip(node, peer);
            let is_cut = self.network.is_cut(node, peer) || self.network.is_cut(peer, node);
            let runs = self.nodes[peer.at()].runs(self.now);
            let Some(peer_life) = self.life_of(peer).filter(|_| runs && !is_cut) else {
                continue;
            };
            if let Some(life) = &mut self.nodes[node.at()].life {
                life.dials.insert(peer);
            }
            let dialled = Happening::Dialled {
                node,
                life: number,
                peer,
                peer_life,
            };
            self.plan(self.now + round_trip.mul_f64(1.5), dialled);
        }
    }

    /// The members that a node stays connected to, by what it knows of the way to them.
    fn warm_set(&self, node: NodeIndex) -> BTreeSet<NodeIndex> {
        let here = &self.nodes[node.at()];
        let Some(life) = &here.life else {
            return BTreeSet::new();
        };
        let place = |node: &Node| self.scenario.atlas.region(node.region).place;
        let member = |peer: &NodeIndex| {
            let there = &self.nodes[peer.at()];
            let measured = life.links.get(peer).and_then(Link::round_trip);
            Member {
                name: &there.name,
                rtt: measured.unwrap_or_else(|| place(here).rtt_prior(place(there))),
                answers: true,
                works: false,
            }
        };
        let warm = links::warm_set(&here.name, life.members.iter().map(member));
        warm.iter().filter_map(NodeIndex::of).collect()
    }

    pub(super) fn dialled(
        &mut self,
        (node, number): (NodeIndex, LifeNumber),
        (peer, peer_number): (NodeIndex, LifeNumber),
    ) {
        let life = self.nodes[node.at()].life.as_mut();
        if let Some(life) = life.filter(|life| life.number == number) {
            life.dials.remove(&peer);
        }
        let alive = self.is_life(node, number) && self.is_life(peer, peer_number);
        let is_cut = self.network.is_cut(node, peer) || self.network.is_cut(peer, node);
        if !alive || is_cut || !self.nodes[peer.at()].runs(self.now) {
            return;
        }
        self.linked(node, peer, peer_number);
        self.linked(peer, node, number);
    }

    fn linked(&mut self, node: NodeIndex, peer: NodeIndex, peer_number: LifeNumber) {
        let now = self.now;
        let links = |world: &Self| {
            let life = world.nodes[node.at()].life.as_ref()?;
            life.links.get(&peer).map(|link| link.life)
        };
        match links(self) {
            Some(life) if life == peer_number => return,
            Some(_) => self.link_lost(node, peer),
            None => {}
        }
        let rtt = self.network.round_trip(node, peer);
        if let Some(life) = &mut self.nodes[node.at()].life {
            let link = life.links.entry(peer);
            link.or_insert_with(|| Link::new(now, peer_number))
                .sampled(rtt);
        }
        let name = self.nodes[peer.at()].name.clone();
        self.tell(node, Event::LinkUp { peer: name.clone() });
        self.tell(node, Event::RttMeasured { peer: name, rtt });
    }

    /// What needs a process that is stopped waits until it goes on.
    pub(super) fn unless_stalled(&mut self, happening: Happening) -> Option<Happening> {
        let stalled = happening
            .process()
            .and_then(|node| self.nodes[node.at()].stalled_until)
            .filter(|until| *until > self.now);
        let Some(until): Option<Instant> = stalled else {
            return Some(happening);
        };
        self.plan(until, happening);
        None
    }
}
