//! What the engine does about its own upstreams: takes how attempts and probes ended, asks for probes, publishes what
//! changed.

use std::collections::BTreeSet;

use rand_core::Rng;

use super::event::{
    AnswerReport, AttemptReport, Effect, Probe, ProbeReport, UpstreamSpec, WaitReport,
};
use super::local::{Local, ProbeState, Source};
use super::{Engine, ViewDue};
use crate::fact::Fact;
use crate::health::{HealthState, Transition};
use crate::ids::UpstreamName;
use crate::notice::Notice;
use crate::outcome::{Blame, Outcome, RetryOn, Verdict};
use crate::time::Instant;

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
        local.answered(now, report.model.as_ref(), report.first_byte);
        local.health.answer_began();
        local.proved(now);
        local.changed = true;
        self.view_becomes(ViewDue::Soon);
    }

    pub(super) fn local_answer_awaited(&mut self, now: Instant, report: &WaitReport) {
        let Some(local) = self.locals.get_mut(&report.upstream) else {
            return;
        };
        let (model, waited) = (report.model.as_ref(), report.waited);
        if local.latencies.waits(now, model, waited) {
            local.changed = true;
            self.view_becomes(ViewDue::Soon);
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
        if verdict.blame == Blame::Success {
            if let Some(first_byte) = report.first_byte {
                local.answered(now, report.model.as_ref(), first_byte);
            }
            local.proved(now);
        }
        if let (Outcome::Cancelled | Outcome::DeadlinePassed, Some(waited)) =
            (report.outcome, report.first_byte)
        {
            // Nobody is to blame, but it takes at least this long: requests go elsewhere, where they can.
            local
                .latencies
                .waited_in_vain(now, report.model.as_ref(), waited);
        }
        let transition = local.judge(now, Source::Paid, &report.outcome, verdict, rng);
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
        let source = match local.spec.probe {
            Probe::Models => Source::FreeProbe,
            Probe::Chat | Probe::Off => Source::Paid,
        };
        let transition = local.judge(now, source, &report.outcome, verdict, rng);
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
            (Transition::Ejected(reason), HealthState::Ejected { until, .. }) => {
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
            if transition.is_some() && local.probe != ProbeState::Off {
                local.probe = ProbeState::DueAt(now);
            }
            if local.cooling_until.is_some_and(|until| until <= now) {
                local.cooling_until = None;
                self.view_due = ViewDue::Now;
            }
            let ejected = matches!(local.health.state(), HealthState::Ejected { .. });
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
        self.publish_locals(now, effects);
    }
}
