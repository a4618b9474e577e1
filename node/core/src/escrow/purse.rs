//! The rights that request threads may take at once: a few atomic numbers, no lock, no message.
//!
//! Relaxed order throughout, as in [`crate::limit`]: each number is an amount, none guards other memory, and every
//! change of one is a single read-modify-write. Whoever takes a unit takes it from the only number that holds it; the
//! escrow sees at its next tick how many are gone, and counts them as used then: late, never early.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Instant;

use super::spec::{LeaseClass, LimitSpec, LimitWindow, MINUTE};

/// How many of the bits of `Purse::returned` are the epoch.
const EPOCH_BITS: u32 = 16;

/// The others: 281 million of a currency's units, in millionths.
const UNITS: u64 = u64::MAX >> EPOCH_BITS;

/// What of one limit this node may admit without asking.
#[derive(Debug)]
pub struct Purse {
    window: LimitWindow,
    /// Units to take.
    balance: AtomicU64,
    /// Nobody takes any from then on, in nanoseconds since the start: a lease may have ended.
    valid_until: AtomicU64,
    /// Units reserved and not used, for the escrow to collect, below an epoch in the upper [`EPOCH_BITS`]: both change
    /// in one step. Reservations of an earlier epoch return nothing: what they were taken from is no longer this
    /// node's.
    returned: AtomicU64,
    /// Units that were asked for and not there, for the escrow to collect.
    refused: AtomicU64,
    /// The most that one request asked for in vain.
    refused_most: AtomicU64,
    /// Units used beyond their reservation, for the escrow to collect.
    overdrawn: AtomicU64,
    figures: PublishedFigures,
}

/// What the escrow last published for answers.
#[derive(Debug, Default)]
struct PublishedFigures {
    amount: AtomicU64,
    /// Units that other nodes may lend, as far as is known.
    elsewhere: AtomicU64,
    /// When the next units are ready, and how many; 0 where none are known to be.
    next_at: AtomicU64,
    next: AtomicU64,
    /// When all are ready that are resting.
    full_at: AtomicU64,
}

/// What a client is told of its limit: `x-ratelimit-*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitFigures {
    /// The whole limit.
    pub limit: u64,
    /// What is left of it: here, and as far as is known at the others.
    pub remaining: u64,
    /// What is left of it here.
    pub here: u64,
    /// Until it is whole again, if nothing is used meanwhile.
    pub reset: Duration,
}

/// There were not as many units as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurseEmpty {
    /// Other nodes may have some, or some were given back here and are not collected yet: a request that waits for [`super::ASK_WAIT`] may be admitted.
    pub may_wait: bool,
    /// After this the units are there, if nobody else takes them first.
    pub retry_after: Duration,
}

/// What a settled reservation was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// No more was used than was reserved, or than could still be taken.
    Covered,
    /// So many units more were used: they are taken from the next that are ready.
    Overdrawn(u64),
}

/// What happened to a purse since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PurseUse {
    pub(super) returned: u64,
    pub(super) refused: u64,
    pub(super) refused_most: u64,
    pub(super) overdrawn: u64,
}

/// What the escrow publishes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outlook {
    pub(super) amount: u64,
    pub(super) elsewhere: u64,
    pub(super) next: Option<(Instant, u64)>,
    pub(super) full_at: Option<Instant>,
}

impl Purse {
    pub(super) fn new(spec: LimitSpec) -> Self {
        let purse = Self {
            window: spec.window,
            balance: AtomicU64::new(0),
            valid_until: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refused_most: AtomicU64::new(0),
            overdrawn: AtomicU64::new(0),
            figures: PublishedFigures::default(),
        };
        purse.figures.amount.store(spec.amount, Relaxed);
        purse
    }

    /// Takes `units` for a request.
    ///
    /// # Errors
    /// Where fewer are there; then none is taken. It is counted as unmet demand: a request that tries again after a
    /// wait does so with [`Purse::take_again`].
    pub fn take(self: &Arc<Self>, now: Instant, units: u64) -> Result<Reservation, PurseEmpty> {
        self.take_again(now, units)
            .inspect_err(|_| self.count_refused(units))
    }

    /// Takes `units` for a request that was counted before.
    ///
    /// # Errors
    /// Where fewer are there.
    pub fn take_again(
        self: &Arc<Self>,
        now: Instant,
        units: u64,
    ) -> Result<Reservation, PurseEmpty> {
        // Read before the units are taken: if the epoch changes in between, the reservation returns nothing.
        let epoch = self.epoch();
        if !self.subtract(now, units) {
            return Err(self.empty(now, units));
        }
        Ok(Reservation {
            purse: Arc::clone(self),
            units,
            epoch,
            taken_at: now,
        })
    }

    /// What to tell a client.
    pub fn figures(&self, now: Instant) -> LimitFigures {
        let limit = self.figures.amount.load(Relaxed);
        let here = self.balance.load(Relaxed);
        let elsewhere = self.figures.elsewhere.load(Relaxed);
        LimitFigures {
            limit,
            here,
            remaining: here.saturating_add(elsewhere).min(limit),
            reset: now.until(instant(self.figures.full_at.load(Relaxed))),
        }
    }

    fn count_refused(&self, units: u64) {
        self.refused.fetch_add(units, Relaxed);
        self.refused_most.fetch_max(units, Relaxed);
    }

    fn subtract(&self, now: Instant, units: u64) -> bool {
        if nanos(now) >= self.valid_until.load(Relaxed) {
            return false;
        }
        let left = |balance: u64| balance.checked_sub(units);
        self.balance.fetch_update(Relaxed, Relaxed, left).is_ok()
    }

