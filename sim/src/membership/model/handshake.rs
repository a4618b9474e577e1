//! The three messages of a handshake: SYN, SYN-ACK and ACK, and the values in the last two.

use rand_chacha::ChaCha8Rng;

use super::super::{Entry, NodeIndex, Observed};
use super::detector::Tick;
use super::sight::{Digest, Stale};
use super::{Model, ModelEvent, SPARE_MAX, World, draw, log, wire};

/// A message in flight.
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
        let Some(node) = &mut self.hosts[from.at()].node else {
            return;
        };
        // An earlier incarnation of this node has its address.
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
        let bytes = wire::syn(wire::digest(digest.incarnations));
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
        let Some(node) = &mut self.hosts[to.at()].node else {
            return;
        };
        node.sight.beat();
        match message {
            Message::Syn(digest) => {
                node.sight.receive(now, &digest);
                let stale = node.sight.stale(&digest);
                let mut own = digest;
                node.sight.digest(&mut own);
                let digest_bytes = wire::digest(own.incarnations);
                let (pieces, length) = self.delta(stale, wire::room(digest_bytes), world.rng);
                let bytes = wire::syn_ack(digest_bytes, &length);
                self.send(to, from, Message::SynAck(own, pieces), bytes, world);
            }
            Message::SynAck(digest, pieces) => {
                node.sight.receive(now, &digest);
                self.read(to, &pieces);
                let Some(node) = &mut self.hosts[to.at()].node else {
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

    /// The values that a peer lacks, as far as there is room: those of unknown nodes first, then of nodes of
    /// which it lacks the most.
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
        // The order only matters if something is left out.
        let indices: Vec<u32> = (0..).take(stale.len()).collect();
        let shuffled = draw::some(&indices, indices.len(), rng);
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
            for logged in self.logged(stale, stale.from) {
                if !length.add_entry(&logged.entry, room) {
                    if to > stale.from {
                        pieces.push(Piece { stale: *stale, to });
                    }
                    return (pieces, length);
                }
                to = logged.version;
            }
            let to = stale.view;
            pieces.push(Piece { stale: *stale, to });
        }
        (pieces, length)
    }

    /// What an incarnation published after `from`; nothing if it is over.
    fn logged(&self, stale: &Stale, from: u32) -> Vec<&log::LoggedEntry> {
        let host = &self.hosts[stale.node as usize];
        if host.latest() == stale.incarnation {
            host.log.since(from, stale.view)
        } else {
            Vec::new()
        }
    }

    /// Takes a delta.
    fn read(&mut self, reader: NodeIndex, pieces: &[Piece]) {
        for piece in pieces {
            let Some(node) = &mut self.hosts[reader.at()].node else {
                return;
            };
            let Some(from) = node.sight.read(&piece.stale, piece.to) else {
                continue;
            };
            let author = NodeIndex(piece.stale.node);
            let generation = self.hosts[author.at()].generation(piece.stale.incarnation);
            let logged = self.logged(&piece.stale, from).into_iter();
            let logged = logged.filter(|logged| logged.version <= piece.to);
            let entries: Vec<Entry> = logged.map(|logged| logged.entry.clone()).collect();
            for entry in entries {
                let what = Observed::Value {
                    author,
                    generation,
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
        let sent = &mut self.hosts[from.at()].sent;
        sent.messages += 1;
        sent.bytes += bytes as u64;
        if let Some(at) = world.carrier.carry(self.now, from, to, bytes) {
            let arrive = ModelEvent::Arrive {
                from,
                to,
                sent_at: self.now,
                message,
            };
            self.heap.plan(at.max(self.now), arrive);
        }
    }
}
