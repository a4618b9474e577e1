//! The limits of the client's key: what a request takes before it is routed, and what it gives back at its end.
//!
//! A request takes one request, and of tokens and money the most that it can use. At its end what it did use stays
//! taken: what the upstream reported, nothing where no upstream answered well, all of it where one did and reported
//! nothing. Where more was used than was taken, the rest is taken from what comes next.

mod beside;
mod bound;
mod figures;
mod grown;
mod shown;

use std::sync::Arc;

use grapevine_base::clock::{self, Clock};
use grapevine_base::limits::{
    HolderLimits, KeyPurses, KeySpecs, LimitHolder, LimitKind, LimitsHandle,
};
use grapevine_core::Instant as CoreInstant;
use grapevine_core::escrow::calendar::WallTime;
use grapevine_core::escrow::growth::StreamGrowth;
use grapevine_core::escrow::purse::{LimitFigures, Reservation};
use grapevine_core::escrow::spec::{HOLD_MAX, LimitSpec, LimitWindow};
use grapevine_core::ids::ModelName;
use grapevine_core::price::NanoUsd;
use grapevine_keys::rights::{BudgetPeriod, ClientKey, KeyLimits};
use grapevine_observe::record::RequestRecord;
use tokio::time::Instant;

use super::problem::{Problem, Reached};

pub(crate) use bound::{Reserve, reserve};
pub(super) use figures::{is_about_limits, mark};
pub(super) use grown::{StreamForm, StreamPiece};
pub(super) use shown::explain;

/// What a request has taken of its key's limits: of those of the key, and of those of the key for the model.
#[derive(Debug)]
pub(super) struct HeldRights {
    limits: LimitsHandle,
    held: Vec<HeldLimits>,
    since: CoreInstant,
    grown: grown::Grown,
}

/// What it has taken of one holder's limits.
#[derive(Debug)]
struct HeldLimits {
    /// `None` where they are for every model.
    model: Option<ModelName>,
    purses: Arc<KeyPurses>,
    taken: [Option<Reservation>; LimitKind::ALL.len()],
    /// What was taken before it was routed: streams take ahead of what they use.
    reserved: [u64; LimitKind::ALL.len()],
    /// What was taken for a second attempt.
    beside: [Option<Reservation>; LimitKind::ALL.len()],
    /// Where its stream outgrows what was taken.
    growths: [StreamGrowth; LimitKind::ALL.len()],
}

/// The limits of `key` for requests for `model`; empty where it has none.
pub(super) fn of_key(key: Option<&ClientKey>, model: Option<&ModelName>) -> Vec<HolderLimits> {
    let Some(key) = key.filter(|key| key.rights.is_limited()) else {
        return Vec::new();
    };
    let holder = || match &key.id {
        Some(id) => LimitHolder::Issued(id.shared()),
        None => LimitHolder::Filed(Arc::clone(&key.name)),
    };
    let own = Some(&key.rights.limits).filter(|limits| **limits != KeyLimits::default());
    let own = own.map(|limits| (holder(), specs(limits)));
    let of_model = model.and_then(|model| Some((model, key.rights.limits_of(model)?)));
    let of_model = of_model.map(|(model, limits)| (holder().of_model(model), specs(limits)));
    own.into_iter().chain(of_model).collect()
}

/// All limits of `key`, of each model that it has limits for.
fn all_of_key(key: &ClientKey) -> Vec<HolderLimits> {
    let models = key
        .rights
        .model_limits
        .iter()
        .flat_map(|limits| limits.keys());
    let of_models = models.flat_map(|model| of_key(Some(key), Some(model)));
    let of_models = of_models.filter(|(holder, _)| holder.model().is_some());
    of_key(Some(key), None)
        .into_iter()
        .chain(of_models)
        .collect()
}

/// The limits that a task of `key` carries: those of an issued key, which the node that runs the task does not have.
pub(super) fn carried(key: &ClientKey) -> Vec<HolderLimits> {
    match key.id {
        Some(_) => all_of_key(key),
        None => Vec::new(),
    }
}

/// Those of `carried` that are for requests for `model`.
pub(super) fn of_carried(carried: &[HolderLimits], model: Option<&ModelName>) -> Vec<HolderLimits> {
    let is_for = |(holder, _): &&HolderLimits| match holder.model() {
        None => true,
        of_model => of_model == model,
    };
    carried.iter().filter(is_for).cloned().collect()
}

/// `limits` by what they count.
pub fn specs(limits: &KeyLimits) -> KeySpecs {
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
    let held = |amount| LimitSpec {
        amount,
        window: LimitWindow::Held,
    };
    let at_once = limits.concurrency.map(held);
    [
        at_once,
        limits.rpm.map(minute),
        limits.tpm.map(minute),
        budget,
    ]
}

impl HeldRights {
    /// Nothing is taken yet.
    pub(super) const fn none(now: CoreInstant, limits: LimitsHandle) -> Self {
        Self {
            limits,
            held: Vec::new(),
            since: now,
            grown: grown::Grown::none(),
        }
    }

