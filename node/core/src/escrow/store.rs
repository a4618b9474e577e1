//! What a node must remember beyond its process: how much of each budget it has opened, what it witnessed of others, and
//! what of its rates was free when it stopped in order.

use std::collections::BTreeMap;

use crate::ids::{Generation, NodeName};

use super::calendar::WallTime;
use super::message::StoreVersion;
use super::spec::{LimitId, LimitWindow};

/// Budgets whose state a store holds, at most: those of a past window are dropped first.
pub const MARKS_MAX: usize = 65_536;

/// How much of a budget a node has opened: it is spent, or may have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetMark {
    /// Day or month.
    pub window: LimitWindow,
    /// Which.
    pub number: u32,
    /// Units.
    pub opened: u64,
}

/// The windows in which a node spends nothing more: its disk had forgotten what it spent in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForfeitedWindows {
    /// Days up to this one.
    pub day: u32,
    /// Months up to this one.
    pub month: u32,
}

impl ForfeitedWindows {
    /// Whether this one is among them.
    pub const fn contains(self, window: LimitWindow, number: u32) -> bool {
        match window {
            LimitWindow::Day => number <= self.day,
            LimitWindow::Month => number <= self.month,
            LimitWindow::Minute | LimitWindow::Held => false,
        }
    }
}

/// What a process left that stopped in order: of each share of a rate, what may still count against it. All else is free,
/// and all of what is not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopNote {
    /// When it stopped, by its wall clock.
    pub at: WallTime,
    /// Units by limit: used within the last window, or lent. At most [`super::LIMITS_MAX`] limits.
    pub withheld: BTreeMap<LimitId, u64>,
}

/// A store's whole content. The default is that of a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreImage {
    /// How often it was written for this node's own sake; 0 where it was never written.
    pub version: StoreVersion,
    /// The last process that wrote it.
    pub generation: Generation,
    /// By limit; one of an earlier window is replaced.
    pub marks: BTreeMap<LimitId, BudgetMark>,
    /// The highest version that each other node has reported.
    pub witnessed: BTreeMap<NodeName, StoreVersion>,
    /// What a rolled-back disk costs.
    pub forfeited: ForfeitedWindows,
    /// `None` from the first write of a process on, until it stops in order.
    pub stopped: Option<StopNote>,
}

/// A change of the store, to be written as one: all of it survives a crash, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreWrite {
    /// Handed back when it is written.
    pub number: u64,
    /// As in the image.
    pub version: StoreVersion,
    /// As in the image.
    pub generation: Generation,
    /// Those that changed.
    pub marks: Vec<(LimitId, BudgetMark)>,
    /// Those that changed.
    pub witnessed: Vec<(NodeName, StoreVersion)>,
    /// As in the image.
    pub forfeited: ForfeitedWindows,
    /// As in the image.
    pub stopped: Option<StopNote>,
}

impl StoreImage {
    /// Applies a change, and drops marks of windows that are past at `wall`.
    pub fn apply(&mut self, write: &StoreWrite, wall: WallTime) {
        (self.version, self.generation) = (write.version, write.generation);
        self.forfeited = write.forfeited;
        self.stopped.clone_from(&write.stopped);
        self.marks.extend(write.marks.iter().copied());
        self.witnessed.extend(write.witnessed.iter().cloned());
        // A day of grace, since the wall clock may be wrong.
        let is_past = |mark: &BudgetMark| mark.number.saturating_add(1) < wall.window(mark.window);
        if self.marks.len() > MARKS_MAX {
            self.marks.retain(|_, mark| !is_past(mark));
        }
    }

    /// What of `limit` was opened in a window: all of it where the store knows a later window, since the clock has gone
    /// back, and where the window is forfeited.
    pub(super) fn opened(&self, limit: LimitId, window: LimitWindow, number: u32) -> u64 {
        if self.forfeited.contains(window, number) {
            return u64::MAX;
        }
        match self.marks.get(&limit) {
            Some(mark) if mark.number == number => mark.opened,
            Some(mark) if mark.number > number => u64::MAX,
            _ => 0,
        }
    }
}
