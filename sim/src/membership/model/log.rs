//! What one incarnation of a node published, in the order of versions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::Entry;

/// Entries that are kept after a later value of their key; beyond them only the latest of each key.
const ENTRIES_MAX: usize = 128;

/// One value at its version.
#[derive(Clone, Debug)]
pub(super) struct LoggedEntry {
    pub(super) version: u32,
    pub(super) entry: Entry,
    /// The version of the next value of the same key; `u32::MAX` while there is none.
    replaced_at: u32,
}

/// The values of one incarnation. A node's own version is the number of values that it has published.
#[derive(Debug, Default)]
pub(super) struct Log {
    version: u32,
    recent: VecDeque<LoggedEntry>,
    latest: BTreeMap<Arc<str>, LoggedEntry>,
}

impl Log {
    pub(super) const fn version(&self) -> u32 {
        self.version
    }

    /// Publishes a value; nothing changes if it is the latest already.
    pub(super) fn set(&mut self, entry: Entry) {
        let before = self.latest.get(&entry.key);
        if before.is_some_and(|logged| logged.entry.value == entry.value) {
            return;
        }
        self.version += 1;
        if let Some(before) = before {
            let replaced = before.version;
            let first = self.recent.front().map_or(0, |logged| logged.version);
            let index = replaced.checked_sub(first);
            if let Some(logged) = index.and_then(|at| self.recent.get_mut(at as usize)) {
                logged.replaced_at = self.version;
            }
        }
        let logged = LoggedEntry {
            version: self.version,
            entry,
            replaced_at: u32::MAX,
        };
        self.latest
            .insert(Arc::clone(&logged.entry.key), logged.clone());
        self.recent.push_back(logged);
        if self.recent.len() > ENTRIES_MAX {
            self.recent.pop_front();
        }
    }

    /// What a node that has read up to `view` knows of the versions after `from`, the oldest first.
    pub(super) fn since(&self, from: u32, view: u32) -> Vec<&LoggedEntry> {
        let first = self.recent.front().map_or(1, |logged| logged.version);
        if from + 1 >= first {
            let known = self.recent.iter().skip((from + 1 - first) as usize);
            return known
                .take_while(|logged| logged.version <= view)
                .filter(|logged| logged.replaced_at > view)
                .collect();
        }
        let latest = self.latest.values();
        let mut known: Vec<_> = latest
            .filter(|logged| logged.version > from && logged.version <= view)
            .collect();
        known.sort_by_key(|logged| logged.version);
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: u32) -> Entry {
        Entry {
            key: key.into(),
            value: value.to_string().into(),
        }
    }

    fn versions(log: &Log, from: u32, view: u32) -> Vec<u32> {
        let known = log.since(from, view).into_iter();
        known.map(|logged| logged.version).collect()
    }

    #[test]
    fn replaced_value_is_known_to_those_who_read_before() {
        let mut log = Log::default();
        for logged in [entry("a", 1), entry("b", 1), entry("a", 2)] {
            log.set(logged);
        }
        assert_eq!(versions(&log, 0, 2), [1, 2]);
        assert_eq!(versions(&log, 0, 3), [2, 3]);
        assert_eq!(versions(&log, 2, 3), [3]);
    }

    #[test]
    fn same_value_is_not_logged_again() {
        let mut log = Log::default();
        log.set(entry("a", 1));
        log.set(entry("a", 1));
        assert_eq!(log.version(), 1);
    }

    #[test]
    fn long_log_keeps_the_latest_of_each_key() {
        let mut log = Log::default();
        log.set(entry("rare", 1));
        for value in 0..1_000 {
            log.set(entry("often", value));
        }
        assert_eq!(versions(&log, 0, 1_001), [1, 1_001]);
        assert_eq!(log.recent.len(), ENTRIES_MAX);
    }
}
