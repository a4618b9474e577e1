//! Writes of the store: one at a time, repeated until it is confirmed, with all that waits in one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Instant;
use crate::ids::NodeName;

use super::account::Account;
use super::message::{MessageBody, StoreVersion};
use super::seats::Seat;
use super::spec::LimitId;
use super::store::{BudgetMark, ForfeitedWindows, StopNote, StoreImage, StoreWrite};
use super::{Escrow, EscrowEffect};

/// A write that was not confirmed is handed out again after this.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

/// What is written, and what waits to be.
#[derive(Debug)]
pub(super) struct Writer {
    image: StoreImage,
    number: u64,
    /// Whether it is to be noted that this process has started.
    is_note_due: bool,
    /// Whether this node has something to write for its own sake.
    is_own_due: bool,
    marks: BTreeMap<LimitId, BudgetMark>,
    witnessed: BTreeMap<Seat, (NodeName, StoreVersion)>,
    in_flight: Option<InFlightWrite>,
    /// Chunks on disk that too few others have witnessed.
    unproven: Vec<(StoreVersion, LimitId, u32)>,
    /// The first write of this process.
    first: Option<StoreVersion>,
}

#[derive(Debug)]
struct InFlightWrite {
    write: StoreWrite,
    sent_at: Instant,
    witnessed: Vec<(Seat, StoreVersion)>,
}

impl Writer {
    pub(super) fn new(image: StoreImage) -> Self {
        Self {
            image,
            number: 0,
            is_note_due: true,
            is_own_due: false,
            marks: BTreeMap::new(),
            witnessed: BTreeMap::new(),
            in_flight: None,
            unproven: Vec::new(),
            first: None,
        }
    }

    /// The store as it will be.
    pub(super) const fn image(&self) -> &StoreImage {
        &self.image
    }

    /// Something of this node's own is to be written.
    pub(super) const fn write_own(&mut self) {
        self.is_own_due = true;
    }

    /// The windows in which nothing more is spent.
    pub(super) fn forfeit(&mut self, windows: ForfeitedWindows) {
        self.image.forfeited = windows;
        self.is_own_due = true;
    }

    /// Writes down how the process stopped: what of its rates is free, and, of budgets, what was opened and not spent.
    pub(super) fn stop(&mut self, note: Option<StopNote>, marks: BTreeMap<LimitId, BudgetMark>) {
        self.image.stopped = note;
        self.marks.extend(marks);
        self.is_own_due = true;
    }

    /// Whether all is on the disk.
    pub(super) fn is_done(&self) -> bool {
        self.in_flight.is_none() && !self.is_own_due && !self.is_note_due
    }

    /// Begins to open `units` more of a budget.
    pub(super) fn open_chunk(&mut self, limit: LimitId, account: &mut Account, units: u64) {
        let mark = BudgetMark {
            window: account.spec.window,
            number: account.window,
            opened: account.begin_chunk(units),
        };
        self.marks.insert(limit, mark);
        self.is_own_due = true;
    }
}

impl Escrow {
    /// Hands out the next write, or the one that was not confirmed.
    pub(super) fn write(&mut self, now: Instant, effects: &mut Vec<EscrowEffect>) {
        let writer = &mut self.writer;
        if let Some(in_flight) = &mut writer.in_flight {
            if now.since(in_flight.sent_at) >= WRITE_AGAIN {
                in_flight.sent_at = now;
                effects.push(EscrowEffect::Store(in_flight.write.clone()));
            }
            return;
        }
        let is_note_due = std::mem::take(&mut writer.is_note_due);
        if !is_note_due && !writer.is_own_due && writer.witnessed.is_empty() {
            return;
        }
        let is_own = std::mem::take(&mut writer.is_own_due);
        let version = self.standing.next_version(is_own);
        writer.number += 1;
        let witnessed = std::mem::take(&mut writer.witnessed);
        let write = StoreWrite {
            number: writer.number,
            version,
            generation: self.standing.generation,
            marks: std::mem::take(&mut writer.marks).into_iter().collect(),
            witnessed: witnessed.values().cloned().collect(),
            forfeited: writer.image.forfeited,
            stopped: writer.image.stopped.clone(),
        };
        writer.image.apply(&write, self.clock.read(now));
        if is_own {
            writer.first.get_or_insert(version);
        }
        effects.push(EscrowEffect::Store(write.clone()));
        writer.in_flight = Some(InFlightWrite {
            write,
            sent_at: now,
            witnessed: witnessed
                .into_iter()
                .map(|(seat, (_, version))| (seat, version))
                .collect(),
        });
    }

    /// A write is durable: what it witnesses may be said, and what it opens be reported.
    pub(super) fn stored(&mut self, now: Instant, number: u64, effects: &mut Vec<EscrowEffect>) {
        let is_it = |write: &mut InFlightWrite| write.write.number == number;
        let Some(done) = self.writer.in_flight.take_if(is_it) else {
            return;
        };
        let version = done.write.version;
        self.standing.stored(version);
        let opened = done.write.marks.iter();
        let opened = opened.map(|(limit, mark)| (version, *limit, mark.number));
        self.writer.unproven.extend(opened);
        for (seat, version) in done.witnessed {
            effects.push(self.message(seat, MessageBody::Witnessed { version }));
        }
        self.report(effects);
        self.prove(now);
        self.write(now, effects);
    }

    /// Reports what is on disk to those who have not witnessed it.
    pub(super) fn report(&self, effects: &mut Vec<EscrowEffect>) {
        for seat in self.seats.others() {
            if let Some(version) = self.standing.report_to(seat) {
                effects.push(self.message(seat, MessageBody::Wrote { version }));
            }
        }
    }

    /// Opens the chunks that enough others have witnessed.
    pub(super) fn prove(&mut self, now: Instant) {
        let proven = self.standing.proven(self.writer.first);
        let is_proven = |(version, _, _): &mut (StoreVersion, LimitId, u32)| *version <= proven;
        let opened: Vec<_> = self.writer.unproven.extract_if(.., is_proven).collect();
        for (_, limit, window) in opened {
            if let Some(known) = self.accounts.get_mut(&limit)
                && known.account.window == window
            {
                known.account.finish_chunk();
                self.settle(now, limit);
            }
        }
    }

    /// Another node has written its store: this one is to remember that, and then says so.
    pub(super) fn witness(
        &mut self,
        from: Seat,
        version: StoreVersion,
        effects: &mut Vec<EscrowEffect>,
    ) {
        let Some(name) = self.seats.name(from) else {
            return;
        };
        let writer = &mut self.writer;
        let on_disk = writer.image.witnessed.get(name).copied();
        let waits = writer.witnessed.get(&from).map(|(_, version)| *version);
        let in_flight = writer.in_flight.as_ref();
        let is_in_flight =
            in_flight.is_some_and(|write| write.witnessed.iter().any(|(seat, _)| *seat == from));
        if waits.max(on_disk).unwrap_or_default() < version {
            writer.witnessed.insert(from, (name.clone(), version));
        } else if waits.is_none() && !is_in_flight {
            effects.push(self.message(from, MessageBody::Witnessed { version }));
        }
    }

    /// The highest version that another node has reported.
    pub(super) fn version_of(&self, seat: Seat) -> StoreVersion {
        let name = self.seats.name(seat);
        let on_disk = name.and_then(|name| self.writer.image.witnessed.get(name));
        let waits = self.writer.witnessed.get(&seat).map(|(_, version)| version);
        on_disk.max(waits).copied().unwrap_or_default()
    }
}
