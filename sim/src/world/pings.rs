//! Pings between nodes and their echoes, which carry loads.

use std::time::Duration;

use grapevine_core::engine::Event;
use grapevine_core::link::PING;
use grapevine_proto::frame::{Datagram, Ping, Pong};

use super::node::IncarnationNumber;
use super::{World, WorldEvent};
use crate::membership::NodeIndex;

/// The longest echo.
const DATAGRAM_BYTES_MAX: usize = 1_200;

impl World {
    pub(super) fn ping(&mut self, node: NodeIndex, incarnation: IncarnationNumber) {
        if !self.is_incarnation(node, incarnation) {
            return;
        }
        let now = self.now;
        self.plan(now + PING, WorldEvent::Ping { node, incarnation });
        let Some(process) = &self.nodes[node.at()].process else {
            return;
        };
        let peers: Vec<NodeIndex> = process.links.keys().copied().collect();
        self.drop_view(node);
        let sequence = now.since_start().as_millis() as u64;
        for peer in peers {
            if self.nodes[peer.at()].runs(now) {
                self.ping_one(node, incarnation, peer, sequence);
            }
        }
        self.dial_wanted(node);
        self.close_idle(node);
    }

    fn ping_one(
        &mut self,
        node: NodeIndex,
        incarnation: IncarnationNumber,
        peer: NodeIndex,
        sequence: u64,
    ) {
        let now = self.now;
        let ping = Ping { sequence }.encode();
        self.network.count(node, ping.len());
        let process = self.nodes[node.at()].process.as_mut();
        if let Some(link) = process.and_then(|process| process.links.get_mut(&peer)) {
            link.unechoed = link.unechoed.saturating_add(1);
        }
        let Some(there_at) = self.network.datagram(now, node, peer, ping.len()) else {
            return;
        };
        let Some(there) = &self.nodes[peer.at()].process else {
            return;
        };
        let loads = there.engine.own_loads(self.now);
        let datagram = Pong { sequence, loads }.encode(DATAGRAM_BYTES_MAX);
        self.network.count(peer, datagram.len());
        let back_at = self.network.datagram(there_at, peer, node, datagram.len());
        if let Some(at) = back_at {
            let pong = WorldEvent::Pong {
                node,
                incarnation,
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
        incarnation: IncarnationNumber,
        peer: NodeIndex,
        round_trip: Duration,
        datagram: &[u8],
    ) {
        let now = self.now;
        let process = self.nodes[node.at()].process.as_mut();
        let process = process.filter(|process| process.incarnation == incarnation);
        let Some(link) = process.and_then(|process| process.links.get_mut(&peer)) else {
            return;
        };
        link.received_at = now;
        link.echoed(now);
        let before = link.round_trip();
        let rtt = link.sampled(round_trip);
        let Ok(Datagram::Pong(pong)) = Datagram::decode(datagram) else {
            return;
        };
        let name = self.nodes[peer.at()].name.clone();
        // An unchanged round trip changes nothing that the load does not.
        let measured = (before != Some(rtt)).then(|| Event::RttMeasured {
            peer: name.clone(),
            rtt,
        });
        let loads = Event::LoadReceived {
            peer: name,
            loads: pong.loads,
        };
        self.deliver_all(node, measured.into_iter().chain([loads]));
    }

    /// Whether a peer's echo to a ping sent now arrives, by a draw for each direction.
    pub(super) fn echoes(
        &mut self,
        (node, incarnation): (NodeIndex, IncarnationNumber),
        peer: NodeIndex,
        peer_incarnation: IncarnationNumber,
    ) -> bool {
        let other = &self.nodes[peer.at()];
        let process = other.process.as_ref().filter(|_| other.runs(self.now));
        let link = process
            .filter(|process| process.incarnation == peer_incarnation)
            .and_then(|process| process.links.get(&node));
        link.is_some_and(|link| link.incarnation == incarnation)
            && self.network.gets_through(node, peer)
            && self.network.gets_through(peer, node)
    }
}
