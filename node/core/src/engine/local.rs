//! A node's own upstreams: health from attempts and probes, and when to probe and tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_core::Rng;

use super::event::{AnswerReport, AttemptReport, Effect, Models, Probe, ProbeReport, UpstreamSpec};
use super::{Engine, TELL_INTERVAL, ViewDue};
use crate::fact::{Change, Fact, Standing, UpstreamFact};
use crate::health::{Failure, Health, State, Transition};
use crate::ids::{ModelName, UpstreamName};
use crate::latency::{Latencies, Latency};
use crate::limit::InFlight;
use crate::notice::Notice;
use crate::outcome::{Blame, Outcome, RetryOn, Stage, Verdict};
use crate::time::Instant;

/// The pause between two probes while an upstream is being tried.
const TRIAL_PAUSE: Duration = Duration::from_millis(200);

/// A node's own upstream.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) spec: UpstreamSpec,
    pub(super) health: Health,
    pub(super) latencies: Latencies,
    pub(super) in_flight: InFlight,
    pub(super) cooling_until: Option<Instant>,
    pub(super) returned_at: Option<Instant>,
    discovered: Vec<ModelName>,
    probe: ProbeState,
    told: Option<Told>,
    changed: bool,
}

#[derive(Debug)]
struct Told {
    fact: UpstreamFact,
    considered_at: Instant,
}

/// Where the upstream's probing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProbeState {
    /// Never asked for.
    Off,
    /// Due then, unless traffic proves the state before.
    DueAt(Instant),
    /// One is under way.
    Running,
}

impl Local {
    fn new(now: Instant, spec: UpstreamSpec) -> Self {
        let probe = match spec.probe {
            Probe::Off => ProbeState::Off,
            Probe::Models | Probe::Chat => ProbeState::DueAt(now),
        };
        Self {
            health: Health::new(now, spec.health.clone()),
            spec,
            latencies: Latencies::default(),
            in_flight: InFlight::default(),
            cooling_until: None,
            returned_at: None,
            discovered: Vec::new(),
            probe,
            told: None,
            changed: true,
        }
    }

