//! The network between nodes: delay with jitter, loss, cuts in one or both directions, slow links.
//!
//! Datagrams are lost and overtake each other. What is sent on a stream (requests, answers, rumors,
//! gossip too long for a datagram) is sent again until it arrives, as QUIC does: loss makes it late.
//! Only a cut stops it.
//!
//! Where a bandwidth is set, what a node sends leaves in order, each packet once those before it are out, and what a
//! node receives does likewise: each direction has a line of its own.

use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::link::DIAL_ROUND_TRIPS;
use grapevine_core::links::MeshSize;
use rand_chacha::ChaCha8Rng;

use crate::atlas::{Atlas, RegionIndex};
use crate::chance;
use crate::membership::{Carrier, NodeIndex};
use crate::wires::{Bandwidth, Wires};

/// What fits a QUIC datagram on an ordinary path.
const DATAGRAM_BYTES_MAX: usize = 1_414;

/// A lost packet is noticed a round trip and a half after it was sent, and not sooner than this.
const RESEND_AFTER_MIN: Duration = Duration::from_millis(25);

/// After this many losses in a row a stream's packet counts as stuck, and QUIC's idle timeout ends it.
const RESENDS_MAX: u32 = 12;

/// The network.
#[derive(Debug)]
pub(crate) struct Network {
    atlas: Atlas,
    regions: Vec<RegionIndex>,
    /// How much longer than its least a delay may be, as a share.
    jitter: f64,
    loss: f64,
    rules: Vec<Rule>,
    rng: ChaCha8Rng,
    /// Bytes that nodes sent in addition to gossip: rumors, pings, request heads.
    sent: Vec<u64>,
    /// What the lines of the nodes carry; `None` does not limit them.
    wires: Option<Wires>,
    /// In a mesh too large to be linked whole: which pairs are linked, and what gossip sent since the last look.
    contacts: Option<Contacts>,
}

/// Who is linked to whom, and who turned to whom.
#[derive(Debug)]
struct Contacts {
    nodes: usize,
    linked: Vec<bool>,
    made: Vec<Contact>,
}

/// A message of gossip from one node to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact {
    pub(crate) at: Instant,
    pub(crate) from: NodeIndex,
    pub(crate) to: NodeIndex,
}

/// A fault of the network, while it lasts.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: usize,
    pub(crate) from: Vec<bool>,
    pub(crate) to: Vec<bool>,
    pub(crate) effect: RuleEffect,
}

/// What a fault does to the packets that it affects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RuleEffect {
    /// Nothing gets through.
    Cut,
    /// This share is lost.
    Loss(f64),
    /// Everything takes this much longer.
    Delay(Duration),
}

impl Network {
    pub(crate) fn new(
        atlas: Atlas,
        regions: Vec<RegionIndex>,
        (jitter, loss): (f64, f64),
        bandwidth: Option<Bandwidth>,
        seed: u64,
    ) -> Self {
        let wires = bandwidth.map(|bandwidth| Wires::new(bandwidth, regions.len()));
        let nodes = regions.len();
        let sent = vec![0; nodes];
        let contacts = || Contacts {
            nodes,
            linked: vec![false; nodes * nodes],
            made: Vec::new(),
        };
        let is_large = MeshSize::of(nodes - 1) == MeshSize::Large;
        Self {
            contacts: is_large.then(contacts),
            atlas,
            regions,
            jitter,
            loss,
            rules: Vec::new(),
            rng: chance::network(seed),
            sent,
            wires,
        }
    }

    /// Notes whether two nodes are linked.
    pub(crate) fn note_link(&mut self, from: NodeIndex, to: NodeIndex, is_linked: bool) {
        if let Some(contacts) = &mut self.contacts {
            let at = from.at() * contacts.nodes + to.at();
            contacts.linked[at] = is_linked;
        }
    }

    /// What gossip sent since the last call, in a large mesh.
    pub(crate) fn take_contacts(&mut self) -> Vec<Contact> {
        let made = self.contacts.as_mut().map(|contacts| &mut contacts.made);
        made.map(std::mem::take).unwrap_or_default()
    }

