//! What a request holds of its key's limits, and what it cost.

use std::sync::Arc;

use grapevine_base::clock::Clock;
use grapevine_base::limits::{KeyPurses, LimitsHandle};
use grapevine_core::Instant;
use grapevine_core::price::NanoUsd;

use super::super::cost;
use super::super::limits::{HeldRights, StreamForm, StreamPiece};
use super::super::problem::Problem;
use super::super::usage::Usage;
use super::Track;

impl Track {
    /// The request is under these limits; what it takes of them is settled at its end.
    pub(in super::super) fn limit(
        &mut self,
        limits: LimitsHandle,
        purses: Arc<KeyPurses>,
    ) -> &mut HeldRights {
        let rights = HeldRights::under(limits, purses);
        self.rights.insert(Box::new(rights))
    }

    /// Takes more of its key's limits where its stream has grown beyond what it took.
    ///
    /// # Errors
    /// Where the stream must end.
    pub(in super::super) fn grow(
        &mut self,
        form: StreamForm,
        bytes: &[u8],
        usage: &Usage,
    ) -> Result<(), Problem> {
        let Some(mut rights) = self.rights.take() else {
            return Ok(());
        };
        let (model, _) = self.models();
        let price = model.and_then(|model| self.settings.model_notes.prices.of(model));
        let piece = StreamPiece {
            form,
            bytes,
            reported: usage.tokens(),
        };
        let grown = rights.grow(self.clock.now(), piece, price, self.settings.overrun);
        self.rights = Some(rights);
        grown
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
