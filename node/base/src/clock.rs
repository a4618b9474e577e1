//! The process's clock: the one place that turns real time into core's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grapevine_core::Instant;
use grapevine_core::ids::Generation;

/// Counts from the moment it was made. Copies count from the same moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: std::time::Instant,
}

impl Clock {
    /// Starts counting now.
    pub fn start() -> Self {
        Self {
            started: std::time::Instant::now(),
        }
    }

    /// Core's time now. Monotonic: steps of the wall clock do not touch it.
    pub fn now(&self) -> Instant {
        Instant::from_start(self.started.elapsed())
    }

    /// The moment of real time that is core's `instant`, for timers.
    pub fn timer(&self, instant: Instant) -> tokio::time::Instant {
        (self.started + instant.since_start()).into()
    }
}

/// The wall clock, for the operator's eyes and for generations; nothing is timed by it.
pub fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The generation of an incarnation that starts now: unix milliseconds.
pub fn generation() -> Generation {
    Generation(u64::try_from(wall().as_millis()).unwrap_or(u64::MAX))
}
