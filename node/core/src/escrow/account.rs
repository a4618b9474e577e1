//! One limit at one node: the rights it holds of its own and of others, and those it lent.
//!
//! Invariant: what a home was assigned is at all times the sum of its cold, ready, resting and spent rights and of what
//! it lent; and what a borrower holds of a loan is never more than the home counts as lent, since the home subtracts
//! before it sends and the borrower before it returns.

mod borrow;
mod change;
mod lend;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::Instant;

use super::cooling::Cooling;
use super::demand::Demand;
use super::purse::{Outlook, Purse};
use super::seats::Seat;
use super::spec::{LeaseClass, LimitSpec};

pub(super) use borrow::Loan;
pub(super) use lend::Lent;

/// A purse that the escrow did not look at for so long admits nothing: the node is stuck.
const PURSE_VALID: Duration = Duration::from_secs(5);

/// Rights by what may be done with them.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights {
    pub(super) ready: u64,
    /// Used, and ready again later; empty for budgets.
    pub(super) resting: Cooling,
    /// Used for good; 0 but for budgets.
    pub(super) spent: u64,
}

impl Rights {
    /// Uses up to `max`, and says how many.
    fn spend(&mut self, now: Instant, max: u64, class: LeaseClass) -> u64 {
        let units = self.ready.min(max);
        self.ready -= units;
        match class.rest() {
            Some(rest) => self.resting.push(now, units, rest),
            None => self.spent += units,
        }
        units
    }

    /// What can still be used, now or later.
    fn alive(&self) -> u64 {
        self.ready + self.resting.total()
    }
}

/// A limit that becomes known.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) spec: LimitSpec,
    /// The window of the calendar; 0 for others.
    pub(super) window: u32,
    /// The nodes among which it is shared, with their shares, this one left out.
    pub(super) homes: Vec<(Seat, u64)>,
    /// What this node was assigned.
    pub(super) share: u64,
    /// What of it is gone.
    pub(super) spent: u64,
    /// Unique in this process.
    pub(super) opening: u32,
}

/// One limit at one node.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) spec: LimitSpec,
    /// The window of the calendar; 0 for others.
    pub(super) window: u32,
    pub(super) purse: Arc<Purse>,
    /// The purse's balance as this left it.
    published: u64,
    /// What this node was assigned.
    share: u64,
    pub(super) own: Rights,
    /// Of this node's, used elsewhere under leases that are over: ready again when that must be past. Apart from what
    /// its own requests use, since the end of one of those says nothing of these.
    foreign: Cooling,
    /// Assigned, and not to be used yet: an earlier process may have; or, of a budget, not yet written down.
    cold: u64,
    /// Of a budget: what was ever opened in this window.
    opened: u64,
    /// Of a budget: what is being written down.
    pub(super) opening_chunk: u64,
    /// Used beyond a reservation: to be counted as used as soon as some is ready.
    debt: u64,
    /// Assigned before the limit was lowered: to be taken away as soon as some is ready.
    excess: u64,
    /// Held by requests, of loans that no longer are.
    strays: BTreeMap<Seat, u64>,
    loans: BTreeMap<Seat, Loan>,
    lent: BTreeMap<Seat, Lent>,
    demand: Demand,
    /// The nodes among which the limit is shared, with their shares, this one left out.
    homes: Vec<(Seat, u64)>,
    /// Tells this account from one of the same limit that was forgotten.
    opening: u32,
    pub(super) used_at: Instant,
    published_at: Instant,
}

impl Account {
    /// A limit that was not known before: what this node has of it is cold.
    pub(super) fn new(now: Instant, opened: Opened) -> Self {
        let Opened {
            spec,
            window,
            homes,
            share,
            spent,
            opening,
        } = opened;
        let own = Rights {
            spent: spent.min(share),
            ..Rights::default()
        };
        Self {
            spec,
            window,
            purse: Arc::new(Purse::new(spec)),
            published: 0,
            share,
            foreign: Cooling::default(),
            cold: share - own.spent,
            opened: own.spent,
            own,
            opening_chunk: 0,
            debt: 0,
            excess: 0,
            strays: BTreeMap::new(),
            loans: BTreeMap::new(),
            lent: BTreeMap::new(),
            demand: Demand::default(),
            homes,
            opening,
            used_at: now,
            published_at: Instant::START,
        }
    }

