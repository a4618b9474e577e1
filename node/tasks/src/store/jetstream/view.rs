//! What this node has received of the stream: records of tasks and files, in the orders that are asked for.
//!
//! Possibly stale, never authoritative: whoever acts on it publishes with the record's sequence, which the
//! server refuses when the record has changed since. Only messages of the stream change it, so all
//! nodes see the same steps in the same order.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use grapevine_core::ids::RegionName;

use super::super::{FileRecord, LeaseAsk, TaskCounts, TaskQuery, Usage, is_permitted};
use super::record::{RecordEntry, RecordPosition, TaskRecord, position};
use super::turns::{ClaimOrder, Order, order};
use crate::id::Id;
use crate::task::{ServiceKeyText, TaskState, Timestamp};

/// Tasks and files that one store holds at most, about 1 KiB of memory each in every node.
pub(super) const RECORDS_MAX: usize = 500_000;

/// A file's record, and when it was complete by the store's clock.
#[derive(Clone)]
pub(super) struct FileEntry {
    pub(super) completed_at: Timestamp,
    pub(super) file: FileRecord,
}

#[derive(Default)]
struct Line {
    all: BTreeSet<RecordPosition>,
    /// Waiting tasks whose time has come.
    due: ClaimOrder,
    /// The same, of those that are suspect and given alone.
    suspects: BTreeSet<Order>,
    /// The others; some of them may be due, until somebody looks.
    delayed: BTreeSet<(Timestamp, RecordPosition)>,
    running: u64,
    dead: u64,
}

/// What was received.
#[derive(Default)]
pub(super) struct StreamView {
    tasks: BTreeMap<RecordPosition, Arc<RecordEntry>>,
    files: BTreeMap<RecordPosition, FileEntry>,
    lines: BTreeMap<ServiceKeyText, Line>,
    leases: BTreeSet<(Timestamp, RecordPosition)>,
    expiring: BTreeSet<(Timestamp, RecordPosition)>,
    ended: BTreeSet<(Timestamp, RecordPosition)>,
    /// Tasks that this node is leasing right now, so that its workers do not race for them.
    taken: HashSet<RecordPosition>,
    /// What each account has; one with nothing is not there.
    usages: BTreeMap<String, Usage>,
}

impl StreamView {
    pub(super) fn task(&self, id: &Id) -> Option<Arc<RecordEntry>> {
        let entry = self.tasks.get(&position(id))?;
        (entry.record.id() == id).then(|| Arc::clone(entry))
    }

    pub(super) fn knows(&self, id: &Id) -> bool {
        let position = position(id);
        self.tasks.contains_key(&position) || self.files.contains_key(&position)
    }

    pub(super) fn is_full(&self) -> bool {
        self.tasks.len() + self.files.len() >= RECORDS_MAX
    }

    /// Sets a task's record.
    pub(super) fn set_task(&mut self, entry: RecordEntry) {
        let key = position(entry.record.id());
        self.drop_task(&key);
        let TaskRecord {
            task, expires_at, ..
        } = &entry.record;
        let line = self.lines.entry(task.new.service.clone()).or_default();
        line.all.insert(Arc::clone(&key));
        match task.state {
            TaskState::Waiting => drop(line.delayed.insert((task.not_before, Arc::clone(&key)))),
            TaskState::Running => line.running += 1,
            TaskState::Dead => line.dead += 1,
            TaskState::Completed | TaskState::Cancelled | TaskState::Expired => {}
        }
        if let Some(until) = task.lease_until {
            self.leases.insert((until, Arc::clone(&key)));
        }
        match (task.ended_at, expires_at) {
            (Some(ended), _) => drop(self.ended.insert((ended, Arc::clone(&key)))),
            (None, Some(late)) => drop(self.expiring.insert((*late, Arc::clone(&key)))),
            (None, None) => {}
        }
        if task.state == TaskState::Waiting {
            self.use_more(&task.new.submitter.account(), |usage| usage.waiting += 1);
        }
        self.tasks.insert(key, Arc::new(entry));
    }

    pub(super) fn set_file(&mut self, entry: FileEntry) {
        let position = position(&entry.file.id);
        self.drop_file(&position);
        self.use_more(&entry.file.account, |usage| {
            usage.files += 1;
            usage.file_bytes += entry.file.bytes;
        });
        self.files.insert(position, entry);
    }

    fn drop_file(&mut self, key: &RecordPosition) {
        let Some(entry) = self.files.remove(key) else {
            return;
        };
        self.use_less(&entry.file.account, |usage| {
            usage.files -= 1;
            usage.file_bytes -= entry.file.bytes;
        });
    }

