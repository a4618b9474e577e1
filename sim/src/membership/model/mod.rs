//! A model of chitchat's rounds: digests, deltas and phi-accrual detection, for a thousand nodes.
//!
//! [`sight`] is what one node knows of the others, [`detector`] its failure detector, [`handshake`] its
//! messages, [`log`] what a node published, [`wire`] how long messages are, [`draw`] random draws.
//!
//! It follows chitchat 0.13, with the product's thinning of rounds and its patience with deaths. It
//! leaves out tombstones, and of a node's earlier incarnations all but the moment of the last one's death.
//!
//! Time is O(nodes) for each message and each round; memory is about 230 bytes for each pair of nodes. A
//! node may have 65,535 incarnations.

mod detector;
pub(super) mod draw;
mod handshake;
mod log;
mod sight;
mod wire;

use std::collections::BTreeMap;

use grapevine_core::Instant;
use grapevine_core::ids::Generation;
use rand_chacha::ChaCha8Rng;

use super::held::Held;
use super::settings::{FAN_OUT, SEED_PATIENCE, SEED_RETRY, Settings};
use super::{Carrier, Entry, Membership, NodeIndex, Observation, Observed, Sent};
use crate::heap::Heap;
use detector::Tick;
use handshake::Message;
use log::Log;
use sight::{Digest, IncarnationNumber, Sight, Turn};

/// Digests that wait to be reused; as many as are in flight at once at 1,000 nodes.
const SPARE_MAX: usize = 1_024;

/// The model for a fixed number of nodes.
#[derive(Debug)]
pub struct Model {
    settings: Settings,
    now: Instant,
    hosts: Vec<Host>,
    heap: Heap<ModelEvent>,
    spare: Vec<Digest>,
    found: Vec<Observation>,
}

/// The host of a node, which runs or is down.
#[derive(Debug, Default)]
struct Host {
    /// The generation of each incarnation so far: that of number 1 is at index 0.
    generations: Vec<Generation>,
    /// What the latest incarnation published.
    log: Log,
    node: Option<Node>,
    sent: Sent,
}

impl Host {
    fn latest(&self) -> IncarnationNumber {
        IncarnationNumber::try_from(self.generations.len()).unwrap_or(IncarnationNumber::MAX)
    }

    fn generation(&self, incarnation: IncarnationNumber) -> Generation {
        let index = usize::from(incarnation).checked_sub(1);
        let generation = index.and_then(|at| self.generations.get(at));
        generation.copied().unwrap_or_default()
    }
}

/// One incarnation of a node.
#[derive(Debug)]
struct Node {
    incarnation: IncarnationNumber,
    joined_at: Instant,
    sight: Sight,
    held: Held,
    rounds_due: f64,
    seeds: Vec<NodeIndex>,
    tried: BTreeMap<NodeIndex, Instant>,
}

#[derive(Debug)]
enum ModelEvent {
    Round {
        node: NodeIndex,
        incarnation: IncarnationNumber,
    },
    TrySeeds {
        node: NodeIndex,
        incarnation: IncarnationNumber,
    },
    Arrive {
        from: NodeIndex,
        to: NodeIndex,
        sent_at: Instant,
        message: Message,
    },
}

/// What the world provides for one call.
struct World<'a> {
    carrier: &'a mut dyn Carrier,
    rng: &'a mut ChaCha8Rng,
}

impl Model {
    /// A model for nodes with indices below `nodes`.
    pub fn new(settings: Settings, nodes: usize) -> Self {
        Self {
            settings,
            now: Instant::START,
            hosts: std::iter::repeat_with(Host::default).take(nodes).collect(),
            heap: Heap::default(),
            spare: Vec::new(),
            found: Vec::new(),
        }
    }

    fn handle(&mut self, event: ModelEvent, world: &mut World<'_>) {
        match event {
            ModelEvent::Round { node, incarnation } => self.round(node, incarnation, world),
            ModelEvent::TrySeeds { node, incarnation } => self.try_seeds(node, incarnation, world),
            ModelEvent::Arrive {
                from,
                to,
                sent_at,
                message,
            } => {
                let host = &self.hosts[to.at()];
                // What was sent to an earlier incarnation went over a connection that ended with it.
                if host
                    .node
                    .as_ref()
                    .is_some_and(|node| node.joined_at <= sent_at)
                {
                    self.receive(from, to, message, world);
                }
            }
        }
    }

    /// The node, if this is still its incarnation.
    fn living(&mut self, node: NodeIndex, incarnation: IncarnationNumber) -> Option<&mut Node> {
        let living = self.hosts[node.at()].node.as_mut();
        living.filter(|living| living.incarnation == incarnation)
    }

