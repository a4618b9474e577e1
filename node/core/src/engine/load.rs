//! What the engine does about the load that own upstreams report: asks for readings, and takes them.

use super::event::{Effect, LoadReport};
use super::local::Local;
use super::{Engine, ViewDue};
use crate::time::Instant;

impl Engine {
    pub(super) fn load_read(&mut self, now: Instant, report: &LoadReport) {
        let Some(local) = self.locals.get_mut(&report.upstream) else {
            return;
        };
        if local.load.ended(now, report.reading) {
            local.changed = true;
            self.view_becomes(ViewDue::Soon);
        }
    }
}

impl Local {
    /// Drops what is too old, and asks for a reading that is due. Whether anything was dropped.
    pub(super) fn advance_load(&mut self, now: Instant, effects: &mut Vec<Effect>) -> bool {
        let has_expired = self.load.expire(now);
        self.changed |= has_expired;
        if self.load.begin(now, self.in_flight.count()) {
            effects.push(Effect::ReadLoad {
                upstream: self.spec.name.clone(),
            });
        }
        has_expired
    }

    /// Requests that others have there, by what it reports.
    pub(super) fn others_in_flight(&self) -> u32 {
        self.load.others().unwrap_or_default()
    }

    /// Requests that it holds, from all nodes and from others, as far as is known.
    pub(super) fn in_flight_now(&self) -> u32 {
        let own = self.in_flight.count();
        self.others_in_flight().saturating_add(own)
    }
}
