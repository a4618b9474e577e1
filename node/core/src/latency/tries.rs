//! When something was asked last, and how often in vain since: what exploration goes by.

use std::time::Duration;

use crate::time::Instant;

/// A figure older than this is tried again, where the candidate costs little more than the best.
pub const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The tries of one candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    last: Option<Instant>,
    /// By this node.
    last_here: Option<Instant>,
    in_vain: u8,
}

impl Tries {
    /// Tried last at `at` by another node, with an answer.
    pub const fn answered_elsewhere(at: Instant) -> Self {
        Self {
            last: Some(at),
            last_here: None,
            in_vain: 0,
        }
    }

    /// It answered.
    pub const fn answered(&mut self, now: Instant) {
        *self = Self {
            last: Some(now),
            last_here: Some(now),
            in_vain: 0,
        };
    }

    /// It was tried and showed nothing; `in_vain` where that was its own doing.
    pub fn failed(&mut self, now: Instant, in_vain: bool) {
        self.last = Some(now);
        self.last_here = Some(now);
        self.in_vain = self.in_vain.saturating_add(u8::from(in_vain));
    }

    /// These or those of `other`, whichever were later; with the last one by this node among both.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        let later = match other.last > self.last {
            true => other,
            false => self,
        };
        Self {
            last_here: self.last_here.max(other.last_here),
            ..later
        }
    }

    /// When it was tried last; `None` before the first try.
    pub const fn last(self) -> Option<Instant> {
        self.last
    }

    /// Whether it answered when it was tried last, or was not tried yet.
    pub const fn is_hopeful(self) -> bool {
        self.in_vain == 0
    }

    /// How long ago it was tried.
    pub fn age(self, now: Instant) -> Duration {
        self.last.map_or(Duration::MAX, |last| now.since(last))
    }

    /// How long ago this node tried it.
    pub fn age_here(self, now: Instant) -> Duration {
        self.last_here.map_or(Duration::MAX, |last| now.since(last))
    }

    /// How long it is left alone after a try where it costs `ratio` times what the best does. Half the square of that,
    /// so that dearer ones cost less in all; twice as long after each try in vain; at most five minutes.
    pub fn pause(self, ratio: f64) -> Duration {
        let dearer = (ratio.clamp(1.0, 100.0).powi(2) / 2.0).max(1.0);
        let doubled = 2_f64.powi(self.in_vain.min(10).into());
        TRIED_AGAIN_AFTER.mul_f64(dearer * doubled).min(PAUSE_MAX)
    }
}
