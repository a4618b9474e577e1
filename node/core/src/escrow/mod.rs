//! Limits that no store keeps: each node owns rights, and admits from its own alone (escrow).
//!
//! O'Neil, 1986; bounded counters, Balegas et al., 2015. What a limit allows is divided once among the *homes* of the
//! limit, by a list of nodes that all have in their configuration; rights are then lent from home to borrower as demand
//! moves. The sum of what can be used anywhere is never above the limit, whatever is delayed, lost, repeated, cut,
//! crashed, or set back.
//!
//! - **Rates**: a right that was used is ready again a window later, where it was used. So any span of one window
//!   contains at most as many admissions as there are rights: not a bucket's rate and burst, the limit itself.
//! - **Budgets** of a day or a month: a right that was used is gone. What is opened of a share is written down and
//!   witnessed before it is spent, so a crash loses a chunk, and a disk that was set back is found out.
//! - **Concurrency**: a right is held while its request runs.
//!
//! The price: a side that is cut off has the shares of its own homes, and what it borrowed until the lease ends; a
//! node that is lost keeps its share away from the others until it is back (of a rate, one part in as many as the limit
//! has homes), and one that crashed uses its own share of a rate again after [`LeaseClass::Rate`]'s lease and window,
//! meanwhile borrowed rights alone. One that stopped in order has written down what of its shares was free.
//!
//! Reading order: [`spec`] (limits), [`seats`] (who is assigned what), [`purse`] (what request threads see),
//! `cooling`, `account` (one limit at one node), `leases`, [`message`], `standing`, [`store`] and `restart` (what outlives
//! a process), [`calendar`], [`estimate`] (how much to reserve), [`growth`]
//! (streams that outgrow that), and this file, which drives them.
//!
//! Not here: which limits a request falls under, what a token is, sockets, files.

mod account;
mod audit;
pub mod calendar;
mod cooling;
mod demand;
pub mod estimate;
pub mod growth;
mod inbound;
mod leases;
pub mod message;
mod outbound;
mod persist;
pub mod purse;
mod restart;
pub mod seats;
pub mod spec;
mod standing;
pub mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::Instant;
use crate::ids::Generation;

use account::{Account, Opened};
use calendar::{CalendarClock, WallTime};
use leases::Leases;
use message::EscrowMessage;
use persist::Writer;
use purse::Purse;
use seats::{Seat, Seats};
use spec::{LeaseClass, LimitId, LimitSpec};
use standing::Standing;
use store::{StopNote, StoreImage, StoreWrite};

/// How often the driver sends [`EscrowEvent::Tick`].
pub const TICK: Duration = Duration::from_millis(100);

/// How long a request may wait for rights that were asked for, unless its own deadline is sooner.
pub const ASK_WAIT: Duration = Duration::from_secs(1);

/// Limits that a node knows at once.
pub const LIMITS_MAX: usize = 16_384;

/// A limit that was not used for this long, and of which all is at home, is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// A node that nobody answers borrows after this, though it does not know whether its name's generation is the latest.
const ASKING_MAX: Duration = Duration::from_secs(3);

/// There are too many limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {LIMITS_MAX} limits are in use at this node")]
pub struct TooManyLimits;

