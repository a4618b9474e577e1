//! What one node knows of all others: chitchat's state as columns, one place per node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::super::settings::Settings;
use super::detector::{Detector, Tick};
use super::draw;

/// The lives of a node are counted from 1; 0 is none.
pub(super) type LifeNumber = u16;

/// What a message says of everybody: life, heartbeat and version.
#[derive(Clone, Debug, Default)]
pub(super) struct Digest {
    life: Vec<LifeNumber>,
    heartbeat: Vec<u32>,
    version: Vec<u32>,
    /// Lives it names.
    pub(super) lives: usize,
}

/// A node whose values a peer lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stale {
    pub(super) node: u32,
    pub(super) life: LifeNumber,
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

/// The knowledge of one node in one life.
#[derive(Debug)]
pub(super) struct Sight {
    me: usize,
    grace: Duration,
    life: Vec<LifeNumber>,
    heartbeat: Vec<u32>,
    version: Vec<u32>,
    live: Vec<bool>,
    live_count: usize,
    /// Known and not live, with the moment since which.
    dead: BTreeMap<u32, Tick>,
    /// Dead for so long that nobody is told of them.
    untold: BTreeSet<u32>,
    /// Dead for so long that they were dropped: life and heartbeat, above which they are met again.
    dropped: BTreeMap<u32, (LifeNumber, u32)>,
    /// Former lives of nodes that were met in a later one, and when each dies.
    former: BTreeMap<u32, Tick>,
    detector: Detector,
}

impl Sight {
    pub(super) fn new(settings: &Settings, nodes: usize, me: u32, life: LifeNumber) -> Self {
        let mut sight = Self {
            me: me as usize,
            grace: settings.grace,
            life: vec![0; nodes],
            heartbeat: vec![0; nodes],
            version: vec![0; nodes],
            live: vec![false; nodes],
            live_count: 0,
            dead: BTreeMap::new(),
            untold: BTreeSet::new(),
            dropped: BTreeMap::new(),
            former: BTreeMap::new(),
            detector: Detector::new(settings, nodes),
        };
        sight.life[sight.me] = life;
        sight.heartbeat[sight.me] = 1;
        sight
    }

    pub(super) fn beat(&mut self) {
        self.heartbeat[self.me] += 1;
    }

    pub(super) fn told(&mut self, version: u32) {
        self.version[self.me] = version;
    }

    pub(super) fn is_alone(&self) -> bool {
        self.live_count == 0
    }

    pub(super) fn is_live(&self, node: u32) -> bool {
        self.live[node as usize]
    }

    /// The latest life that is known of a node.
    pub(super) fn life_of(&self, node: u32) -> LifeNumber {
        self.life[node as usize]
    }

    /// Writes what this node would tell now.
    pub(super) fn digest(&self, digest: &mut Digest) {
        digest.life.clone_from(&self.life);
        digest.heartbeat.clone_from(&self.heartbeat);
        digest.version.clone_from(&self.version);
        for node in &self.untold {
            digest.life[*node as usize] = 0;
        }
        digest.lives = 1 + self.live_count + self.dead.len() + self.former.len();
        digest.lives -= self.untold.len();
    }

    /// Takes the heartbeats of a digest.
    pub(super) fn hear(&mut self, now: Tick, digest: &Digest) {
        for node in 0..self.life.len() {
            let life = digest.life[node];
            if life == 0 || node == self.me {
                continue;
            }
            let heartbeat = digest.heartbeat[node];
            if life == self.life[node] {
                if heartbeat > self.heartbeat[node] {
                    self.heartbeat[node] = heartbeat;
                    self.detector.heartbeat(now, node);
                }
            } else if life > self.life[node] {
                self.meet(now, node as u32, life, heartbeat);
            }
        }
    }

    /// A life that was not known. Its first heartbeat is no sign of it.
    fn meet(&mut self, now: Tick, node: u32, life: LifeNumber, heartbeat: u32) {
        let at = node as usize;
        let dropped = self.dropped.get(&node);
        if dropped.is_some_and(|dropped| (life, heartbeat) <= *dropped) {
            return;
        }
        self.dropped.remove(&node);
        if self.life[at] != 0 {
            self.former.insert(node, self.detector.deaths()[at]);
        }
        if std::mem::take(&mut self.live[at]) {
            self.live_count -= 1;
        }
        self.life[at] = life;
        self.heartbeat[at] = heartbeat;
        self.version[at] = 0;
        self.untold.remove(&node);
        self.dead.insert(node, now);
        self.detector.forget(at);
    }

    /// Whose values the writer of `digest` lacks.
    pub(super) fn stale(&self, digest: &Digest) -> Vec<Stale> {
        let mut stale = Vec::new();
        for node in 0..self.life.len() {
            let (life, view) = (self.life[node], self.version[node]);
            let theirs = digest.life[node];
            let from = if theirs == life {
                digest.version[node]
            } else {
                0
            };
            if view <= from || theirs > life || life == 0 {
                continue;
            }
            let node = node as u32;
            if !self.untold.contains(&node) {
                stale.push(Stale {
                    node,
                    life,
                    from,
                    view,
                });
            }
        }
        stale
    }

    /// Takes that values up to `to` came, and returns up to where they had been read; `None` where they
    /// tell nothing new or begin later.
    pub(super) fn read(&mut self, stale: &Stale, to: u32) -> Option<u32> {
        let at = stale.node as usize;
        let read = self.version[at];
        if at == self.me || stale.life != self.life[at] || stale.from > read || to <= read {
            return None;
        }
        self.version[at] = to;
        Some(read)
    }

    /// Judges everybody, at the end of a round. Former lives count for their node while they last.
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
                    self.untold.remove(&node);
                }
                Turn::Silent(node) => {
                    self.live_count -= 1;
                    self.dead.insert(node, now);
                    self.detector.reset(node as usize);
                }
            }
        }
        self.outlive(now, &mut turns);
        self.drop_dead(now);
        turns
    }

    fn outlive(&mut self, now: Tick, turns: &mut Vec<Turn>) {
        if self.former.is_empty() {
            return;
        }
        // A former life keeps the node a member, and a dead one is named in digests for a while.
        turns.retain(|turn| match turn {
            Turn::Silent(node) => self.former.get(node).is_none_or(|dies_at| now > *dies_at),
            Turn::Alive(_) => true,
        });
        let grace = self.grace / 2;
        let live = &self.live;
        self.former.retain(|node, dies_at| {
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
                self.untold.insert(*node);
            }
        }
        for node in over {
            let at = node as usize;
            self.dead.remove(&node);
            self.untold.remove(&node);
            let last = (self.life[at], self.heartbeat[at]);
            self.dropped.insert(node, last);
            self.life[at] = 0;
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
            .chain(self.former.keys())
            .copied()
            .collect();
        if dead.len() as f64 / (self.live_count + 1) as f64 > draw::unit(rng) {
            let dead: Vec<u32> = dead.into_iter().collect();
            partners.extend(draw::some(&dead, 1, rng));
        }
        partners
    }
}
