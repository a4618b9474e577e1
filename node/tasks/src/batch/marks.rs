//! Lines that may be why a worker died.
//!
//! A batch whose workers died twice in a row is suspect: one of its lines may be the cause. So from
//! then on its lines are called one at a time, and each is marked in a note before it is called. A line whose
//! mark is the last of an attempt that was lost was called when the worker died, with no other line beside it: it is not
//! called again and goes into the error file. So the batch comes to its end without it, and a batch has as many
//! as [`FATAL_LINES_MAX`] of them before it is given up.
//!
//! The mark is made only then, since it is a write of its own for each line.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::store::Note;
use super::super::task::{FinishedAttempt, LOST};

/// Lines of a batch that may end its worker, before the batch is given up.
pub(super) const FATAL_LINES_MAX: usize = 3;

/// The bit of a note's number that distinguishes a mark from the end of a line.
const MARK: u64 = 1 << 62;

/// Bits of a line's number; there are no more lines than that.
const LINE_BITS: u32 = 16;

const _: () = assert!(super::LINES_MAX < 1 << LINE_BITS);

/// The note that line `line` is about to be called in the attempt with the lease of this number.
pub(super) fn mark(line: u64, attempt: u32) -> Note {
    Note {
        number: MARK | u64::from(attempt) << LINE_BITS | line,
        content: Bytes::new(),
    }
}

/// Where the notes of marks begin; those of lines are before.
pub(super) const fn is_mark(number: u64) -> bool {
    number & MARK != 0
}

/// What the marks of a batch record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Whether there are any.
    pub(super) any: bool,
    /// The line that was called last in each attempt that was lost, by the number of its lease.
    last: BTreeMap<u64, u64>,
}

impl Marks {
    /// Records the mark of this number, in a batch with this history of attempts. Marks come in order.
    pub(super) fn see(&mut self, number: u64, history: &[FinishedAttempt]) {
        self.any = true;
        let attempt = (number & !MARK) >> LINE_BITS;
        let mut lost = history.iter().filter(|ended| ended.how == LOST);
        if lost.any(|ended| u64::from(ended.attempt) == attempt) {
            let line = number & ((1 << LINE_BITS) - 1);
            self.last.insert(attempt, line);
        }
    }

    /// Lines that were called when their worker died, and have not succeeded.
    pub(super) fn fatal(&self, has_succeeded: impl Fn(u64) -> bool) -> BTreeSet<u64> {
        let last = self.last.values().copied();
        last.filter(|line| !has_succeeded(*line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::LINES_MAX;
    use super::*;
    use crate::task::Timestamp;

    fn ended(attempt: u32, how: &str) -> FinishedAttempt {
        FinishedAttempt {
            attempt,
            worker: "w".to_owned(),
            at: Timestamp(1),
            how: how.to_owned(),
            done: 0,
        }
    }

    #[test]
    fn last_line_of_an_attempt_that_was_lost_is_fatal() {
        // The eighth was given back, which leaves no record.
        let history = [ended(3, "lost"), ended(4, "lost"), ended(7, "failed")];
        let mut marks = Marks::default();
        for (line, attempt) in [(1, 3), (2, 3), (3, 4), (LINES_MAX, 4), (5, 7), (6, 8)] {
            let note = mark(line, attempt);
            assert!(is_mark(note.number) && i64::try_from(note.number).is_ok());
            marks.see(note.number, &history);
        }
        assert!(marks.any);
        assert_eq!(marks.fatal(|_| false), BTreeSet::from([2, LINES_MAX]));
        assert_eq!(marks.fatal(|line| line == 2), BTreeSet::from([LINES_MAX]));
    }

    #[test]
    fn ends_of_lines_are_no_marks() {
        assert!(!is_mark(1) && !is_mark(LINES_MAX));
        assert!(is_mark(mark(1, u32::MAX).number));
    }
}
