//! The recent low of a figure.

use std::time::Duration;

use crate::time::Instant;

/// How long a low counts at least.
const LOW_SPAN: Duration = Duration::from_secs(5);

/// The least that a figure was in the last 5 to 10 s: what a moment's peak does not move.
///
/// A figure counts from when it was seen until the next. One that was never seen before counts as zero for
/// the first 5 s, since one sample proves little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Low {
    last: Duration,
    /// The least since `turned_at`.
    least: Duration,
    /// The least in the span before.
    before: Duration,
    turned_at: Instant,
}

impl Low {
    /// Starts from the first figure.
    pub const fn new(now: Instant, figure: Duration) -> Self {
        Self {
            last: figure,
            least: figure,
            before: Duration::ZERO,
            turned_at: now,
        }
    }

    /// The figure has become `figure`.
    pub fn see(&mut self, now: Instant, figure: Duration) {
        self.turn(now);
        self.last = figure;
        self.least = self.least.min(figure);
    }

    /// The recent low, at `now`.
    pub fn at(mut self, now: Instant) -> Duration {
        self.turn(now);
        self.before.min(self.least)
    }

    fn turn(&mut self, now: Instant) {
        let age = now.since(self.turned_at);
        if age < LOW_SPAN {
            return;
        }
        let is_long_ago = age >= LOW_SPAN * 2;
        self.before = if is_long_ago { self.last } else { self.least };
        self.least = self.last;
        self.turned_at = now;
    }
}
