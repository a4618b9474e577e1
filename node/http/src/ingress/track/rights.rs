//! What a request holds of its key's limits, and what it cost.

use std::sync::Arc;

use grapevine_base::clock::Clock;
use grapevine_base::limits::KeyPurses;
use grapevine_core::Instant;
use grapevine_core::price::NanoUsd;

use super::super::cost;
use super::super::limits::HeldRights;
use super::Track;

impl Track {
    /// The request is under these limits; what it takes of them is settled at its end.
    pub(in super::super) fn limit(&mut self, purses: Arc<KeyPurses>) -> &mut HeldRights {
        self.rights.insert(Box::new(HeldRights::under(purses)))
    }

    /// The limits of its key, and the time; `None` without limits.
    pub(in super::super) fn limits(&self) -> Option<(&KeyPurses, Instant)> {
        let rights = self.rights.as_deref()?;
        Some((rights.purses(), self.clock.now()))
    }

    /// The clock that it is timed by.
    pub(in super::super) const fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn settle_rights(&mut self, now: Instant) {
        if let Some(rights) = &mut self.rights {
            rights.settle(now, &self.record);
        }
    }

    /// What the tokens reported so far cost.
    pub(in super::super) fn cost(&self) -> Option<NanoUsd> {
        let (model, _) = self.models();
        cost::of(&self.record, model, &self.settings.model_notes.prices)
    }
}
