//! What failures add up to: suspicion, ejection, and for how long.

use std::time::Duration;

use rand_core::Rng;

use super::window::Totals;
use super::{
    ACCOUNT_COOLDOWN, ACCOUNT_COOLDOWN_MAX, BREAK_RATE_MAX, ERROR_RATE_ATTEMPTS_MIN,
    ERROR_RATE_MAX, EjectionReason, FailureKind, Health, HealthState, JITTER, MISSING_COOLDOWN,
    MISSING_COOLDOWN_MAX, Probation, Transition,
};
use crate::random;
use crate::time::Instant;

/// Which failures in a row are judged.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row {
    Failures,
    Breaks,
}

impl Health {
    /// What the failures of a row, or the rates, prove together.
    pub(super) fn condemn(
        &mut self,
        now: Instant,
        row: Row,
        kind: FailureKind,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        let threshold = self.policy.failure_threshold;
        let row = match row {
            Row::Failures => &self.failures,
            Row::Breaks => &self.breaks,
        };
        let is_long = row.len() >= threshold;
        let needs_no_other = kind.is_independent_of_request();
        let is_proven = row.moments() >= threshold && (needs_no_other || row.is_confirmed());
        let rate = self.attempts.totals(now);
        let is_failing = is_above(rate, ERROR_RATE_MAX);
        if is_long && is_proven {
            return Some(self.eject(now, EjectionReason::Failures(kind), rng));
        }
        // What fails within one second may have one cause.
        if is_failing && rate.moments > 1 && (needs_no_other || rate.clients > 1) {
            return Some(self.eject(now, EjectionReason::ErrorRate, rng));
        }
        if is_long {
            return self.suspect(now, EjectionReason::Failures(kind), rng);
        }
        if is_failing {
            return self.suspect(now, EjectionReason::ErrorRate, rng);
        }
        if is_above(self.answers.totals(now), BREAK_RATE_MAX) {
            return self.suspect(now, EjectionReason::BreakRate, rng);
        }
        None
    }

    /// It failed again before it had proved anything.
    pub(super) fn relapse(
        &mut self,
        now: Instant,
        reason: EjectionReason,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        match self.probation.take()? {
            Probation::Suspicion => self.suspect(now, reason, rng),
            Probation::Ejection => Some(self.eject(now, reason, rng)),
        }
    }

    pub(super) fn suspect(
        &mut self,
        now: Instant,
        reason: EjectionReason,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        if matches!(self.state, HealthState::Suspect { .. }) {
            return None;
        }
        self.forget_long_ago(now);
        let pause = doubled(self.policy.cooldown, self.suspicions_in_row);
        let pause = pause.min(self.policy.cooldown_max);
        self.suspicions_in_row += 1;
        let until = now + pause.mul_f64(random::jitter(rng, JITTER));
        self.state = HealthState::Suspect { until, reason };
        Some(Transition::Suspected(reason))
    }

    pub(super) fn eject(
        &mut self,
        now: Instant,
        reason: EjectionReason,
        rng: &mut impl Rng,
    ) -> Transition {
        self.forget_long_ago(now);
        let (first, longest) = match reason {
            EjectionReason::Account => (ACCOUNT_COOLDOWN, ACCOUNT_COOLDOWN_MAX),
            EjectionReason::Missing => (MISSING_COOLDOWN, MISSING_COOLDOWN_MAX),
            _ => (self.policy.cooldown, self.policy.cooldown_max),
        };
        let cooldown = doubled(first, self.ejections_in_row).min(longest);
        self.ejections_in_row += 1;
        self.probation = None;
        self.forget_failures();
        let until = now + cooldown.mul_f64(random::jitter(rng, JITTER));
        self.state = HealthState::Ejected { until, reason };
        Transition::Ejected(reason)
    }

    /// An upstream that stayed healthy for long starts from the first pause again.
    fn forget_long_ago(&mut self, now: Instant) {
        let stayed_healthy = matches!(self.state, HealthState::Healthy)
            && now.since(self.healthy_since) > self.policy.cooldown_max;
        if stayed_healthy {
            self.ejections_in_row = 0;
            self.suspicions_in_row = 0;
        }
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.min(16))
}

fn is_above(totals: Totals, max: f64) -> bool {
    totals.all >= ERROR_RATE_ATTEMPTS_MIN && totals.failed_share().get() > max
}
