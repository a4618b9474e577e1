//! A node's own upstreams: health from attempts and probes, and when to probe and to publish.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_core::Rng;

use super::event::{Models, Probe, UpstreamSpec};
use crate::capacity::Capacity;
use crate::fact::{FactChange, Standing, UpstreamFact};
use crate::health::{FailureKind, Health, HealthState, Transition};
use crate::ids::ModelName;
use crate::latency::Latencies;
use crate::limit::InFlight;
use crate::outcome::{Blame, Outcome, Stage, Verdict};
use crate::time::Instant;

/// The pause between two probes while an upstream is being tried.
const TRIAL_PAUSE: Duration = Duration::from_millis(200);

/// A node's own upstream.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) spec: UpstreamSpec,
    pub(super) health: Health,
    pub(super) latencies: Latencies,
    pub(super) capacity: Capacity,
    pub(super) in_flight: InFlight,
    pub(super) cooling_until: Option<Instant>,
    pub(super) returned_at: Option<Instant>,
    /// Since when it has been healthy, cooling down, or ejected.
    pub(super) stands_since: Instant,
    pub(super) discovered: Vec<ModelName>,
    pub(super) probe: ProbeState,
    published: Option<PublishedFact>,
    pub(super) changed: bool,
}

#[derive(Debug)]
struct PublishedFact {
    fact: UpstreamFact,
    considered_at: Instant,
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

/// What showed the state of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A request, or a probe that costs as much.
    Paid,
    /// A probe that costs nothing.
    FreeProbe,
}

impl Local {
    pub(super) fn new(now: Instant, spec: UpstreamSpec) -> Self {
        let probe = match spec.probe {
            Probe::Off => ProbeState::Off,
            Probe::Models | Probe::Chat => ProbeState::DueAt(now),
        };
        Self {
            health: Health::new(now, spec.health.clone()),
            capacity: Capacity::new(now, spec.in_flight_max),
            spec,
            latencies: Latencies::default(),
            in_flight: InFlight::default(),
            cooling_until: None,
            returned_at: None,
            stands_since: now,
            discovered: Vec::new(),
            probe,
            published: None,
            changed: true,
        }
    }

    pub(super) fn reconfigure(&mut self, now: Instant, spec: UpstreamSpec) {
        self.health.set_policy(spec.health.clone());
        self.capacity.set_max(spec.in_flight_max);
        self.probe = match (spec.probe, self.probe) {
            (Probe::Off, _) => ProbeState::Off,
            (_, ProbeState::Off) => ProbeState::DueAt(now),
            (_, probe) => probe,
        };
        self.spec = spec;
        self.changed = true;
    }

    /// The models it serves.
    pub(super) fn models(&self) -> &[ModelName] {
        match &self.spec.models {
            Models::Listed(models) => models,
            Models::Discovered => &self.discovered,
        }
    }

    /// Whether it may be used.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.health.state() {
            HealthState::Ejected { reason, .. } => Standing::Ejected { reason },
            HealthState::Probing { reason, .. } => Standing::Probing { reason },
            HealthState::Healthy => match self.cooling_until {
                Some(until) if until > now => Standing::CoolingDown {
                    remaining: now.until(until),
                },
                _ => Standing::Ready,
            },
        }
    }

    /// When it is tried again, while it is ejected or cools down.
    pub(super) fn again_at(&self, now: Instant) -> Option<Instant> {
        match self.health.state() {
            HealthState::Ejected { until, .. } => Some(until),
            HealthState::Probing { .. } => None,
            HealthState::Healthy => self.cooling_until.filter(|until| *until > now),
        }
    }

    /// What this node publishes of it.
    pub(super) fn fact(&self, now: Instant) -> UpstreamFact {
        let measured = |model: &ModelName| self.latencies.of(model).map(|it| it.expected(now));
        let models: BTreeMap<_, _> = self
            .models()
            .iter()
            .map(|model| (model.clone(), measured(model)))
            .collect();
        UpstreamFact {
            name: self.spec.name.clone(),
            models,
            standing: self.standing(now),
            ttft: self.latencies.whole().map(|it| it.expected(now)),
            error_rate: self.health.error_rate(now),
            in_flight: self.in_flight.count(),
            in_flight_max: self.capacity.limit(),
            tier: self.spec.tier,
            weight: self.spec.weight,
        }
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
        let stands_otherwise = self.standing(now).differs_in_kind(published.fact.standing);
        let figures_may_go = self.changed && now.since(published.considered_at) >= interval;
        if !stands_otherwise && !figures_may_go {
            return None;
        }
        let fact = self.fact(now);
        let change = fact.change_since(&published.fact);
        Some((change, fact))
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
        });
        self.changed = false;
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
        self.changed = false;
    }

    /// Whether time alone changes something of it now, apart from figures to publish.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_change().is_some_and(|at| at <= now)
    }

    /// When its ejection or its cooldown ends, or a probe falls due.
    fn next_change(&self) -> Option<Instant> {
        let state = match self.health.state() {
            HealthState::Ejected { until, .. } => Some(until),
            HealthState::Healthy | HealthState::Probing { .. } => None,
        };
        let probe = match self.probe {
            ProbeState::DueAt(at)
                if !matches!(self.health.state(), HealthState::Ejected { .. }) =>
            {
                Some(at)
            }
            _ => None,
        };
        [state, probe, self.cooling_until]
            .into_iter()
            .flatten()
            .min()
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
        self.probe == ProbeState::Off && matches!(self.health.state(), HealthState::Probing { .. })
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
            HealthState::Healthy | HealthState::Ejected { .. } => self.spec.probe_interval,
        }
    }

    /// An answer of `model` began `first_byte` after it was asked for.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        model: Option<&ModelName>,
        first_byte: Duration,
    ) {
        self.latencies.record(now, model, first_byte);
        let in_flight = self.in_flight.count();
        self.capacity.answered(now, in_flight, first_byte);
    }

    /// Takes what an attempt or a probe showed; `source` says which.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        source: Source,
        outcome: &Outcome,
        verdict: Verdict,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        self.changed = true;
        if outcome.lacks_room() {
            self.capacity.refused(now, self.in_flight.count());
        }
        if let Some(cooldown) = verdict.cooldown {
            let until = now + cooldown;
            self.cooling_until = Some(self.cooling_until.map_or(until, |before| before.max(until)));
        }
        let transition = match verdict.blame {
            Blame::Success => self.health.succeeded(now),
            Blame::Upstream if is_break(outcome) => self.health.broke_off(now, rng),
            Blame::Upstream if source == Source::FreeProbe => {
                self.health.free_probe_failed(now, failure(outcome), rng)
            }
            Blame::Upstream => self.health.failed(now, failure(outcome), rng),
            Blame::Credential => self.health.credential_refused(now, rng),
            Blame::Nobody | Blame::Peer => None,
        };
        if transition == Some(Transition::Recovered) {
            self.returned_at = Some(now);
        }
        transition
    }
}

/// Whether the answer had begun.
fn is_break(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::BrokenOff | Outcome::TimedOut(Stage::Idle))
}

fn failure(outcome: &Outcome) -> FailureKind {
    match outcome {
        Outcome::ConnectFailed => FailureKind::Connect,
        Outcome::TimedOut(_) => FailureKind::Timeout,
        Outcome::Reset => FailureKind::Reset,
        _ => FailureKind::Status,
    }
}
