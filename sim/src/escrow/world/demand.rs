//! Where the demand is, and that it moves.

use rand_chacha::ChaCha8Rng;

use crate::chance;
use crate::escrow::case::Reach;

use super::{Happening, World};

impl World<'_> {
    pub(super) fn move_demand(&mut self) {
        if let Some(span) = self.case.moves {
            self.heap.plan(self.now + span, Happening::Moved);
        }
        let all = self.nodes.len();
        let count = match self.case.reach {
            Reach::One => 1,
            Reach::Some => all.div_ceil(3),
            Reach::All => all,
        };
        self.active = chosen(all, count, &mut self.chance.workload);
    }
}

pub(super) fn chosen(all: usize, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut nodes: Vec<usize> = (0..all).collect();
    for at in 0..count.min(all) {
        let other = at + chance::below(rng, all - at);
        nodes.swap(at, other);
    }
    nodes.truncate(count);
    nodes
}
