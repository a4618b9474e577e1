//! What happens to one request, decided as a value before anything is sent.
//!
//! The clock is an argument and the generator is seeded, so that the same requests in the same order meet the same
//! faults.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::knobs::{Knobs, RateLimit};

/// `Retry-After` of a 429 when nothing better is known.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// The fate of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The API's own answer, after this long.
    Answer { latency: Duration },
    /// An injected error, after this long.
    Error {
        status: u16,
        latency: Duration,
        retry_after: Option<Duration>,
    },
    /// 429 at once.
    RateLimited { retry_after: Duration },
    /// No answer, ever.
    Hang,
    /// The connection is closed before any byte.
    Refuse,
}

/// The state behind the draws: a seeded generator and the rate limit's tokens.
#[derive(Debug)]
pub(super) struct Faults {
    seed: u64,
    rng: ChaCha8Rng,
    tokens: f64,
    refilled_at: Option<Instant>,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            tokens: 0.0,
            refilled_at: None,
        }
    }

    /// Starts the draws over and fills the rate limit.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.seed);
    }

    /// Decides the fate of an API request.
    pub(super) fn decide(&mut self, now: Instant, knobs: &Knobs) -> Fate {
        if knobs.refuse {
            return Fate::Refuse;
        }
        if knobs.hang || self.strikes(knobs.hang_probability) {
            return Fate::Hang;
        }
        if let Some(until_free) = self.rate_limited(now, knobs.rate_limit) {
            return Fate::RateLimited {
                retry_after: knobs.retry_after.unwrap_or(until_free),
            };
        }
        let fails = self.strikes(knobs.error_rate);
        let jitter = if knobs.jitter.is_zero() {
            Duration::ZERO
        } else {
            knobs.jitter.mul_f64(self.share())
        };
        let latency = knobs.latency + jitter;
        if fails {
            error(knobs, latency)
        } else {
            Fate::Answer { latency }
        }
    }

    /// Decides the fate of a request to a models endpoint, which is spared unless `fail_models_probe` is set.
    pub(super) fn decide_models(&mut self, now: Instant, knobs: &Knobs) -> Fate {
        if !knobs.fail_models_probe {
            return Fate::Answer {
                latency: Duration::ZERO,
            };
        }
        match self.decide(now, knobs) {
            Fate::Answer { latency } => error(knobs, latency),
            fate => fate,
        }
    }

    /// How long until a slot frees, when the request is over the limit.
    fn rate_limited(&mut self, now: Instant, limit: RateLimit) -> Option<Duration> {
        let rate = match limit {
            RateLimit::Off => return None,
            RateLimit::Always => return Some(RETRY_AFTER_DEFAULT),
            RateLimit::PerSecond(rate) => rate,
        };
        let burst = rate.max(1.0);
        self.tokens = match self.refilled_at {
            Some(before) => {
                let elapsed = now.saturating_duration_since(before);
                (self.tokens + elapsed.as_secs_f64() * rate).min(burst)
            }
            None => burst,
        };
        self.refilled_at = Some(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return None;
        }
        let seconds = (1.0 - self.tokens) / rate;
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(RETRY_AFTER_DEFAULT))
    }

    /// One draw, taken only when the outcome is open: 0 and 1 cost no randomness.
    fn strikes(&mut self, probability: f64) -> bool {
        probability >= 1.0 || (probability > 0.0 && self.share() < probability)
    }

    /// A number from 0 to below 1: the upper 53 bits of a draw.
    fn share(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn error(knobs: &Knobs, latency: Duration) -> Fate {
    let retry_after = match knobs.error_status {
        429 => knobs.retry_after.or(Some(RETRY_AFTER_DEFAULT)),
        503 | 529 => knobs.retry_after,
        _ => None,
    };
    Fate::Error {
        status: knobs.error_status,
        latency,
        retry_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(seed: u64, knobs: &Knobs, count: usize) -> Vec<Fate> {
        let mut faults = Faults::new(seed);
        let now = Instant::now();
        (0..count).map(|_| faults.decide(now, knobs)).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_fates_and_another_does_not() {
        let knobs = Knobs {
            error_rate: 0.3,
            hang_probability: 0.1,
            jitter: Duration::from_millis(50),
            ..Knobs::default()
        };
        assert_eq!(fates(7, &knobs, 100), fates(7, &knobs, 100));
        assert_ne!(fates(7, &knobs, 100), fates(8, &knobs, 100));
    }

    #[test]
    fn a_reset_starts_the_draws_over() {
        let knobs = Knobs {
            error_rate: 0.5,
            ..Knobs::default()
        };
        let now = Instant::now();
        let mut faults = Faults::new(3);
        let first: Vec<Fate> = (0..20).map(|_| faults.decide(now, &knobs)).collect();
        faults.reset();
        let second: Vec<Fate> = (0..20).map(|_| faults.decide(now, &knobs)).collect();
        assert_eq!(first, second);
    }

    #[test]
    fn the_error_rate_is_the_share_of_errors() {
        let knobs = Knobs {
            error_rate: 0.3,
            ..Knobs::default()
        };
        let errors = fates(1, &knobs, 10_000)
            .iter()
            .filter(|fate| matches!(fate, Fate::Error { .. }))
            .count();
        assert!((2_800..3_200).contains(&errors), "{errors}");
    }

    #[test]
    fn jitter_adds_at_most_itself_to_the_latency() {
        let (base, jitter) = (Duration::from_millis(10), Duration::from_millis(5));
        let knobs = Knobs {
            latency: base,
            jitter,
            ..Knobs::default()
        };
        let latencies: Vec<Duration> = fates(1, &knobs, 100)
            .into_iter()
            .map(|fate| match fate {
                Fate::Answer { latency } => latency,
                other => panic!("no fault is set, got {other:?}"),
            })
            .collect();
        assert!(latencies.iter().all(|l| (base..base + jitter).contains(l)));
        assert!(latencies.iter().any(|l| *l != latencies[0]));
    }

    #[test]
    fn a_rate_limit_passes_a_burst_and_returns_when_the_next_slot_frees() {
        let knobs = Knobs {
            rate_limit: RateLimit::PerSecond(2.0),
            ..Knobs::default()
        };
        let mut faults = Faults::new(0);
        let start = Instant::now();
        let answer = Fate::Answer {
            latency: Duration::ZERO,
        };
        assert_eq!(faults.decide(start, &knobs), answer);
        assert_eq!(faults.decide(start, &knobs), answer);
        assert_eq!(
            faults.decide(start, &knobs),
            Fate::RateLimited {
                retry_after: Duration::from_millis(500)
            }
        );
        assert_eq!(
            faults.decide(start + Duration::from_millis(500), &knobs),
            answer
        );
    }

    #[test]
    fn the_first_fault_in_order_decides() {
        let knobs = Knobs {
            error_rate: 1.0,
            rate_limit: RateLimit::Always,
            hang: true,
            refuse: true,
            ..Knobs::default()
        };
        let one = |knobs: &Knobs| fates(0, knobs, 1)[0];
        assert_eq!(one(&knobs), Fate::Refuse);
        let knobs = Knobs {
            refuse: false,
            ..knobs
        };
        assert_eq!(one(&knobs), Fate::Hang);
        let knobs = Knobs {
            hang: false,
            ..knobs
        };
        assert!(matches!(one(&knobs), Fate::RateLimited { .. }));
        let knobs = Knobs {
            rate_limit: RateLimit::Off,
            ..knobs
        };
        assert!(matches!(one(&knobs), Fate::Error { status: 500, .. }));
    }

    #[test]
    fn models_are_spared_unless_their_probe_is_to_fail() {
        let mut faults = Faults::new(0);
        let now = Instant::now();
        let knobs = Knobs {
            hang: true,
            ..Knobs::default()
        };
        assert!(matches!(
            faults.decide_models(now, &knobs),
            Fate::Answer { .. }
        ));
        let knobs = Knobs {
            fail_models_probe: true,
            ..knobs
        };
        assert_eq!(faults.decide_models(now, &knobs), Fate::Hang);
        let knobs = Knobs {
            hang: false,
            error_status: 503,
            ..knobs
        };
        assert!(matches!(
            faults.decide_models(now, &knobs),
            Fate::Error { status: 503, .. }
        ));
    }
}