    pub(super) const fn class(&self) -> LeaseClass {
        self.spec.window.class()
    }

    /// What this node was assigned.
    pub(super) const fn share(&self) -> u64 {
        self.share
    }

    /// Of a budget: what was ever opened in this window.
    pub(super) const fn opened(&self) -> u64 {
        self.opened
    }

    /// Sees what the request threads did, and what has rested.
    pub(super) fn collect(&mut self, now: Instant) {
        let class = self.class();
        let seen = self.purse.collect();
        let balance = self.purse.balance();
        let taken = self.published.saturating_sub(balance);
        self.published = balance;
        self.spend(now, taken);
        self.refund(seen.returned);
        self.debt += seen.overdrawn;
        if taken > 0 || seen.refused > 0 {
            self.used_at = now;
            self.demand.see(now, taken, seen);
        }
        if class != LeaseClass::Budget {
            self.own.ready += self.own.resting.take_ready(now) + self.foreign.take_ready(now);
            for loan in self.loans.values_mut() {
                loan.rights.ready += loan.rights.resting.take_ready(now);
            }
        }
        self.pay(now);
    }

    /// Whether a look at it would change nothing.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let rights = self.loans.values().map(|loan| &loan.rights);
        self.purse.balance() == self.published
            && !self.purse.has_use()
            && self.published == self.ready()
            && self.debt + self.excess == 0
            && self.loans.values().all(Loan::is_settled)
            && self.lent.values().all(|lent| lent.is_settled(now))
            && !is_due(self.own.resting.next_at())
            && !is_due(self.foreign.next_at())
            && !rights.clone().any(|it| is_due(it.resting.next_at()))
            && now.since(self.used_at) > borrow::SURPLUS_KEPT
            && now.since(self.published_at) < PURSE_VALID / 5
    }

    /// Publishes all that is ready, to be taken until the first lease ends by which some of it is borrowed.
    ///
    /// `until` is the end of the window.
    pub(super) fn publish(
        &mut self,
        until: Instant,
        now: Instant,
        lease_end: impl Fn(Seat) -> Option<Instant>,
    ) {
        let ready = self.ready();
        if self.published < ready {
            self.purse.deposit(ready - self.published);
            self.published = ready;
        }
        let used = self.loans.iter().filter(|(_, loan)| loan.rights.ready > 0);
        let ends = used.filter_map(|(seat, _)| lease_end(*seat));
        let until = ends.fold(until.min(now + PURSE_VALID), Instant::min);
        self.purse.set_valid_until(until);
        self.published_at = now;
        self.purse.publish(self.outlook());
    }

    /// What is ready, published or not.
    pub(super) fn ready(&self) -> u64 {
        let borrowed = self.loans.values().map(|loan| loan.rights.ready);
        self.own.ready + borrowed.sum::<u64>()
    }

    /// An earlier process may have used no more than `withheld`: what is cold beyond that is ready.
    pub(super) fn warm(&mut self, withheld: u64) {
        if self.class() != LeaseClass::Budget {
            let free = self.cold.saturating_sub(withheld);
            self.cold -= free;
            self.own.ready += free;
        }
    }

    /// The process ends: takes everything back from requests, and says what of this node's own is free.
    pub(super) fn close(&mut self, now: Instant) -> u64 {
        self.withdraw_all();
        self.collect(now);
        self.own.ready.saturating_sub(self.debt + self.excess)
    }

    /// Units that are assigned and cold.
    pub(super) const fn cold(&self) -> u64 {
        self.cold
    }

    /// The calendar is closed: nothing may be taken.
    pub(super) fn withdraw_all(&mut self) {
        self.published -= self.purse.withdraw(u64::MAX).min(self.published);
    }

    /// Units that requests hold of loans which `lender`'s earlier process gave.
    pub(super) fn strays_of(&self, lender: Seat) -> u64 {
        self.strays.get(&lender).copied().unwrap_or(0)
    }

    /// Requests elsewhere hold `units` that an earlier process of this node lent.
    pub(super) fn adopt_strays(&mut self, now: Instant, units: u64) {
        let units = units.min(self.cold);
        self.cold -= units;
        if let Some(rest) = self.class().rest() {
            self.foreign.push(now, units, rest);
        }
    }

    /// Whether all is as if the limit had never been used, so that it can be forgotten.
    pub(super) fn is_pristine(&self) -> bool {
        self.own.ready + self.cold == self.share
            && self.debt + self.excess == 0
            && self.strays.is_empty()
            && self.loans.values().all(|loan| loan.rights.alive() == 0)
            && self.lent.values().all(|lent| lent.outstanding() == 0)
            && Arc::strong_count(&self.purse) == 1
    }

    /// What became of all that this node was assigned; equal to its share, for checkers.
    pub(super) fn accounted(&self) -> u64 {
        let lent = self.lent.values().map(Lent::outstanding).sum::<u64>();
        (self.cold + self.foreign.total() + self.own.alive() + self.own.spent + lent)
            .saturating_sub(self.excess)
    }

    /// Marks `taken` units as used now: this node's own first, so that borrowed ones can go back.
    fn spend(&mut self, now: Instant, taken: u64) {
        let class = self.class();
        let mut left = taken - self.own.spend(now, taken, class);
        for loan in self.loans.values_mut() {
            left -= loan.rights.spend(now, left, class);
        }
        // What is left was taken from a loan in the moment in which its lease ended: its lender counts it.
    }

    /// Reserved units were not used.
    fn refund(&mut self, units: u64) {
        let mut left = units;
        if self.class() == LeaseClass::Budget {
            let loans = self.loans.values_mut().map(|loan| &mut loan.rights);
            for rights in loans.chain([&mut self.own]) {
                let back = rights.spent.min(left);
                rights.spent -= back;
                rights.ready += back;
                left -= back;
            }
            return;
        }
        while left > 0
            && let Some(rights) = self.oldest()
        {
            let Some((_, units)) = rights.resting.next() else {
                break;
            };
            let back = rights.resting.take_oldest(left.min(units));
            rights.ready += back;
            left -= back;
        }
        // What is left was held of loans that no longer are.
        for strays in self.strays.values_mut() {
            let back = (*strays).min(left);
            *strays -= back;
            left -= back;
        }
        self.strays.retain(|_, units| *units > 0);
    }

    /// The rights among which is the one that was used the longest ago.
    fn oldest(&mut self) -> Option<&mut Rights> {
        let loans = self.loans.values_mut().map(|loan| &mut loan.rights);
        let all = loans.chain([&mut self.own]);
        all.filter(|rights| rights.resting.total() > 0)
            .min_by_key(|rights| rights.resting.next_at())
    }

    /// Subtracts what is owed from what is ready.
    fn pay(&mut self, now: Instant) {
        if self.debt > 0 {
            let used = self.free(self.debt);
            self.debt -= used;
            self.spend(now, used);
        }
        if self.excess > 0 {
            let gone = self.free(self.excess.min(self.own.ready));
            self.excess -= gone;
            self.own.ready -= gone;
        }
    }

    /// Makes sure that up to `units` of what is ready cannot be taken, and says how many.
    fn free(&mut self, units: u64) -> u64 {
        let unpublished = self.ready().saturating_sub(self.published);
        if unpublished < units {
            let withdrawn = self.purse.withdraw(units - unpublished);
            self.published -= withdrawn.min(self.published);
        }
        self.ready().saturating_sub(self.published).min(units)
    }

    fn outlook(&self) -> Outlook {
        let loans = self.loans.values().map(|loan| &loan.rights.resting);
        let all = loans.chain([&self.own.resting, &self.foreign]);
        let next = all.clone().filter_map(Cooling::next).min();
        Outlook {
            amount: self.spec.amount,
            elsewhere: self.elsewhere(),
            next: next.or_else(|| self.next_elsewhere()),
            full_at: all.filter_map(Cooling::last_at).max(),
        }
    }
}
