//! What of a node's shares its next process may use, and when.
//!
//! A process that crashed may have used everything: its shares of rates rest until that is past. One that stops in order
//! writes down what was free ([`StopNote`]), and the next one uses that at once, if
//!
//! - the disk is known to be the latest, and the first write of this process, which takes the note off it, is witnessed
//!   (`standing`): so no note is used twice, also not after the disk is set back;
//! - where there are other nodes, it starts within a minute of the note by a clock that they confirmed. Only a process
//!   that nobody has witnessed could have used the shares since, and it must have waited longer than that.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Instant;

use super::spec::{LeaseClass, LimitId};
use super::store::{BudgetMark, StopNote};
use super::{Escrow, EscrowEffect, Known};

/// A note that is older is not used where there are other nodes. Less than [`LeaseClass::cold`] of a rate.
const NOTE_HOLDS: Duration = Duration::from_secs(60);

impl Escrow {
    /// Whether what [`super::EscrowEvent::Stop`] was to write is on the disk.
    pub fn is_stopped(&self) -> bool {
        self.has_stopped && self.writer.is_done()
    }

    /// Ends all admission, and writes down what is free.
    pub(super) fn stop(&mut self, now: Instant, effects: &mut Vec<EscrowEffect>) {
        if self.has_stopped {
            return;
        }
        // Of limits that this process did not meet, the note before says what it said.
        let mut withheld = match self.is_warm(now, LeaseClass::Rate) {
            true => Some(BTreeMap::new()),
            false => self.note(now).map(|note| note.withheld.clone()),
        };
        let mut marks = BTreeMap::new();
        for (limit, Known { mut account, .. }) in std::mem::take(&mut self.accounts) {
            let free = account.close(now);
            match account.class() {
                LeaseClass::Rate => {
                    if let Some(withheld) = &mut withheld {
                        withheld.insert(limit, account.share().saturating_sub(free));
                    }
                }
                LeaseClass::Budget if free > 0 => {
                    let mark = BudgetMark {
                        window: account.spec.window,
                        number: account.window,
                        opened: account.opened().saturating_sub(free),
                    };
                    marks.insert(limit, mark);
                }
                LeaseClass::Budget | LeaseClass::Held => {}
            }
        }
        let at = self.clock.read(now);
        let note = withheld.map(|mut withheld| {
            withheld.retain(|_, units| *units > 0);
            StopNote { at, withheld }
        });
        self.has_stopped = true;
        self.writer.stop(note, marks);
        self.write(now, effects);
    }

    /// Units of this node's share that an earlier process may have used, in a window that still runs; `None` where that is
    /// not known.
    pub(super) fn withheld(&self, now: Instant, class: LeaseClass, limit: LimitId) -> Option<u64> {
        if self.is_warm(now, class) {
            return Some(0);
        }
        let note = self.note(now).filter(|_| class == LeaseClass::Rate)?;
        Some(note.withheld.get(&limit).copied().unwrap_or(0))
    }

    /// Whether nothing of this node's shares can have been used by an earlier process, in a window that still runs.
    fn is_warm(&self, now: Instant, class: LeaseClass) -> bool {
        let standing = &self.standing;
        let knows_all = class == LeaseClass::Held && standing.is_all_known();
        let cold = class.cold(standing.is_alone());
        standing.is_first()
            || standing.is_settled() && knows_all
            || standing.is_noted() && cold.is_some_and(|span| now.since(standing.started) >= span)
    }

    /// The note of the process before this one, where it holds.
    fn note(&self, now: Instant) -> Option<&StopNote> {
        let note = self.note.as_ref()?;
        let ran_for = now.since(self.standing.started);
        let is_fresh = || {
            let started_at = self.clock.read(now).0.checked_sub(ran_for);
            let age = started_at.and_then(|wall| wall.checked_sub(note.at.0));
            self.clock.is_proven() && age.is_some_and(|age| age <= NOTE_HOLDS)
        };
        let holds = self.standing.is_settled() && (self.standing.is_alone() || is_fresh());
        holds.then_some(note)
    }
}
