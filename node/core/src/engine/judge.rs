//! What attempts and probes show of an own upstream: against all of it, against one model, or against nobody.

use std::time::Duration;

use rand_core::Rng;

use super::local::{Local, ProbeState};
use crate::health::{FailureKind, HealthState, Source, Transition, Witness};
use crate::ids::ModelName;
use crate::latency::{Latency, RequestShape, stalled_after};
use crate::outcome::{Blame, CooldownScope, Finding, Outcome, Stage, Verdict};
use crate::time::Instant;

/// A cooldown that grew by less is published with the next figures.
pub(super) const COOLDOWN_GROWTH_MIN: Duration = Duration::from_millis(100);

/// What changed by a judgement.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Judged {
    /// Of the upstream as a whole.
    pub(super) whole: Option<Transition>,
    /// Of the model.
    pub(super) model: Option<(ModelName, Transition)>,
}

impl Local {
    /// Takes what an attempt for `model` or a probe showed; `source` says which.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        source: Source,
        model: Option<&ModelName>,
        outcome: &Outcome,
        verdict: Verdict,
        rng: &mut impl Rng,
    ) -> Judged {
        self.changed = true;
        let is_of_model = model.is_some() && outcome.limits_model() && self.serves_several();
        if outcome.lacks_room() && !is_of_model {
            self.capacity.refused(now, self.in_flight.count());
        }
        if source.is_paid() && matches!(outcome, Outcome::Status { .. }) {
            self.health.heard(now);
        }
        if let Some((span, scope)) = verdict.cooldown {
            self.cool(
                now + span,
                model.filter(|_| scope == CooldownScope::Model),
                now,
            );
        }
        let judged = match verdict.blame {
            Blame::Success => self.succeeded(now, source, model),
            Blame::Upstream => self.failed(now, source, model, outcome, rng),
            Blame::Credential => whole(self.health.credential_refused(now, source, rng)),
            Blame::Account => whole(self.health.account_refused(now, rng)),
            Blame::Model => self.model_is_missing(now, model, rng),
            Blame::Nobody | Blame::Peer => Judged::default(),
        };
        if judged.whole == Some(Transition::Recovered) {
            self.returned_at = Some(now);
        }
        if matches!(judged.whole, Some(Transition::Suspected(_))) {
            self.probe_now(now);
        }
        self.models_changed |= judged.model.is_some();
        judged
    }

    /// An answer of `model` began, and its body goes on.
    pub(super) fn answer_began(&mut self, now: Instant, model: Option<&ModelName>) -> Judged {
        let state = model.and_then(|model| Some((model, self.models.get_mut(model)?)));
        let of_model = state.and_then(|(model, state)| {
            let transition = state.health.answer_began(now)?;
            Some((model.clone(), transition))
        });
        self.models_changed |= of_model.is_some();
        Judged {
            whole: self.health.answer_began(now),
            model: of_model,
        }
    }

    /// A request for `model` waits, maybe because the upstream answers nobody.
    pub(super) fn awaits(
        &mut self,
        now: Instant,
        model: Option<&ModelName>,
        shape: RequestShape,
        witness: Witness,
        rng: &mut impl Rng,
    ) -> Judged {
        let (latencies, class) = (&self.latencies, shape.class);
        let known = model.map_or_else(
            || latencies.overall(class),
            |model| latencies.of(model, class),
        );
        let stalled_after = stalled_after(class, known.and_then(Latency::p99));
        if stalled_after.is_none_or(|after| now.since(witness.began_at) < after) {
            return Judged::default();
        }
        self.changed = true;
        let whole = self.health.stalls(now, witness, rng);
        if whole.is_some() {
            self.probe_now(now);
        }
        // Others are answered: it may be this model alone, unless it has answered since.
        let is_silent = |model: &&ModelName| {
            let answered_at = self.latencies.answered_at(model);
            answered_at.is_none_or(|at| at < witness.began_at)
        };
        let of_model = model.filter(|_| whole.is_none() && self.serves_several());
        let of_model = of_model.filter(is_silent);
        let of_model = of_model.and_then(|model| {
            let state = self.models.of(now, model, &self.spec.health);
            let transition = state.health.stalls(now, witness, rng)?;
            Some((model.clone(), transition))
        });
        self.models_changed |= of_model.is_some();
        Judged {
            whole,
            model: of_model,
        }
    }

    /// `request` failed elsewhere in the same way.
    pub(super) fn doubt(&mut self, request: u64) -> Option<Transition> {
        self.changed = true;
        self.models.doubt(request);
        self.health.doubt(request)
    }

    fn succeeded(&mut self, now: Instant, source: Source, model: Option<&ModelName>) -> Judged {
        let state = model.and_then(|model| Some((model, self.models.get_mut(model)?)));
        let of_model = state.map(|(model, state)| {
            let transition = state.health.succeeded(now, source);
            let is_over = state.health.state() == HealthState::Healthy;
            let is_cooling = state.cooling_until.is_some();
            (model.clone(), transition, is_over && !is_cooling)
        });
        let of_model = of_model.and_then(|(model, transition, is_over)| {
            if is_over {
                self.models.forget(&model);
            }
            Some((model, transition?))
        });
        Judged {
            whole: self.health.succeeded(now, source),
            model: of_model,
        }
    }

    fn failed(
        &mut self,
        now: Instant,
        source: Source,
        model: Option<&ModelName>,
        outcome: &Outcome,
        rng: &mut impl Rng,
    ) -> Judged {
        let kind = failure(outcome);
        let model = model.filter(|_| !kind.is_independent_of_request() && self.serves_several());
        let is_condemned = model.is_some_and(|model| self.models.is_condemned(now, model));
        let transition = match source {
            // What stands against the model already says nothing new of the others.
            _ if is_condemned => None,
            Source::FreeProbe => self.health.free_probe_failed(now, kind, rng),
            _ if is_break(outcome) => self.health.broke_off(now, kind, source, rng),
            _ => self.health.failed(now, kind, source, rng),
        };
        let Some(model) = model else {
            return whole(transition);
        };
        let is_out = !matches!(
            self.health.state(),
            HealthState::Untested | HealthState::Healthy
        );
        if transition.is_some() || is_out {
            // The whole upstream: nothing stands against this model in particular.
            self.models.forget(model);
            return whole(transition);
        }
        let health = &mut self.models.of(now, model, &self.spec.health).health;
        let of_model = match is_break(outcome) {
            true => health.broke_off(now, kind, source, rng),
            false => health.failed(now, kind, source, rng),
        };
        Judged {
            whole: None,
            model: of_model.map(|transition| (model.clone(), transition)),
        }
    }

    fn model_is_missing(
        &mut self,
        now: Instant,
        model: Option<&ModelName>,
        rng: &mut impl Rng,
    ) -> Judged {
        let Some(model) = model else {
            return Judged::default();
        };
        let state = self.models.of(now, model, &self.spec.health);
        let transition = state.health.model_missing(now, rng);
        Judged {
            whole: None,
            model: transition.map(|transition| (model.clone(), transition)),
        }
    }

    /// It asks for a rest until `until`, of `model` alone or of everything.
    fn cool(&mut self, until: Instant, model: Option<&ModelName>, now: Instant) {
        let slot = match model {
            Some(model) => {
                self.models_changed = true;
                &mut self.models.of(now, model, &self.spec.health).cooling_until
            }
            None => &mut self.cooling_until,
        };
        self.cooldown_grew |= slot.is_some_and(|before| until > before + COOLDOWN_GROWTH_MIN);
        *slot = Some(slot.map_or(until, |before| before.max(until)));
    }

    /// Whether its models can be told apart.
    fn serves_several(&self) -> bool {
        let listed = self.listed();
        listed.len() > 1 || listed.iter().any(ModelName::is_any)
    }

    /// It is probed at once, where it is probed at all.
    fn probe_now(&mut self, now: Instant) {
        if let ProbeState::DueAt(_) = self.probe {
            self.probe = ProbeState::DueAt(now);
        }
    }
}

const fn whole(transition: Option<Transition>) -> Judged {
    Judged {
        whole: transition,
        model: None,
    }
}

/// Whether the answer had begun, or claimed to be one.
fn is_break(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::BrokenOff
            | Outcome::TimedOut(Stage::Idle)
            | Outcome::Status {
                finding: Finding::HiddenError | Finding::NotAnAnswer,
                ..
            }
    )
}

fn failure(outcome: &Outcome) -> FailureKind {
    match outcome {
        Outcome::ConnectFailed | Outcome::TimedOut(Stage::Connect) => FailureKind::Connect,
        Outcome::TimedOut(_) => FailureKind::Timeout,
        Outcome::Reset | Outcome::BrokenOff => FailureKind::Reset,
        Outcome::Status {
            finding: Finding::Redirect,
            ..
        } => FailureKind::Redirect,
        Outcome::Status {
            finding: Finding::HiddenError | Finding::NotAnAnswer,
            ..
        } => FailureKind::NoAnswer,
        _ => FailureKind::Status,
    }
}
