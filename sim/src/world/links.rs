//! Connections between nodes: kept warm, pinged, found silent, lost, dialled again.
//!
//! The times are the product's (`endpoint.rs`, `ping.rs`, `warm.rs` and `dial.rs` of its mesh). Of the
//! packets of a connection only the keep-alives are followed, by a draw each.

use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::engine::Event;
use grapevine_core::outcome::Outcome;
use grapevine_proto::frame::{Datagram, Ping, Pong};

use super::node::{Life, LifeNumber, Link};
use super::{Happening, World};
use crate::membership::{Carrier, NodeIndex};

/// How often packets are counted.
const POLL: Duration = Duration::from_millis(50);

/// A keep-alive comes with every third look.
const POLLS_PER_KEEP_ALIVE: u64 = 3;

/// No packet for this long: no new work for the peer.
const SILENCE: Duration = Duration::from_millis(500);

/// No packet for this long: the connection is gone (idle timeout and keep-alive).
const LOST: Duration = Duration::from_millis(750);

/// How often a ping is sent, and what is missing is dialled.
const PING: Duration = Duration::from_millis(500);

/// Up to this many members all stay connected; beyond it these.
const ALL_MAX: usize = 64;
const NEAREST: usize = 8;
const OTHERS: usize = 4;

/// The longest echo.
const DATAGRAM_BYTES_MAX: usize = 1_200;

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
            // While all was calm everything came, and nobody looked.
            link.heard_at = link.heard_at.max(self.calm_until);
            let silence = now.since(link.heard_at);
            if silence >= LOST {
                changes.push((*peer, Change::Lost));
                continue;
            }
            if (tick + u64::from(peer.0)).is_multiple_of(POLLS_PER_KEEP_ALIVE) {
                match self.keep_alive((node, number), *peer, link.life) {
                    KeepAlive::Comes => link.heard_at = now,
                    KeepAlive::Reset => changes.push((*peer, Change::Lost)),
                    KeepAlive::Missing => {}
                }
            }
            let is_silent = now.since(link.heard_at) >= SILENCE;
            if is_silent != link.silent {
                link.silent = is_silent;
                let change = if is_silent {
                    Change::Silent
                } else {
                    Change::Heard
                };
                changes.push((*peer, change));
            }
        }
        self.nodes[node.at()].life = Some(life);
        for (peer, change) in changes {
            self.link_changed(node, peer, change);
        }
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

    fn link_changed(&mut self, node: NodeIndex, peer: NodeIndex, change: Change) {
        let name = self.nodes[peer.at()].name.clone();
        match change {
            Change::Heard => self.tell(node, Event::LinkHeard { peer: name }),
            Change::Silent => {
                let is_false = self.nodes[peer.at()].runs(self.now) && !self.network.is_disturbed();
                self.record.silence(self.now, node, peer, is_false);
                self.tell(node, Event::LinkSilent { peer: name });
                self.peer_lost(node, peer, false);
            }
            Change::Lost => self.link_lost(node, peer),
        }
    }

    pub(super) fn link_lost(&mut self, node: NodeIndex, peer: NodeIndex) {
        let had = |life: &mut Life| life.links.remove(&peer).is_some();
        if self.nodes[node.at()].life.as_mut().is_some_and(had) {
            let name = self.nodes[peer.at()].name.clone();
            self.tell(node, Event::LinkDown { peer: name });
            self.peer_lost(node, peer, true);
        }
    }

    /// Ends what was under way between two nodes, as one end of their connection sees it.
    fn peer_lost(&mut self, node: NodeIndex, peer: NodeIndex, is_gone: bool) {
        let Some(life) = &self.nodes[node.at()].life else {
            return;
        };
        for request in life.active.iter().copied().collect::<Vec<_>>() {
            match self.waits_at(request) {
                Some((owner, false)) if owner == peer => {
                    self.attempt_failed(request, Outcome::PeerLost, None);
                }
                Some((owner, true)) if owner == peer && is_gone => self.broken_off(request),
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

    pub(super) fn ping(&mut self, node: NodeIndex, number: LifeNumber) {
        if !self.is_life(node, number) {
            return;
        }
        let now = self.now;
        self.plan(now + PING, Happening::Ping { node, life: number });
        let Some(life) = &self.nodes[node.at()].life else {
            return;
        };
        let peers: Vec<NodeIndex> = life.links.keys().copied().collect();
        self.drop_view(node);
        let sequence = now.since_start().as_millis() as u64;
        for peer in peers {
            if self.nodes[peer.at()].runs(now) {
                self.ping_one(node, number, peer, sequence);
            }
        }
        self.dial_wanted(node);
    }

    fn ping_one(&mut self, node: NodeIndex, life: LifeNumber, peer: NodeIndex, sequence: u64) {
        let now = self.now;
        let ping = Ping { sequence }.encode();
        self.network.count(node, ping.len());
        let Some(there_at) = self.network.carry(now, node, peer, ping.len()) else {
            return;
        };
        let Some(there) = &self.nodes[peer.at()].life else {
            return;
        };
        let loads = there.engine.own_loads();
        let datagram = Pong { sequence, loads }.encode(DATAGRAM_BYTES_MAX);
        self.network.count(peer, datagram.len());
        let back_at = self.network.carry(there_at, peer, node, datagram.len());
        if let Some(at) = back_at {
            let pong = Happening::Pong {
                node,
                life,
                peer,
                round_trip: at.since(now),
                datagram,
            };
            self.plan(at, pong);
        }
    }

    pub(super) fn pong(
        &mut self,
        node: NodeIndex,
        number: LifeNumber,
        peer: NodeIndex,
        round_trip: Duration,
        datagram: &[u8],
    ) {
        let now = self.now;
        let life = self.nodes[node.at()].life.as_mut();
        let life = life.filter(|life| life.number == number);
        let Some(link) = life.and_then(|life| life.links.get_mut(&peer)) else {
            return;
        };
        link.heard_at = now;
        let before = link.round_trip();
        let rtt = link.sampled(round_trip);
        let Ok(Datagram::Pong(pong)) = Datagram::decode(datagram) else {
            return;
        };
        let name = self.nodes[peer.at()].name.clone();
        // The same again would change nothing that the load does not.
        let measured = (before != Some(rtt)).then(|| Event::RttMeasured {
            peer: name.clone(),
            rtt,
        });
        let loads = Event::LoadHeard {
            peer: name,
            loads: pong.loads,
        };
        self.tell_quietly(node, measured.into_iter().chain([loads]));
    }

    /// Dials the peers that a node wants a connection to and has none.
    pub(super) fn dial_wanted(&mut self, node: NodeIndex) {
        let Some(life) = &self.nodes[node.at()].life else {
            return;
        };
        let number = life.number;
        let wanted = wanted(
            life,
            &self.nodes[node.at()].nearest,
            &self.nodes[node.at()].lots,
        );
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

/// The members to be connected to that no connection and no dial leads to.
fn wanted(life: &Life, nearest: &[NodeIndex], lots: &[NodeIndex]) -> Vec<NodeIndex> {
    let missing = |peer: &NodeIndex| !life.links.contains_key(peer) && !life.dials.contains(peer);
    if life.members.len() <= ALL_MAX {
        return life.members.iter().copied().filter(missing).collect();
    }
    let member = |peer: &&NodeIndex| life.members.contains(peer);
    let near = nearest.iter().filter(member).take(NEAREST);
    let mut wanted: Vec<NodeIndex> = near.copied().collect();
    let others = lots
        .iter()
        .filter(member)
        .filter(|peer| !wanted.contains(peer));
    let others: Vec<NodeIndex> = others.take(OTHERS).copied().collect();
    wanted.extend(others);
    wanted.retain(missing);
    wanted
}