    fn round(&mut self, index: NodeIndex, incarnation: IncarnationNumber, world: &mut World<'_>) {
        let (settings, now) = (self.settings, self.now);
        let Some(node) = self.living(index, incarnation) else {
            return;
        };
        let partners = node.sight.partners(FAN_OUT, world.rng);
        node.sight.beat();
        for partner in partners {
            self.greet(index, NodeIndex(partner), world);
        }
        if let Some(node) = self.living(index, incarnation) {
            let turns = node.sight.judge(Tick::of(now));
            self.report_turns(index, &turns);
        }
        let next = ModelEvent::Round {
            node: index,
            incarnation,
        };
        self.heap.plan(now + settings.interval, next);
    }

    /// Takes the detector's changes, and reports the members that follow from them.
    fn report_turns(&mut self, index: NodeIndex, turns: &[Turn]) {
        let (settings, now) = (self.settings, self.now);
        let Some(sight) = self.hosts[index.at()].node.as_ref().map(|node| &node.sight) else {
            return;
        };
        let alive = |turn: &Turn| match *turn {
            Turn::Alive(peer) => {
                let generation = self.hosts[peer as usize].generation(sight.incarnation_of(peer));
                Some((NodeIndex(peer), generation))
            }
            Turn::Silent(_) => None,
        };
        let alive: Vec<_> = turns.iter().filter_map(alive).collect();
        let Some(node) = &mut self.hosts[index.at()].node else {
            return;
        };
        let mut changes = Vec::new();
        for (peer, generation) in alive {
            if node.held.alive(peer, generation) {
                changes.push(Observed::Up {
                    node: peer,
                    generation,
                });
            }
        }
        for turn in turns {
            if let Turn::Silent(peer) = turn {
                node.held.silent(now, NodeIndex(*peer));
            }
        }
        let share = settings.share(node.held.count() + 1);
        let dead = node.held.believe(now, settings.patience(share)).into_iter();
        changes.extend(dead.map(|node| Observed::Down { node }));
        for what in changes {
            self.find(index, what);
        }
    }

    fn try_seeds(
        &mut self,
        index: NodeIndex,
        incarnation: IncarnationNumber,
        world: &mut World<'_>,
    ) {
        let now = self.now;
        let Some(node) = self.living(index, incarnation) else {
            return;
        };
        let mut due = Vec::new();
        for seed in &node.seeds {
            let tried = node.tried.get(seed);
            let is_recent = tried.is_some_and(|at| now.since(*at) < SEED_PATIENCE);
            if node.sight.is_live(seed.0) || (is_recent && !node.sight.is_alone()) {
                continue;
            }
            node.tried.insert(*seed, now);
            due.push(*seed);
        }
        for seed in due {
            self.greet(index, seed, world);
        }
        let next = ModelEvent::TrySeeds {
            node: index,
            incarnation,
        };
        self.heap.plan(now + SEED_RETRY, next);
    }

    fn find(&mut self, observer: NodeIndex, what: Observed) {
        self.found.push(Observation {
            at: self.now,
            observer,
            what,
        });
    }
}

impl Membership for Model {
    fn join(
        &mut self,
        now: Instant,
        node: NodeIndex,
        generation: Generation,
        seeds: &[NodeIndex],
        entries: &[Entry],
    ) {
        let (settings, nodes) = (self.settings, self.hosts.len());
        let host = &mut self.hosts[node.at()];
        host.generations.push(generation);
        host.log = Log::default();
        for entry in entries {
            host.log.set(entry.clone());
        }
        let incarnation = host.latest();
        let mut sight = Sight::new(&settings, nodes, node.0, incarnation);
        sight.set_version(host.log.version());
        host.node = Some(Node {
            incarnation,
            joined_at: now,
            sight,
            held: Held::new(nodes),
            rounds_due: 0.0,
            seeds: seeds.to_vec(),
            tried: BTreeMap::new(),
        });
        self.heap.plan(now, ModelEvent::Round { node, incarnation });
        self.heap
            .plan(now, ModelEvent::TrySeeds { node, incarnation });
    }

    fn crash(&mut self, _now: Instant, node: NodeIndex) {
        self.hosts[node.at()].node = None;
    }

    fn set(&mut self, _now: Instant, node: NodeIndex, entry: Entry) {
        let host = &mut self.hosts[node.at()];
        if let Some(node) = &mut host.node {
            host.log.set(entry);
            node.sight.set_version(host.log.version());
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.heap.next_at()
    }

    fn advance(
        &mut self,
        until: Instant,
        carrier: &mut dyn Carrier,
        rng: &mut ChaCha8Rng,
    ) -> Vec<Observation> {
        let mut world = World { carrier, rng };
        while self.heap.next_at().is_some_and(|at| at <= until) {
            let Some((at, event)) = self.heap.take_next() else {
                break;
            };
            self.now = at.max(self.now);
            self.handle(event, &mut world);
        }
        self.now = self.now.max(until);
        std::mem::take(&mut self.found)
    }

    fn sent(&self, node: NodeIndex) -> Sent {
        self.hosts[node.at()].sent
    }
}
