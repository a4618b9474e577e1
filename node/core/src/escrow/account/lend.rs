//! The lender's side: who gets how much, and what is called in.

use std::collections::btree_map::Entry;
use std::time::Duration;

use crate::Instant;
use crate::escrow::message::{AskLine, GrantLine};
use crate::escrow::seats::Seat;
use crate::escrow::spec::{LeaseClass, LimitId};

use super::Account;
use super::borrow::RESEND;

/// A want is remembered so long; a borrower that still has it says so again before.
const WANT_KEPT: Duration = Duration::from_secs(5);

/// Where the lender has demand of its own, one step lends at most this part of what is ready.
const STEP: u64 = 4;

/// This part of what is lent is spread evenly among those who want some, the rest by what they want.
const EVEN: u64 = 10;

/// What a borrower may say that it has received in a lease that the lender has forgotten.
const TOTAL_MAX: u64 = u64::MAX / 4;

/// What is lent to one borrower.
#[derive(Clone, Debug, Default)]
pub(in crate::escrow) struct Lent {
    /// The borrower's.
    opening: u32,
    granted: u64,
    returned: u64,
    /// What the borrower has received.
    granted_known: u64,
    want: u64,
    want_until: Instant,
    keep_sent: Option<u64>,
    is_due: bool,
    sent_at: Instant,
}

impl Lent {
    /// What the borrower may have.
    pub(in crate::escrow) const fn outstanding(&self) -> u64 {
        self.granted - self.returned
    }

    /// Whether nothing waits to be sent, given or acknowledged.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        !self.is_due && self.granted == self.granted_known && self.wanted(now) == 0
    }

    fn wanted(&self, now: Instant) -> u64 {
        if now < self.want_until { self.want } else { 0 }
    }
}

