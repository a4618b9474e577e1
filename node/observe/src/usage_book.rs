//! What was used, summed by day, key, model, upstream, account and region: what `grapevine usage` asks for.
//!
//! Kept in memory, counted from the ledger at a start and from finished requests after it. Bounded: beyond
//! [`CELLS_MAX`] sums, further combinations of a day are one sum under the name `(other)`.

mod entry;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grapevine_core::date::CalendarDay;
use grapevine_core::price::NanoUsd;
use serde::{Deserialize, Serialize};

pub use entry::UsageEntry;

/// Sums that are kept.
const CELLS_MAX: usize = 50_000;

/// Sums that are found by comparing. A node's requests are mostly of a few keys and models at a few upstreams: to compare
/// their names takes a quarter of what it takes to make them anew and search all sums.
const RECENT_MAX: usize = 8;

/// How far back sums go.
const KEPT: Duration = Duration::from_secs(366 * 86_400);

/// The name that stands for all that have no sum of their own.
const OTHER: &str = "(other)";

/// What a sum is broken down by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsageGroup {
    /// The name of the key.
    Key,
    /// The model.
    Model,
    /// The upstream, with its owner.
    Upstream,
    /// The account that the upstream draws on.
    Account,
    /// The region that served.
    Region,
    /// The day, in UTC.
    Day,
}

impl UsageGroup {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Key,
        Self::Model,
        Self::Upstream,
        Self::Account,
        Self::Region,
        Self::Day,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Model => "model",
            Self::Upstream => "upstream",
            Self::Account => "account",
            Self::Region => "region",
            Self::Day => "day",
        }
    }
}

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSum {
    /// Requests.
    pub requests: u64,
    /// Of them, those that ended with an error.
    pub failed: u64,
    /// Tokens of prompts.
    pub tokens_in: u64,
    /// Of them, those read from a cache.
    pub tokens_cached: u64,
    /// Tokens of answers.
    pub tokens_out: u64,
    /// Billionths of a US dollar.
    pub cost_nano_usd: u64,
    /// Requests that were served and have no cost: their model has no price, or the upstream reported no usage.
    pub unpriced: u64,
}

impl UsageSum {
    /// The cost.
    pub const fn cost(&self) -> NanoUsd {
        NanoUsd(self.cost_nano_usd)
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.requests, other.requests),
            (&mut self.failed, other.failed),
            (&mut self.tokens_in, other.tokens_in),
            (&mut self.tokens_cached, other.tokens_cached),
            (&mut self.tokens_out, other.tokens_out),
            (&mut self.cost_nano_usd, other.cost_nano_usd),
            (&mut self.unpriced, other.unpriced),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// The names of a sum, in the order of the groups that were asked for.
pub type UsageNames = Vec<String>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    day: CalendarDay,
    key: Arc<str>,
    model: Arc<str>,
    upstream: Arc<str>,
    account: Arc<str>,
    region: Arc<str>,
}

/// The sums. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct UsageBook(Arc<Mutex<Sums>>);

#[derive(Debug, Default)]
struct Sums {
    cells: BTreeMap<Cell, UsageSum>,
    /// What was counted for some of them, and is to be added to them before anybody reads.
    recent: Vec<(Cell, UsageSum)>,
}

impl UsageBook {
    /// Counts a request, at `now` since the Unix epoch.
    pub fn count(&self, now: Duration, entry: &UsageEntry<'_>) {
        let oldest = CalendarDay::of(now.saturating_sub(KEPT));
        if entry.day < oldest {
            return;
        }
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recent = sums.recent.iter_mut();
        match recent.find(|(cell, _)| entry.is_of(cell)) {
            Some((_, sum)) => sum.add(&entry.sum),
            None => sums.begin(oldest, entry),
        }
    }

