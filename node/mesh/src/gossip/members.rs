//! Who is alive: the failure detector's result, held back where this node itself is the likely cause.
//!
//! A process that was stopped for a second finds every member dead for a moment after it wakes, though it
//! was the one that missed the heartbeats; so does a chitchat that has just restarted. Lifeguard calls this
//! local health: a node that is itself late accepts deaths later. Arrivals are always accepted at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grapevine_core::ids::NodeName;
use tokio::time::Instant;

/// Observations further apart than this many intervals mean that this process was stopped: one was
/// due, and two more are late.
const LATE_INTERVALS: u32 = 3;

/// Intervals for which deaths are not accepted after that; the detector recovers within one.
const FREEZE_INTERVALS: u32 = 5;

/// Mean intervals of silence that the failure detector takes for death.
pub(super) const PHI: f64 = 6.0;

/// The members as last reported, and what is held back.
#[derive(Debug)]
pub(super) struct Members {
    interval: Duration,
    reported: BTreeSet<NodeName>,
    absent_since: BTreeMap<NodeName, Instant>,
    observed_at: Instant,
    frozen_until: Instant,
}

impl Members {
    pub(super) fn new(now: Instant, interval: Duration) -> Self {
        Self {
            interval,
            reported: BTreeSet::new(),
            absent_since: BTreeMap::new(),
            observed_at: now,
            frozen_until: now,
        }
    }

    /// The members as last reported.
    pub(super) const fn reported(&self) -> &BTreeSet<NodeName> {
        &self.reported
    }

    /// Accepts no death for `span`.
    pub(super) fn freeze(&mut self, now: Instant, span: Duration) {
        self.frozen_until = self.frozen_until.max(now + span);
    }

    /// Takes the nodes that the detector finds alive; returns the members when they changed.
    ///
    /// Must be called at least once per interval. `pace` is the share of rounds that are sent: below 1,
    /// rounds are rarer than the detector was configured for, and a death must last for the detection time
    /// that this adds.
    pub(super) fn observe(
        &mut self,
        now: Instant,
        live: &BTreeSet<NodeName>,
        pace: f64,
    ) -> Option<&BTreeSet<NodeName>> {
        if now.duration_since(self.observed_at) > self.interval * LATE_INTERVALS {
            self.freeze(now, self.interval * FREEZE_INTERVALS);
        }
        self.observed_at = now;
        let patience = self.interval.mul_f64(PHI * (1.0 / pace - 1.0).max(0.0));
        let is_frozen = now < self.frozen_until;
        self.absent_since.retain(|node, _| !live.contains(node));
        let mut members = live.clone();
        for node in self.reported.difference(live) {
            let since = *self.absent_since.entry(node.clone()).or_insert(now);
            if is_frozen || now.duration_since(since) < patience {
                members.insert(node.clone());
            }
        }
        if members == self.reported {
            return None;
        }
        self.absent_since.retain(|node, _| members.contains(node));
        self.reported = members;
        Some(&self.reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);

    fn names(names: &[&str]) -> BTreeSet<NodeName> {
        let node = |name: &&str| NodeName::new(name).expect("a valid name");
        names.iter().map(node).collect()
    }

    /// Members `a` and `b`, reported at the returned moment.
    fn both() -> (Members, Instant) {
        let now = Instant::now();
        let mut members = Members::new(now, INTERVAL);
        assert_eq!(
            members.observe(now, &names(&["a", "b"]), 1.0),
            Some(&names(&["a", "b"]))
        );
        (members, now)
    }

    #[test]
    fn death_is_reported_once_and_at_once() {
        let (mut members, now) = both();
        assert_eq!(
            members.observe(now + INTERVAL, &names(&["a"]), 1.0),
            Some(&names(&["a"]))
        );
        assert_eq!(
            members.observe(now + INTERVAL * 2, &names(&["a"]), 1.0),
            None
        );
    }

    #[test]
    fn late_observer_accepts_no_death_for_a_moment() {
        let (mut members, now) = both();
        let woken = now + INTERVAL * 4;
        assert_eq!(members.observe(woken, &names(&[]), 1.0), None);
        assert_eq!(
            members.observe(woken + INTERVAL, &names(&["a", "b"]), 1.0),
            None
        );
    }

    #[test]
    fn observer_in_time_is_not_late() {
        let (mut members, now) = both();
        let dead = members.observe(now + INTERVAL * 3, &names(&[]), 1.0);
        assert_eq!(dead, Some(&names(&[])));
    }

    #[test]
    fn death_during_the_freeze_is_reported_after_it() {
        let (mut members, now) = both();
        let woken = now + INTERVAL * 4;
        for interval in 0..FREEZE_INTERVALS {
            assert_eq!(
                members.observe(woken + INTERVAL * interval, &names(&["a"]), 1.0),
                None
            );
        }
        let after = woken + INTERVAL * FREEZE_INTERVALS;
        assert_eq!(
            members.observe(after, &names(&["a"]), 1.0),
            Some(&names(&["a"]))
        );
    }

    #[test]
    fn arrival_is_reported_while_frozen() {
        let (mut members, now) = both();
        members.freeze(now, INTERVAL * 9);
        let reported = members.observe(now + INTERVAL, &names(&["c"]), 1.0);
        assert_eq!(reported, Some(&names(&["a", "b", "c"])));
    }

    #[test]
    fn thinned_rounds_ask_for_patience() {
        let (mut members, now) = both();
        // Half of the rounds: six more intervals of 200 ms.
        for interval in 1..7 {
            assert_eq!(
                members.observe(now + INTERVAL * interval, &names(&["a"]), 0.5),
                None
            );
        }
        let reported = members.observe(now + INTERVAL * 7, &names(&["a"]), 0.5);
        assert_eq!(reported, Some(&names(&["a"])));
    }

    #[test]
    fn return_within_patience_begins_it_anew() {
        let (mut members, now) = both();
        let mut at = now;
        for live in [
            &["a"][..],
            &["a"],
            &["a"],
            &["a", "b"],
            &["a"],
            &["a"],
            &["a"],
            &["a"],
        ] {
            at += INTERVAL;
            assert_eq!(members.observe(at, &names(live), 0.5), None);
        }
    }
}