/// What a node starts with.
#[derive(Clone, Debug, Default)]
pub struct EscrowStart {
    /// The process.
    pub generation: Generation,
    /// What the disk has; the default where there is none.
    pub store: StoreImage,
    /// The wall clock.
    pub wall: WallTime,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EscrowEvent {
    /// A [`TICK`] has passed.
    Tick {
        /// The wall clock.
        wall: WallTime,
    },
    /// A purse is empty, and a request waits.
    Empty(LimitId),
    /// A message from the node in that seat.
    Received(Seat, EscrowMessage),
    /// The write of this number is on the disk, for certain.
    Stored(u64),
    /// The process ends in order: nothing is admitted any more. See [`Escrow::is_stopped`].
    Stop,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EscrowEffect {
    /// To be sent; it may be lost, repeated, late, or overtaken.
    Send(Seat, EscrowMessage),
    /// To be written as one and made durable, then confirmed by [`EscrowEvent::Stored`]. It is repeated until it is.
    Store(StoreWrite),
    /// To be reported to the operator.
    Report(EscrowReport),
}

/// What an operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscrowReport {
    /// The store is older than what other nodes have witnessed. This node's shares of the budgets of this day and this
    /// month are forfeited.
    StoreIsOld,
    /// Most other nodes have another time. Budgets are closed at this node until its clock is right.
    ClockDiffers,
}

/// One node's rights.
#[derive(Debug)]
pub struct Escrow {
    seats: Seats,
    standing: Standing,
    clock: CalendarClock,
    leases: Leases,
    accounts: BTreeMap<LimitId, Known>,
    writer: Writer,
    /// Units that other nodes still hold of an earlier process's loans, by limit.
    adopted: BTreeMap<LimitId, u64>,
    openings: u32,
    has_reported_clock: bool,
    /// What the process before this one left, until it is known that it does not hold.
    note: Option<StopNote>,
    has_stopped: bool,
}

/// A limit that this node knows.
#[derive(Debug)]
struct Known {
    account: Account,
    /// Whether this node knows the limit itself, or from a borrower.
    is_own: bool,
}

impl Escrow {
    /// A node that starts.
    pub fn new(now: Instant, seats: Seats, mut start: EscrowStart) -> Self {
        let generation = start
            .generation
            .max(Generation(start.store.generation.0 + 1));
        let others = seats.len() - 1;
        // Any write notes the process that wrote it.
        let is_first = start.store.generation == Generation(0);
        let store = (start.store.version, is_first);
        Self {
            standing: Standing::new(now, generation, store, others),
            clock: CalendarClock::new(now, start.wall),
            // The first write of this process takes it off the disk.
            note: start.store.stopped.take(),
            has_stopped: false,
            leases: Leases::default(),
            accounts: BTreeMap::new(),
            writer: Writer::new(start.store),
            adopted: BTreeMap::new(),
            openings: 0,
            has_reported_clock: false,
            seats,
        }
    }

    /// The purse of a limit, which becomes known if it was not, or is changed to `spec`. Whoever keeps the purse keeps
    /// the limit from being forgotten.
    ///
    /// # Errors
    /// Where the node knows [`LIMITS_MAX`] others.
    pub fn open(
        &mut self,
        now: Instant,
        limit: LimitId,
        spec: LimitSpec,
    ) -> Result<Arc<Purse>, TooManyLimits> {
        let known = self.know(now, limit, spec, true)?;
        Ok(Arc::clone(&known.account.purse))
    }

    /// Takes an event.
    pub fn handle(&mut self, now: Instant, event: EscrowEvent) -> Vec<EscrowEffect> {
        let mut effects = Vec::new();
        match event {
            // What comes too late could only be lent or lost.
            EscrowEvent::Tick { .. } if self.has_stopped => self.write(now, &mut effects),
            EscrowEvent::Empty(_) | EscrowEvent::Received(..) if self.has_stopped => {}
            EscrowEvent::Tick { wall } => self.tick(now, wall, &mut effects),
            EscrowEvent::Empty(limit) => {
                self.settle(now, limit);
                self.speak(now, &[limit], &mut effects);
            }
            EscrowEvent::Received(from, message) => {
                self.receive(now, from, message, &mut effects);
            }
            EscrowEvent::Stored(number) => self.stored(now, number, &mut effects),
            EscrowEvent::Stop => self.stop(now, &mut effects),
        }
        effects
    }

    /// The number of the window in which this node spends a budget; `None` while its clock is not proven.
    pub fn window(&self, now: Instant, spec: LimitSpec) -> Option<u32> {
        let number = self.clock.read(now).window(spec.window);
        self.clock.is_proven().then_some(number)
    }

    /// How many limits are known.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    fn know(
        &mut self,
        now: Instant,
        limit: LimitId,
        spec: LimitSpec,
        is_own: bool,
    ) -> Result<&mut Known, TooManyLimits> {
        if !self.accounts.contains_key(&limit) {
            if self.accounts.len() >= LIMITS_MAX {
                return Err(TooManyLimits);
            }
            let account = self.new_account(now, limit, spec);
            self.accounts.insert(limit, Known { account, is_own });
        }
        let (homes, share) = self.shares(limit, spec);
        let known = self.accounts.get_mut(&limit).ok_or(TooManyLimits)?;
        let may_change = is_own || !known.is_own;
        let has_window = spec.window == known.account.spec.window;
        if may_change && has_window && spec != known.account.spec {
            known.account.resize(spec, homes, share);
        }
        known.is_own |= is_own;
        Ok(known)
    }

