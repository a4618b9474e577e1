//! What a world is checked for, and what is reported of it.

use std::collections::BTreeMap;

use grapevine_core::escrow::spec::LimitWindow;

use crate::check::Violation;
use crate::escrow::case::Counted;
use crate::escrow::check::Counter;
use crate::escrow::outcome::{LimitOutcome, Outcome};

use super::World;

impl World<'_> {
    /// What could be taken anywhere is within the limit.
    pub(super) fn check(&mut self, limit: usize) {
        let held = self.held.of(limit);
        if held.is_some_and(|held| self.counters[limit].has_room(self.now, held)) {
            return;
        }
        let spec = self.case.limits[limit].spec;
        let mut takeable: BTreeMap<u32, u64> = BTreeMap::new();
        for node in &self.nodes {
            if let Some(escrow) = &node.escrow {
                let local = node.local(self.now);
                let number = match spec.window {
                    LimitWindow::Day | LimitWindow::Month => escrow.window(local, spec),
                    LimitWindow::Minute | LimitWindow::Held => Some(0),
                };
                let units = escrow.takeable(local, self.ids[limit]);
                *takeable.entry(number.unwrap_or(0)).or_default() += units;
            }
        }
        let wrong = self.counters[limit].check(self.now, &takeable);
        self.accuse(wrong);
    }

    /// The same for all limits, after `changed` has handled something, unless there are too many limits.
    pub(super) fn check_all(&mut self, changed: usize) {
        if self.held.is_kept() {
            (0..self.case.limits.len()).for_each(|limit| self.check(limit));
            self.audit(changed);
        }
    }

    /// No right was made or lost at a node.
    fn audit(&mut self, node: usize) {
        for limit in 0..self.ids.len() {
            let escrow = self.nodes[node].escrow.as_ref();
            let audit = escrow.and_then(|escrow| escrow.audit(self.ids[limit]));
            let wrong = audit.filter(|(share, accounted)| share != accounted);
            self.accuse(wrong.map(|(share, accounted)| {
                format!("a node was assigned {share} and accounts for {accounted}")
            }));
        }
    }

    pub(super) fn accuse(&mut self, wrong: Option<String>) {
        if let Some(what) = wrong {
            self.violation.get_or_insert(Violation {
                checker: "escrow",
                at: self.now.since_start(),
                what,
            });
        }
    }

    pub(super) fn outcome(self) -> Outcome {
        let minutes = self.case.span.as_secs_f64() / 60.0;
        let of = |(counter, counted): (&Counter, &Counted)| {
            let amount = counted.spec.amount as f64;
            let used = match counted.spec.window {
                // The first minute has the whole limit at once, and so has each window that begins in the run.
                LimitWindow::Minute => counter.total as f64 / (amount * minutes),
                LimitWindow::Held => counter.peak as f64 / amount,
                LimitWindow::Day | LimitWindow::Month => counter.most_spent() as f64 / amount,
            };
            LimitOutcome {
                name: counted.name,
                used,
            }
        };
        let limits: Vec<LimitOutcome> = self
            .counters
            .iter()
            .zip(&self.case.limits)
            .map(of)
            .collect();
        let sides = self.sides();
        let mut violation = self.violation;
        if let (None, Some(least)) = (&violation, self.case.use_min)
            && let Some(limit) = limits.iter().find(|limit| limit.used < least)
        {
            violation = Some(Violation {
                checker: "use of limits",
                at: self.now.since_start(),
                what: format!(
                    "{} was used to {:.3}, at least {least} is due",
                    limit.name, limit.used
                ),
            });
        }
        Outcome {
            case: self.case.name.clone(),
            seed: self.seed,
            nodes: self.nodes.len(),
            span: self.case.span,
            limits,
            sides,
            bytes: self.bytes,
            faults: self.faults,
            digest: self.digest,
            violation,
        }
    }
}
