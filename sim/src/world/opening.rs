//! Links of a mesh too large to be linked whole: opened for gossip and for requests, closed as idle.
//!
//! What is closed, and when, is core's decision. A link opens at both ends two round trips after a node turned to the
//! peer, and closes at both in one moment.

use grapevine_core::Instant;
use grapevine_core::engine::Event;
use grapevine_core::ids::NodeName;
use grapevine_core::link::{DIAL_ROUND_TRIPS, DIAL_TIMEOUT};
use grapevine_core::links::MeshSize;
use grapevine_core::links::idle::{self, HANDSHAKE_BYTES, LinkUse};
use grapevine_core::outcome::Outcome;

use super::node::{IncarnationNumber, Link};
use super::{World, WorldEvent};
use crate::membership::{NodeIndex, Settings};
use crate::network::Contact;

impl World {
    fn is_large_for(&self, node: NodeIndex) -> bool {
        let process = self.nodes[node.at()].process.as_ref();
        process.is_some_and(|it| MeshSize::of(it.members.len()) == MeshSize::Large)
    }

    /// The links of a live node, in the mean.
    pub(crate) fn links_of_a_node(&self) -> f64 {
        let links = self.nodes.iter().filter_map(|node| node.process.as_ref());
        let (links, nodes) = links.fold((0, 0), |(links, nodes), process| {
            (links + process.links.len(), nodes + 1)
        });
        links as f64 / f64::from(nodes.max(1))
    }

    /// One end of a link.
    pub(super) fn link_of(&mut self, node: NodeIndex, peer: NodeIndex) -> Option<&mut Link> {
        let process = self.nodes[node.at()].process.as_mut()?;
        process.links.get_mut(&peer)
    }

    /// Links two nodes, of which the first dialled.
    pub(super) fn link_both(
        &mut self,
        (node, incarnation): (NodeIndex, IncarnationNumber),
        (peer, peer_incarnation): (NodeIndex, IncarnationNumber),
    ) {
        let is_new = self.link_of(node, peer).is_none() && self.link_of(peer, node).is_none();
        self.linked(node, peer, peer_incarnation);
        self.linked(peer, node, incarnation);
        if let Some(link) = self.link_of(node, peer).filter(|_| is_new) {
            link.dialled_here = true;
        }
        if is_new {
            self.count_opened(node, peer);
        }
    }

    /// Gossip turns to a peer: over a link, or over one that it opens.
    pub(super) fn exchanged(&mut self, contact: Contact) {
        let Contact { at, from, to } = contact;
        if self.link_of(from, to).is_some() {
            for (node, peer) in [(from, to), (to, from)] {
                if let Some(link) = self.link_of(node, peer) {
                    link.exchanged_at = link.exchanged_at.max(at);
                }
            }
            return;
        }
        let ends = self.incarnation_of(from).zip(self.incarnation_of(to));
        let Some((incarnation, peer_incarnation)) = ends else {
            return;
        };
        let is_new = |world: &mut Self| {
            let process = world.nodes[from.at()].process.as_mut();
            process.is_some_and(|process| process.dials.insert(to))
        };
        if is_new(self) {
            let dialled = WorldEvent::Dialled {
                node: from,
                incarnation,
                peer: to,
                peer_incarnation,
            };
            let at = at.max(self.now);
            self.plan(
                at + self.network.round_trip(from, to) * DIAL_ROUND_TRIPS,
                dialled,
            );
        }
    }

    /// Counts a new link, and one that gossip or a request opened again soon after it was closed.
    pub(super) fn count_opened(&mut self, node: NodeIndex, peer: NodeIndex) {
        if !self.is_large_for(node) {
            return;
        }
        for end in [node, peer] {
            self.network.count(end, HANDSHAKE_BYTES as usize);
        }
        self.record.tally.links_opened += 1;
        let now = self.now;
        let process = self.nodes[node.at()].process.as_ref();
        let closed = process.and_then(|process| process.closed_at.get(&peer));
        if closed.is_some_and(|at| now.since(*at) < idle::HANDSHAKE_WORTH) {
            self.record.tally.links_reopened += 1;
        }
    }

