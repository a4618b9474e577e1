//! What a second attempt takes of limits, beside the first: as much again of tokens and money, or it is not made.
//!
//! The client's request is one all the same, and its answer one: what counts requests is taken once.

use grapevine_base::limits::LimitKind;
use grapevine_core::Instant;
use grapevine_core::price::NanoUsd;
use grapevine_observe::record::HedgeRecord;

use super::HeldRights;

/// What counts by the call.
const BY_CALL: [LimitKind; 2] = [LimitKind::Tokens, LimitKind::Money];

impl HeldRights {
    /// Takes what a second attempt may use, without waiting for it; false, and nothing is taken, where one limit does not
    /// have it.
    pub(in super::super) fn take_beside(&mut self, now: Instant) -> bool {
        for held in &mut self.held {
            for at in BY_CALL.map(|kind| kind as usize) {
                let units = held.reserved[at];
                let limit = held.purses.limit(LimitKind::ALL[at]);
                let Some(limit) = limit.filter(|_| units > 0) else {
                    continue;
                };
                match limit.purse.take(now, units) {
                    Ok(taken) => held.beside[at] = Some(taken),
                    Err(_) => {
                        self.release_beside(now);
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Gives it back: no second attempt was made.
    pub(in super::super) fn release_beside(&mut self, now: Instant) {
        let all = self.held.iter_mut().flat_map(|held| &mut held.beside);
        for taken in all.filter_map(Option::take) {
            taken.settle(now, 0);
        }
    }

    /// The request is over: what the attempt that lost used stays taken. All of it where nobody reported the prompt.
    pub(super) fn settle_beside(&mut self, now: Instant, hedge: Option<&HedgeRecord>) {
        let loser = hedge.and_then(|hedge| hedge.loser.as_ref());
        for held in &mut self.held {
            for kind in BY_CALL {
                let at = kind as usize;
                let Some(taken) = held.beside[at].take() else {
                    continue;
                };
                let used = loser.map_or(0, |loser| {
                    let used = match kind {
                        LimitKind::Money => loser.cost.map(NanoUsd::micros),
                        _ => loser.input,
                    };
                    used.unwrap_or(held.reserved[at])
                });
                taken.settle(now, used);
            }
        }
    }
}
