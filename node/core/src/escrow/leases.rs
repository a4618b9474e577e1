//! The leases between this node and each other one, as borrower and as lender.
//!
//! A lease runs from the moment in which the borrower *asked*, by the borrower's clock; the lender lets it run from the
//! moment in which it *answered*, which is later, by its own clock, and a little longer. So the borrower always stops
//! first, whatever the network does and without clocks that agree (Gray and Cheriton, 1989).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::Instant;
use crate::ids::Generation;

use super::message::LeaseName;
use super::seats::Seat;
use super::spec::LeaseClass;

/// A borrower that holds something asks again after this part of the lease, so that three messages may be lost.
const RENEWALS: u32 = 4;

/// Class and node.
pub(super) type LeaseKey = (LeaseClass, Seat);

/// A lender, as its borrower sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Lender {
    /// 0 while it is not known.
    generation: Generation,
    number: u32,
    /// Until when what was borrowed may be used; `None` before the first answer.
    until: Option<Instant>,
    asked_at: Option<Instant>,
}

/// A borrower, as its lender sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Borrower {
    generation: Generation,
    number: u32,
    echo: Duration,
    /// When what was lent counts as used, unless the borrower asks before.
    reclaim_at: Option<Instant>,
    is_closed: bool,
}

/// What a borrower's message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Of the lease that runs.
    Valid,
    /// Of a new lease: the one before has lapsed, and what was lent by it counts as used.
    Renewed,
    /// Of a new process: the one before has ended.
    Restarted,
    /// It does not know this process, or is older than one that is known: it is to be told.
    Tell,
    /// Too late.
    Stale,
}

/// What a lender's message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    /// Of the lease that runs.
    Valid,
    /// From a later process of the lender: what was borrowed of an earlier one is void.
    Restarted,
    /// Too late.
    Stale,
}

/// All leases of a node.
#[derive(Debug, Default)]
pub(super) struct Leases {
    lenders: BTreeMap<LeaseKey, Lender>,
    borrowers: BTreeMap<LeaseKey, Borrower>,
    last_sent: Duration,
}