    /// When a message of gossip leaves: at once over a link, else when one has been dialled.
    fn leaves_at(&mut self, now: Instant, from: NodeIndex, to: NodeIndex) -> Instant {
        let round_trip = self.round_trip(from, to);
        let Some(contacts) = &mut self.contacts else {
            return now;
        };
        contacts.made.push(Contact { at: now, from, to });
        let is_linked = contacts.linked[from.at() * contacts.nodes + to.at()];
        match is_linked {
            true => now,
            false => now + round_trip * DIAL_ROUND_TRIPS,
        }
    }

    pub(crate) fn region(&self, node: NodeIndex) -> RegionIndex {
        self.regions[node.at()]
    }

    pub(crate) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(crate) fn remove(&mut self, id: usize) {
        self.rules.retain(|rule| rule.id != id);
    }

    /// Whether any fault of the network is active.
    pub(crate) fn is_disturbed(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether any path is cut.
    pub(crate) fn is_cut_anywhere(&self) -> bool {
        self.rules.iter().any(|rule| rule.effect == RuleEffect::Cut)
    }

    /// Whether nothing gets from one node to another.
    pub(crate) fn is_cut(&self, from: NodeIndex, to: NodeIndex) -> bool {
        let mut rules = self.rules_between(from, to);
        rules.any(|rule| rule.effect == RuleEffect::Cut)
    }

    /// The least time one way now, without jitter.
    pub(crate) fn one_way(&self, from: NodeIndex, to: NodeIndex) -> Duration {
        let least = self.atlas.one_way(self.region(from), self.region(to));
        let delays = self.rules_between(from, to).map(|rule| match rule.effect {
            RuleEffect::Delay(delay) => delay,
            RuleEffect::Cut | RuleEffect::Loss(_) => Duration::ZERO,
        });
        least + delays.sum::<Duration>()
    }

    /// The least round trip now.
    pub(crate) fn round_trip(&self, from: NodeIndex, to: NodeIndex) -> Duration {
        self.one_way(from, to) + self.one_way(to, from)
    }

    /// Whether one small packet arrives, at any time.
    pub(crate) fn gets_through(&mut self, from: NodeIndex, to: NodeIndex) -> bool {
        let loss = self.loss_between(from, to);
        loss <= 0.0 || (loss < 1.0 && chance::unit(&mut self.rng) >= loss)
    }

    /// When something sent on a stream arrives; `None` when the path is cut.
    pub(crate) fn stream(
        &mut self,
        now: Instant,
        from: NodeIndex,
        to: NodeIndex,
        bytes: usize,
    ) -> Option<Instant> {
        self.sent[from.at()] += bytes as u64;
        self.stream_uncounted(now, from, to, bytes)
    }

    /// Bytes that a node sent in addition to gossip.
    pub(crate) fn sent(&self, node: NodeIndex) -> u64 {
        self.sent[node.at()]
    }

    /// Counts bytes that are sent without being simulated one by one.
    pub(crate) fn count(&mut self, from: NodeIndex, bytes: usize) {
        self.sent[from.at()] += bytes as u64;
    }

    fn stream_uncounted(
        &mut self,
        now: Instant,
        from: NodeIndex,
        to: NodeIndex,
        bytes: usize,
    ) -> Option<Instant> {
        let loss = self.loss_between(from, to);
        if loss >= 1.0 {
            return None;
        }
        let packets = bytes.div_ceil(DATAGRAM_BYTES_MAX).max(1);
        let mut lost = 1.0 - (1.0 - loss).powi(i32::try_from(packets).unwrap_or(i32::MAX));
        let way = self.jittered(self.one_way(from, to));
        let mut arrives = self.through_wires(now, (from, to), way, bytes);
        let resend = (self.round_trip(from, to).mul_f64(1.5)).max(RESEND_AFTER_MIN);
        let mut resends = 0;
        while lost > 0.0 && chance::unit(&mut self.rng) < lost {
            resends += 1;
            if resends > RESENDS_MAX {
                return None;
            }
            // What was lost is sent again alone.
            lost = loss;
            arrives = arrives + resend;
        }
        Some(arrives)
    }

    /// When so many bytes of a stream, sent `now` over a path with this delay, arrive.
    fn through_wires(
        &mut self,
        now: Instant,
        (from, to): (NodeIndex, NodeIndex),
        way: Duration,
        bytes: usize,
    ) -> Instant {
        match &mut self.wires {
            Some(wires) => wires.arrives(now, (from, to), way, bytes),
            None => now + way,
        }
    }

    fn jittered(&mut self, least: Duration) -> Duration {
        // Queues only ever add, and rarely much: the square keeps most packets near the least.
        let share = chance::unit(&mut self.rng);
        least.mul_f64(1.0 + self.jitter * share * share)
    }

    fn loss_between(&self, from: NodeIndex, to: NodeIndex) -> f64 {
        if self.rules.is_empty() {
            return self.loss;
        }
        let kept = self.rules_between(from, to).map(|rule| match rule.effect {
            RuleEffect::Cut => 0.0,
            RuleEffect::Loss(share) => 1.0 - share,
            RuleEffect::Delay(_) => 1.0,
        });
        1.0 - (1.0 - self.loss) * kept.product::<f64>()
    }

    fn rules_between(&self, from: NodeIndex, to: NodeIndex) -> impl Iterator<Item = &Rule> {
        let rules = self.rules.iter();
        rules.filter(move |rule| rule.from[from.at()] && rule.to[to.at()])
    }
}

impl Carrier for Network {
    fn carry(
        &mut self,
        now: Instant,
        from: NodeIndex,
        to: NodeIndex,
        bytes: usize,
    ) -> Option<Instant> {
        let now = match self.contacts.is_some() {
            true => self.leaves_at(now, from, to),
            false => now,
        };
        self.datagram(now, from, to, bytes)
    }
}

impl Network {
    /// When something short that is sent once arrives; `None` when it is lost. What is too long goes on a stream.
    pub(crate) fn datagram(
        &mut self,
        now: Instant,
        from: NodeIndex,
        to: NodeIndex,
        bytes: usize,
    ) -> Option<Instant> {
        if bytes > DATAGRAM_BYTES_MAX {
            return self.stream_uncounted(now, from, to, bytes);
        }
        if !self.gets_through(from, to) {
            return None;
        }
        let way = self.jittered(self.one_way(from, to));
        Some(match &self.wires {
            Some(wires) => wires.datagram_arrives(now, (from, to), way, bytes),
            None => now + way,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::START;

    fn network(loss: f64) -> Network {
        let atlas = crate::matrix::azure();
        let regions = ["westeurope", "japaneast"].map(|name| atlas.find(name).expect("known"));
        Network::new(atlas, regions.to_vec(), (0.1, loss), None, 1)
    }

    fn delivered(network: &mut Network) -> usize {
        let carried = |_: &i32| {
            let arrives = network.carry(NOW, NodeIndex(0), NodeIndex(1), 100);
            arrives.is_some()
        };
        (0..1_000).filter(carried).count()
    }

    #[test]
    fn loss_has_its_share_and_streams_are_late_instead() {
        let mut network = network(0.2);
        let count = delivered(&mut network);
        assert!((750..850).contains(&count), "{count}");
        let least = network.one_way(NodeIndex(0), NodeIndex(1));
        let all: Vec<_> = (0..1_000)
            .filter_map(|_| network.stream(NOW, NodeIndex(0), NodeIndex(1), 100))
            .collect();
        assert_eq!(all.len(), 1_000);
        let late = all.iter().filter(|at| at.since(NOW) > least * 2).count();
        assert!((150..250).contains(&late), "{late}");
    }

    #[test]
    fn cut_in_one_direction_leaves_the_other() {
        let mut network = network(0.0);
        network.add(Rule {
            id: 1,
            from: vec![true, false],
            to: vec![false, true],
            effect: RuleEffect::Cut,
        });
        assert!(network.is_cut(NodeIndex(0), NodeIndex(1)));
        assert_eq!(delivered(&mut network), 0);
        assert!(
            network
                .stream(NOW, NodeIndex(1), NodeIndex(0), 100)
                .is_some()
        );
        network.remove(1);
        assert_eq!(delivered(&mut network), 1_000);
    }

    #[test]
    fn slow_link_adds_its_delay() {
        let mut network = network(0.0);
        let before = network.one_way(NodeIndex(0), NodeIndex(1));
        network.add(Rule {
            id: 1,
            from: vec![true, true],
            to: vec![true, true],
            effect: RuleEffect::Delay(Duration::from_millis(300)),
        });
        let after = network.one_way(NodeIndex(0), NodeIndex(1));
        assert_eq!(after, before + Duration::from_millis(300));
    }
}