    /// What the holder of `account` has.
    pub(super) fn usage(&self, account: &str) -> Usage {
        self.usages.get(account).copied().unwrap_or_default()
    }

    fn use_more(&mut self, account: &str, more: impl FnOnce(&mut Usage)) {
        more(self.usages.entry(account.to_owned()).or_default());
    }

    fn use_less(&mut self, account: &str, less: impl FnOnce(&mut Usage)) {
        let Some(usage) = self.usages.get_mut(account) else {
            return;
        };
        less(usage);
        if *usage == Usage::default() {
            self.usages.remove(account);
        }
    }

    pub(super) fn remove(&mut self, id: &Id) {
        let position = position(id);
        self.drop_task(&position);
        self.drop_file(&position);
    }

    fn drop_task(&mut self, key: &RecordPosition) {
        let Some(entry) = self.tasks.remove(key) else {
            return;
        };
        let task = &entry.record.task;
        if let Some(line) = self.lines.get_mut(&task.new.service) {
            line.all.remove(key);
            match task.state {
                TaskState::Waiting => {
                    line.delayed.remove(&(task.not_before, Arc::clone(key)));
                    line.due.remove(&entry, key);
                    line.suspects.remove(&order(&entry, key));
                }
                TaskState::Running => line.running -= 1,
                TaskState::Dead => line.dead -= 1,
                TaskState::Completed | TaskState::Cancelled | TaskState::Expired => {}
            }
            if line.all.is_empty() {
                self.lines.remove(&task.new.service);
            }
        }
        if task.state == TaskState::Waiting {
            self.use_less(&task.new.submitter.account(), |usage| usage.waiting -= 1);
        }
        if let Some(until) = task.lease_until {
            self.leases.remove(&(until, Arc::clone(key)));
        }
        if let Some(ended) = task.ended_at {
            self.ended.remove(&(ended, Arc::clone(key)));
        }
        if let Some(late) = entry.record.expires_at {
            self.expiring.remove(&(late, Arc::clone(key)));
        }
    }

    /// Tasks that may be leased now, a suspect one where it is asked for, then of each account in turn. They
    /// are taken until [`StreamView::release`].
    pub(super) fn take(
        &mut self,
        ask: &LeaseAsk,
        max: usize,
        now: Timestamp,
    ) -> Vec<Arc<RecordEntry>> {
        self.ripen(&ask.service, now);
        let Some(line) = self.lines.get_mut(&ask.service) else {
            return Vec::new();
        };
        let (tasks, taken) = (&self.tasks, &self.taken);
        let free = |key: &RecordPosition| {
            let entry = tasks.get(key)?;
            let is_free = !taken.contains(key) && may_run(entry, &ask.region.0, now);
            is_free.then(|| Arc::clone(entry))
        };
        let suspects = line.suspects.iter().filter_map(|(_, _, key)| free(key));
        let suspects = suspects.take(usize::from(ask.suspects).min(max));
        let mut given: Vec<_> = suspects.collect();
        given.extend(line.due.take(max - given.len(), free));
        let keys = given.iter().map(|entry| position(entry.record.id()));
        self.taken.extend(keys);
        given
    }

    pub(super) fn release(&mut self, entry: &RecordEntry) {
        self.taken.remove(&position(entry.record.id()));
    }

    /// Carries over what is being leased, when the stream is read again.
    pub(super) fn keep_taken(&mut self, before: &mut Self) {
        self.taken = std::mem::take(&mut before.taken);
    }

    fn ripen(&mut self, service: &ServiceKeyText, now: Timestamp) {
        let Some(line) = self.lines.get_mut(service) else {
            return;
        };
        while let Some((not_before, _)) = line.delayed.first()
            && *not_before <= now
            && let Some((_, key)) = line.delayed.pop_first()
        {
            if let Some(entry) = self.tasks.get(&key) {
                match entry.record.task.is_suspect() {
                    true => drop(line.suspects.insert(order(entry, &key))),
                    false => line.due.insert(entry, &key),
                }
            }
        }
    }