impl Account {
    /// A borrower's line.
    pub(in crate::escrow) fn receive_ask(&mut self, now: Instant, from: Seat, line: &AskLine) {
        if line.window != self.window {
            return;
        }
        let known = self.lent.get(&from).map(|lent| lent.opening);
        if known.is_some_and(|opening| opening < line.opening) {
            // It began anew, and did so holding nothing: what is not accounted for was lost on the way.
            self.close_lent(now, from);
        } else if known.is_some_and(|opening| opening > line.opening) {
            return;
        }
        let lent = match self.lent.entry(from) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if line.granted != line.returned || line.granted > TOTAL_MAX => return,
            Entry::Vacant(new) => new.insert(Lent {
                opening: line.opening,
                granted: line.granted,
                granted_known: line.granted,
                returned: line.returned,
                ..Lent::default()
            }),
        };
        let returned = line
            .returned
            .saturating_sub(lent.returned)
            .min(lent.outstanding());
        lent.returned += returned;
        self.own.ready += returned;
        let is_news = line.granted > lent.granted_known;
        lent.granted_known = lent.granted_known.max(line.granted.min(lent.granted));
        if line.want > 0 {
            lent.want = line.want;
            lent.want_until = now + WANT_KEPT;
        }
        // An acknowledgement alone is not answered.
        lent.is_due |= line.want > 0 || returned > 0 || !is_news;
    }

    /// Lends to those who want some what this node does not need itself.
    pub(in crate::escrow) fn lend(&mut self, now: Instant) {
        let wanted = self.wanted(now);
        let pool = self.surplus(now);
        if wanted == 0 || pool == 0 {
            return;
        }
        let wants: Vec<(Seat, u64)> = self
            .lent
            .iter()
            .map(|(seat, lent)| (*seat, lent.wanted(now)))
            .filter(|(_, want)| *want > 0)
            .collect();
        let count = wants.len() as u64;
        let mut left = pool;
        for (seat, want) in wants {
            let units = if wanted <= pool {
                want
            } else {
                let by_want = u128::from(pool) * u128::from(want) / u128::from(wanted);
                let by_want = u64::try_from(by_want).unwrap_or(u64::MAX);
                // Rounded up, so that a few units are not withheld from all.
                (by_want - by_want / EVEN + (pool / EVEN).div_ceil(count)).max(1)
            };
            let units = self.free(units.min(want).min(left));
            left -= units;
            self.own.ready -= units;
            if let Some(lent) = self.lent.get_mut(&seat) {
                lent.granted += units;
                lent.want -= units;
                lent.is_due |= units > 0;
            }
        }
    }

    /// What is to be said to borrowers now.
    pub(in crate::escrow) fn grant_lines(
        &mut self,
        now: Instant,
        limit: LimitId,
    ) -> impl Iterator<Item = (Seat, GrantLine)> {
        let calls = self.calls(now);
        let left = match self.class() {
            // What is not yet opened can be.
            LeaseClass::Budget => self.surplus(now) + self.cold,
            LeaseClass::Rate | LeaseClass::Held => self.surplus(now),
        };
        let rested = [&self.own.resting, &self.foreign];
        let next = rested.iter().filter_map(|it| it.next_at()).min();
        let next_millis = match next.map(|at| now.until(at)) {
            Some(span) if left == 0 => u32::try_from(span.as_millis()).unwrap_or(u32::MAX).max(1),
            _ => 0,
        };
        let window = self.window;
        self.lent.iter_mut().filter_map(move |(seat, lent)| {
            let keep = calls.keep(lent.outstanding());
            let is_late = lent.granted != lent.granted_known && now.since(lent.sent_at) >= RESEND;
            let is_called = keep < lent.outstanding() && lent.keep_sent != Some(keep);
            let is_free = keep == u64::MAX && lent.keep_sent.is_some_and(|sent| sent != keep);
            if !lent.is_due && !is_late && !is_called && !is_free {
                return None;
            }
            lent.is_due = false;
            lent.sent_at = now;
            lent.keep_sent = Some(keep);
            let line = GrantLine {
                limit,
                window,
                opening: lent.opening,
                granted: lent.granted,
                returned: lent.returned,
                left,
                next_millis,
                keep,
            };
            Some((*seat, line))
        })
    }

    /// The lease with a borrower is over: what it has not given back was used by now at the latest.
    pub(in crate::escrow) fn close_lent(&mut self, now: Instant, borrower: Seat) {
        let Some(lent) = self.lent.remove(&borrower) else {
            return;
        };
        match self.class().rest() {
            Some(rest) => self.foreign.push(now, lent.outstanding(), rest),
            None => self.own.spent += lent.outstanding(),
        }
    }

    /// The borrowing process has ended: what it held is free, since its requests ended with it.
    pub(in crate::escrow) fn free_lent(&mut self, now: Instant, borrower: Seat) {
        if self.class() != LeaseClass::Held {
            return self.close_lent(now, borrower);
        }
        if let Some(lent) = self.lent.remove(&borrower) {
            self.own.ready += lent.outstanding();
        }
    }

    /// What others want.
    pub(super) fn wanted(&self, now: Instant) -> u64 {
        self.lent.values().map(|lent| lent.wanted(now)).sum()
    }

    /// What can be lent: what is ready beyond this node's own demand, and no more than a quarter where it has any.
    fn surplus(&self, now: Instant) -> u64 {
        let own = self.reserve(now);
        match own {
            0 => self.own.ready,
            _ => self
                .own
                .ready
                .saturating_sub(own)
                .min(self.own.ready.div_ceil(STEP)),
        }
    }

    /// What this node keeps for its own demand before it lends.
    fn reserve(&self, now: Instant) -> u64 {
        self.demand.lasting(now, self.class().reserve())
    }

    /// What this node calls in, and of whom. One look at each borrower.
    fn calls(&self, now: Instant) -> Calls {
        let own = self.reserve(now);
        let alive = self.own.alive() + self.foreign.total();
        let mut calls = Calls {
            short: own.min(self.share).saturating_sub(alive) + self.excess,
            lent: 0,
            is_empty: self.own.ready == 0,
            fewest: u64::MAX,
            part: 0,
        };
        let mut parts = u64::from(own > 0);
        for lent in self.lent.values() {
            let (out, wanted) = (lent.outstanding(), lent.wanted(now));
            calls.lent += out;
            if wanted > 0 {
                calls.fewest = calls.fewest.min(out);
            }
            parts += u64::from(wanted + out > 0);
        }
        calls.part = self.share / parts.max(1);
        calls
    }
}

/// What decides how much each borrower may keep: of all of them together.
#[derive(Clone, Copy, Debug)]
struct Calls {
    /// What the lender lacks of its own share, or has lent beyond a lowered limit.
    short: u64,
    /// What all borrowers have.
    lent: u64,
    /// Whether nothing is ready at the lender.
    is_empty: bool,
    /// The fewest units that a borrower has which wants some.
    fewest: u64,
    /// An equal part for each who has or wants some.
    part: u64,
}

impl Calls {
    /// How much a borrower of `out` units may keep; what it has beyond comes back as it is ready.
    ///
    /// All, unless the lender is short of its own share, or the limit was lowered: then that is called in, from each
    /// borrower in proportion. Or a borrower that has less wants some and there is none: then a quarter a step is, down
    /// to an equal part for each.
    fn keep(self, out: u64) -> u64 {
        if out == 0 {
            return u64::MAX;
        }
        if self.short > 0 {
            let part = (u128::from(self.short) * u128::from(out)).div_ceil(u128::from(self.lent));
            return out.saturating_sub(u64::try_from(part).unwrap_or(u64::MAX));
        }
        if !self.is_empty || self.fewest >= out {
            return u64::MAX;
        }
        self.part.max(out - out.div_ceil(STEP))
    }
}