    fn reconfigure(&mut self, now: Instant, spec: UpstreamSpec) {
        self.health.set_policy(spec.health.clone());
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
            State::Ejected { reason, .. } => Standing::Ejected { reason },
            State::Probing { reason, .. } => Standing::Probing { reason },
            State::Healthy => match self.cooling_until {
                Some(until) if until > now => Standing::CoolingDown {
                    remaining: now.until(until),
                },
                _ => Standing::Ready,
            },
        }
    }

    /// What this node says of it.
    pub(super) fn fact(&self, now: Instant) -> UpstreamFact {
        let measured = |model: &ModelName| self.latencies.of(model).map(Latency::expected);
        let models: BTreeMap<_, _> = self
            .models()
            .iter()
            .map(|model| (model.clone(), measured(model)))
            .collect();
        UpstreamFact {
            name: self.spec.name.clone(),
            models,
            standing: self.standing(now),
            ttft: self.latencies.whole().map(Latency::expected),
            error_rate: self.health.error_rate(now),
            in_flight: self.in_flight.count(),
            in_flight_max: self.spec.in_flight_max,
            tier: self.spec.tier,
            weight: self.spec.weight,
        }
    }

    /// What is worth telling now, if anything: the fact is made only when it may be.
    pub(super) fn change_to_tell(&self, now: Instant) -> Option<(Change, UpstreamFact)> {
        let Some(told) = &self.told else {
            return Some((Change::Transition, self.fact(now)));
        };
        let stands_otherwise = self.standing(now).differs_in_kind(told.fact.standing);
        let figures_may_go = self.changed && now.since(told.considered_at) >= TELL_INTERVAL;
        if !stands_otherwise && !figures_may_go {
            return None;
        }
        let fact = self.fact(now);
        let change = fact.change_since(&told.fact);
        Some((change, fact))
    }

    pub(super) fn told(&mut self, now: Instant, fact: UpstreamFact) {
        self.told = Some(Told {
            fact,
            considered_at: now,
        });
        self.changed = false;
    }

    /// The change was too little to tell: it is looked at again after the next one.
    pub(super) fn kept_quiet(&mut self, now: Instant) {
        if let Some(told) = &mut self.told {
            told.considered_at = now;
        }
        self.changed = false;
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        let state = match self.health.state() {
            State::Ejected { until, .. } => Some(until),
            State::Healthy | State::Probing { .. } => None,
        };
        let probe = match self.probe {
            ProbeState::DueAt(at) if !matches!(self.health.state(), State::Ejected { .. }) => {
                Some(at)
            }
            _ => None,
        };
        let tell = self
            .told
            .as_ref()
            .filter(|_| self.changed)
            .map(|told| told.considered_at + TELL_INTERVAL);
        [state, probe, tell, self.cooling_until]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether a request may try it while it is being tried: only where nothing probes it.
    pub(super) fn takes_trial(&self) -> bool {
        self.probe == ProbeState::Off && matches!(self.health.state(), State::Probing { .. })
    }

    /// The state was proved just now: the next probe is due an interval later.
    fn proved(&mut self, now: Instant) {
        if let ProbeState::DueAt(_) = self.probe {
            self.probe = ProbeState::DueAt(now + self.pause());
        }
    }

    fn pause(&self) -> Duration {
        match self.health.state() {
            State::Probing { .. } => TRIAL_PAUSE.min(self.spec.probe_interval),
            State::Healthy | State::Ejected { .. } => self.spec.probe_interval,
        }
    }

    /// Takes what an attempt or a probe showed.
    fn judge(
        &mut self,
        now: Instant,
        outcome: &Outcome,
        verdict: Verdict,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        self.changed = true;
        if let Some(cooldown) = verdict.cooldown {
            let until = now + cooldown;
            self.cooling_until = Some(self.cooling_until.map_or(until, |before| before.max(until)));
        }
        let transition = match verdict.blame {
            Blame::Success => self.health.succeeded(now),
            Blame::Upstream if is_break(outcome) => self.health.broke_off(now, rng),
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

fn failure(outcome: &Outcome) -> Failure {
    match outcome {
        Outcome::ConnectFailed => Failure::Connect,
        Outcome::TimedOut(_) => Failure::Timeout,
        Outcome::Reset => Failure::Reset,
        _ => Failure::Status,
    }
}

impl Engine {
    pub(super) fn configure(
        &mut self,
        now: Instant,
        specs: Vec<UpstreamSpec>,
        effects: &mut Vec<Effect>,
    ) {
        let kept: BTreeSet<UpstreamName> = specs.iter().map(|spec| spec.name.clone()).collect();
        let gone: Vec<_> = self
            .locals
            .keys()
            .filter(|name| !kept.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            self.locals.remove(&name);
            self.publish(Fact::UpstreamGone(name), true, effects);
        }
        for spec in specs {
            match self.locals.get_mut(&spec.name) {
                Some(local) => local.reconfigure(now, spec),
                None => {
                    self.locals.insert(spec.name.clone(), Local::new(now, spec));
                }
            }
        }
        self.view_becomes(ViewDue::Now);
    }

    pub(super) fn local_answer_began(&mut self, now: Instant, report: &AnswerReport) {
        let Some(local) = self.locals.get_mut(&report.upstream) else {
            return;
        };
        local
            .latencies
            .record(now, report.model.as_ref(), report.first_byte);
        local.health.answer_began();
        local.proved(now);
        local.changed = true;
        self.view_becomes(ViewDue::Soon);
    }

    pub(super) fn local_attempt_ended(
        &mut self,
        now: Instant,
        report: &AttemptReport,
        rng: &mut impl Rng,
        effects: &mut Vec<Effect>,
    ) {
        let Some(local) = self.locals.get_mut(&report.upstream) else {
            return;
        };
        let verdict = report.outcome.verdict(&RetryOn::default());
        if verdict.blame == Blame::Success {
            if let Some(first_byte) = report.first_byte {
                local
                    .latencies
                    .record(now, report.model.as_ref(), first_byte);
            }
            local.proved(now);
        }
        let transition = local.judge(now, &report.outcome, verdict, rng);
        self.after_judgement(now, &report.upstream, transition, verdict, effects);
    }

    pub(super) fn probe_ended(
        &mut self,
        now: Instant,
        report: ProbeReport,
        rng: &mut impl Rng,
        effects: &mut Vec<Effect>,
    ) {
        let Some(local) = self.locals.get_mut(&report.upstream) else {
            return;
        };
        let mut verdict = report.outcome.verdict(&RetryOn::default());
        // An upstream that answers 404 to a list of models is there all the same.
        if verdict.blame == Blame::Nobody && matches!(report.outcome, Outcome::Status { .. }) {
            verdict.blame = Blame::Success;
        }
        if let (Some(first_byte), Blame::Success) = (report.first_byte, verdict.blame) {
            local.latencies.record(now, None, first_byte);
        }
        if let Some(models) = report.models {
            local.discovered = models;
        }
        let transition = local.judge(now, &report.outcome, verdict, rng);
        if local.probe == ProbeState::Running {
            local.probe = ProbeState::DueAt(now + local.pause());
        }
        self.after_judgement(now, &report.upstream, transition, verdict, effects);
    }

    fn after_judgement(
        &mut self,
        now: Instant,
        upstream: &UpstreamName,
        transition: Option<Transition>,
        verdict: Verdict,
        effects: &mut Vec<Effect>,
    ) {
        self.view_becomes(ViewDue::Soon);
        if let Some(cooldown) = verdict.cooldown {
            let upstream = upstream.clone();
            effects.push(Effect::Notice(Notice::UpstreamCoolingDown {
                upstream,
                cooldown,
            }));
            self.view_becomes(ViewDue::Now);
        }
        if let Some(transition) = transition {
            self.note_transition(now, upstream, transition, effects);
        }
    }

    fn note_transition(
        &mut self,
        now: Instant,
        upstream: &UpstreamName,
        transition: Transition,
        effects: &mut Vec<Effect>,
    ) {
        let Some(local) = self.locals.get(upstream) else {
            return;
        };
        let upstream = upstream.clone();
        effects.push(Effect::Notice(match (transition, local.health.state()) {
            (Transition::Ejected(reason), State::Ejected { until, .. }) => {
                Notice::UpstreamEjected {
                    upstream,
                    reason,
                    cooldown: now.until(until),
                }
            }
            (Transition::Recovered, _) => Notice::UpstreamRecovered { upstream },
            _ => Notice::UpstreamProbing { upstream },
        }));
        self.view_becomes(ViewDue::Now);
    }

    /// Ends cooldowns, asks for probes that fell due, tells what changed.
    pub(super) fn advance_locals(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let names: Vec<UpstreamName> = self.locals.keys().cloned().collect();
        for name in &names {
            let Some(local) = self.locals.get_mut(name) else {
                continue;
            };
            let transition = local.health.tick(now);
            if transition.is_some() && local.probe != ProbeState::Off {
                local.probe = ProbeState::DueAt(now);
            }
            if local.cooling_until.is_some_and(|until| until <= now) {
                local.cooling_until = None;
                self.view_due = ViewDue::Now;
            }
            let ejected = matches!(local.health.state(), State::Ejected { .. });
            if let ProbeState::DueAt(due_at) = local.probe
                && due_at <= now
                && !ejected
            {
                local.probe = ProbeState::Running;
                effects.push(Effect::Probe {
                    upstream: name.clone(),
                    probe: local.spec.probe,
                });
            }
            if let Some(transition) = transition {
                self.note_transition(now, name, transition, effects);
            }
        }
        self.tell_locals(now, effects);
    }
}
