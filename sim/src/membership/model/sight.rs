//! What one node knows of all others: chitchat's state as columns, one row per node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::super::settings::Settings;
use super::detector::{Detector, Tick};
use super::draw;

/// The incarnations of a node are counted from 1; 0 is none.
pub(super) type IncarnationNumber = u16;

/// What a message contains about each node: incarnation, heartbeat and version.
#[derive(Clone, Debug, Default)]
pub(super) struct Digest {
    incarnation: Vec<IncarnationNumber>,
    heartbeat: Vec<u32>,
    version: Vec<u32>,
    /// Incarnations it names.
    pub(super) incarnations: usize,
}

/// A node of which a peer lacks values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stale {
    pub(super) node: u32,
    pub(super) incarnation: IncarnationNumber,
    /// What the peer has read.
    pub(super) from: u32,
    /// What this node has read.
    pub(super) view: u32,
}

/// How a node's liveness changed in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Alive(u32),
    Silent(u32),
}

/// What one incarnation of a node knows.
#[derive(Debug)]
pub(super) struct Sight {
    me: usize,
    grace: Duration,
    incarnation: Vec<IncarnationNumber>,
    heartbeat: Vec<u32>,
    version: Vec<u32>,
    live: Vec<bool>,
    live_count: usize,
    /// Known and not live, with the moment of death.
    dead: BTreeMap<u32, Tick>,
    /// Dead for so long that digests leave them out, as in chitchat.
    scheduled_for_deletion: BTreeSet<u32>,
    /// Dead for so long that they were dropped: incarnation and heartbeat, above which they are added again.
    dropped: BTreeMap<u32, (IncarnationNumber, u32)>,
    /// Earlier incarnations of nodes that are known in a later one, and when each dies.
    earlier: BTreeMap<u32, Tick>,
    detector: Detector,
}

impl Sight {
    pub(super) fn new(
        settings: &Settings,
        nodes: usize,
        me: u32,
        incarnation: IncarnationNumber,
    ) -> Self {
        let mut sight = Self {
            me: me as usize,
            grace: settings.grace,
            incarnation: vec![0; nodes],
            heartbeat: vec![0; nodes],
            version: vec![0; nodes],
            live: vec![false; nodes],
            live_count: 0,
            dead: BTreeMap::new(),
            scheduled_for_deletion: BTreeSet::new(),
            dropped: BTreeMap::new(),
            earlier: BTreeMap::new(),
            detector: Detector::new(settings, nodes),
        };
        sight.incarnation[sight.me] = incarnation;
        sight.heartbeat[sight.me] = 1;
        sight
    }

    pub(super) fn beat(&mut self) {
        self.heartbeat[self.me] += 1;
    }

    pub(super) fn set_version(&mut self, version: u32) {
        self.version[self.me] = version;
    }

    pub(super) fn is_alone(&self) -> bool {
        self.live_count == 0
    }

    pub(super) fn is_live(&self, node: u32) -> bool {
        self.live[node as usize]
    }

    /// The latest incarnation that is known of a node.
    pub(super) fn incarnation_of(&self, node: u32) -> IncarnationNumber {
        self.incarnation[node as usize]
    }

    /// Writes the digest that this node would send now.
    pub(super) fn digest(&self, digest: &mut Digest) {
        digest.incarnation.clone_from(&self.incarnation);
        digest.heartbeat.clone_from(&self.heartbeat);
        digest.version.clone_from(&self.version);
        for node in &self.scheduled_for_deletion {
            digest.incarnation[*node as usize] = 0;
        }
        digest.incarnations = 1 + self.live_count + self.dead.len() + self.earlier.len();
        digest.incarnations -= self.scheduled_for_deletion.len();
    }

    /// Takes the heartbeats of a digest.
    pub(super) fn receive(&mut self, now: Tick, digest: &Digest) {
        for node in 0..self.incarnation.len() {
            let incarnation = digest.incarnation[node];
            if incarnation == 0 || node == self.me {
                continue;
            }
            let heartbeat = digest.heartbeat[node];
            if incarnation == self.incarnation[node] {
                if heartbeat > self.heartbeat[node] {
                    self.heartbeat[node] = heartbeat;
                    self.detector.heartbeat(now, node);
                }
            } else if incarnation > self.incarnation[node] {
                self.meet(now, node as u32, incarnation, heartbeat);
            }
        }
    }

    /// Adds an incarnation that was not known. Its first heartbeat is no sign that it is alive.
    fn meet(&mut self, now: Tick, node: u32, incarnation: IncarnationNumber, heartbeat: u32) {
        let at = node as usize;
        let dropped = self.dropped.get(&node);
        if dropped.is_some_and(|dropped| (incarnation, heartbeat) <= *dropped) {
            return;
        }
        self.dropped.remove(&node);
        if self.incarnation[at] != 0 {
            self.earlier.insert(node, self.detector.deaths()[at]);
        }
        if std::mem::take(&mut self.live[at]) {
            self.live_count -= 1;
        }
        self.incarnation[at] = incarnation;
        self.heartbeat[at] = heartbeat;
        self.version[at] = 0;
        self.scheduled_for_deletion.remove(&node);
        self.dead.insert(node, now);
        self.detector.forget(at);
    }

