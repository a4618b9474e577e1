//! What all purses hold of a limit, kept up from event to event.
//!
//! A checker that asks every node after every event costs more than the run, in a large mesh. What the purses hold is at
//! least what could be taken of them, since a purse whose lease has ended still has its balance: where that is within
//! the limit, nobody is asked. Only where it is not does the checker ask each node what could be taken at this moment.

use crate::escrow::node::Node;
use grapevine_core::escrow::spec::LimitId;

/// Beyond so many limits an event costs too much to keep this up: all nodes are asked instead.
const LIMITS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Held {
    /// By node, then by limit.
    units: Vec<Vec<u64>>,
    /// By limit; empty where nothing is kept.
    sums: Vec<u64>,
}

impl Held {
    pub(super) fn new(nodes: usize, limits: usize) -> Self {
        let kept = if limits <= LIMITS_MAX { limits } else { 0 };
        Self {
            units: vec![vec![0; kept]; nodes],
            sums: vec![0; kept],
        }
    }

    /// The node with number `at` did something.
    pub(super) fn weigh(&mut self, at: usize, node: &Node, ids: &[LimitId]) {
        let held = self.units[at].iter_mut().zip(&mut self.sums);
        for ((units, sum), id) in held.zip(ids) {
            let escrow = node.escrow.as_ref();
            let holds = escrow.map_or(0, |escrow| escrow.balance(*id));
            *sum = *sum - *units + holds;
            *units = holds;
        }
    }

    /// Units of a limit in all purses; `None` where nothing is kept.
    pub(super) fn of(&self, limit: usize) -> Option<u64> {
        self.sums.get(limit).copied()
    }

    /// Whether anything is kept.
    pub(super) fn is_kept(&self) -> bool {
        !self.sums.is_empty()
    }
}
