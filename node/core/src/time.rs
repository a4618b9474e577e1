//! Time as core knows it: the span since the process (or the simulation) began.
//!
//! Not the operating system's clock, so that a run can be replayed to the nanosecond.

use std::ops::Add;
use std::time::Duration;

/// A moment, as the time passed since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// The start itself.
    pub const START: Self = Self(Duration::ZERO);

    /// The moment `span` after the start.
    pub const fn from_start(span: Duration) -> Self {
        Self(span)
    }

    /// The time passed since the start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The time passed since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The time left until `later`; zero when it has passed.
    pub const fn until(self, later: Self) -> Duration {
        later.since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time, which no process reaches.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_since_a_later_moment_is_zero() {
        let late = Instant::from_start(Duration::from_secs(2));
        assert_eq!(Instant::START.since(late), Duration::ZERO);
        assert_eq!(late.since(Instant::START), Duration::from_secs(2));
    }
}
