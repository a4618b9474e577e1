//! How much of a limit a node's clients want.

use std::time::Duration;

use crate::Instant;

use super::purse::PurseUse;

/// After this, 63 % of a change of demand is seen by the average that borrows and gives back.
const FAST: Duration = Duration::from_secs(2);

/// The same for the one that keeps rights from being lent: a single request must not look like a stream of them.
const SLOW: Duration = Duration::from_secs(20);

/// Unmet demand is remembered so long: the next tick may come before the rights that were asked for.
const UNMET_KEPT: Duration = Duration::from_millis(500);

/// Units that were asked for, met or not, as averages that are weighed by age (EWMA).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    fast: f64,
    slow: f64,
    unmet: u64,
    /// The most that one request wanted of it.
    unmet_most: u64,
    unmet_at: Instant,
    seen_at: Instant,
}

impl Demand {
    /// Since it was last seen, `taken` units were taken, and others were asked for in vain.
    pub(super) fn see(&mut self, now: Instant, taken: u64, seen: PurseUse) {
        let units = taken.saturating_add(seen.refused) as f64;
        // Each unit adds what decays to one unit over all time: exact for any length of step.
        let add = |average: f64, span: Duration| {
            average * decay(now.since(self.seen_at), span) + units / span.as_secs_f64()
        };
        (self.fast, self.slow) = (add(self.fast, FAST), add(self.slow, SLOW));
        self.seen_at = now;
        if seen.refused > 0 {
            (self.unmet, self.unmet_most) = (seen.refused, seen.refused_most);
            self.unmet_at = now;
        }
    }

    /// What is wanted in `span`, and at least what was asked for in vain just now.
    pub(super) fn within(&self, now: Instant, span: Duration) -> u64 {
        let fast = self.fast * decay(now.since(self.seen_at), FAST);
        units(fast, span).max(self.unmet(now))
    }

    /// What has been wanted for some time in each `span`, and still is.
    pub(super) fn lasting(&self, now: Instant, span: Duration) -> u64 {
        let passed = now.since(self.seen_at);
        let fast = self.fast * decay(passed, FAST);
        let slow = self.slow * decay(passed, SLOW);
        units(fast.min(slow), span)
    }

    /// The most that one request asked for in vain just now.
    pub(super) fn unmet_most(&self, now: Instant) -> u64 {
        self.unmet_most.min(self.unmet(now))
    }

    fn unmet(&self, now: Instant) -> u64 {
        if now.since(self.unmet_at) <= UNMET_KEPT {
            self.unmet
        } else {
            0
        }
    }
}

/// What is left of an average after `passed`.
fn decay(passed: Duration, span: Duration) -> f64 {
    (-passed.as_secs_f64() / span.as_secs_f64()).exp()
}

fn units(per_second: f64, span: Duration) -> u64 {
    (per_second * span.as_secs_f64()).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    fn refused(units: u64) -> PurseUse {
        PurseUse {
            refused: units,
            refused_most: units,
            ..PurseUse::default()
        }
    }

    #[test]
    fn steady_demand_is_seen_as_it_is_and_ends_within_seconds() {
        let mut demand = Demand::default();
        for tick in 1..=1_000 {
            demand.see(at(tick * 100), 3, refused(2));
        }
        for second in [
            demand.within(at(100_000), Duration::from_secs(1)),
            demand.lasting(at(100_000), Duration::from_secs(1)),
        ] {
            assert!((45..=55).contains(&second), "{second}");
        }
        assert_eq!(demand.within(at(120_000), Duration::from_secs(1)), 0);
        assert_eq!(demand.lasting(at(120_000), Duration::from_secs(1)), 0);
    }

    #[test]
    fn single_request_is_no_lasting_demand() {
        let mut demand = Demand::default();
        demand.see(at(100_000), 1, PurseUse::default());
        assert_eq!(demand.lasting(at(100_000), Duration::from_secs(60)), 3);
    }

    #[test]
    fn what_was_asked_for_in_vain_is_wanted_at_once() {
        let mut demand = Demand::default();
        demand.see(at(100), 0, refused(5_000));
        assert_eq!(demand.unmet_most(at(100)), 5_000);
        assert!(demand.within(at(100), Duration::from_secs(1)) >= 5_000);
        assert_eq!(demand.unmet_most(at(700)), 0);
    }
}