impl Leases {
    /// The name under which to ask, and when that is; it is remembered that this is asked now.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        own: Generation,
        (class, to): LeaseKey,
    ) -> (LeaseName, Duration) {
        let lender = self.lenders.entry((class, to)).or_default();
        lender.asked_at = Some(now);
        // Two messages of one moment are told apart.
        self.last_sent = (self.last_sent + Duration::from_nanos(1)).max(now.since_start());
        let lease = LeaseName {
            class,
            borrower: own,
            lender: lender.generation,
            number: lender.number,
        };
        (lease, self.last_sent)
    }

    /// The name and echo under which to answer a borrower; `None` where no lease runs.
    pub(super) fn answer(
        &self,
        own: Generation,
        (class, to): LeaseKey,
    ) -> Option<(LeaseName, Duration)> {
        let borrower = self.borrowers.get(&(class, to))?;
        let lease = LeaseName {
            class,
            borrower: borrower.generation,
            lender: own,
            number: borrower.number,
        };
        (!borrower.is_closed).then_some((lease, borrower.echo))
    }

    /// What a borrower knows if it is to be told.
    pub(super) fn known_borrower(&self, key: LeaseKey) -> Generation {
        let borrower = self.borrowers.get(&key);
        borrower.map_or(Generation(0), |borrower| borrower.generation)
    }

    /// The latest process of a node that is known, in either part.
    pub(super) fn known(&self, key: LeaseKey) -> Generation {
        let lender = self.lenders.get(&key);
        let lender = lender.map_or(Generation(0), |lender| lender.generation);
        lender.max(self.known_borrower(key))
    }

    /// Takes a borrower's message.
    pub(super) fn receive_ask(
        &mut self,
        now: Instant,
        own: Generation,
        from: Seat,
        lease: LeaseName,
        sent_at: Duration,
    ) -> Asked {
        let known = self.borrowers.entry((lease.class, from)).or_default();
        if lease.borrower < known.generation || lease.lender < own {
            return Asked::Tell;
        }
        let (asked, runs) = (
            (lease.borrower, lease.number),
            (known.generation, known.number),
        );
        let is_old = asked < runs || asked == runs && (known.is_closed || sent_at < known.echo);
        if lease.lender > own || is_old {
            return Asked::Stale;
        }
        let asked = match asked.cmp(&runs) {
            Ordering::Equal => Asked::Valid,
            _ if lease.borrower > known.generation => Asked::Restarted,
            _ => Asked::Renewed,
        };
        *known = Borrower {
            generation: lease.borrower,
            number: lease.number,
            echo: sent_at,
            reclaim_at: lease.class.reclaim().map(|span| now + span),
            is_closed: false,
        };
        asked
    }

    /// Takes a lender's message.
    pub(super) fn receive_grant(
        &mut self,
        now: Instant,
        own: Generation,
        from: Seat,
        lease: LeaseName,
        echo: Duration,
    ) -> Granted {
        if lease.borrower != own {
            return Granted::Stale;
        }
        let key = (lease.class, from);
        if self.meet_lender(key, lease.lender) {
            return Granted::Restarted;
        }
        let Some(lender) = self.lenders.get_mut(&key) else {
            return Granted::Stale;
        };
        let is_other = (lease.lender, lease.number) != (lender.generation, lender.number);
        if is_other || echo > self.last_sent {
            return Granted::Stale;
        }
        if let Some(span) = lease.class.lease() {
            let until = lender
                .until
                .unwrap_or_default()
                .max(Instant::from_start(echo) + span);
            if until <= now {
                return Granted::Stale;
            }
            lender.until = Some(until);
        }
        Granted::Valid
    }

    /// The process of a lender is this one or a later; true where it is later than the known: what was borrowed is
    /// void.
    pub(super) fn meet_lender(&mut self, key: LeaseKey, generation: Generation) -> bool {
        let lender = self.lenders.entry(key).or_default();
        let is_later = generation > lender.generation;
        if is_later {
            *lender = Lender {
                generation,
                number: lender.number + 1,
                until: None,
                asked_at: None,
            };
        }
        is_later
    }

    /// The process of a borrower is this one or a later; true where it is later than a known one, which has ended.
    pub(super) fn meet_borrower(&mut self, key: LeaseKey, generation: Generation) -> bool {
        let borrower = self.borrowers.entry(key).or_default();
        let is_later = generation > borrower.generation;
        if is_later {
            *borrower = Borrower {
                generation,
                ..Borrower::default()
            };
        }
        is_later
    }

    /// Leases of this node as borrower that have lapsed: what was borrowed by them is void.
    pub(super) fn lapse(&mut self, now: Instant) -> Vec<LeaseKey> {
        let mut lapsed = Vec::new();
        for (key, lender) in &mut self.lenders {
            if lender.until.is_some_and(|until| until <= now) {
                lender.until = None;
                lender.number += 1;
                lapsed.push(*key);
            }
        }
        lapsed
    }

    /// Leases of this node as lender that have ended: what was lent by them counts as used.
    pub(super) fn reclaim(&mut self, now: Instant) -> Vec<LeaseKey> {
        let mut ended = Vec::new();
        for (key, borrower) in &mut self.borrowers {
            if borrower.reclaim_at.is_some_and(|at| at <= now) {
                borrower.reclaim_at = None;
                borrower.is_closed = true;
                ended.push(*key);
            }
        }
        ended
    }

    /// Until when what was borrowed may be used.
    pub(super) fn until(&self, key: LeaseKey) -> Option<Instant> {
        self.lenders.get(&key).and_then(|lender| lender.until)
    }

    /// Leases that should be renewed now if something is held by them.
    pub(super) fn to_renew(&self, now: Instant) -> Vec<LeaseKey> {
        let is_due = |(key, lender): (&LeaseKey, &Lender)| {
            let span = key.0.lease()? / RENEWALS;
            let asked_at = lender.until.and(lender.asked_at)?;
            (now.since(asked_at) >= span).then_some(*key)
        };
        self.lenders.iter().filter_map(is_due).collect()
    }

    /// Whether this node has borrowed, or asked to.
    pub(super) fn has_asked(&self) -> bool {
        self.lenders
            .values()
            .any(|lender| lender.asked_at.is_some())
    }
}
