//! A node's own upstreams: health from attempts and probes, and when to probe and to publish.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::by_model::ModelStates;
use super::event::{Models, Probe, UpstreamSpec};
use crate::account::{AccountFact, AccountRests};
use crate::cache_meter::CacheMeter;
use crate::capacity::Capacity;
use crate::fact::{AnswerFigures, FactChange, FurtherFigures, Standing, UpstreamFact};
use crate::health::{EjectionReason, Health, HealthState};
use crate::ids::ModelName;
use crate::latency::{AnswerClass, Latencies, Latency, RequestShape, TRIED_AGAIN_AFTER, Tries};
use crate::limit::InFlight;
use crate::reported::LoadMeter;
use crate::time::Instant;
use crate::view::LastCheck;

/// The pause between two probes while an upstream is being tried.
const TRIAL_PAUSE: Duration = Duration::from_millis(200);

/// A node's own upstream.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) spec: UpstreamSpec,
    pub(super) health: Health,
    pub(super) models: ModelStates,
    /// What went wrong last, for the operator.
    pub(super) last_failure: Option<Arc<str>>,
    /// The last attempt or probe that showed its state, for the operator.
    pub(super) last_check: Option<LastCheck>,
    pub(super) failures_in_row: u32,
    /// Whether the operator has taken it out of use.
    pub(super) is_disabled: bool,
    pub(super) latencies: Latencies,
    pub(super) capacity: Capacity,
    pub(super) load: LoadMeter,
    pub(super) in_flight: InFlight,
    pub(super) cache: CacheMeter,
    pub(super) cooling_until: Option<Instant>,
    /// What its answers said of its account.
    pub(super) account_rests: AccountRests,
    pub(super) returned_at: Option<Instant>,
    /// Since when it has been healthy, cooling down, or ejected.
    pub(super) stands_since: Instant,
    pub(super) discovered: Vec<ModelName>,
    pub(super) probe: ProbeState,
    published: Option<PublishedFact>,
    pub(super) changed: bool,
    /// Whether a cooldown grew, of all of it or of one model: peers would end it when they were told.
    pub(super) cooldown_grew: bool,
    /// Whether something changed that stands against single models.
    pub(super) models_changed: bool,
}

#[derive(Debug)]
struct PublishedFact {
    fact: UpstreamFact,
    considered_at: Instant,
    /// When it had been asked last.
    asked_at: Option<Instant>,
}

/// Where the upstream's probing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeState {
    /// Never asked for.
    Off,
    /// Due then, unless traffic proves the state before.
    DueAt(Instant),
    /// One is running.
    Running,
}

impl Local {
    pub(super) fn new(now: Instant, spec: UpstreamSpec) -> Self {
        let probe = match spec.probe {
            Probe::Off => ProbeState::Off,
            Probe::Models | Probe::Health | Probe::Chat => ProbeState::DueAt(now),
        };
        Self {
            health: Health::new(now, spec.health.clone()),
            models: ModelStates::default(),
            last_failure: None,
            last_check: None,
            failures_in_row: 0,
            is_disabled: false,
            capacity: Capacity::new(now, spec.in_flight_max),
            load: LoadMeter::new(now, spec.load_interval, spec.in_flight_max),
            spec,
            latencies: Latencies::default(),
            in_flight: InFlight::default(),
            cache: CacheMeter::default(),
            cooling_until: None,
            account_rests: AccountRests::default(),
            returned_at: None,
            stands_since: now,
            discovered: Vec::new(),
            probe,
            published: None,
            changed: true,
            cooldown_grew: false,
            models_changed: false,
        }
    }

    pub(super) fn reconfigure(&mut self, now: Instant, spec: UpstreamSpec) {
        self.health.set_policy(spec.health.clone());
        self.capacity.set_max(spec.in_flight_max);
        self.load
            .reconfigure(now, spec.load_interval, spec.in_flight_max);
        self.probe = match (spec.probe, self.probe) {
            (Probe::Off, _) => ProbeState::Off,
            (_, ProbeState::Off) => ProbeState::DueAt(now),
            (_, probe) => probe,
        };
        if spec.account != self.spec.account {
            self.account_rests = AccountRests::default();
            self.models_changed = true;
        }
        self.spec = spec;
        self.changed = true;
    }

