//! The three messages of a handshake: SYN, SYN-ACK and ACK, and the values in the last two.

use rand_chacha::ChaCha8Rng;

use super::super::{Entry, NodeIndex, Observed};
use super::detector::Tick;
use super::sight::{Digest, Stale};
use super::{Happening, Model, SPARE_MAX, World, draw, log, wire};

/// A message under way.
#[derive(Debug)]
pub(super) enum Message {
    Syn(Digest),
    SynAck(Digest, Vec<Piece>),
    Ack(Vec<Piece>),
}

/// The values of one node in a delta: those after `stale.from`, up to `to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    stale: Stale,
    to: u32,
}

impl Model {
    /// Sends a SYN, as often as the pace allows.
    pub(super) fn greet(&mut self, from: NodeIndex, to: NodeIndex, world: &mut World<'_>) {
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

    pub(super) fn receive(
        &mut self,
        from: NodeIndex,
        to: NodeIndex,
        message: Message,
        world: &mut World<'_>,
    ) {
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
        if place.latest() == stale.life {
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
            let life = self.places[author.at()].generation(piece.stale.life);
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