    /// Sums since the beginning of `since`, for each combination of names of the groups in `by`.
    pub fn sum(&self, since: CalendarDay, by: &[UsageGroup]) -> BTreeMap<UsageNames, UsageSum> {
        let mut sums = BTreeMap::<UsageNames, UsageSum>::new();
        for (cell, sum) in self
            .sums()
            .cells
            .iter()
            .filter(|(cell, _)| cell.day >= since)
        {
            let names = by.iter().map(|group| match group {
                UsageGroup::Key => cell.key.to_string(),
                UsageGroup::Model => cell.model.to_string(),
                UsageGroup::Upstream => cell.upstream.to_string(),
                UsageGroup::Account => cell.account.to_string(),
                UsageGroup::Region => cell.region.to_string(),
                UsageGroup::Day => cell.day.to_string(),
            });
            sums.entry(names.collect()).or_default().add(sum);
        }
        sums
    }

    /// The sums, each whole.
    fn sums(&self) -> MutexGuard<'_, Sums> {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sums.settle();
        sums
    }
}

impl Sums {
    /// Counts the first of a cell since the last [`RECENT_MAX`] others.
    fn begin(&mut self, oldest: CalendarDay, entry: &UsageEntry<'_>) {
        if self.recent.len() >= RECENT_MAX {
            self.settle();
        }
        let cell = entry.cell();
        if self.cells.len() >= CELLS_MAX && !self.cells.contains_key(&cell) {
            self.settle();
            self.cells.retain(|cell, _| cell.day >= oldest);
            if self.cells.len() >= CELLS_MAX {
                let other = Cell::other(entry.day);
                return self.cells.entry(other).or_default().add(&entry.sum);
            }
        }
        // It has its place from now on.
        let _ = self.cells.entry(cell.clone()).or_default();
        self.recent.push((cell, entry.sum));
    }

    fn settle(&mut self) {
        for (cell, sum) in self.recent.drain(..) {
            self.cells.entry(cell).or_default().add(&sum);
        }
    }
}