    pub(super) fn list(&self, query: &TaskQuery, max: usize) -> Vec<Arc<RecordEntry>> {
        let before = query.before.as_ref().map(position);
        let end = match before {
            Some(before) => std::ops::Bound::Excluded(before),
            None => std::ops::Bound::Unbounded,
        };
        let range = (std::ops::Bound::Unbounded, end);
        let is_meant = |entry: &&Arc<RecordEntry>| {
            let task = &entry.record.task;
            let key = task.new.submitter.key.as_deref();
            let region = query.region.as_ref();
            query.state.is_none_or(|state| task.state == state)
                && region.is_none_or(|region| is_permitted(&task.new.regions, &region.0))
                && query
                    .key
                    .as_deref()
                    .is_none_or(|wanted| key == Some(wanted))
        };
        let Some(service) = &query.service else {
            let newest = self.tasks.range(range).rev().map(|(_, entry)| entry);
            return newest.filter(is_meant).take(max).cloned().collect();
        };
        let Some(line) = self.lines.get(service) else {
            return Vec::new();
        };
        let newest = line.all.range(range).rev();
        let newest = newest.filter_map(|key| self.tasks.get(key));
        newest.filter(is_meant).take(max).cloned().collect()
    }

    pub(super) fn counts(&mut self, now: Timestamp) -> BTreeMap<ServiceKeyText, TaskCounts> {
        let services: Vec<_> = self.lines.keys().cloned().collect();
        let mut counts = BTreeMap::new();
        for service in services {
            self.ripen(&service, now);
            let Some(line) = self.lines.get(&service) else {
                continue;
            };
            let count = TaskCounts {
                waiting: (line.due.len() + line.suspects.len()) as u64,
                delayed: line.delayed.len() as u64,
                running: line.running,
                dead: line.dead,
            };
            if count != TaskCounts::default() {
                counts.insert(service, count);
            }
        }
        counts
    }

    /// Tasks whose time is over, at most `max`.
    pub(super) fn late(&self, now: Timestamp, max: usize) -> Vec<Arc<RecordEntry>> {
        self.until(&self.expiring, now, max)
    }

    /// Tasks whose leases ran out, at most `max`.
    pub(super) fn lost(&self, now: Timestamp, max: usize) -> Vec<Arc<RecordEntry>> {
        self.until(&self.leases, now, max)
    }

    /// Tasks that ended at `then` or before, at most `max`.
    pub(super) fn ended(&self, then: Timestamp, max: usize) -> Vec<Arc<RecordEntry>> {
        self.until(&self.ended, then, max)
    }

    fn until(
        &self,
        order: &BTreeSet<(Timestamp, RecordPosition)>,
        time: Timestamp,
        max: usize,
    ) -> Vec<Arc<RecordEntry>> {
        let past = order.iter().take_while(|(at, _)| *at <= time).take(max);
        past.filter_map(|(_, key)| self.tasks.get(key).cloned())
            .collect()
    }

    /// Files whose time is over: their own, or where they have none, that of `then`.
    pub(super) fn old_files(&self, now: Timestamp, then: Timestamp, max: usize) -> Vec<FileEntry> {
        let is_old = |entry: &&FileEntry| match entry.file.expires_at {
            Some(over) => over <= now,
            None => entry.completed_at <= then,
        };
        self.files
            .values()
            .filter(is_old)
            .take(max)
            .cloned()
            .collect()
    }

    pub(super) fn files(
        &self,
        key: Option<&str>,
        before: Option<&Id>,
        max: usize,
    ) -> Vec<FileRecord> {
        let before = before.map(position);
        let is_meant = |file: &&FileRecord| key.is_none_or(|key| file.key.as_deref() == Some(key));
        let newest = self.files.iter().rev();
        let newest = newest
            .skip_while(|(key, _)| before.as_ref().is_some_and(|before| *key >= before))
            .map(|(_, entry)| &entry.file);
        newest.filter(is_meant).take(max).cloned().collect()
    }
}

fn may_run(entry: &RecordEntry, region: &RegionName, now: Timestamp) -> bool {
    let is_over = entry.record.expires_at.is_some_and(|over| over <= now);
    !is_over && is_permitted(&entry.record.task.new.regions, region)
}

/// The server's clock, by the times of its messages: never ahead of it, behind by no more than the quickest
/// message took.
#[derive(Default)]
pub(super) struct Clock {
    /// A time of the server, and when it was received.
    observed: Option<(Timestamp, Instant)>,
}

impl Clock {
    /// A time may be this old before it is replaced even by one that came more slowly: clocks drift.
    const TRUSTED_FOR: Duration = Duration::from_secs(60);

    /// Records the `time` of a message that was received now.
    pub(super) fn observe(&mut self, time: Timestamp) {
        let is_stale = self
            .observed
            .is_some_and(|(_, at)| at.elapsed() > Self::TRUSTED_FOR);
        if is_stale || time > self.now() {
            self.observed = Some((time, Instant::now()));
        }
    }

    /// The server's time now; the epoch while nothing was received.
    pub(super) fn now(&self) -> Timestamp {
        match self.observed {
            Some((time, at)) => time.after(at.elapsed()),
            None => Timestamp(0),
        }
    }
}