    /// Adds the limits of `holder`, of which nothing is taken yet.
    pub(super) fn add(&mut self, holder: &LimitHolder, purses: Arc<KeyPurses>) {
        self.held.push(HeldLimits {
            model: holder.model().cloned(),
            purses,
            taken: [const { None }; LimitKind::ALL.len()],
            reserved: [0; LimitKind::ALL.len()],
            beside: [const { None }; LimitKind::ALL.len()],
            growths: Default::default(),
        });
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
        for kind in LimitKind::ALL {
            for held in &mut self.held {
                let taken = held.take(&self.limits, clock, (kind, reserve), deadline);
                if let Err(problem) = taken.await {
                    self.release(clock.now());
                    return Err(problem);
                }
            }
        }
        Ok(())
    }

    /// Gives everything back: the request was refused.
    fn release(&mut self, now: CoreInstant) {
        let all = self.held.iter_mut().flat_map(|held| &mut held.taken);
        for taken in all.filter_map(Option::take) {
            taken.settle(now, 0);
        }
    }

    /// What is left of the limits of `kind` of which the least is left; `None` where there are none.
    pub(super) fn figures(&self, now: CoreInstant, kind: LimitKind) -> Option<LimitFigures> {
        let all = self.held.iter();
        let figures = all.filter_map(|held| held.purses.figures(now, kind));
        figures.min_by_key(|figures| figures.remaining)
    }

    /// Checks that it has not held a limit on requests at once for longer than any may: other nodes count what it holds
    /// as free from then on.
    ///
    /// # Errors
    /// Where it has.
    pub(super) fn check_hold(&self, now: CoreInstant) -> Result<(), Problem> {
        let at = LimitKind::Concurrency as usize;
        let is_held = self.held.iter().any(|held| held.taken[at].is_some());
        match is_held && now.since(self.since) >= HOLD_MAX {
            true => Err(Problem::held_too_long(HOLD_MAX)),
            false => Ok(()),
        }
    }

    /// The request of `record` is over.
    pub(super) fn settle(&mut self, now: CoreInstant, record: &RequestRecord) {
        self.settle_beside(now, record.hedge.as_deref());
        let is_good = record.served.is_some() && record.status < 400;
        let tokens = record.tokens.billed();
        let tokens = tokens.map(|tokens| tokens.input.saturating_add(tokens.output));
        let cost = record.cost.map(NanoUsd::micros);
        // What a stream that was cut off had reported last, if anything, may be less than what passed.
        let may_be_more = record.error.is_some() || tokens.is_none();
        let grown = Some(&self.grown).filter(|_| may_be_more);
        let grown = grown.map_or((0, 0), |grown| (grown.tokens, grown.money));
        for held in &mut self.held {
            for (kind, reported, seen) in [
                (LimitKind::Concurrency, Some(0), 0),
                (LimitKind::Tokens, tokens, grown.0),
                (LimitKind::Money, cost, grown.1),
            ] {
                let at = kind as usize;
                if let Some(taken) = held.taken[at].take() {
                    let used = reported.unwrap_or(held.reserved[at]).max(seen);
                    taken.settle(now, if is_good { used } else { 0 });
                }
            }
        }
    }
}

impl HeldLimits {
    async fn take(
        &mut self,
        limits: &LimitsHandle,
        clock: Clock,
        (kind, reserve): (LimitKind, Reserve),
        deadline: Instant,
    ) -> Result<(), Problem> {
        let at = kind as usize;
        let limit = self.purses.limit(kind).zip(self.purses.specs[at]);
        let units = reserve.units(kind);
        let Some((limit, spec)) = limit.filter(|_| units > 0) else {
            return Ok(());
        };
        let reached = Reached {
            kind,
            spec,
            model: self.model.as_ref(),
        };
        if units > spec.amount {
            return Err(Problem::larger_than_limit(reached, units));
        }
        let taken = limits.take(clock, limit, units, deadline).await;
        let taken = taken.map_err(|empty| {
            let wall = WallTime(clock::wall());
            Problem::limit_reached(reached, empty.retry_after, wall)
        })?;
        self.taken[at] = Some(taken);
        self.reserved[at] = units;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use grapevine_keys::rights::KeyBudget;

    use super::*;

    #[test]
    fn key_without_limits_has_none() {
        assert!(of_key(None, None).is_empty());
        assert!(of_key(Some(&ClientKey::named("app")), None).is_empty());
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
            concurrency: Some(4),
        };
        let spec = |amount, window| Some(LimitSpec { amount, window });
        let minute = spec(600, LimitWindow::Minute);
        let app = LimitHolder::Filed("app".into());
        let at_once = spec(4, LimitWindow::Held);
        let own = (
            app.clone(),
            [at_once, minute, None, spec(5, LimitWindow::Month)],
        );
        assert_eq!(of_key(Some(&key), None), std::slice::from_ref(&own));
        let model = ModelName::new("gpt-4o").expect("a name");
        let limits = KeyLimits {
            tpm: Some(9),
            ..KeyLimits::default()
        };
        key.rights.model_limits = Some(Arc::new([(model.clone(), limits)].into()));
        let tokens = spec(9, LimitWindow::Minute);
        let of_model = (app.of_model(&model), [None, None, tokens, None]);
        assert_eq!(of_key(Some(&key), None), std::slice::from_ref(&own));
        let both = [own, of_model];
        assert_eq!(of_key(Some(&key), Some(&model)), both);
        assert_eq!(all_of_key(&key), both);
        let other = ModelName::new("other").expect("a name");
        assert_eq!(of_key(Some(&key), Some(&other)), both[..1]);
    }
}
