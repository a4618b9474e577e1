//! The limits of the client's key: what a request takes before it is routed, and what it gives back at its end.
//!
//! A request takes one request, and of tokens and money the most that it can use. At its end what it did use stays
//! taken: what the upstream reported, nothing where no upstream answered well, all of it where one did and reported
//! nothing. Where more was used than was taken, the rest is taken from what comes next.

mod bound;
mod figures;
mod grown;
mod shown;

use std::sync::Arc;

use grapevine_base::clock::{self, Clock};
use grapevine_base::limits::{KeyPurses, KeySpecs, LimitHolder, LimitKind, LimitsHandle};
use grapevine_core::Instant as CoreInstant;
use grapevine_core::escrow::calendar::WallTime;
use grapevine_core::escrow::purse::Reservation;
use grapevine_core::escrow::spec::{LimitSpec, LimitWindow};
use grapevine_core::price::NanoUsd;
use grapevine_keys::rights::{BudgetPeriod, ClientKey, KeyLimits};
use grapevine_observe::record::RequestRecord;
use tokio::time::Instant;

use super::problem::Problem;

pub(super) use bound::{Reserve, reserve};
pub(super) use figures::{is_about_limits, mark};
pub(super) use grown::{StreamForm, StreamPiece};
pub(super) use shown::explain;

/// What a request has taken of its key's limits.
#[derive(Debug)]
pub(super) struct HeldRights {
    limits: LimitsHandle,
    purses: Arc<KeyPurses>,
    taken: [Option<Reservation>; 3],
    grown: grown::Grown,
}

/// The limits of `key`, where it has any.
pub(super) fn of_key(key: Option<&ClientKey>) -> Option<(LimitHolder, KeySpecs)> {
    let key = key?;
    if key.rights.limits == KeyLimits::default() {
        return None;
    }
    let holder = match &key.id {
        Some(id) => LimitHolder::Issued(id.shared()),
        None => LimitHolder::Filed(Arc::clone(&key.name)),
    };
    Some((holder, specs(&key.rights.limits)))
}

/// Checks that `key` may have background work: it runs at any node, which knows the limits of static keys alone.
pub(super) fn check_background(key: Option<&ClientKey>) -> Result<(), Problem> {
    let is_issued = key.is_some_and(|key| key.id.is_some());
    match is_issued && of_key(key).is_some() {
        true => Err(Problem::limits_of_background()),
        false => Ok(()),
    }
}

fn specs(limits: &KeyLimits) -> KeySpecs {
    let minute = |amount| LimitSpec {
        amount,
        window: LimitWindow::Minute,
    };
    let budget = limits.budget.map(|budget| LimitSpec {
        amount: budget.micro_usd,
        window: match budget.per {
            BudgetPeriod::Day => LimitWindow::Day,
            BudgetPeriod::Month => LimitWindow::Month,
        },
    });
    [limits.rpm.map(minute), limits.tpm.map(minute), budget]
}

impl HeldRights {
    /// Nothing is taken yet of `purses`.
    pub(super) fn under(limits: LimitsHandle, purses: Arc<KeyPurses>) -> Self {
        Self {
            limits,
            purses,
            taken: [None, None, None],
            grown: grown::Grown::default(),
        }
    }

    /// Takes what `reserve` says, of each limit in turn.
    ///
    /// # Errors
    /// Where one does not have it; then nothing is taken.
    pub(super) async fn take(
        &mut self,
        clock: Clock,
        reserve: Reserve,
        deadline: Instant,
    ) -> Result<(), Problem> {
        let taken = self.take_each(clock, reserve, deadline).await;
        if taken.is_err() {
            self.release(clock.now());
        }
        taken
    }

    async fn take_each(
        &mut self,
        clock: Clock,
        reserve: Reserve,
        deadline: Instant,
    ) -> Result<(), Problem> {
        for kind in LimitKind::ALL {
            let at = kind as usize;
            let limit = self.purses.limit(kind).zip(self.purses.specs[at]);
            let units = reserve.units(kind);
            let Some((limit, spec)) = limit.filter(|_| units > 0) else {
                continue;
            };
            if units > spec.amount {
                return Err(Problem::larger_than_limit(kind, units, spec));
            }
            let taken = self.limits.take(clock, limit, units, deadline).await;
            let taken = taken.map_err(|empty| {
                let wall = WallTime(clock::wall());
                Problem::limit_reached(kind, spec, empty.retry_after, wall)
            })?;
            self.taken[at] = Some(taken);
        }
        Ok(())
    }

    /// Gives everything back: the request was refused.
    fn release(&mut self, now: CoreInstant) {
        for taken in self.taken.iter_mut().filter_map(Option::take) {
            taken.settle(now, 0);
        }
    }

    /// The limits it is under.
    pub(super) fn purses(&self) -> &KeyPurses {
        &self.purses
    }

    /// The request of `record` is over.
    pub(super) fn settle(&mut self, now: CoreInstant, record: &RequestRecord) {
        let is_good = record.served.is_some() && record.status < 400;
        let tokens = record.tokens.billed();
        let tokens = tokens.map(|tokens| tokens.input.saturating_add(tokens.output));
        // What a stream that was cut off had reported last may be less than what passed.
        let grown = &self.grown;
        for kind in [LimitKind::Tokens, LimitKind::Money] {
            let Some(taken) = self.taken[kind as usize].take() else {
                continue;
            };
            let used = match (is_good, kind) {
                (false, _) => 0,
                (true, LimitKind::Tokens) => tokens.unwrap_or(taken.units()).max(grown.tokens),
                (true, _) => {
                    let cost = record.cost.map_or(taken.units(), NanoUsd::micros);
                    cost.max(grown.money)
                }
            };
            taken.settle(now, used);
        }
    }
}

#[cfg(test)]
mod tests {
    use grapevine_keys::rights::KeyBudget;

    use super::*;

    #[test]
    fn key_without_limits_has_none() {
        assert!(of_key(None).is_none());
        assert!(of_key(Some(&ClientKey::named("app"))).is_none());
    }

    #[test]
    fn limits_of_a_key_become_windows() {
        let mut key = ClientKey::named("app");
        key.rights.limits = KeyLimits {
            rpm: Some(600),
            tpm: None,
            budget: Some(KeyBudget {
                micro_usd: 5,
                per: BudgetPeriod::Month,
            }),
        };
        let (holder, specs) = of_key(Some(&key)).expect("limits");
        assert_eq!(holder, LimitHolder::Filed("app".into()));
        let spec = |amount, window| Some(LimitSpec { amount, window });
        let minute = spec(600, LimitWindow::Minute);
        assert_eq!(specs, [minute, None, spec(5, LimitWindow::Month)]);
    }
}
