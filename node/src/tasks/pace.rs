//! How long to wait before something is tried again.

use std::time::Duration;

use super::service::Policy;
use crate::entropy;

/// At random between a half of `span` and all of it, so that many who wait do not come at once.
pub(super) fn jittered(span: Duration) -> Duration {
    let share = f64::from(u32::from_le_bytes(entropy::bytes())) / f64::from(u32::MAX);
    span.mul_f64(0.5 + share / 2.0)
}

/// The wait after the failure of attempt number `attempt`, from 1, without its jitter.
pub(super) fn backoff(policy: &Policy, attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(30);
    let span = policy.backoff.saturating_mul(1 << doublings);
    span.min(policy.backoff_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let policy = Policy {
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(10),
            ..Policy::default()
        };
        let seconds = [0, 1, 2, 3, 4, 5, u32::MAX].map(|it| backoff(&policy, it).as_secs());
        assert_eq!(seconds, [1, 1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn jitter_stays_between_a_half_and_the_whole() {
        let span = Duration::from_secs(2);
        let drawn: Vec<_> = (0..100).map(|_| jittered(span)).collect();
        assert!(
            drawn
                .iter()
                .all(|it| (Duration::from_secs(1)..=span).contains(it))
        );
        assert!(drawn.iter().any(|it| *it != drawn[0]));
    }
}
