//! Rumors: transitions that are pushed at once, in addition to gossip.
//!
//! The product's rules: up to 64 links a rumor goes to all of them, and no node relays it; beyond, to
//! some drawn again each time, and a node that receives it first relays it in the same way, but not back. A
//! rumor that is not newer than what its receiver knows is dropped. So the world pushes what its engines publish
//! as urgent, passes to them what is new, relays what they ask for ([`Rumors::relay`]), and notes what came by
//! gossip ([`Rumors::learn`]).
//!
//! Rumors go over streams, so a lost packet costs time: it is sent again after a while that doubles,
//! until the link would have been given up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::Stamp;
use grapevine_core::links;
use rand_chacha::ChaCha8Rng;

use super::model::draw;
use super::{Carrier, Entry, NodeIndex, Sent};
use crate::heap::Heap;

/// Bytes in addition to key and value: the author's name and certificate, in base64, and the JSON around them.
const RUMOR_HEAD: usize = 700;

/// To whom rumors go; by default as in the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Links up to which a rumor goes to all of them, and members up to which no node relays it.
    pub all_max: usize,
    /// Beyond it, to how many links it goes, drawn again each time.
    pub fan_out: usize,
    /// To how many of the nearest links it goes besides those. The product has 0.
    pub nearest: usize,
    /// The first wait before what was lost is sent again: about a round trip and a half.
    pub resend: Duration,
    /// How long it is sent again: the idle timeout of a link.
    pub give_up: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            all_max: links::RUMOR_PEERS_MAX,
            fan_out: links::RUMOR_FAN_OUT,
            nearest: 0,
            resend: Duration::from_millis(200),
            give_up: Duration::from_millis(600),
        }
    }
}

/// A rumor on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RumorInTransit {
    /// The node that published it.
    pub author: NodeIndex,
    /// Its position in the order of that node's facts.
    pub stamp: Stamp,
    /// What it contains.
    pub entry: Entry,
}

/// A rumor that was new to its receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRumor {
    /// When.
    pub at: Instant,
    /// The node that received it.
    pub receiver: NodeIndex,
    /// From which node, which need not be its author.
    pub from: NodeIndex,
    /// What was received.
    pub rumor: Arc<RumorInTransit>,
}

/// Links, and the rumors on them.
#[derive(Debug)]
pub struct Rumors {
    policy: Policy,
    /// The links of each node, the nearest first where the world linked them in that order.
    links: Vec<Vec<NodeIndex>>,
    heap: Heap<Flight>,
    /// The newest stamp of each fact that each node knows.
    known: BTreeMap<(NodeIndex, Arc<str>), Vec<Stamp>>,
    sent: Vec<Sent>,
    repeated: u64,
}

/// A rumor on a link.
#[derive(Debug)]
struct Flight {
    from: NodeIndex,
    to: NodeIndex,
    rumor: Arc<RumorInTransit>,
    /// `None` when it arrives; else it was lost, and is sent again after this wait.
    lost: Option<Duration>,
}

impl Rumors {
    /// No links among nodes with indices below `nodes`.
    pub fn new(policy: Policy, nodes: usize) -> Self {
        Self {
            policy,
            links: vec![Vec::new(); nodes],
            heap: Heap::default(),
            known: BTreeMap::new(),
            sent: vec![Sent::default(); nodes],
            repeated: 0,
        }
    }

    /// Replaces the links of one end, the nearest first. The world keeps both ends alike.
    pub fn link(&mut self, node: NodeIndex, peers: Vec<NodeIndex>) {
        self.links[node.at()] = peers;
    }

    /// Ends a node: its links, at both ends, and what it knew.
    pub fn crash(&mut self, node: NodeIndex) {
        self.links[node.at()].clear();
        for links in &mut self.links {
            links.retain(|peer| *peer != node);
        }
        for stamps in self.known.values_mut() {
            stamps[node.at()] = Stamp::default();
        }
    }

    /// Notes that `node` knows a fact; false when it knew that or something newer.
    pub fn learn(
        &mut self,
        node: NodeIndex,
        author: NodeIndex,
        key: &Arc<str>,
        stamp: Stamp,
    ) -> bool {
        let nodes = self.links.len();
        let fact = (author, Arc::clone(key));
        let stamps = self.known.entry(fact);
        let stamps = stamps.or_insert_with(|| vec![Stamp::default(); nodes]);
        let is_new = stamp > stamps[node.at()];
        if is_new {
            stamps[node.at()] = stamp;
        }
        is_new
    }

