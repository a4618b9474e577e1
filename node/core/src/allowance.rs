//! So much at once, and so much per second.

use std::time::Duration;

use crate::Instant;

/// What one peer may take of something, refilled as time passes.
#[derive(Debug)]
pub struct Allowance {
    burst: u32,
    per_second: u32,
    /// In thousandths.
    left: u64,
    refilled_at: Instant,
}

impl Allowance {
    /// `burst` at once, and `per_second` in the long run.
    pub fn new(now: Instant, burst: u32, per_second: u32) -> Self {
        Self {
            burst,
            per_second,
            left: u64::from(burst) * 1_000,
            refilled_at: now,
        }
    }

    /// Takes `cost`; false, and nothing is taken, where less is left.
    pub fn take(&mut self, now: Instant, cost: u32) -> bool {
        let passed = now.since(self.refilled_at);
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let earned = passed.saturating_mul(u64::from(self.per_second));
        let full = u64::from(self.burst) * 1_000;
        self.left = self.left.saturating_add(earned).min(full);
        // The remainder below a millisecond carries over.
        self.refilled_at = self.refilled_at + Duration::from_millis(passed);
        let left = self.left.checked_sub(u64::from(cost) * 1_000);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn burst_passes_and_then_the_rate() {
        let mut allowance = Allowance::new(at(0), 10, 5);
        let taken = (0..100).filter(|_| allowance.take(at(0), 1)).count();
        assert_eq!(taken, 10);
        let taken = (0..10_000).filter(|millis| allowance.take(at(*millis), 1));
        assert_eq!(taken.count(), 49);
    }

    #[test]
    fn cost_that_is_not_left_takes_nothing() {
        let mut allowance = Allowance::new(at(0), 10, 1);
        assert!(!allowance.take(at(0), 11));
        assert!(allowance.take(at(0), 10));
        assert!(!allowance.take(at(999), 1));
        assert!(allowance.take(at(1_000), 1));
    }

    #[test]
    fn long_silence_earns_no_more_than_the_burst() {
        let mut allowance = Allowance::new(at(0), 3, 1_000);
        let taken = (0..100).filter(|_| allowance.take(at(3_600_000), 1));
        assert_eq!(taken.count(), 3);
    }
}