    /// Closes the links of a node that core finds idle.
    pub(super) fn close_idle(&mut self, node: NodeIndex) {
        let now = self.now;
        if !self.is_large_for(node) {
            return;
        }
        let Some(process) = &mut self.nodes[node.at()].process else {
            return;
        };
        if now.since(process.looked_at) < idle::LOOK {
            return;
        }
        process.looked_at = now;
        let links = process
            .links
            .iter_mut()
            .filter(|(_, link)| link.dialled_here);
        let uses: Vec<(NodeIndex, LinkUse)> =
            links.map(|(peer, link)| (*peer, used(now, link))).collect();
        let (warm, members) = (
            process.warm.clone().unwrap_or_default(),
            process.members.len(),
        );
        let warm = warm
            .iter()
            .map(|peer| self.nodes[peer.at()].name.clone())
            .collect();
        let linger = idle::linger(Settings::default().interval, members + 1);
        let named: Vec<(NodeName, LinkUse)> = uses
            .iter()
            .map(|(peer, used)| (self.nodes[peer.at()].name.clone(), *used))
            .collect();
        let named = named.iter().map(|(name, used)| (name, *used));
        let closing = idle::to_close(now, linger, &warm, named);
        for peer in closing.iter().filter_map(NodeIndex::of) {
            self.close_link(node, peer);
        }
    }

    fn close_link(&mut self, node: NodeIndex, peer: NodeIndex) {
        let now = self.now;
        self.record.tally.links_closed += 1;
        for (end, other) in [(node, peer), (peer, node)] {
            let name = self.nodes[other.at()].name.clone();
            let Some(process) = &mut self.nodes[end.at()].process else {
                continue;
            };
            if process.links.remove(&other).is_some() {
                process
                    .closed_at
                    .retain(|_, at| now.since(*at) < idle::HANDSHAKE_WORTH);
                process.closed_at.insert(other, now);
                self.network.note_link(end, other, false);
                self.deliver(end, Event::LinkClosed { peer: name });
            }
        }
    }

    /// Opens a link for a request; returns when it can be used. Where nobody answers, the attempt fails after core's
    /// limit.
    ///
    /// # Errors
    /// Where the mesh is linked whole, or the attempt will fail.
    pub(super) fn open_for(
        &mut self,
        attempt: (u64, u32),
        (entry, incarnation): (NodeIndex, IncarnationNumber),
        owner: NodeIndex,
    ) -> Result<Option<Instant>, Outcome> {
        if !self.is_large_for(entry) {
            return Err(Outcome::PeerUnreached);
        }
        let is_cut = self.network.is_cut(entry, owner) || self.network.is_cut(owner, entry);
        let runs = self.nodes[owner.at()].runs(self.now) && !is_cut;
        let Some(owner_incarnation) = self.incarnation_of(owner).filter(|_| runs) else {
            let unreached = WorldEvent::Unreached { attempt };
            self.plan(self.now + DIAL_TIMEOUT, unreached);
            return Ok(None);
        };
        self.record.tally.links_opened_for_requests += 1;
        self.link_both((entry, incarnation), (owner, owner_incarnation));
        Ok(Some(
            self.now + self.network.round_trip(entry, owner) * DIAL_ROUND_TRIPS,
        ))
    }

    /// A dial for a request ran out of time.
    pub(super) fn unreached(&mut self, attempt: (u64, u32)) {
        if self.is_current(attempt) {
            self.attempt_failed(attempt.0, Outcome::PeerUnreached, None);
        }
    }
}

/// The use of a link up to now.
fn used(now: Instant, link: &mut Link) -> LinkUse {
    let in_flight = link.sent.count() > 0 || link.served.count() > 0;
    if in_flight {
        link.called_at = Some(now);
    }
    LinkUse {
        exchanged_at: link.exchanged_at,
        called_at: link.called_at,
        in_flight,
    }
}
