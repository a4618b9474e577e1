//! What attempts and probes show, one by one.

use rand_core::Rng;

use super::judgement::Row;
use super::{
    EjectionReason, FREE_DOUBLINGS_MAX, FailureKind, Health, HealthState, Probation, Source,
    Transition, Witness,
};
use crate::time::Instant;

impl Health {
    /// An answer began. Its body may go on for minutes, and still break off: the upstream takes requests, which is
    /// all that is known.
    pub fn answer_began(&mut self, now: Instant) -> Option<Transition> {
        self.heard(now);
        self.failures.clear();
        self.refusals.clear();
        match self.state {
            HealthState::Untested => Some(self.proved()),
            HealthState::Suspect { reason, .. } if reason != EjectionReason::BreakRate => {
                Some(self.cleared())
            }
            _ => None,
        }
    }

    /// An answer that had begun broke off, or was none.
    pub fn broke_off(
        &mut self,
        now: Instant,
        kind: FailureKind,
        source: Source,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        self.heard(now);
        let client = client_of(source);
        match self.state {
            HealthState::Ejected { .. } => None,
            HealthState::Probing { .. } => {
                Some(self.eject(now, EjectionReason::Failures(kind), rng))
            }
            _ if self.probation.is_some() => self.relapse(now, EjectionReason::Failures(kind), rng),
            _ => {
                if !self.breaks.count(now, source) {
                    return None;
                }
                self.attempts.record(now, false, client);
                self.answers.record(now, false, client);
                self.condemn(now, Row::Breaks, kind, rng)
            }
        }
    }

    /// A whole answer or a good probe came. While ejected it is a late result from before, and ignored.
    pub fn succeeded(&mut self, now: Instant, source: Source) -> Option<Transition> {
        let is_proof = source.is_paid()
            || self
                .last_failure
                .is_none_or(FailureKind::is_independent_of_request);
        if source.is_paid() {
            self.heard(now);
            self.refusals.clear();
            self.probation = None;
            self.attempts.record(now, true, None);
            self.answers.record(now, true, client_of(source));
        }
        if is_proof {
            self.failures.clear();
            self.breaks.clear();
        }
        match self.state {
            HealthState::Untested => Some(self.proved()),
            HealthState::Suspect { reason, .. } => {
                let is_answered = match source.is_paid() {
                    true => reason != EjectionReason::BreakRate,
                    false => reason.is_shown_by_free_probe(),
                };
                is_answered.then(|| self.cleared())
            }
            HealthState::Healthy | HealthState::Ejected { .. } => None,
            HealthState::Probing { successes, reason } => {
                self.passed(now, successes + 1, reason, source)
            }
        }
    }

    /// A trial succeeded.
    fn passed(
        &mut self,
        now: Instant,
        successes: u32,
        reason: EjectionReason,
        source: Source,
    ) -> Option<Transition> {
        if successes < self.policy.recovery_threshold {
            self.state = HealthState::Probing { successes, reason };
            return None;
        }
        let is_proven = source.is_paid() || reason.is_shown_by_free_probe();
        self.probation = (!is_proven).then_some(Probation::Ejection);
        self.state = HealthState::Healthy;
        self.forget_failures();
        self.healthy_since = now;
        self.attempts.clear();
        self.answers.clear();
        Some(Transition::Recovered)
    }

    /// An attempt or probe failed. While ejected it is a late result, and ignored.
    pub fn failed(
        &mut self,
        now: Instant,
        kind: FailureKind,
        source: Source,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        if !matches!(kind, FailureKind::Connect | FailureKind::Timeout) {
            self.heard(now);
        }
        let reason = EjectionReason::Failures(kind);
        match self.state {
            HealthState::Ejected { .. } => None,
            HealthState::Probing { .. } => Some(self.eject(now, reason, rng)),
            _ if self.probation.is_some() => self.relapse(now, reason, rng),
            state => {
                if !self.failures.count(now, source) {
                    return None;
                }
                self.last_failure = Some(kind);
                self.attempts.record(now, false, client_of(source));
                let is_untested = matches!(state, HealthState::Untested);
                let is_probe = !matches!(source, Source::Request(_));
                let decides = is_untested && is_probe;
                let is_confirmed = matches!(state, HealthState::Suspect { .. }) && is_probe;
                if decides || is_confirmed {
                    return Some(self.eject(now, reason, rng));
                }
                self.condemn(now, Row::Failures, kind, rng)
            }
        }
    }

