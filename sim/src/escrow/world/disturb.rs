//! How the faults of a run act on its world.

use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::escrow::EscrowEvent;

use crate::escrow::fault::{DiskFate, Fault};
use crate::network::{Rule, RuleEffect};

use super::{Happening, World};

/// A node that stops in order ends after this: its last write is on the disk then.
const STOP_TAKES: Duration = Duration::from_millis(100);

impl World<'_> {
    pub(super) fn plan_fault(&mut self, from: Instant) {
        let next = (self.case.trouble).next(self.nodes.len(), &mut self.chance.faults);
        if let Some((wait, fault)) = next {
            self.heap.plan(from + wait, Happening::Fault(fault));
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.plan_fault(self.now);
        self.faults += 1;
        match fault {
            Fault::Partition(side, lasts) => self.cut_in_two(side, lasts),
            Fault::OneWay(side, lasts) => {
                let other = side.iter().map(|is_in| !is_in).collect();
                self.cut(side, other, lasts);
            }
            Fault::Crash(node, down, fate) => self.restart(node, down, fate),
            Fault::Stop(node, down, fate) => {
                let process = self.nodes[node].process;
                self.handle(node, EscrowEvent::Stop);
                let stopped = Happening::Stopped(node, process, down, fate);
                self.heap.plan(self.now + STOP_TAKES, stopped);
            }
            Fault::Jump(node, secs) => self.nodes[node].wall_ahead = secs,
            Fault::Stall(node, lasts) => self.nodes[node].asleep_until = self.now + lasts,
        }
    }

    /// A process ends, if it runs, and the next one starts.
    pub(super) fn restart(&mut self, node: usize, down: Duration, fate: DiskFate) {
        if self.nodes[node].escrow.is_some() {
            self.crash(node);
            let start = Happening::Start(node, fate);
            self.heap.plan(self.now + down, start);
        }
    }

    fn crash(&mut self, node: usize) {
        for request in self.nodes[node].crash() {
            for counter in &mut self.counters {
                counter.cut_short(request);
            }
        }
        self.weigh(node);
    }

    pub(super) fn cut_in_two(&mut self, side: Vec<bool>, lasts: Duration) {
        let other: Vec<bool> = side.iter().map(|is_in| !is_in).collect();
        self.cut(side.clone(), other.clone(), lasts);
        self.cut(other, side, lasts);
    }

    fn cut(&mut self, from: Vec<bool>, to: Vec<bool>, lasts: Duration) {
        self.requests += 1;
        let id = usize::try_from(self.requests).unwrap_or(usize::MAX);
        let effect = RuleEffect::Cut;
        self.network.add(Rule {
            id,
            from,
            to,
            effect,
        });
        self.heap.plan(self.now + lasts, Happening::Healed(id));
    }
}
