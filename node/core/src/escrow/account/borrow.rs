//! The borrower's side: what to ask of whom, and what to give back.

use std::time::Duration;

use crate::Instant;
use crate::escrow::message::{AskLine, GrantLine};
use crate::escrow::seats::Seat;
use crate::escrow::spec::{LeaseClass, LimitId};

use super::{Account, Rights};

/// How far ahead a node borrows for the demand that it sees.
pub(super) const AHEAD: Duration = Duration::from_secs(2);

/// Of a budget, a node borrows at most this part of the whole limit, or as much as one request needs: what it holds is
/// lost when it crashes.
const BUDGET_PARTS: u64 = 64;

/// Ready rights beyond the demand of this span go back.
pub(super) const SURPLUS_KEPT: Duration = Duration::from_secs(4);

/// A lender that has some is asked again after this.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// One that has none.
const ASK_EMPTY: Duration = Duration::from_secs(4);

/// What was not acknowledged is sent again after this.
pub(super) const RESEND: Duration = Duration::from_millis(500);

/// What is borrowed of one lender.
#[derive(Clone, Debug)]
pub(in crate::escrow) struct Loan {
    pub(super) rights: Rights,
    granted: u64,
    returned: u64,
    /// What the lender has received back.
    returned_known: u64,
    /// What may be kept.
    keep: u64,
    /// What the lender could still lend; `None` before it said.
    left: Option<u64>,
    /// When it will have some.
    next_at: Option<Instant>,
    ask_after: Instant,
    want: u64,
    is_due: bool,
    sent_at: Instant,
}

impl Default for Loan {
    fn default() -> Self {
        Self {
            rights: Rights::default(),
            granted: 0,
            returned: 0,
            returned_known: 0,
            keep: u64::MAX,
            left: None,
            next_at: None,
            ask_after: Instant::START,
            want: 0,
            is_due: false,
            sent_at: Instant::START,
        }
    }
}

impl Loan {
    /// Whether nothing waits to be sent, given back or acknowledged.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_due && self.returned == self.returned_known
    }

    /// What the lender said that it had.
    pub(super) fn left(&self) -> Option<u64> {
        self.left
    }
}

impl Account {
    /// Decides how much to ask of whom: enough for the demand of [`AHEAD`], of those first that are believed to have
    /// some. Each node begins the round at another lender.
    pub(in crate::escrow) fn borrow(&mut self, now: Instant, own: Seat) {
        let need = self.need(now, AHEAD);
        let mut want = need.saturating_sub(self.ready());
        let count = self.homes.len();
        if want == 0 || count == 0 {
            return;
        }
        let even = want.div_ceil(count as u64);
        for step in 0..count {
            let (seat, share) = self.homes[(usize::from(own.0) + step) % count];
            let loan = self.loans.entry(seat).or_default();
            if now < loan.ask_after {
                continue;
            }
            let left = loan.left.unwrap_or(share);
            if left > 0 {
                loan.want = want.min(left);
                loan.left = Some(left - loan.want);
                loan.ask_after = now + ASK_AGAIN;
                want -= loan.want;
            } else {
                loan.want = even;
                loan.ask_after = now + ASK_EMPTY;
            }
            loan.is_due = true;
            if want == 0 {
                return;
            }
        }
    }

    fn need(&self, now: Instant, span: Duration) -> u64 {
        let need = self.demand.within(now, span);
        if self.class() != LeaseClass::Budget {
            return need;
        }
        let part = self.spec.amount.div_ceil(BUDGET_PARTS);
        need.min(part.max(self.demand.unmet_most(now)))
    }

    /// Gives back what is ready and not needed, and what its lender calls in.
    pub(in crate::escrow) fn give_back(&mut self, now: Instant) {
        let need = self.need(now, SURPLUS_KEPT);
        let mut surplus = self.ready().saturating_sub(need);
        let seats: Vec<Seat> = self.loans.keys().copied().collect();
        for seat in seats {
            let Some(loan) = self.loans.get(&seat) else {
                continue;
            };
            let called = loan.rights.alive().saturating_sub(loan.keep);
            let units = called.max(surplus).min(loan.rights.ready);
            if units == 0 {
                continue;
            }
            let units = self.free(units);
            if let Some(loan) = self.loans.get_mut(&seat) {
                loan.rights.ready -= units;
                loan.returned += units;
                loan.is_due = true;
            }
            surplus = surplus.saturating_sub(units);
        }
    }

