//! What must hold after every event, by true time: for every limit, what counts against it and what could be taken at
//! this moment, anywhere, are together within it.
//!
//! - A rate: what was admitted in the last 60 s. So no window of 60 s, wherever it begins, exceeds the limit.
//! - A budget: what was admitted in the same window of the calendar, and each admission counts for a window that the true
//!   clock is in, or that it is next to by less than the bound that is promised.
//! - Concurrency: what runs.
//!
//! Reads what was admitted, not what an escrow thinks of it, but for two figures: what its purse would hand out, and
//! whether what it was assigned is accounted for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::escrow::spec::{LimitSpec, LimitWindow};

use super::node::true_wall;

const MINUTE: Duration = Duration::from_secs(60);

/// How wrong a proven clock may be: two spans of core's `CLOCK_AGREES`, and what it drifts.
const WALL_WRONG_MAX: Duration = Duration::from_secs(5);

/// What counts against one limit.
#[derive(Debug)]
pub(super) struct Counter {
    spec: LimitSpec,
    /// Of a rate: what was admitted when, in order.
    admitted: VecDeque<(Instant, u64, u64)>,
    in_window: u64,
    /// Of a budget, by the number of its window.
    spent: BTreeMap<u32, u64>,
    /// Of all: what runs, with its units and the window that it counts for.
    running: BTreeMap<u64, (u64, u32)>,
    held: u64,
    /// Units that were admitted in all, less what was returned.
    pub(super) total: u64,
    /// The most that counted at once, of a rate or of concurrency.
    pub(super) peak: u64,
}

impl Counter {
    pub(super) fn new(spec: LimitSpec) -> Self {
        Self {
            spec,
            admitted: VecDeque::new(),
            in_window: 0,
            spent: BTreeMap::new(),
            running: BTreeMap::new(),
            held: 0,
            total: 0,
            peak: 0,
        }
    }

    /// A request is admitted; what is wrong with that, if anything.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        request: u64,
        units: u64,
        number: Option<u32>,
    ) -> Option<String> {
        self.total += units;
        self.held += units;
        self.running
            .insert(request, (units, number.unwrap_or_default()));
        match self.spec.window {
            LimitWindow::Minute => {
                self.admitted.push_back((now, request, units));
                self.in_window += units;
            }
            LimitWindow::Held => {}
            LimitWindow::Day | LimitWindow::Month => {
                let Some(number) = number else {
                    return Some("a budget is spent by a clock that nobody confirmed".to_owned());
                };
                *self.spent.entry(number).or_default() += units;
                return self.misplaced(now, number);
            }
        }
        None
    }

    /// A request is over, and used `used` units.
    pub(super) fn end(&mut self, request: u64, used: u64) {
        let Some((units, number)) = self.running.remove(&request) else {
            return;
        };
        self.held -= units;
        let unused = units - used;
        match self.spec.window {
            LimitWindow::Minute => {
                let at = self.admitted.binary_search_by_key(&request, |it| it.1);
                if let Ok(at) = at {
                    self.admitted[at].2 -= unused;
                    self.in_window -= unused;
                }
                self.total -= unused;
            }
            LimitWindow::Held => {}
            LimitWindow::Day | LimitWindow::Month => {
                if let Some(spent) = self.spent.get_mut(&number) {
                    *spent -= unused;
                }
                self.total -= unused;
            }
        }
    }

    /// The node of a request is dead: what it reserved counts as used.
    pub(super) fn cut_short(&mut self, request: u64) {
        if let Some((units, _)) = self.running.remove(&request) {
            self.held -= units;
        }
    }

    /// Whether `units` more would be within the limit, whatever window they counted for.
    pub(super) fn has_room(&mut self, now: Instant, units: u64) -> bool {
        self.forget(now);
        let counted = match self.spec.window {
            LimitWindow::Minute | LimitWindow::Held => self.counted(0),
            LimitWindow::Day | LimitWindow::Month => self.most_spent(),
        };
        self.peak = self.peak.max(counted);
        counted + units <= self.spec.amount
    }

    /// What is wrong where `takeable` could be taken now, by the number of the window that it would count for.
    pub(super) fn check(&mut self, now: Instant, takeable: &BTreeMap<u32, u64>) -> Option<String> {
        self.forget(now);
        for (number, takeable) in takeable {
            let counted = self.counted(*number);
            self.peak = self.peak.max(counted);
            let limit = self.spec.amount;
            if counted + takeable > limit {
                return Some(format!(
                    "{counted} of {limit} {:?} count, and {takeable} more can be taken",
                    self.spec.window
                ));
            }
        }
        None
    }

    /// What was admitted a minute ago no longer counts against a rate.
    fn forget(&mut self, now: Instant) {
        if self.spec.window == LimitWindow::Minute {
            while let Some((_, _, units)) = self
                .admitted
                .pop_front_if(|(at, _, _)| now.since(*at) >= MINUTE)
            {
                self.in_window -= units;
            }
        }
    }

    /// What was spent of the windows of the calendar, the largest.
    pub(super) fn most_spent(&self) -> u64 {
        self.spent.values().copied().max().unwrap_or(0)
    }

    fn counted(&self, number: u32) -> u64 {
        match self.spec.window {
            LimitWindow::Minute => self.in_window,
            LimitWindow::Held => self.held,
            LimitWindow::Day | LimitWindow::Month => self.spent.get(&number).copied().unwrap_or(0),
        }
    }

    fn misplaced(&self, now: Instant, number: u32) -> Option<String> {
        let window = self.spec.window;
        let wall = true_wall(now);
        let mut earlier = wall;
        earlier.0 = earlier.0.saturating_sub(WALL_WRONG_MAX);
        let mut later = wall;
        later.0 += WALL_WRONG_MAX;
        let right = earlier.window(window)..=later.window(window);
        (!right.contains(&number)).then(|| {
            format!(
                "spent in {window:?} {number}, and it is {}",
                wall.window(window)
            )
        })
    }
}
