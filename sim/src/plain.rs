//! Membership without chance: everything is known everywhere after one fixed delay.
//!
//! For tests of the rest of the world, which would otherwise wait for rounds.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::Generation;
use rand_chacha::ChaCha8Rng;

use crate::heap::Heap;
use crate::membership::{Carrier, Entry, Membership, NodeIndex, Observation, Observed, Sent};

/// How long everything takes.
const DELAY: Duration = Duration::from_millis(300);

/// How long a death goes unnoticed.
const DETECTION: Duration = Duration::from_millis(1_200);

/// The make.
#[derive(Debug)]
pub(crate) struct Plain {
    lives: Vec<Option<Generation>>,
    told: Vec<BTreeMap<std::sync::Arc<str>, Entry>>,
    heap: Heap<(NodeIndex, Observed)>,
}

impl Plain {
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            lives: vec![None; nodes],
            told: vec![BTreeMap::new(); nodes],
            heap: Heap::default(),
        }
    }

    fn others(&self, node: NodeIndex) -> Vec<NodeIndex> {
        let all = (0..self.lives.len()).map(|index| NodeIndex(index as u32));
        all.filter(|other| *other != node && self.lives[other.at()].is_some())
            .collect()
    }
}

impl Membership for Plain {
    fn join(
        &mut self,
        now: Instant,
        node: NodeIndex,
        life: Generation,
        _seeds: &[NodeIndex],
        entries: &[Entry],
    ) {
        self.lives[node.at()] = Some(life);
        for other in self.others(node) {
            self.heap.plan(now + DELAY, (other, Observed::Up { node, life }));
            let Some(their_life) = self.lives[other.at()] else {
                continue;
            };
            let up = Observed::Up {
                node: other,
                life: their_life,
            };
            self.heap.plan(now + DELAY, (node, up));
            for entry in self.told[other.at()].values() {
                let value = Observed::Value {
                    author: other,
                    life: their_life,
                    entry: entry.clone(),
                };
                self.heap.plan(now + DELAY, (node, value));
            }
        }
        for entry in entries {
            self.set(now, node, entry.clone());
        }
    }

    fn crash(&mut self, now: Instant, node: NodeIndex) {
        self.lives[node.at()] = None;
        self.told[node.at()].clear();
        for other in self.others(node) {
            self.heap.plan(now + DETECTION, (other, Observed::Down { node }));
        }
    }

    fn set(&mut self, now: Instant, node: NodeIndex, entry: Entry) {
        let Some(life) = self.lives[node.at()] else {
            return;
        };
        self.told[node.at()].insert(entry.key.clone(), entry.clone());
        for other in self.others(node) {
            let value = Observed::Value {
                author: node,
                life,
                entry: entry.clone(),
            };
            self.heap.plan(now + DELAY, (other, value));
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.heap.next_at()
    }

    fn advance(
        &mut self,
        until: Instant,
        _carrier: &mut dyn Carrier,
        _rng: &mut ChaCha8Rng,
    ) -> Vec<Observation> {
        let mut found = Vec::new();
        while self.heap.next_at().is_some_and(|at| at <= until) {
            let Some((at, (observer, what))) = self.heap.take_next() else {
                break;
            };
            let is_stale = match &what {
                Observed::Up { node, life } | Observed::Value { author: node, life, .. } => {
                    self.lives[node.at()] != Some(*life)
                }
                Observed::Down { node } => self.lives[node.at()].is_some(),
            };
            if !is_stale && self.lives[observer.at()].is_some() {
                found.push(Observation { at, observer, what });
            }
        }
        found
    }

    fn sent(&self, _node: NodeIndex) -> Sent {
        Sent::default()
    }
}
