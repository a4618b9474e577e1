//! A mesh that is cut in two for the rest of a run, and what each side uses of the limits then.

use std::time::Duration;

use grapevine_core::Instant;

use crate::escrow::outcome::SideOutcome;

use super::World;

/// What was borrowed across the cut has ended, and what it admitted has left the window. What follows is whole minutes of
/// a run of an even number of them.
const SETTLES: Duration = Duration::from_secs(120);

/// A cut, and what was admitted on either side of it.
#[derive(Debug)]
pub(super) struct Split {
    /// The smaller side.
    is_in: Vec<bool>,
    /// Admissions count from here.
    counts_from: Instant,
    /// Units of each limit: of the others, and of the smaller side.
    admitted: Vec<[u64; 2]>,
}

impl Split {
    pub(super) fn admit(&mut self, now: Instant, node: usize, limit: usize, units: u64) {
        if now >= self.counts_from {
            self.admitted[limit][usize::from(self.is_in[node])] += units;
        }
    }
}

impl World<'_> {
    pub(super) fn split(&mut self) {
        let all = self.nodes.len();
        let cut_off = super::demand::chosen(all, all.div_ceil(3), &mut self.chance.faults);
        let is_in: Vec<bool> = (0..all).map(|node| cut_off.contains(&node)).collect();
        self.cut_in_two(is_in.clone(), self.case.span);
        self.faults += 1;
        self.split = Some(Split {
            is_in,
            counts_from: self.now + SETTLES,
            admitted: vec![[0; 2]; self.ids.len()],
        });
    }

    /// The use of each limit by either side, of what is allowed in that time.
    pub(super) fn sides(&self) -> Vec<SideOutcome> {
        let Some(split) = &self.split else {
            return Vec::new();
        };
        let counted = (self.case.span / 2).saturating_sub(SETTLES);
        let minutes = counted.as_secs_f64() / 60.0;
        let limits = 0..self.case.limits.len();
        let sides = limits.flat_map(|limit| [true, false].map(|side| (limit, side)));
        let outcome = |(limit, side): (usize, bool)| {
            let counted = &self.case.limits[limit];
            let amount = counted.spec.amount as f64;
            let at = |node: &usize| split.is_in[*node] == side;
            let nodes: Vec<usize> = (0..self.nodes.len()).filter(at).collect();
            let share = |node: &usize| self.nodes[*node].share(self.ids[limit], counted);
            let share: u64 = nodes.iter().map(share).sum();
            SideOutcome {
                name: counted.name,
                nodes: nodes.len(),
                used: split.admitted[limit][usize::from(side)] as f64 / (amount * minutes),
                share: share as f64 / amount,
            }
        };
        sides.map(outcome).collect()
    }
}