    /// A probe that costs nothing failed. While it is a trial, the cooldown doubles twice and is repeated from then on.
    ///
    /// Doubled, it would go on for as long again as the outage had lasted: in the simulator's outage of a provider
    /// for 15 s, its upstreams were ejected for 15 s more.
    pub fn free_probe_failed(
        &mut self,
        now: Instant,
        kind: FailureKind,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        let is_trial = matches!(self.state, HealthState::Probing { .. });
        if is_trial && self.ejections_in_row > FREE_DOUBLINGS_MAX {
            self.ejections_in_row -= 1;
        }
        self.failed(now, kind, Source::FreeProbe, rng)
    }

    /// The upstream refused our credential, or what was asked for with it. Every later request would fail too, if
    /// it is the credential: that is proven by another client's request, or by a probe beside a request. A probe alone
    /// may ask for what the credential is not for.
    pub fn credential_refused(
        &mut self,
        now: Instant,
        source: Source,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        let reason = EjectionReason::Credential;
        match self.state {
            HealthState::Ejected { .. } => None,
            HealthState::Probing { .. } => Some(self.eject(now, reason, rng)),
            _ if self.probation.is_some() => self.relapse(now, reason, rng),
            state => {
                let is_contradicted = !source.is_paid()
                    && matches!(state, HealthState::Healthy)
                    && self.refusals.len() == 0;
                if is_contradicted || !self.refusals.count(now, source) {
                    return None;
                }
                let is_proven = self.refusals.is_seen_by_request() && self.refusals.is_confirmed();
                if is_proven {
                    return Some(self.eject(now, reason, rng));
                }
                self.suspect(now, reason, rng)
            }
        }
    }

    /// Our account at the upstream has no money: out at once, and for minutes.
    pub fn account_refused(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Transition> {
        match self.state {
            HealthState::Ejected { .. } => None,
            _ => Some(self.eject(now, EjectionReason::Account, rng)),
        }
    }

    /// The upstream does not have the model.
    pub fn model_missing(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Transition> {
        match self.state {
            HealthState::Ejected { .. } => None,
            _ => Some(self.eject(now, EjectionReason::Missing, rng)),
        }
    }

    /// A request has waited for longer than any good answer takes. It is a stall where nothing at all has come
    /// since the request was sent, and others wait as well.
    pub fn stalls(
        &mut self,
        now: Instant,
        witness: Witness,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        if self.heard_at.is_some_and(|heard| heard >= witness.began_at) {
            return None;
        }
        self.stalled.count(now, Source::Request(witness));
        let waiting = self.stalled.len();
        let is_stall = (waiting >= 2 && self.stalled.is_confirmed())
            || waiting >= self.policy.failure_threshold
            || self.probation.is_some();
        match self.state {
            HealthState::Untested | HealthState::Healthy if is_stall => {
                self.probation = None;
                self.suspect(now, EjectionReason::Stall, rng)
            }
            _ => None,
        }
    }

    /// `request` failed elsewhere in the same way: it may be at fault itself.
    pub fn doubt(&mut self, request: u64) -> Option<Transition> {
        self.failures.doubt(request);
        self.breaks.doubt(request);
        let is_few = self.failures.len().max(self.breaks.len()) < self.policy.failure_threshold;
        match self.state {
            HealthState::Suspect {
                reason: EjectionReason::Failures(_),
                ..
            } if is_few => Some(self.cleared()),
            _ => None,
        }
    }
}

fn client_of(source: Source) -> Option<u64> {
    match source {
        Source::Request(witness) => Some(witness.client),
        Source::ChatProbe | Source::FreeProbe => None,
    }
}