    /// The models it lists.
    pub(super) fn listed(&self) -> &[ModelName] {
        match &self.spec.models {
            Models::Listed(models) => models,
            Models::Discovered => &self.discovered,
        }
    }

    /// Whether it may be used.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.health.state() {
            _ if self.is_disabled => Standing::Ejected {
                reason: EjectionReason::Disabled,
            },
            HealthState::Ejected { reason, .. } => Standing::Ejected { reason },
            HealthState::Probing { reason, .. } => Standing::Probing { reason },
            HealthState::Untested | HealthState::Healthy | HealthState::Suspect { .. }
                if self.cooling_until.is_some_and(|until| until > now) =>
            {
                let until = self.cooling_until.unwrap_or(now);
                Standing::CoolingDown {
                    remaining: now.until(until),
                }
            }
            HealthState::Suspect { reason, .. } => Standing::Suspect { reason },
            HealthState::Untested => Standing::Untested,
            HealthState::Healthy => Standing::Ready,
        }
    }

    /// How many requests it should be given: one while it has to prove itself.
    pub(super) fn load_limit(&self) -> u32 {
        match self.health.is_on_probation() {
            true => 1,
            false if self.load.metrics().is_some() => self.load.slots(),
            false => self.capacity.limit(),
        }
    }

    /// When it is tried again, while it is ejected or cools down.
    pub(super) fn again_at(&self, now: Instant) -> Option<Instant> {
        match self.health.state() {
            _ if self.is_disabled => None,
            HealthState::Ejected { until, .. } => Some(until),
            HealthState::Probing { .. } => None,
            HealthState::Suspect { until, .. } => Some(self.cooling_until.unwrap_or(until)),
            HealthState::Untested | HealthState::Healthy => {
                self.cooling_until.filter(|until| *until > now)
            }
        }
    }

    /// What this node publishes of it.
    pub(super) fn fact(&self, now: Instant) -> UpstreamFact {
        let expected = |latency: Option<&Latency>| latency.map(|it| it.expected(now));
        let measured = |model: &ModelName| self.latencies.of(model, AnswerClass::Stream);
        let models: BTreeMap<_, _> = self
            .listed()
            .iter()
            .map(|model| (model.clone(), expected(measured(model))))
            .collect();
        UpstreamFact {
            name: self.spec.name.clone(),
            models,
            standing: self.standing(now),
            ttft: expected(self.latencies.overall(AnswerClass::Stream)),
            error_rate: self.health.error_rate(now),
            break_rate: self.health.break_rate(now),
            in_flight: self.in_flight_now(),
            in_flight_max: self.load_limit(),
            tier: self.spec.tier,
            weight: self.spec.weight,
            dialects: self.spec.dialects,
            websocket: self.spec.websocket,
            models_out: self.models_out(now),
            further: self.further(now),
            account: self.spec.account.as_deref().map(|spec| {
                Box::new(AccountFact {
                    spec: spec.clone(),
                    rests: self.account_rests.remaining(now),
                })
            }),
        }
    }

    fn further(&self, now: Instant) -> FurtherFigures {
        let figures = |model: Option<&ModelName>| {
            let known = self.latencies.figures(now, model);
            AnswerFigures {
                whole: known.times.whole.map(|whole| whole.expected),
                per_kib: known.per_kib,
            }
        };
        let all = figures(None);
        let models = self.listed().iter();
        let models = models.map(|model| (model.clone(), figures(Some(model))));
        let age = |tries: Tries| tries.last().map(|last| now.since(last));
        FurtherFigures {
            all,
            models: models.filter(|(_, figures)| *figures != all).collect(),
            asked_ago: age(self.latencies.tries()),
            load: self.load.reported(now).map(Box::new),
        }
    }

    /// The models that stand otherwise than all of it.
    pub(super) fn models_out(&self, now: Instant) -> BTreeMap<ModelName, Standing> {
        self.models.out(now, |model| self.listed().contains(model))
    }

    /// The change to publish now, if any: the fact is built only when there may be one, figures at most once in
    /// `interval`.
    pub(super) fn change_to_publish(
        &self,
        now: Instant,
        interval: Duration,
    ) -> Option<(FactChange, UpstreamFact)> {
        let Some(published) = &self.published else {
            return Some((FactChange::Transition, self.fact(now)));
        };
        let standing = self.standing(now);
        let stands_otherwise = standing.differs_in_kind(published.fact.standing)
            || self.cooldown_grew
            || self.models_changed;
        let figures_may_go = self.changed && now.since(published.considered_at) >= interval;
        if !stands_otherwise && !figures_may_go {
            return None;
        }
        let fact = self.fact(now);
        let change = match fact.change_since(&published.fact) {
            _ if self.cooldown_grew => FactChange::Transition,
            // At once, or in its time.
            FactChange::Figures if !figures_may_go => return None,
            // Peers would take figures for old that are not.
            FactChange::Little if self.asked_since(published) => FactChange::Figures,
            change => change,
        };
        Some((change, fact))
    }

    fn asked_since(&self, published: &PublishedFact) -> bool {
        let asked_at = self.latencies.tries().last();
        let known_until = published.asked_at.map(|at| at + TRIED_AGAIN_AFTER);
        asked_at > known_until
    }

    pub(super) fn set_published(&mut self, now: Instant, fact: UpstreamFact) {
        let before = self
            .published
            .as_ref()
            .map(|published| published.fact.standing);
        if before.is_some_and(|before| !fact.standing.is_alike(before)) {
            self.stands_since = now;
        }
        self.published = Some(PublishedFact {
            fact,
            considered_at: now,
            asked_at: self.latencies.tries().last(),
        });
        // What falls by time alone is looked at again.
        self.changed = self.latencies.is_settling(now);
        self.cooldown_grew = false;
        self.models_changed = false;
    }

    /// Nothing of it was published in this incarnation: all of it is to be.
    pub(super) fn forget_published(&mut self) {
        self.published = None;
    }

    /// The change was too small to publish: it is looked at again after the next one.
    pub(super) fn skip_publishing(&mut self, now: Instant) {
        if let Some(published) = &mut self.published {
            published.considered_at = now;
        }
        self.changed = self.latencies.is_settling(now);
        self.cooldown_grew = false;
        self.models_changed = false;
    }

    /// Whether time alone changes something of it now, apart from figures to publish.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_change().is_some_and(|at| at <= now)
    }

    /// When its ejection or its cooldown ends, or a probe falls due.
    fn next_change(&self) -> Option<Instant> {
        let state = match self.health.state() {
            HealthState::Ejected { until, .. } | HealthState::Suspect { until, .. } => Some(until),
            HealthState::Untested | HealthState::Healthy | HealthState::Probing { .. } => None,
        };
        let probe = match self.probe {
            ProbeState::DueAt(at) if self.may_be_probed() => Some(at),
            _ => None,
        };
        let rests = [
            self.cooling_until,
            self.load.next_change(),
            self.models.next_change(),
            self.account_rests.next_end(),
        ];
        [state, probe].into_iter().chain(rests).flatten().min()
    }

    pub(super) fn next_wake(&self, publish_interval: Duration) -> Option<Instant> {
        let publish = self
            .published
            .as_ref()
            .filter(|_| self.changed)
            .map(|published| published.considered_at + publish_interval);
        self.next_change().into_iter().chain(publish).min()
    }

    /// Whether a request may try it while it is being tried: only where nothing probes it.
    pub(super) fn takes_trial(&self) -> bool {
        let is_probing = matches!(self.health.state(), HealthState::Probing { .. });
        self.probe == ProbeState::Off && is_probing && !self.is_disabled
    }

    /// Whether a probe may go there: not while it is ejected or out of use.
    pub(super) fn may_be_probed(&self) -> bool {
        !self.is_disabled && !matches!(self.health.state(), HealthState::Ejected { .. })
    }

    /// The state was proved just now: the next probe is due an interval later.
    pub(super) fn proved(&mut self, now: Instant) {
        if let ProbeState::DueAt(_) = self.probe {
            self.probe = ProbeState::DueAt(now + self.pause());
        }
    }

    pub(super) fn pause(&self) -> Duration {
        match self.health.state() {
            HealthState::Probing { .. } => TRIAL_PAUSE.min(self.spec.probe_interval),
            _ => self.spec.probe_interval,
        }
    }

    /// An answer of `model` began `first_byte` after it was asked for.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        model: Option<&ModelName>,
        shape: RequestShape,
        first_byte: Duration,
    ) {
        self.latencies.answered(now, model, shape, first_byte);
        let in_flight = self.in_flight.count();
        self.capacity.answered(now, in_flight, first_byte);
    }
}