impl Cell {
    /// All that have no sum of their own.
    fn other(day: CalendarDay) -> Self {
        let [key, model, upstream, account, region] = [(); 5].map(|()| OTHER.into());
        Self {
            day,
            key,
            model,
            upstream,
            account,
            region,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ledger_row::LedgerRow;
    use crate::record::{RequestRecord, Served, Tokens};

    pub(crate) fn row(key: &str, model: &str, day: &str) -> LedgerRow {
        let day: CalendarDay = day.parse().expect("a day");
        LedgerRow {
            time_ms: u64::try_from(day.begins().as_millis()).expect("a time"),
            request: "r".to_owned(),
            kind: "client".to_owned(),
            key: Some(key.to_owned()),
            key_id: None,
            model: Some(model.to_owned()),
            upstream: Some("primary".to_owned()),
            node: Some("sgp-1".to_owned()),
            region: "sgp".to_owned(),
            tokens_in: Some(10),
            tokens_cached: Some(4),
            tokens_cache_written: None,
            tokens_out: Some(3),
            cost_nano_usd: Some(7),
            partial: false,
            status: 200,
            outcome: "ok".to_owned(),
            account: None,
        }
    }

    fn day(text: &str) -> CalendarDay {
        text.parse().expect("a day")
    }

    #[test]
    fn rows_are_summed_by_the_groups_that_are_asked_for() {
        let book = UsageBook::default();
        let now = day("2026-11-30").begins();
        for row in [
            row("app", "gpt-4o", "2026-11-29"),
            row("app", "gpt-4o", "2026-11-30"),
            row("app", "fast", "2026-11-30"),
            LedgerRow {
                cost_nano_usd: None,
                ..row("batch", "fast", "2026-11-30")
            },
            LedgerRow {
                status: 502,
                upstream: None,
                cost_nano_usd: None,
                outcome: "connect".to_owned(),
                ..row("batch", "fast", "2026-11-01")
            },
        ] {
            book.count(now, &UsageEntry::from(&row));
        }
        let sum = |since: &str, by: &[UsageGroup]| -> Vec<(String, u64, u64, u64, u64)> {
            let sums = book.sum(day(since), by).into_iter();
            sums.map(|(names, sum)| {
                let names = names.join(" ");
                (
                    names,
                    sum.requests,
                    sum.failed,
                    sum.cost_nano_usd,
                    sum.unpriced,
                )
            })
            .collect()
        };
        assert_eq!(sum("2026-11-01", &[]), [(String::new(), 5, 1, 21, 1)]);
        let by_key = [
            ("app".to_owned(), 3, 0, 21, 0),
            ("batch".to_owned(), 1, 0, 0, 1),
        ];
        assert_eq!(sum("2026-11-02", &[UsageGroup::Key]), by_key);
        let by = [UsageGroup::Day, UsageGroup::Model];
        assert_eq!(
            sum("2026-11-30", &by),
            [
                ("2026-11-30 fast".to_owned(), 2, 0, 7, 1),
                ("2026-11-30 gpt-4o".to_owned(), 1, 0, 7, 0)
            ]
        );
        let by_upstream = [("sgp-1/primary".to_owned(), 4, 0, 21, 1)];
        assert_eq!(sum("2026-11-02", &[UsageGroup::Upstream]), by_upstream);
    }

    #[test]
    fn sums_are_bounded_and_old_ones_leave_first() {
        let book = UsageBook::default();
        let count = |now, row: &LedgerRow| book.count(now, &row.into());
        let now = day("2026-11-30").begins();
        for index in 0..CELLS_MAX + 5 {
            count(now, &row(&index.to_string(), "m", "2026-11-30"));
        }
        let sums = book.sum(day("2026-11-01"), &[UsageGroup::Key]);
        assert_eq!(sums.len(), CELLS_MAX + 1);
        assert_eq!(sums[&vec![OTHER.to_owned()]].requests, 5);
        count(now, &row("old", "m", "2020-01-01"));
        assert!(
            !book
                .sum(day("1970-01-01"), &[UsageGroup::Day])
                .contains_key(&vec!["2020-01-01".to_owned()])
        );
        let later = day("2028-01-01").begins();
        count(later, &row("new", "m", "2028-01-01"));
        assert_eq!(book.sum(day("1970-01-01"), &[UsageGroup::Key]).len(), 1);
    }

    #[test]
    fn every_request_counts_however_many_sums_take_turns() {
        let book = UsageBook::default();
        let now = day("2026-11-30").begins();
        for turn in 0..5 {
            for index in (0..3 * RECENT_MAX).chain([turn, turn]) {
                book.count(now, &(&row(&index.to_string(), "m", "2026-11-30")).into());
            }
        }
        let sums = book.sum(day("2026-11-30"), &[UsageGroup::Key]);
        assert_eq!(sums.len(), 3 * RECENT_MAX);
        for (names, sum) in sums {
            let is_extra = names[0].parse::<usize>().expect("an index") < 5;
            let expected = if is_extra { 7 } else { 5 };
            assert_eq!((sum.requests, sum.tokens_in), (expected, 10 * expected));
        }
    }

    #[test]
    fn a_record_counts_where_its_row_does() {
        let record = RequestRecord {
            time: day("2026-11-30").begins(),
            model: Some("gpt-4o".parse().expect("a model")),
            key: Some("app".into()),
            status: 200,
            tokens: Tokens {
                input: Some(10),
                cached: Some(4),
                cache_written: None,
                output: Some(3),
            },
            cost: Some(NanoUsd(7)),
            served: Some(Served {
                node: "sgp-1".parse().expect("a name"),
                region: "sgp".parse().expect("a name"),
                upstream: "primary".parse().expect("a name"),
                account: None,
            }),
            ..RequestRecord::begun(
                "r".into(),
                &http::Method::POST,
                &http::uri::PathAndQuery::from_static("/v1/chat/completions"),
            )
        };
        let region = "fra".parse().expect("a name");
        for record in [
            record.clone(),
            RequestRecord {
                served: None,
                error: Some("connect"),
                cost: None,
                ..record
            },
        ] {
            let row = LedgerRow::of(&record, &region);
            let (of_row, of_record) = (UsageEntry::from(&row), UsageEntry::of(&record, &region));
            assert_eq!(of_row.cell(), of_record.cell());
            assert_eq!(of_row.sum, of_record.sum);
            assert!(of_record.is_of(&of_row.cell()));
        }
    }
}
