//! What a call has taken of its account's limits.

use std::sync::Arc;
use std::time::Duration;

use grapevine_base::clock::{self, Clock};
use grapevine_base::exchange::Call;
use grapevine_base::limits::{KeyPurses, LimitHolder, LimitKind, LimitsHandle};
use grapevine_config::prices::PriceTable;
use grapevine_core::Instant;
use grapevine_core::escrow::calendar::WallTime;
use grapevine_core::escrow::purse::Reservation;
use grapevine_core::ids::ModelName;
use grapevine_core::outcome::{Outcome, RetryOn};
use grapevine_core::price::NanoUsd;
use grapevine_observe::record::Tokens;

use super::AccountLimits;
use crate::ingress::limits::{Reserve, reserve};

/// How long a call waits for rights of other nodes: as long as they take to come from the other side of the world. Another
/// candidate may have some at once.
const RIGHTS_WAIT: Duration = Duration::from_millis(500);

/// When this node cannot apply the limits just now.
const BUSY_AGAIN: Duration = Duration::from_secs(1);

/// Why a call is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRights {
    /// What is missing; `None` where limits cannot be applied here.
    pub(super) kind: Option<LimitKind>,
    /// When it is there; `None` where a retry does not help.
    pub(super) retry_after: Option<Duration>,
}

/// What a call has taken. What is dropped counts as used.
#[derive(Debug)]
pub(super) struct AccountRights {
    taken: Vec<(LimitKind, Reservation)>,
    model: Option<ModelName>,
    prices: Arc<PriceTable>,
}

impl AccountRights {
    /// Takes what `call` may use of each limit of the account.
    ///
    /// # Errors
    /// Where one does not have it; then nothing is taken.
    pub(super) async fn take(
        handle: &LimitsHandle,
        clock: Clock,
        holder: &LimitHolder,
        limits: &AccountLimits,
        call: &Call,
    ) -> Result<Self, NoRights> {
        let reserve = reserve_for(limits, call)?;
        let purses = handle.purses(clock.now(), holder, limits.specs).await;
        let purses = purses.map_err(|_| NoRights {
            kind: None,
            retry_after: Some(BUSY_AGAIN),
        })?;
        let mut rights = Self {
            taken: Vec::with_capacity(LimitKind::ALL.len()),
            model: call.model.clone(),
            prices: Arc::clone(&limits.prices),
        };
        let deadline = call.deadline.min(tokio::time::Instant::now() + RIGHTS_WAIT);
        let taken = rights.take_each(handle, clock, &purses, reserve, deadline);
        match taken.await {
            Ok(()) => Ok(rights),
            Err(refused) => {
                rights.settle(clock.now(), |_, _| 0);
                Err(refused)
            }
        }
    }

    async fn take_each(
        &mut self,
        handle: &LimitsHandle,
        clock: Clock,
        purses: &KeyPurses,
        reserve: Reserve,
        deadline: tokio::time::Instant,
    ) -> Result<(), NoRights> {
        for kind in LimitKind::ALL {
            let limit = purses.limit(kind).zip(purses.specs[kind as usize]);
            let units = reserve.units(kind);
            let Some((limit, spec)) = limit.filter(|_| units > 0) else {
                continue;
            };
            if units > spec.amount {
                return Err(NoRights {
                    kind: Some(kind),
                    retry_after: None,
                });
            }
            let taken = handle.take_uncounted(clock, limit, units, deadline).await;
            let taken = taken.map_err(|empty| NoRights {
                kind: Some(kind),
                retry_after: Some(match kind {
                    LimitKind::Money => WallTime(clock::wall()).until_next(spec.window),
                    _ => empty.retry_after,
                }),
            })?;
            self.taken.push((kind, taken));
        }
        Ok(())
    }

    /// There is no answer. Where the upstream may have worked for it all the same, all of it stays taken.
    pub(super) fn call_failed(mut self, now: Instant, outcome: &Outcome) {
        match outcome.verdict(&RetryOn::nothing()).costs_retry {
            true => self.settle(now, |_, taken| taken),
            false => self.settle(now, |_, _| 0),
        }
    }

    /// The answer is an error: it used a request.
    pub(super) fn answered_badly(mut self, now: Instant) {
        self.settle(now, |kind, taken| match kind {
            LimitKind::Requests => taken,
            _ => 0,
        });
    }

    /// A good answer is over, and reported `tokens`; where it reported none, all of it stays taken.
    pub(super) fn answered(mut self, now: Instant, tokens: Tokens) {
        let billed = tokens.billed();
        let price = self.model.as_ref().and_then(|model| self.prices.of(model));
        let cost = price.zip(billed).map(|(price, tokens)| price.cost(tokens));
        let used = billed.map(|billed| billed.input.saturating_add(billed.output));
        self.settle(now, |kind, taken| match kind {
            LimitKind::Tokens => used.unwrap_or(taken),
            LimitKind::Money => cost.map_or(taken, NanoUsd::micros),
            _ => taken,
        });
    }

    fn settle(&mut self, now: Instant, used: impl Fn(LimitKind, u64) -> u64) {
        for (kind, taken) in self.taken.drain(..) {
            let units = taken.units();
            taken.settle(now, used(kind, units));
        }
    }
}

/// The most that `call` can use.
fn reserve_for(limits: &AccountLimits, call: &Call) -> Result<Reserve, NoRights> {
    if call.body.is_empty() || call.model.is_none() {
        return Ok(Reserve::REQUEST);
    }
    let has_budget = limits.specs[LimitKind::Money as usize].is_some();
    let prices = has_budget.then_some(&*limits.prices);
    let reserved = reserve(
        call.body.received(),
        limits.output_cap,
        call.model.iter(),
        prices,
    );
    // What a model without a price costs is not known.
    reserved.map_err(|_| NoRights {
        kind: Some(LimitKind::Money),
        retry_after: None,
    })
}
