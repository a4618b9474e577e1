//! When a credential is renewed, and when a failed renewal is tried again. Times and draws in, times out.

use std::time::Duration;

/// The least share of its lifetime that a credential has left when it is renewed.
const LEFT_SHARE: f64 = 0.2;

/// What is drawn on top, so that the nodes of a mesh do not renew at the same moment.
const DRAWN_SHARE: f64 = 0.1;

/// A credential is not used in its last moments, in which it would expire on the way: at most this long.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// What is issued for less is of no use, and would be asked for again by every request.
pub(super) const LIFETIME_MIN: Duration = Duration::from_secs(10);

/// The pause after the first failed renewal; doubled after each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A credential that was refused is renewed at once only if it is older than this: what refuses a new one refuses the
/// next one too.
pub(super) const REFUSED_AGE_MIN: Duration = Duration::from_secs(30);

/// How long after its issue a credential with this `lifetime` is renewed, and how long it is used. `draw` is from 0 to
/// 1.
pub(super) fn terms(lifetime: Duration, draw: f64) -> (Duration, Duration) {
    let used = lifetime.saturating_sub(LAST_MOMENTS.min(lifetime / 10));
    let left = LEFT_SHARE + DRAWN_SHARE * draw.clamp(0.0, 1.0);
    (lifetime.mul_f64(1.0 - left), used)
}

/// The pause after so many failed renewals in a row, at least one; half of it is drawn.
pub(super) fn pause(failures: u32, draw: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX);
    whole.mul_f64(0.5 + draw.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_comes_well_ahead_of_the_end() {
        let hour = Duration::from_secs(3_600);
        let (renewed, used) = terms(hour, 0.0);
        assert_eq!((renewed, used), (hour.mul_f64(0.8), hour - LAST_MOMENTS));
        let (renewed, _) = terms(hour, 1.0);
        assert!(
            (renewed.as_secs_f64() - 2_520.0).abs() < 1e-6,
            "{renewed:?}"
        );
        let (renewed, used) = terms(Duration::from_secs(10), 0.0);
        assert!(renewed < used && used < Duration::from_secs(10));
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        assert_eq!(pause(1, 1.0), PAUSE_MIN);
        assert_eq!(pause(3, 1.0), PAUSE_MIN * 4);
        assert_eq!(pause(3, 0.0), PAUSE_MIN * 2);
        for failures in [7, 30, u32::MAX] {
            assert_eq!(pause(failures, 1.0), PAUSE_MAX);
        }
    }
}
