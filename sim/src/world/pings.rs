//! Pings between nodes and their echoes, which carry loads.

use std::time::Duration;

use grapevine_core::engine::Event;
use grapevine_core::link::PING;
use grapevine_proto::frame::{Datagram, Ping, Pong};

use super::node::LifeNumber;
use super::{Happening, World};
use crate::membership::{Carrier, NodeIndex};

/// The longest echo.
const DATAGRAM_BYTES_MAX: usize = 1_200;

impl World {
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
        let life_here = self.nodes[node.at()].life.as_mut();
        if let Some(link) = life_here.and_then(|life| life.links.get_mut(&peer)) {
            link.unechoed = link.unechoed.saturating_add(1);
        }
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
        link.echoed(now);
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
        let loads = Event::LoadReceived {
            peer: name,
            loads: pong.loads,
        };
        self.tell_quietly(node, measured.into_iter().chain([loads]));
    }

    /// Whether an echo of a peer comes to a ping sent now, by a draw for each way.
    pub(super) fn echoes(
        &mut self,
        (node, number): (NodeIndex, LifeNumber),
        peer: NodeIndex,
        peer_number: LifeNumber,
    ) -> bool {
        let other = &self.nodes[peer.at()];
        let life = other.life.as_ref().filter(|_| other.runs(self.now));
        let link = life
            .filter(|life| life.number == peer_number)
            .and_then(|life| life.links.get(&node));
        link.is_some_and(|link| link.life == number)
            && self.network.gets_through(node, peer)
            && self.network.gets_through(peer, node)
    }
}
