//! What an operator sees and does of own upstreams: what showed their state last, and the switch that takes one out of
//! use.

use super::event::UpstreamSwitch;
use super::local::{Local, ProbeState};
use super::{Engine, Probe, ViewDue};
use crate::latency::{ByClass, Latency};
use crate::outcome::{Blame, Finding, Outcome};
use crate::time::Instant;
use crate::view::{Checker, LastCheck, UpstreamChecks};

impl Engine {
    pub(super) fn switch(&mut self, now: Instant, switch: &UpstreamSwitch) {
        let Some(local) = self.locals.get_mut(&switch.upstream) else {
            return;
        };
        if local.is_disabled != switch.is_disabled {
            local.is_disabled = switch.is_disabled;
            local.changed = true;
            if !switch.is_disabled && local.spec.probe != Probe::Off {
                // Nothing has proved its state in the meantime.
                local.probe = ProbeState::DueAt(now);
            }
            self.view_becomes(ViewDue::Now);
        }
    }
}

impl Local {
    /// A good answer began: its end may follow minutes later.
    pub(super) fn note_answer(&mut self, now: Instant) {
        self.note(now, Checker::Traffic, true, Finding::Answered.as_str());
    }

    /// An attempt or a probe ended; what says nothing of the upstream is no check of it.
    pub(super) fn note_end(&mut self, now: Instant, by: Checker, outcome: &Outcome, blame: Blame) {
        match blame {
            Blame::Nobody | Blame::Peer => {}
            Blame::Success => self.note(now, by, true, outcome.as_str()),
            Blame::Upstream | Blame::Credential | Blame::Account | Blame::Model => {
                self.note(now, by, false, outcome.as_str());
            }
        }
    }

    fn note(&mut self, at: Instant, by: Checker, is_good: bool, outcome: &'static str) {
        self.failures_in_row = match is_good {
            true => 0,
            false => self.failures_in_row.saturating_add(1),
        };
        self.last_check = Some(LastCheck {
            at,
            by,
            is_good,
            outcome,
        });
    }

    /// All of it, for the operator.
    pub(super) fn checks(&self) -> UpstreamChecks {
        UpstreamChecks {
            last: self.last_check,
            failures_in_row: self.failures_in_row,
            recent_mean: ByClass::each(|class| {
                let known = self.latencies.overall(class);
                known.map(Latency::recent_mean)
            }),
        }
    }
}
