//! What a request holds of its key's limits, and what it cost.

use grapevine_base::clock::Clock;
use grapevine_base::limits::LimitsHandle;
use grapevine_core::Instant;
use grapevine_core::price::NanoUsd;

use super::super::cost;
use super::super::limits::{HeldRights, StreamForm, StreamPiece};
use super::super::problem::Problem;
use super::super::usage::Usage;
use super::Track;

impl Track {
    /// What the request takes of limits, which is settled at its end.
    pub(in super::super) fn limit(&mut self, limits: LimitsHandle) -> &mut HeldRights {
        let (now, rights) = (self.clock.now(), &mut self.rights);
        rights.get_or_insert_with(|| Box::new(HeldRights::none(now, limits)))
    }

    /// Checks that its limits let it go on for longer.
    ///
    /// # Errors
    /// Where it must end.
    pub(in super::super) fn check_hold(&self) -> Result<(), Problem> {
        match &self.rights {
            Some(rights) => rights.check_hold(self.clock.now()),
            None => Ok(()),
        }
    }

    /// Takes more of its key's limits where its stream has grown beyond what it took; `form` is `None` where the answer
    /// is no stream of events.
    ///
    /// # Errors
    /// Where the answer must end.
    pub(in super::super) fn grow(
        &mut self,
        form: Option<StreamForm>,
        bytes: &[u8],
        usage: &Usage,
    ) -> Result<(), Problem> {
        let Some(mut rights) = self.rights.take() else {
            return Ok(());
        };
        let now = self.clock.now();
        let Some(form) = form else {
            let checked = rights.check_hold(now);
            self.rights = Some(rights);
            return checked;
        };
        let (model, _) = self.models();
        let price = model.and_then(|model| self.settings.model_notes.prices.of(model));
        let piece = StreamPiece {
            form,
            bytes,
            reported: usage.tokens(),
        };
        let grown = rights.check_hold(now);
        let grown = grown.and_then(|()| rights.grow(now, piece, price, self.settings.overrun));
        self.rights = Some(rights);
        grown
    }

    /// The limits of its key, and the time; `None` without limits.
    pub(in super::super) fn limits(&self) -> Option<(&HeldRights, Instant)> {
        let rights = self.rights.as_deref()?;
        Some((rights, self.clock.now()))
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

    /// What the answer cost, once it has ended.
    pub(in super::super) const fn recorded_cost(&self) -> Option<NanoUsd> {
        self.record.cost
    }

    /// What the tokens reported so far cost.
    pub(super) fn cost(&self) -> Option<NanoUsd> {
        let (model, _) = self.models();
        cost::of(&self.record, model, &self.settings.model_notes.prices)
    }
}