    /// Pushes an author's own rumor.
    pub fn push(
        &mut self,
        now: Instant,
        rumor: RumorInTransit,
        carrier: &mut dyn Carrier,
        rng: &mut ChaCha8Rng,
    ) {
        let author = rumor.author;
        self.learn(author, author, &rumor.entry.key, rumor.stamp);
        self.spread(now, author, None, &Arc::new(rumor), carrier, rng);
    }

    /// Relays what a node received first, which counts `members`.
    pub fn relay(
        &mut self,
        now: Instant,
        received: &ReceivedRumor,
        members: usize,
        carrier: &mut dyn Carrier,
        rng: &mut ChaCha8Rng,
    ) {
        if members > self.policy.all_max {
            self.spread(
                now,
                received.receiver,
                Some(received.from),
                &received.rumor,
                carrier,
                rng,
            );
        }
    }

    /// When something happens next.
    pub fn next_due(&self) -> Option<Instant> {
        self.heap.next_at()
    }

    /// Lets everything happen until `until`, that moment included, and returns what was new, in order
    /// of time. To be called at [`Rumors::next_due`], so that what is relayed leaves in time.
    pub fn advance(&mut self, until: Instant, carrier: &mut dyn Carrier) -> Vec<ReceivedRumor> {
        let mut received = Vec::new();
        while self.heap.next_at().is_some_and(|at| at <= until) {
            let Some((at, flight)) = self.heap.take_next() else {
                break;
            };
            if let Some(waited) = flight.lost {
                let Flight {
                    from, to, rumor, ..
                } = flight;
                self.send(at, (from, to), rumor, waited, carrier);
                continue;
            }
            let Flight {
                from, to, rumor, ..
            } = flight;
            // Nothing arrives over a link that is gone.
            if !self.links[to.at()].contains(&from) || to == rumor.author {
                continue;
            }
            if self.learn(to, rumor.author, &rumor.entry.key, rumor.stamp) {
                received.push(ReceivedRumor {
                    at,
                    receiver: to,
                    from,
                    rumor,
                });
            } else {
                self.repeated += 1;
            }
        }
        received
    }

    /// What `node` sent so far.
    pub fn sent(&self, node: NodeIndex) -> Sent {
        self.sent[node.at()]
    }

    /// Rumors that were not new to their receivers.
    pub const fn repeated(&self) -> u64 {
        self.repeated
    }

    fn spread(
        &mut self,
        now: Instant,
        node: NodeIndex,
        except: Option<NodeIndex>,
        rumor: &Arc<RumorInTransit>,
        carrier: &mut dyn Carrier,
        rng: &mut ChaCha8Rng,
    ) {
        for to in self.receivers(node, except, rng) {
            self.send(now, (node, to), Arc::clone(rumor), Duration::ZERO, carrier);
        }
    }

    fn receivers(
        &self,
        node: NodeIndex,
        except: Option<NodeIndex>,
        rng: &mut ChaCha8Rng,
    ) -> Vec<NodeIndex> {
        let links = self.links[node.at()].iter().map(|peer| peer.0);
        let links: Vec<u32> = links
            .filter(|peer| Some(NodeIndex(*peer)) != except)
            .collect();
        let drawn = if links.len() > self.policy.all_max {
            let (nearest, others) = links.split_at(self.policy.nearest.min(links.len()));
            let others = draw::some(others, self.policy.fan_out, rng);
            [nearest, &others].concat()
        } else {
            links
        };
        drawn.into_iter().map(NodeIndex).collect()
    }

