//! A model of chitchat's rounds: digests, deltas and phi-accrual detection, for a thousand nodes.
//!
//! [`sight`] is what one node knows of the others, [`detector`] its failure detector, [`log`] what a node
//! told, [`wire`] how long messages are, [`draw`] the lots. It follows chitchat 0.13 with the product's
//! thinning of rounds and its patience with deaths; what it leaves out: tombstones, a new life while
//! the former one is remembered by more than its time of death, and the order of values within a
//! message, which only matters where one is cut off at its limit.
//!
//! Time is O(nodes) for each message and each round, memory about 230 bytes for each pair of nodes.

mod detector;
pub(super) mod draw;
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
use log::Log;
use sight::{Digest, LifeNumber, Sight, Stale, Turn};

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
    lives: LifeNumber,
    generation: Generation,
    log: Log,
    node: Option<Node>,
    sent: Sent,
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

#[derive(Debug)]
enum Message {
    Syn(Digest),
    SynAck(Digest, Vec<Piece>),
    Ack(Vec<Piece>),
}

/// The values of one node in a delta: those after `stale.from`, up to `to`.
#[derive(Clone, Copy, Debug)]
struct Piece {
    stale: Stale,
    to: u32,
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
        let alive = |turn: &Turn| match *turn {
            Turn::Alive(peer) => Some((NodeIndex(peer), self.places[peer as usize].generation)),
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

    /// Sends a SYN, as often as the pace allows.
    fn greet(&mut self, from: NodeIndex, to: NodeIndex, world: &mut World<'_>) {
        let settings = self.settings;
        let Some(node) = &mut self.places[from.at()].node else {
            return;
        };
        // A former life of this node has its address.
        if from == to {
            return;
        }
        node.rounds_due += settings.share(node.held.count() + 1);
        if node.rounds_due < 1.0 {
            return;
        }
        node.rounds_due -= 1.0;
        let mut digest = self.spare.pop().unwrap_or_default();
        node.sight.digest(&mut digest);
        let bytes = wire::syn(wire::digest(digest.lives));
        self.send(from, to, Message::Syn(digest), bytes, world);
    }

    fn receive(&mut self, from: NodeIndex, to: NodeIndex, message: Message, world: &mut World<'_>) {
        let now = Tick::of(self.now);
        let Some(node) = &mut self.places[to.at()].node else {
            return;
        };
        node.sight.beat();
        match message {
            Message::Syn(digest) => {
                node.sight.hear(now, &digest);
                let stale = node.sight.stale(&digest);
                let mut own = digest;
                node.sight.digest(&mut own);
                let digest_bytes = wire::digest(own.lives);
                let (pieces, length) = self.delta(stale, wire::room(digest_bytes), world.rng);
                let bytes = wire::syn_ack(digest_bytes, &length);
                self.send(to, from, Message::SynAck(own, pieces), bytes, world);
            }
            Message::SynAck(digest, pieces) => {
                node.sight.hear(now, &digest);
                self.read(to, &pieces);
                let Some(node) = &mut self.places[to.at()].node else {
                    return;
                };
                let stale = node.sight.stale(&digest);
                if self.spare.len() < SPARE_MAX {
                    self.spare.push(digest);
                }
                let (pieces, length) = self.delta(stale, wire::room(0), world.rng);
                self.send(to, from, Message::Ack(pieces), wire::ack(&length), world);
            }
            Message::Ack(pieces) => self.read(to, &pieces),
        }
    }

    /// The values that a peer lacks, as far as there is room: unknown nodes first, then those of which
    /// it lacks the most.
    fn delta(
        &self,
        stale: Vec<Stale>,
        room: usize,
        rng: &mut ChaCha8Rng,
    ) -> (Vec<Piece>, wire::Length) {
        let (pieces, length) = self.fill(&stale, room);
        let is_whole = |piece: &Piece| piece.to == piece.stale.view;
        if pieces.len() == stale.len() && pieces.iter().all(is_whole) {
            return (pieces, length);
        }
        // The order only matters where something is left out.
        let places: Vec<u32> = (0..).take(stale.len()).collect();
        let shuffled = draw::some(&places, places.len(), rng);
        let mut stale: Vec<Stale> = shuffled.iter().map(|at| stale[*at as usize]).collect();
        stale.sort_by_key(|stale| match stale.from {
            0 => (0, i64::from(stale.view)),
            from => (1, -i64::from(stale.view - from)),
        });
        self.fill(&stale, room)
    }

    fn fill(&self, stale: &[Stale], room: usize) -> (Vec<Piece>, wire::Length) {
        let mut length = wire::Length::default();
        let mut pieces = Vec::with_capacity(stale.len());
        for stale in stale {
            if !length.add_node(room) {
                break;
            }
            let mut to = stale.from;
            for told in self.told(stale, stale.from) {
                if !length.add_entry(&told.entry, room) {
                    if to > stale.from {
                        pieces.push(Piece { stale: *stale, to });
                    }
                    return (pieces, length);
                }
                to = told.version;
            }
            let to = stale.view;
            pieces.push(Piece { stale: *stale, to });
        }
        (pieces, length)
    }

    /// What is told after `from` in a life; nothing of a life that is over.
    fn told(&self, stale: &Stale, from: u32) -> Vec<&log::Told> {
        let place = &self.places[stale.node as usize];
        if place.lives == stale.life {
            place.log.since(from, stale.view)
        } else {
            Vec::new()
        }
    }

    /// Takes a delta.
    fn read(&mut self, reader: NodeIndex, pieces: &[Piece]) {
        for piece in pieces {
            let Some(node) = &mut self.places[reader.at()].node else {
                return;
            };
            let Some(from) = node.sight.read(&piece.stale, piece.to) else {
                continue;
            };
            let author = NodeIndex(piece.stale.node);
            let life = self.places[author.at()].generation;
            let told = self.told(&piece.stale, from).into_iter();
            let told = told.filter(|told| told.version <= piece.to);
            let entries: Vec<Entry> = told.map(|told| told.entry.clone()).collect();
            for entry in entries {
                let what = Observed::Value {
                    author,
                    life,
                    entry,
                };
                self.find(reader, what);
            }
        }
    }

    fn find(&mut self, observer: NodeIndex, what: Observed) {
        self.found.push(Observation {
            at: self.now,
            observer,
            what,
        });
    }

    fn send(
        &mut self,
        from: NodeIndex,
        to: NodeIndex,
        message: Message,
        bytes: usize,
        world: &mut World<'_>,
    ) {
        let sent = &mut self.places[from.at()].sent;
        sent.messages += 1;
        sent.bytes += bytes as u64;
        if let Some(at) = world.carrier.carry(self.now, from, to, bytes) {
            let arrive = Happening::Arrive {
                from,
                to,
                sent_at: self.now,
                message,
            };
            self.heap.plan(at.max(self.now), arrive);
        }
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
        place.lives += 1;
        place.generation = life;
        place.log = Log::default();
        for entry in entries {
            place.log.set(entry.clone());
        }
        let number = place.lives;
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
