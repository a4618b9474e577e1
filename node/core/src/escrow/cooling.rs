//! Rights that were used and will be ready again at a known moment.
//!
//! The whole of a sliding window's promise: a right that is used at `t` is used again at `t + W` at the soonest, so any
//! span of `W` contains each right once at most, and no more admissions than there are rights. Nothing is lost to
//! bursts, unlike with a bucket of rate and burst, and only a node's own monotonic clock is needed.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Instant;

/// Rights used within this part of the rest become ready together, at the latest moment of them: late, never early.
const GRAINS: u32 = 64;

/// Used rights, the soonest to be ready first.
#[derive(Clone, Debug, Default)]
pub(super) struct Cooling {
    /// In order of `ready_at`.
    grains: VecDeque<Grain>,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Grain {
    /// When the first of them would have been ready.
    first: Instant,
    ready_at: Instant,
    units: u64,
}

impl Cooling {
    /// How many there are.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// `units` were used at `used_at` at the latest, and rest for `rest`.
    pub(super) fn push(&mut self, used_at: Instant, units: u64, rest: Duration) {
        if units == 0 {
            return;
        }
        self.total += units;
        let ready_at = used_at + rest;
        let before = |grain: &Grain| grain.ready_at <= ready_at;
        let at = self.grains.partition_point(before);
        let last = at
            .checked_sub(1)
            .and_then(|index| self.grains.get_mut(index));
        if let Some(grain) = last
            && ready_at.since(grain.first) <= rest / GRAINS
        {
            grain.ready_at = ready_at;
            grain.units += units;
            return;
        }
        let grain = Grain {
            first: ready_at,
            ready_at,
            units,
        };
        self.grains.insert(at, grain);
    }

    /// Takes out those that are ready.
    pub(super) fn take_ready(&mut self, now: Instant) -> u64 {
        let mut ready = 0;
        while let Some(grain) = self.grains.pop_front_if(|grain| grain.ready_at <= now) {
            ready += grain.units;
        }
        self.total -= ready;
        ready
    }

    /// When the oldest is ready.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.grains.front().map(|grain| grain.ready_at)
    }

    /// The oldest that become ready together, and when.
    pub(super) fn next(&self) -> Option<(Instant, u64)> {
        self.grains
            .front()
            .map(|grain| (grain.ready_at, grain.units))
    }

    /// When all are ready.
    pub(super) fn last_at(&self) -> Option<Instant> {
        self.grains.back().map(|grain| grain.ready_at)
    }

    /// Takes out up to `max` of the oldest, which were reserved and not used.
    ///
    /// The oldest, whichever was reserved: those that stay are then ready no sooner than they should.
    pub(super) fn take_oldest(&mut self, max: u64) -> u64 {
        let mut left = max;
        while left > 0
            && let Some(grain) = self.grains.front_mut()
        {
            let units = grain.units.min(left);
            grain.units -= units;
            left -= units;
            if grain.units == 0 {
                self.grains.pop_front();
            }
        }
        self.total -= max - left;
        max - left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(64);

    fn at(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn right_is_ready_a_rest_after_its_use_and_not_sooner() {
        let mut cooling = Cooling::default();
        cooling.push(at(1_000), 3, REST);
        assert_eq!(cooling.take_ready(at(64_999)), 0);
        assert_eq!(cooling.take_ready(at(65_000)), 3);
        assert_eq!(cooling.total(), 0);
    }

    #[test]
    fn those_used_together_are_ready_with_the_last() {
        let mut cooling = Cooling::default();
        cooling.push(at(0), 1, REST);
        cooling.push(at(1_000), 1, REST);
        cooling.push(at(1_001), 1, REST);
        assert_eq!(cooling.take_ready(at(64_999)), 0);
        assert_eq!(cooling.take_ready(at(65_000)), 2);
        assert_eq!(cooling.take_ready(at(65_001)), 1);
    }

    #[test]
    fn grains_are_bounded() {
        let mut cooling = Cooling::default();
        for millis in 0..64_000 {
            cooling.push(at(millis), 1, REST);
        }
        assert!(cooling.grains.len() <= 65, "{}", cooling.grains.len());
        assert_eq!(cooling.total(), 64_000);
    }

    #[test]
    fn what_was_not_used_leaves_the_latest_to_rest() {
        let mut cooling = Cooling::default();
        cooling.push(at(0), 5, REST);
        cooling.push(at(20_000), 5, REST);
        assert_eq!(cooling.take_oldest(7), 7);
        assert_eq!(cooling.take_ready(at(83_999)), 0);
        assert_eq!(cooling.take_ready(at(84_000)), 3);
        assert_eq!(cooling.take_oldest(1), 0);
    }

    #[test]
    fn earlier_use_that_is_known_later_keeps_the_order() {
        let mut cooling = Cooling::default();
        cooling.push(at(30_000), 1, REST);
        cooling.push(at(10_000), 1, REST);
        assert_eq!(cooling.take_ready(at(74_000)), 1);
        assert_eq!(cooling.take_ready(at(93_999)), 0);
        assert_eq!(cooling.take_ready(at(94_000)), 1);
    }
}
