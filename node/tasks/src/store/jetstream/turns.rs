//! Who is next among the accounts that have tasks waiting: each in turn, as in `sql::turns`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use super::record::{RecordEntry, RecordPosition};
use crate::task::{TaskPriority, Timestamp};

/// Of one account: the highest priority first, then the oldest.
pub(super) type Order = (Reverse<TaskPriority>, Timestamp, RecordPosition);

/// The waiting tasks of one service whose time has come, by account.
#[derive(Default)]
pub(super) struct ClaimOrder {
    /// An account without tasks is not there.
    due: BTreeMap<String, BTreeSet<Order>>,
    len: usize,
    /// The account whose turn was the last.
    last: String,
}

impl ClaimOrder {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, entry: &RecordEntry, key: &RecordPosition) {
        let account = entry.record.task.new.submitter.account();
        let tasks = self.due.entry(account).or_default();
        self.len += usize::from(tasks.insert(order(entry, key)));
    }

    pub(super) fn remove(&mut self, entry: &RecordEntry, key: &RecordPosition) {
        let account = entry.record.task.new.submitter.account();
        let Some(tasks) = self.due.get_mut(&account) else {
            return;
        };
        self.len -= usize::from(tasks.remove(&order(entry, key)));
        if tasks.is_empty() {
            self.due.remove(&account);
        }
    }

    /// At most `max` of what `choose` makes of tasks: one of each account, beginning behind the one that had the
    /// last turn, then again.
    pub(super) fn take<T>(
        &mut self,
        max: usize,
        choose: impl Fn(&RecordPosition) -> Option<T>,
    ) -> Vec<T> {
        let behind = self.due.range::<str, _>((Excluded(&*self.last), Unbounded));
        let others = self.due.range::<str, _>((Unbounded, Included(&*self.last)));
        let mut accounts = behind.chain(others).map(|(account, tasks)| {
            let tasks = tasks.iter();
            (account, tasks.filter_map(|(_, _, key)| choose(key)))
        });
        let mut given = Vec::new();
        // Those that had a turn and may have more; they come again in the same order.
        let mut round = std::collections::VecDeque::new();
        let mut last = None;
        while given.len() < max {
            let next = accounts.next().or_else(|| round.pop_front());
            let Some((account, mut tasks)) = next else {
                break;
            };
            if let Some(task) = tasks.next() {
                given.push(task);
                last = Some(account);
                round.push_back((account, tasks));
            }
        }
        if let Some(last) = last.cloned() {
            drop(round);
            self.last = last;
        }
        given
    }
}

pub(super) fn order(entry: &RecordEntry, key: &RecordPosition) -> Order {
    let task = &entry.record.task;
    (Reverse(task.new.priority), task.created_at, Arc::clone(key))
}
