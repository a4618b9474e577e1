//! What the engine does about its own upstreams: takes how attempts and probes ended, asks for probes, publishes what
//! changed.

use std::collections::BTreeSet;

use rand_core::Rng;

use super::event::{
    AnswerReport, AttemptReport, Effect, Probe, ProbeReport, UpstreamSpec, WaitReport,
};
use super::judge::Judged;
use super::local::{Local, ProbeState};
use super::{Engine, ViewDue};
use crate::fact::{Fact, FactChange};
use crate::health::{HealthState, Source, Transition};
use crate::ids::{ModelName, UpstreamName};
use crate::latency::RequestShape;
use crate::notice::Notice;
use crate::outcome::{Blame, CooldownScope, Outcome, RetryOn, Verdict};
use crate::time::Instant;
use crate::view::Checker;

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

    pub(super) fn local_answer_began(
        &mut self,
        now: Instant,
        report: &AnswerReport,
        effects: &mut Vec<Effect>,
    ) {
        let Some(local) = self.locals.get_mut(&report.upstream) else {
            return;
        };
        let model = report.model.as_ref();
        local.answered(now, model, report.shape, report.first_byte);
        local.note_answer(now);
        let judged = local.answer_began(now, model);
        local.proved(now);
        local.changed = true;
        self.view_becomes(ViewDue::Soon);
        self.note_judgement(now, &report.upstream, judged, effects);
    }

    pub(super) fn local_answer_awaited(
        &mut self,
        now: Instant,
        report: &WaitReport,
        rng: &mut impl Rng,
        effects: &mut Vec<Effect>,
    ) {
        let Some(local) = self.locals.get_mut(&report.upstream) else {
            return;
        };
        let (model, shape) = (report.model.as_ref(), report.shape);
        let judged = local.awaits(now, model, shape, report.witness, rng);
        if local.latencies.waits(now, model, shape, report.waited) {
            local.changed = true;
            self.view_becomes(ViewDue::Soon);
        }
        self.note_judgement(now, &report.upstream, judged, effects);
    }

    pub(super) fn blame_doubted(
        &mut self,
        now: Instant,
        upstream: &UpstreamName,
        request: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(local) = self.locals.get_mut(upstream) else {
            return;
        };
        if let Some(transition) = local.doubt(request) {
            self.note_transition(now, upstream, transition, effects);
        }
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
        let (model, shape) = (report.model.as_ref(), report.shape);
        if verdict.blame == Blame::Success {
            if let Some(first_byte) = report.first_byte {
                local.answered(now, model, shape, first_byte);
            }
            local.proved(now);
        } else {
            let in_vain = verdict.blame != Blame::Nobody || report.outcome.is_in_vain();
            local.latencies.failed(now, model, shape.class, in_vain);
        }
        if let (true, Some(waited)) = (report.outcome.is_in_vain(), report.first_byte) {
            // Nobody is to blame, but it takes at least this long: requests go elsewhere, where they can.
            local.latencies.waited_in_vain(now, model, shape, waited);
        }
        if verdict.blame != Blame::Success && report.detail.is_some() {
            local.last_failure.clone_from(&report.detail);
        }
        local.note_end(now, Checker::Traffic, &report.outcome, verdict.blame);
        let source = Source::Request(report.witness);
        let judged = local.judge(now, source, model, &report.outcome, verdict, rng);
        if let Some((span, scope)) = verdict.cooldown
            && report.outcome.limits_account()
        {
            local.account_limited(now, model.filter(|_| scope == CooldownScope::Model), span);
        }
        self.after_judgement(now, &report.upstream, model, judged, verdict, effects);
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
        if matches!(verdict.blame, Blame::Nobody | Blame::Model)
            && report.outcome.finding().is_some()
        {
            verdict.blame = Blame::Success;
        }
        // The patience of a probe is its own, and nobody is billed for it.
        if matches!(report.outcome, Outcome::TimedOut(_)) {
            verdict.blame = Blame::Upstream;
        }
        if let (Some(first_byte), Blame::Success) = (report.first_byte, verdict.blame) {
            let shape = RequestShape::default();
            local.latencies.record(now, None, shape, first_byte);
        }
        if let Some(models) = report.models {
            local.discovered = models;
        }
        if verdict.blame != Blame::Success && report.detail.is_some() {
            local.last_failure.clone_from(&report.detail);
        }
        local.note_end(now, Checker::Probe, &report.outcome, verdict.blame);
        let source = match local.spec.probe {
            Probe::Models | Probe::Health => Source::FreeProbe,
            Probe::Chat | Probe::Off => Source::ChatProbe,
        };
        let judged = local.judge(now, source, None, &report.outcome, verdict, rng);
        if local.probe == ProbeState::Running {
            local.probe = ProbeState::DueAt(now + local.pause());
        }
        self.after_judgement(now, &report.upstream, None, judged, verdict, effects);
    }

    fn after_judgement(
        &mut self,
        now: Instant,
        upstream: &UpstreamName,
        model: Option<&ModelName>,
        judged: Judged,
        verdict: Verdict,
        effects: &mut Vec<Effect>,
    ) {
        self.view_becomes(ViewDue::Soon);
        if let Some((cooldown, scope)) = verdict.cooldown {
            effects.push(Effect::Notice(Notice::UpstreamCoolingDown {
                upstream: upstream.clone(),
                cooldown,
                model: model.filter(|_| scope == CooldownScope::Model).cloned(),
            }));
            self.view_becomes(ViewDue::Now);
        }
        self.note_judgement(now, upstream, judged, effects);
    }

    fn note_judgement(
        &mut self,
        now: Instant,
        upstream: &UpstreamName,
        judged: Judged,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(transition) = judged.whole {
            self.note_transition(now, upstream, transition, effects);
        }
        let Some((model, transition)) = judged.model else {
            return;
        };
        self.view_becomes(ViewDue::Now);
        let Some(local) = self.locals.get_mut(upstream) else {
            return;
        };
        // Clients may name any model at an upstream that takes all, which would fill the log.
        if !local.listed().contains(&model) {
            return;
        }
        let until = local
            .models
            .get_mut(&model)
            .map(|state| state.health.state());
        if let (
            Transition::Ejected(reason) | Transition::Suspected(reason),
            Some(HealthState::Ejected { until, .. } | HealthState::Suspect { until, .. }),
        ) = (transition, until)
        {
            effects.push(Effect::Notice(Notice::ModelOut {
                upstream: upstream.clone(),
                model,
                reason,
                pause: now.until(until),
                detail: local.last_failure.clone(),
            }));
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
        let detail = local.last_failure.clone();
        let notice = match (transition, local.health.state()) {
            (Transition::Ejected(reason), HealthState::Ejected { until, .. }) => {
                Notice::UpstreamEjected {
                    upstream,
                    reason,
                    cooldown: now.until(until),
                    detail,
                }
            }
            (Transition::Suspected(reason), HealthState::Suspect { until, .. }) => {
                Notice::UpstreamSuspected {
                    upstream,
                    reason,
                    pause: now.until(until),
                    detail,
                }
            }
            (Transition::Cleared, _) => Notice::UpstreamCleared { upstream },
            (Transition::Recovered | Transition::Proved, _) => {
                Notice::UpstreamRecovered { upstream }
            }
            _ => Notice::UpstreamProbing { upstream },
        };
        // An upstream that works as expected is no news.
        if transition != Transition::Proved {
            effects.push(Effect::Notice(notice));
        }
        self.view_becomes(ViewDue::Now);
    }

    /// Ends cooldowns, asks for probes that fell due, publishes what changed.
    pub(super) fn advance_locals(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        // After nearly every event there is none.
        let due = self.locals.iter().filter(|(_, local)| local.is_due(now));
        let due: Vec<UpstreamName> = due.map(|(name, _)| name.clone()).collect();
        for name in &due {
            let Some(local) = self.locals.get_mut(name) else {
                continue;
            };
            let transition = local.health.tick(now);
            if local.models.tick(now) | local.account_rests.end(now) {
                local.models_changed = true;
                self.view_due = ViewDue::Now;
            }
            if transition == Some(Transition::Probing) && local.probe != ProbeState::Off {
                local.probe = ProbeState::DueAt(now);
            }
            if local.cooling_until.is_some_and(|until| until <= now) {
                local.cooling_until = None;
                self.view_due = ViewDue::Now;
            }
            if local.advance_load(now, effects) {
                self.view_due = ViewDue::Now;
            }
            if let ProbeState::DueAt(due_at) = local.probe
                && due_at <= now
                && local.may_be_probed()
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
        self.publish_locals(now, effects);
    }

    /// Publishes what changed of the own upstreams: transitions at once, figures once a second.
    fn publish_locals(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let mut changes = Vec::new();
        let interval = self.publish_interval();
        for local in self.locals.values_mut() {
            match local.change_to_publish(now, interval) {
                None => {}
                Some((FactChange::Little, _)) => local.skip_publishing(now),
                Some((change, fact)) => {
                    local.set_published(now, fact.clone());
                    changes.push((fact, change == FactChange::Transition));
                }
            }
        }
        for (fact, urgent) in changes {
            self.view_becomes(if urgent { ViewDue::Now } else { ViewDue::Soon });
            self.publish(Fact::Upstream(fact), urgent, effects);
        }
    }
}