    /// A lender's line. One that says more than the lender was assigned is a lie, or of another configuration.
    pub(in crate::escrow) fn receive_grant(&mut self, now: Instant, from: Seat, line: &GrantLine) {
        if line.window != self.window || line.opening != self.opening {
            return;
        }
        let share = self.homes.iter().find(|(seat, _)| *seat == from);
        let (Some(loan), Some((_, share))) = (self.loans.get_mut(&from), share) else {
            return;
        };
        let is_more = line.granted > loan.granted;
        if is_more && line.granted.saturating_sub(loan.returned) > *share {
            return;
        }
        let granted = line.granted.saturating_sub(loan.granted);
        loan.granted += granted;
        loan.rights.ready += granted;
        // Whatever it says is acknowledged, that the lender need not say it again.
        loan.is_due |= granted > 0;
        loan.want = loan.want.saturating_sub(granted);
        loan.returned_known = loan.returned_known.max(line.returned).min(loan.returned);
        loan.keep = line.keep;
        loan.left = Some(line.left);
        let next = Duration::from_millis(line.next_millis.into());
        loan.next_at = (line.next_millis > 0).then(|| now + next);
        let wait = match line.left {
            0 if line.next_millis > 0 => next.clamp(ASK_AGAIN, ASK_EMPTY),
            0 => ASK_EMPTY,
            _ => Duration::ZERO,
        };
        loan.ask_after = now + wait;
    }

    /// What is to be said to lenders now.
    pub(in crate::escrow) fn ask_lines(
        &mut self,
        now: Instant,
        limit: LimitId,
    ) -> impl Iterator<Item = (Seat, AskLine)> {
        let (spec, window, opening) = (self.spec, self.window, self.opening);
        self.loans.iter_mut().filter_map(move |(seat, loan)| {
            let is_late = loan.returned != loan.returned_known && now.since(loan.sent_at) >= RESEND;
            if !loan.is_due && !is_late {
                return None;
            }
            loan.is_due = false;
            loan.sent_at = now;
            let line = AskLine {
                limit,
                spec,
                window,
                opening,
                granted: loan.granted,
                returned: loan.returned,
                want: std::mem::take(&mut loan.want),
            };
            Some((*seat, line))
        })
    }

    /// The lenders of whom something is held.
    pub(in crate::escrow) fn creditors(&self) -> impl Iterator<Item = Seat> {
        let held = self
            .loans
            .iter()
            .filter(|(_, loan)| loan.rights.alive() > 0);
        held.map(|(seat, _)| *seat)
    }

    /// The lease with a lender is over: what was borrowed is the lender's, and it counts all of it as used.
    pub(in crate::escrow) fn void_loan(&mut self, lender: Seat) {
        let Some(loan) = self.loans.get_mut(&lender) else {
            return;
        };
        // What the lender said that it has is still the best guess.
        let hint = Loan {
            left: loan.left,
            next_at: loan.next_at,
            ask_after: loan.ask_after,
            ..Loan::default()
        };
        let loan = std::mem::replace(loan, hint);
        let ready = self.ready();
        if self.published > ready {
            let withdrawn = self.purse.withdraw(self.published - ready);
            self.published -= withdrawn;
        }
        let used = loan.rights.resting.total();
        match self.class() {
            // Requests go on, and the lender counts them for as long as a request may last.
            LeaseClass::Held if used > 0 => *self.strays.entry(lender).or_default() += used,
            LeaseClass::Held => {}
            // A reservation from this loan must not return what is the lender's.
            LeaseClass::Rate | LeaseClass::Budget => {
                if loan.rights.alive() + loan.rights.spent > 0 {
                    self.purse.begin_epoch();
                }
            }
        }
    }

    /// What could be had beyond what is ready here, as far as is known.
    pub(super) fn elsewhere(&self) -> u64 {
        let loan = |seat: &Seat| self.loans.get(seat).and_then(Loan::left);
        let lenders = self.homes.iter();
        let lenders = lenders.map(|(seat, share)| loan(seat).unwrap_or(*share));
        let cold = match self.class() {
            LeaseClass::Budget => self.cold,
            LeaseClass::Rate | LeaseClass::Held => 0,
        };
        lenders.sum::<u64>() + cold
    }

    /// When a lender has said that it will have some.
    pub(super) fn next_elsewhere(&self) -> Option<(Instant, u64)> {
        let next = self.loans.values().filter_map(|loan| loan.next_at).min();
        next.map(|at| (at, 1))
    }
}
