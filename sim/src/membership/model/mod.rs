//! A model of chitchat's rounds: digests, deltas and phi-accrual detection, for a thousand nodes.
//!
//! [`sight`] is what one node knows of the others, [`detector`] its failure detector, [`talk`] its
//! messages, [`log`] what a node told, [`wire`] how long messages are, [`draw`] the lots.
//!
//! It follows chitchat 0.13, with the product's thinning of rounds and its patience with deaths. It
//! leaves out tombstones, and of a node's former lives all but the moment of the last one's death.
//!
//! Time is O(nodes) for each message and each round; memory is about 230 bytes for each pair of nodes. A
//! node may have 65,535 lives.

mod detector;
pub(super) mod draw;
mod log;
mod sight;
mod talk;
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
use log::Log;
use sight::{Digest, LifeNumber, Sight, Turn};
use talk::Message;

/// Digests that wait to be written again; as many as are under way at once at 1,000 nodes.
const SPARE_MAX: usize = 1_024;

/// The model for a fixed number of nodes.
#[derive(Debug)]
pub struct Model {
    settings: Settings,
    now: Instant,
    places: Vec<Place>,
    heap: Heap<Happening>,
    spare: Vec<Digest>,
    found: Vec<Observation>,
}

/// Where a node runs or does not.
#[derive(Debug, Default)]
struct Place {
    /// The generation of each life so far, the first at 0: life 1 is at 0.
    generations: Vec<Generation>,
    /// What the latest life told.
    log: Log,
    node: Option<Node>,
    sent: Sent,
}

impl Place {
    fn latest(&self) -> LifeNumber {
        LifeNumber::try_from(self.generations.len()).unwrap_or(LifeNumber::MAX)
    }

    fn generation(&self, life: LifeNumber) -> Generation {
        let place = usize::from(life).checked_sub(1);
        let generation = place.and_then(|at| self.generations.get(at));
        generation.copied().unwrap_or_default()
    }
}

/// One life of a node.
#[derive(Debug)]
struct Node {
    life: LifeNumber,
    joined_at: Instant,
    sight: Sight,
    held: Held,
    rounds_due: f64,
    seeds: Vec<NodeIndex>,
    tried: BTreeMap<NodeIndex, Instant>,
}

#[derive(Debug)]
enum Happening {
    Round {
        node: NodeIndex,
        life: LifeNumber,
    },
    TrySeeds {
        node: NodeIndex,
        life: LifeNumber,
    },
    Arrive {
        from: NodeIndex,
        to: NodeIndex,
        sent_at: Instant,
        message: Message,
    },
}

/// What the world lends for one call.
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
            places: std::iter::repeat_with(Place::default).take(nodes).collect(),
            heap: Heap::default(),
            spare: Vec::new(),
            found: Vec::new(),
        }
    }

    fn happen(&mut self, happening: Happening, world: &mut World<'_>) {
        match happening {
            Happening::Round { node, life } => self.round(node, life, world),
            Happening::TrySeeds { node, life } => self.try_seeds(node, life, world),
            Happening::Arrive {
                from,
                to,
                sent_at,
                message,
            } => {
                let place = &self.places[to.at()];
                // What was sent to a former life went over a connection that ended with it.
                if place
                    .node
                    .as_ref()
                    .is_some_and(|node| node.joined_at <= sent_at)
                {
                    self.receive(from, to, message, world);
                }
            }
        }
    }

    /// The node, while it still is in this life.
    fn living(&mut self, node: NodeIndex, life: LifeNumber) -> Option<&mut Node> {
        let living = self.places[node.at()].node.as_mut();
        living.filter(|living| living.life == life)
    }

    fn round(&mut self, index: NodeIndex, life: LifeNumber, world: &mut World<'_>) {
        let (settings, now) = (self.settings, self.now);
        let Some(node) = self.living(index, life) else {
            return;
        };
        let partners = node.sight.partners(FAN_OUT, world.rng);
        node.sight.beat();
        for partner in partners {
            self.greet(index, NodeIndex(partner), world);
        }
        if let Some(node) = self.living(index, life) {
            let turns = node.sight.judge(Tick::of(now));
            self.tell_turns(index, &turns);
        }
        let next = Happening::Round { node: index, life };
        self.heap.plan(now + settings.interval, next);
    }

    /// Takes what the detector says, and tells the members that follow from it.
    fn tell_turns(&mut self, index: NodeIndex, turns: &[Turn]) {
        let (settings, now) = (self.settings, self.now);
        let Some(sight) = self.places[index.at()]
            .node
            .as_ref()
            .map(|node| &node.sight)
        else {
            return;
        };
        let alive = |turn: &Turn| match *turn {
            Turn::Alive(peer) => {
                let life = self.places[peer as usize].generation(sight.life_of(peer));
                Some((NodeIndex(peer), life))
            }
            Turn::Silent(_) => None,
        };
        let alive: Vec<_> = turns.iter().filter_map(alive).collect();
        let Some(node) = &mut self.places[index.at()].node else {
            return;
        };
        let mut told = Vec::new();
        for (peer, life) in alive {
            if node.held.alive(peer, life) {
                told.push(Observed::Up { node: peer, life });
            }
        }
        for turn in turns {
            if let Turn::Silent(peer) = turn {
                node.held.silent(now, NodeIndex(*peer));
            }
        }
        let share = settings.share(node.held.count() + 1);
        let dead = node.held.believe(now, settings.patience(share)).into_iter();
        told.extend(dead.map(|node| Observed::Down { node }));
        for what in told {
            self.find(index, what);
        }
    }

    fn try_seeds(&mut self, index: NodeIndex, life: LifeNumber, world: &mut World<'_>) {
        let now = self.now;
        let Some(node) = self.living(index, life) else {
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
        let next = Happening::TrySeeds { node: index, life };
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
        life: Generation,
        seeds: &[NodeIndex],
        entries: &[Entry],
    ) {
        let (settings, nodes) = (self.settings, self.places.len());
        let place = &mut self.places[node.at()];
        place.generations.push(life);
        place.log = Log::default();
        for entry in entries {
            place.log.set(entry.clone());
        }
        let number = place.latest();
        let mut sight = Sight::new(&settings, nodes, node.0, number);
        sight.told(place.log.version());
        place.node = Some(Node {
            life: number,
            joined_at: now,
            sight,
            held: Held::new(nodes),
            rounds_due: 0.0,
            seeds: seeds.to_vec(),
            tried: BTreeMap::new(),
        });
        let life = number;
        self.heap.plan(now, Happening::Round { node, life });
        self.heap.plan(now, Happening::TrySeeds { node, life });
    }

    fn crash(&mut self, _now: Instant, node: NodeIndex) {
        self.places[node.at()].node = None;
    }

    fn set(&mut self, _now: Instant, node: NodeIndex, entry: Entry) {
        let place = &mut self.places[node.at()];
        if let Some(node) = &mut place.node {
            place.log.set(entry);
            node.sight.told(place.log.version());
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
            let Some((at, happening)) = self.heap.take_next() else {
                break;
            };
            self.now = at.max(self.now);
            self.happen(happening, &mut world);
        }
        self.now = self.now.max(until);
        std::mem::take(&mut self.found)
    }

    fn sent(&self, node: NodeIndex) -> Sent {
        self.places[node.at()].sent
    }
}
