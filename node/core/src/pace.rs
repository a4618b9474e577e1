//! How fast a client has to send a body.
//!
//! A limit on pauses alone does not suffice: a byte before each of them holds a request open forever. So the total
//! wait that a client may cause its reader grows with what it has sent. Time in which nobody asks for more does not
//! count, since a slow store or a full queue is not the client's fault.

use std::time::Duration;

/// A client must send at least this much per second of waiting beyond its first pause.
pub const BYTES_PER_SECOND_MIN: f64 = 1_024.0;

/// How long a body has kept its reader waiting, against what came.
#[derive(Clone, Debug)]
pub struct BodyPace {
    pause_max: Duration,
    taken: u64,
    waited: Duration,
}

impl BodyPace {
    /// A body that has not begun, and may pause for at most `pause_max`.
    pub const fn new(pause_max: Duration) -> Self {
        Self {
            pause_max,
            taken: 0,
            waited: Duration::ZERO,
        }
    }

    /// How long its reader may wait for the next piece, from the moment it asks for it.
    pub fn patience(&self) -> Duration {
        let earned = Duration::from_secs_f64(self.taken as f64 / BYTES_PER_SECOND_MIN);
        let left = (self.pause_max + earned).saturating_sub(self.waited);
        left.min(self.pause_max)
    }

    /// A piece of so many bytes came after its reader waited for `waited`.
    pub fn took(&mut self, bytes: usize, waited: Duration) {
        self.taken = self.taken.saturating_add(bytes as u64);
        self.waited = self.waited.saturating_add(waited);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn byte_a_second_is_not_waited_for_longer_than_the_first_pause() {
        let mut pace = BodyPace::new(PAUSE);
        let mut waited = Duration::ZERO;
        while pace.patience() >= SECOND {
            pace.took(1, SECOND);
            waited += SECOND;
        }
        assert_eq!(waited, PAUSE);
    }

    #[test]
    fn body_at_the_minimum_rate_is_waited_for_without_end() {
        let mut pace = BodyPace::new(PAUSE);
        for _ in 0..10_000 {
            pace.took(1_024, SECOND);
        }
        assert_eq!(pace.patience(), PAUSE);
    }

    #[test]
    fn no_pause_is_longer_than_it_may_be_whatever_came() {
        let mut pace = BodyPace::new(PAUSE);
        pace.took(1 << 30, Duration::ZERO);
        assert_eq!(pace.patience(), PAUSE);
    }

    #[test]
    fn time_in_which_nobody_asks_does_not_count() {
        let mut pace = BodyPace::new(PAUSE);
        pace.took(1, Duration::ZERO);
        pace.took(1, Duration::ZERO);
        assert_eq!(pace.patience(), PAUSE);
    }
}