    fn send(
        &mut self,
        now: Instant,
        (from, to): (NodeIndex, NodeIndex),
        rumor: Arc<RumorInTransit>,
        waited: Duration,
        carrier: &mut dyn Carrier,
    ) {
        let bytes = RUMOR_HEAD + rumor.entry.key.len() + rumor.entry.value.len();
        let sent = &mut self.sent[from.at()];
        sent.messages += 1;
        sent.bytes += bytes as u64;
        // Waits of 1, 2, 4 times the first one: so much in all after having waited once more.
        let waits = waited * 2 + self.policy.resend;
        let (at, lost) = match carrier.carry(now, from, to, bytes) {
            Some(at) => (at.max(now), None),
            None if waits <= self.policy.give_up => (now + (waits - waited), Some(waits)),
            None => return,
        };
        let flight = Flight {
            from,
            to,
            rumor,
            lost,
        };
        self.heap.plan(at, flight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::measure::Ring;
    use grapevine_core::ids::Generation;
    use rand_chacha::rand_core::SeedableRng;

    const DELAY: Duration = Duration::from_millis(10);

    /// Loses the first messages, and delivers all others.
    struct Loses(u32);

    impl Carrier for Loses {
        fn carry(&mut self, now: Instant, _: NodeIndex, _: NodeIndex, _: usize) -> Option<Instant> {
            let is_lost = self.0 > 0;
            self.0 = self.0.saturating_sub(1);
            (!is_lost).then(|| now + DELAY)
        }
    }

    fn linked(nodes: u32) -> Rumors {
        let mut rumors = Rumors::new(Policy::default(), nodes as usize);
        for node in 0..nodes {
            let peers = (0..nodes).filter(|peer| *peer != node);
            rumors.link(NodeIndex(node), peers.map(NodeIndex).collect());
        }
        rumors
    }

    fn rumor(version: u64) -> RumorInTransit {
        RumorInTransit {
            author: NodeIndex(0),
            stamp: Stamp {
                generation: Generation(1),
                version,
            },
            entry: Entry {
                key: "phase".into(),
                value: "draining".into(),
            },
        }
    }

    /// Pushes a rumor of node 0 and lets it spread; how many received it, and when the last did.
    fn spread(rumors: &mut Rumors, loses: u32, version: u64) -> (usize, Duration) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut carrier = Loses(loses);
        let members = rumors.links.len() - 1;
        rumors.push(Instant::START, rumor(version), &mut carrier, &mut rng);
        let (mut count, mut last) = (0, Instant::START);
        while let Some(at) = rumors.next_due() {
            for received in rumors.advance(at, &mut carrier) {
                rumors.relay(at, &received, members, &mut carrier, &mut rng);
                count += 1;
                last = received.at;
            }
        }
        (count, last.since_start())
    }

    #[test]
    fn rumor_reaches_a_small_mesh_in_one_step_and_is_not_relayed() {
        let mut rumors = linked(65);
        assert_eq!(spread(&mut rumors, 0, 1), (64, DELAY));
        assert_eq!(rumors.sent(NodeIndex(1)).messages, 0);
    }

    #[test]
    fn rumor_reaches_a_large_mesh_in_a_few_steps() {
        let mut rumors = linked(500);
        let (count, last) = spread(&mut rumors, 0, 1);
        assert_eq!(count, 499);
        assert!((DELAY * 3..=DELAY * 6).contains(&last), "{last:?}");
        assert_eq!(
            rumors.sent(NodeIndex(0)).messages,
            links::RUMOR_FAN_OUT as u64
        );
    }

    #[test]
    fn older_rumor_is_dropped() {
        let mut rumors = linked(3);
        assert_eq!(spread(&mut rumors, 0, 2).0, 2);
        assert_eq!(spread(&mut rumors, 0, 1).0, 0);
        assert_eq!(rumors.repeated(), 2);
    }

    #[test]
    fn lost_rumor_is_sent_again_until_the_link_is_given_up() {
        let resend = Policy::default().resend;
        assert_eq!(spread(&mut linked(2), 1, 1), (1, resend + DELAY));
        assert_eq!(spread(&mut linked(2), 2, 1), (1, resend * 3 + DELAY));
        assert_eq!(spread(&mut linked(2), 3, 1).0, 0);
    }

    #[test]
    fn rumor_reaches_a_thousand_nodes_within_one_and_a_half_longest_ways() {
        const NODES: u32 = 1_000;
        let mut rumors = linked(NODES);
        let mut ring = Ring::new(NODES, 0.05, 1);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for version in 1..=8 {
            let start = Instant::from_start(Duration::from_secs(version));
            rumors.push(start, rumor(version), &mut ring, &mut rng);
            let mut spans = Vec::new();
            while let Some(at) = rumors.next_due() {
                for received in rumors.advance(at, &mut ring) {
                    rumors.relay(at, &received, 999, &mut ring, &mut rng);
                    spans.push(received.at.since(start));
                }
            }
            assert!(spans.len() >= 990, "{} received", spans.len());
            let most = spans[989];
            assert!(most <= ring.one_way_max().mul_f64(1.5), "{most:?}");
        }
    }
}