    fn empty(&self, now: Instant, units: u64) -> PurseEmpty {
        let here = self.balance.load(Relaxed);
        let next = self.figures.next.load(Relaxed);
        let at = if here.saturating_add(next) >= units && next > 0 {
            &self.figures.next_at
        } else {
            &self.figures.full_at
        };
        let until = now.until(instant(at.load(Relaxed)));
        let has_returned = self.returned.load(Relaxed) & UNITS > 0;
        PurseEmpty {
            may_wait: self.figures.elsewhere.load(Relaxed) > 0 || has_returned,
            // A client that retries at once would only be refused again.
            retry_after: until.max(RETRY_AFTER_MIN),
        }
    }

    /// Units that could be taken at this moment.
    pub(super) fn takeable(&self, now: Instant) -> u64 {
        match nanos(now) < self.valid_until.load(Relaxed) {
            true => self.balance(),
            false => 0,
        }
    }

    /// Units that are not taken.
    pub(super) fn balance(&self) -> u64 {
        self.balance.load(Relaxed)
    }

    /// Whether anything waits to be collected.
    pub(super) fn has_use(&self) -> bool {
        let returned = self.returned.load(Relaxed) & UNITS;
        let other = self.refused.load(Relaxed) | self.overdrawn.load(Relaxed);
        returned | other > 0
    }

    /// Takes what waits to be collected.
    pub(super) fn collect(&self) -> PurseUse {
        PurseUse {
            returned: self.returned.fetch_and(!UNITS, Relaxed) & UNITS,
            refused: self.refused.swap(0, Relaxed),
            refused_most: self.refused_most.swap(0, Relaxed),
            overdrawn: self.overdrawn.swap(0, Relaxed),
        }
    }

    pub(super) fn deposit(&self, units: u64) {
        self.balance.fetch_add(units, Relaxed);
    }

    /// Takes out up to `max` units, and says how many.
    pub(super) fn withdraw(&self, max: u64) -> u64 {
        let less = |balance: u64| (balance > 0).then(|| balance.saturating_sub(max));
        let before = self.balance.fetch_update(Relaxed, Relaxed, less);
        before.map_or(0, |balance| balance.min(max))
    }

    pub(super) fn set_valid_until(&self, at: Instant) {
        self.valid_until.store(nanos(at), Relaxed);
    }

    /// From now on, earlier reservations return nothing.
    pub(super) fn begin_epoch(&self) {
        let next = |returned: u64| Some((returned & !UNITS).wrapping_add(UNITS + 1));
        // The function never declines.
        let _ = self.returned.fetch_update(Relaxed, Relaxed, next);
    }

    fn epoch(&self) -> u64 {
        self.returned.load(Relaxed) & !UNITS
    }

    pub(super) fn publish(&self, outlook: Outlook) {
        let (next_at, next) = outlook.next.unwrap_or_default();
        self.figures.amount.store(outlook.amount, Relaxed);
        self.figures.elsewhere.store(outlook.elsewhere, Relaxed);
        self.figures.next_at.store(nanos(next_at), Relaxed);
        self.figures.next.store(next, Relaxed);
        let full_at = outlook.full_at.unwrap_or_default();
        self.figures.full_at.store(nanos(full_at), Relaxed);
    }
}

/// The least time after which a refused client is told to come again.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);

/// Units taken for one request. Dropped without being settled, all of them count as used; those of a limit on
/// concurrency are free again.
#[derive(Debug)]
pub struct Reservation {
    purse: Arc<Purse>,
    units: u64,
    epoch: u64,
    taken_at: Instant,
}

impl Reservation {
    /// How many.
    pub const fn units(&self) -> u64 {
        self.units
    }

    /// Takes `units` more, before more is used: a stream grows.
    ///
    /// # Errors
    /// Where fewer are there: the stream must end, or its use is overdrawn.
    pub fn extend(&mut self, now: Instant, units: u64) -> Result<(), PurseEmpty> {
        if self.purse.epoch() != self.epoch || !self.purse.subtract(now, units) {
            self.purse.count_refused(units);
            return Err(self.purse.empty(now, units));
        }
        self.units += units;
        Ok(())
    }

    /// The request is over, and used `used` units.
    ///
    /// What was not used is returned, unless a minute has passed since it was taken: then it is ready already.
    pub fn settle(mut self, now: Instant, used: u64) -> Settled {
        let units = std::mem::take(&mut self.units);
        if let Some(more) = used.checked_sub(units).filter(|more| *more > 0) {
            if self.purse.subtract(now, more) {
                return Settled::Covered;
            }
            self.purse.overdrawn.fetch_add(more, Relaxed);
            return Settled::Overdrawn(more);
        }
        let is_resting =
            self.purse.window != LimitWindow::Minute || now.since(self.taken_at) < MINUTE;
        if is_resting {
            self.give_back(units - used);
        }
        Settled::Covered
    }

    fn give_back(&self, units: u64) {
        // Where they do not fit, or the epoch is over, they stay used.
        let more = |returned: u64| {
            let sum = (returned & UNITS).checked_add(units)?;
            (returned & !UNITS == self.epoch && sum <= UNITS).then_some(self.epoch | sum)
        };
        let _ = self.purse.returned.fetch_update(Relaxed, Relaxed, more);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.purse.window.class() == LeaseClass::Held {
            self.give_back(self.units);
        }
    }
}

fn nanos(at: Instant) -> u64 {
    u64::try_from(at.since_start().as_nanos()).unwrap_or(u64::MAX)
}

const fn instant(nanos: u64) -> Instant {
    Instant::from_start(Duration::from_nanos(nanos))
}