    fn new_account(&mut self, now: Instant, limit: LimitId, spec: LimitSpec) -> Account {
        let (homes, share) = self.shares(limit, spec);
        let window = self.clock.read(now).window(spec.window);
        self.openings += 1;
        let opened = Opened {
            spec,
            window,
            homes,
            share,
            spent: self.writer.image().opened(limit, spec.window, window),
            opening: self.openings,
        };
        let mut account = Account::new(now, opened);
        if spec.window.class() == LeaseClass::Held {
            let held = self.adopted.remove(&limit).unwrap_or(0);
            account.adopt_strays(now, held);
        }
        account
    }

    /// The other homes of a limit, and this node's share.
    fn shares(&self, limit: LimitId, spec: LimitSpec) -> (Vec<(Seat, u64)>, u64) {
        let mut homes = self.seats.homes(limit, spec.amount);
        let own = self.seats.own();
        let own = homes.iter().position(|(seat, _)| *seat == own);
        let share = own.map_or(0, |at| homes.remove(at).1);
        (homes, share)
    }

    fn tick(&mut self, now: Instant, wall: WallTime, effects: &mut Vec<EscrowEffect>) {
        if self.clock.follow(now, wall) {
            self.standing.forget_agreement();
        }
        for (class, seat) in self.leases.lapse(now) {
            self.void_loans(now, class, seat);
        }
        for (class, seat) in self.leases.reclaim(now) {
            self.each_of(class, |account| account.close_lent(now, seat));
        }
        self.start(now, effects);
        self.forget(now);
        let wall = self.clock.read(now);
        let number = |account: &Account| wall.window(account.spec.window);
        let is_loud = |(limit, known): (&LimitId, &Known)| {
            let account = &known.account;
            let warms = account.cold() > 0 && account.class() != LeaseClass::Budget;
            let rolls = number(account) > account.window;
            (warms || rolls || !account.is_quiet(now)).then_some(*limit)
        };
        let loud: Vec<LimitId> = self.accounts.iter().filter_map(is_loud).collect();
        for limit in &loud {
            self.settle(now, *limit);
        }
        self.speak(now, &loud, effects);
        self.renew(now, effects);
        self.write(now, effects);
    }

    /// Sees what happened to one limit, and decides what to give back, borrow and lend.
    fn settle(&mut self, now: Instant, limit: LimitId) {
        let Some(known) = self.accounts.get(&limit) else {
            return;
        };
        let class = known.account.class();
        let withheld = self.withheld(now, class, limit);
        let Some(Known { account, .. }) = self.accounts.get_mut(&limit) else {
            return;
        };
        account.collect(now);
        let wall = self.clock.read(now);
        let is_budget = class == LeaseClass::Budget;
        if is_budget && !self.clock.is_proven() {
            account.withdraw_all();
            return;
        }
        // Before anything is published again: the window may have ended since the last tick.
        roll(account, limit, wall, &self.writer);
        if let Some(withheld) = withheld {
            account.warm(withheld);
        }
        let is_asking = self.standing.is_asking() && now.since(self.standing.started) < ASKING_MAX;
        account.give_back(now);
        if !is_asking {
            account.borrow(now, self.seats.own());
        }
        account.lend(now);
        let chunk = account.chunk(now);
        if chunk > 0 && self.standing.is_settled() {
            self.writer.open_chunk(limit, account, chunk);
        }
        let until = match is_budget {
            true => now + wall.until_next(account.spec.window),
            false => now + Duration::from_secs(3_600),
        };
        let leases = &self.leases;
        account.publish(until, now, |seat| leases.until((class, seat)));
    }

    /// What was borrowed of `lender` is void.
    fn void_loans(&mut self, now: Instant, class: LeaseClass, lender: Seat) {
        self.each_of(class, |account| {
            account.collect(now);
            account.void_loan(lender);
        });
    }

    fn each_of(&mut self, class: LeaseClass, mut act: impl FnMut(&mut Account)) {
        let all = self.accounts.values_mut();
        let of_class = all.filter(|known| known.account.class() == class);
        of_class.for_each(|known| act(&mut known.account));
    }

    fn forget(&mut self, now: Instant) {
        self.accounts.retain(|_, known| {
            let account = &known.account;
            let is_idle = now.since(account.used_at) > FORGOTTEN_AFTER;
            let has_state = account.class() == LeaseClass::Budget && account.share() > 0;
            !is_idle || has_state || !account.is_pristine()
        });
    }
}

/// Begins the calendar's next window where it has come.
fn roll(account: &mut Account, limit: LimitId, wall: WallTime, writer: &Writer) {
    let number = wall.window(account.spec.window);
    if number > account.window {
        let spent = writer.image().opened(limit, account.spec.window, number);
        account.roll(number, spent);
    }
}