    /// The nodes of which the writer of `digest` lacks values.
    pub(super) fn stale(&self, digest: &Digest) -> Vec<Stale> {
        let mut stale = Vec::new();
        for node in 0..self.incarnation.len() {
            let (incarnation, view) = (self.incarnation[node], self.version[node]);
            let theirs = digest.incarnation[node];
            let from = if theirs == incarnation {
                digest.version[node]
            } else {
                0
            };
            if view <= from || theirs > incarnation || incarnation == 0 {
                continue;
            }
            let node = node as u32;
            if !self.scheduled_for_deletion.contains(&node) {
                stale.push(Stale {
                    node,
                    incarnation,
                    from,
                    view,
                });
            }
        }
        stale
    }

    /// Notes that values up to `to` arrived, and returns up to where they had been read; `None` if they
    /// contain nothing new or begin later.
    pub(super) fn read(&mut self, stale: &Stale, to: u32) -> Option<u32> {
        let at = stale.node as usize;
        let read = self.version[at];
        if at == self.me
            || stale.incarnation != self.incarnation[at]
            || stale.from > read
            || to <= read
        {
            return None;
        }
        self.version[at] = to;
        Some(read)
    }

    /// Judges all nodes, at the end of a round. Earlier incarnations count for their node while they last.
    pub(super) fn judge(&mut self, now: Tick) -> Vec<Turn> {
        let mut turns = Vec::new();
        let deaths = self.detector.deaths();
        for (node, (dies_at, live)) in deaths.iter().zip(&mut self.live).enumerate() {
            let alive = now <= *dies_at;
            if alive != *live {
                *live = alive;
                let node = node as u32;
                turns.push(if alive {
                    Turn::Alive(node)
                } else {
                    Turn::Silent(node)
                });
            }
        }
        for turn in &turns {
            match *turn {
                Turn::Alive(node) => {
                    self.live_count += 1;
                    self.dead.remove(&node);
                    self.scheduled_for_deletion.remove(&node);
                }
                Turn::Silent(node) => {
                    self.live_count -= 1;
                    self.dead.insert(node, now);
                    self.detector.reset(node as usize);
                }
            }
        }
        self.expire_earlier(now, &mut turns);
        self.drop_dead(now);
        turns
    }

    fn expire_earlier(&mut self, now: Tick, turns: &mut Vec<Turn>) {
        if self.earlier.is_empty() {
            return;
        }
        // A live earlier incarnation keeps the node a member, and a dead one is named in digests for a while.
        turns.retain(|turn| match turn {
            Turn::Silent(node) => self.earlier.get(node).is_none_or(|dies_at| now > *dies_at),
            Turn::Alive(_) => true,
        });
        let grace = self.grace / 2;
        let live = &self.live;
        self.earlier.retain(|node, dies_at| {
            if now > *dies_at && !live[*node as usize] {
                turns.push(Turn::Silent(*node));
            }
            now <= dies_at.after(grace)
        });
    }

    fn drop_dead(&mut self, now: Tick) {
        if self.dead.is_empty() {
            return;
        }
        let mut over = Vec::new();
        for (node, since) in &self.dead {
            if now >= since.after(self.grace) {
                over.push(*node);
            } else if now > since.after(self.grace / 2) {
                self.scheduled_for_deletion.insert(*node);
            }
        }
        for node in over {
            let at = node as usize;
            self.dead.remove(&node);
            self.scheduled_for_deletion.remove(&node);
            let last = (self.incarnation[at], self.heartbeat[at]);
            self.dropped.insert(node, last);
            self.incarnation[at] = 0;
            self.version[at] = 0;
            self.detector.forget(at);
        }
    }

    /// Whom to gossip with in this round: some of the live, and now and then one of the dead.
    pub(super) fn partners(&self, count: usize, rng: &mut ChaCha8Rng) -> Vec<u32> {
        let mut partners = if self.is_alone() {
            let known: Vec<u32> = self.dead.keys().copied().collect();
            draw::some(&known, count, rng)
        } else if self.live_count * 4 > self.live.len() && self.live_count > count * 4 {
            draw::some_of_many(&self.live, count, rng)
        } else {
            let live = (0..).zip(&self.live).filter(|(_, live)| **live);
            let live: Vec<u32> = live.map(|(node, _)| node).collect();
            draw::some(&live, count, rng)
        };
        let dead: BTreeSet<u32> = self
            .dead
            .keys()
            .chain(self.earlier.keys())
            .copied()
            .collect();
        if dead.len() as f64 / (self.live_count + 1) as f64 > draw::unit(rng) {
            let dead: Vec<u32> = dead.into_iter().collect();
            partners.extend(draw::some(&dead, 1, rng));
        }
        partners
    }
}
