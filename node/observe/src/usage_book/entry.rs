//! What one request adds to the sums: borrowed from its record, or from a row of the ledger.

use std::time::Duration;

use grapevine_core::date::CalendarDay;
use grapevine_core::ids::RegionName;

use super::{Cell, UsageSum};
use crate::ledger_row::LedgerRow;
use crate::record::RequestRecord;

/// What stands for a name that there is none of.
const NONE: &str = "-";

/// One request, as the sums count it.
#[derive(Clone, Copy, Debug)]
pub struct UsageEntry<'a> {
    pub(super) day: CalendarDay,
    key: &'a str,
    model: &'a str,
    /// The owner of the upstream, and its name there.
    upstream: Option<(&'a str, &'a str)>,
    account: &'a str,
    region: &'a str,
    pub(super) sum: UsageSum,
}

impl<'a> UsageEntry<'a> {
    /// The request of `record`, at a node in `region`.
    pub fn of(record: &'a RequestRecord, region: &'a RegionName) -> Self {
        let served = record.served.as_ref();
        let account = served.and_then(|served| served.account.as_ref());
        Self {
            day: CalendarDay::of(record.time),
            key: record.key.as_deref().unwrap_or(NONE),
            model: record.model.as_ref().map_or(NONE, |model| model.as_str()),
            upstream: served.map(|served| (served.node.as_str(), served.upstream.as_str())),
            account: account.map_or(NONE, |account| account.as_str()),
            region: served.map_or(region, |served| &served.region).as_str(),
            sum: UsageSum {
                requests: 1,
                failed: u64::from(record.end().is_failed()),
                tokens_in: record.tokens.input.unwrap_or_default(),
                tokens_cached: record.tokens.cached.unwrap_or_default(),
                tokens_out: record.tokens.output.unwrap_or_default(),
                cost_nano_usd: record.cost.map_or(0, |cost| cost.0),
                unpriced: u64::from(
                    served.is_some() && record.status < 400 && record.cost.is_none(),
                ),
            },
        }
    }

    /// Whether it counts in `cell`.
    pub(super) fn is_of(&self, cell: &Cell) -> bool {
        let is_upstream = match self.upstream {
            None => &*cell.upstream == NONE,
            Some((node, upstream)) => cell
                .upstream
                .strip_prefix(node)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|rest| rest == upstream),
        };
        is_upstream
            && *cell.model == *self.model
            && *cell.key == *self.key
            && *cell.account == *self.account
            && *cell.region == *self.region
            && cell.day == self.day
    }

    pub(super) fn cell(&self) -> Cell {
        Cell {
            day: self.day,
            key: self.key.into(),
            model: self.model.into(),
            upstream: match self.upstream {
                Some((node, upstream)) => format!("{node}/{upstream}").into(),
                None => NONE.into(),
            },
            account: self.account.into(),
            region: self.region.into(),
        }
    }
}

impl<'a> From<&'a LedgerRow> for UsageEntry<'a> {
    fn from(row: &'a LedgerRow) -> Self {
        // The request has a row of its own, which counts it.
        let is_request = !row.is_second_call();
        let is_served = row.upstream.is_some() && row.status < 400;
        let name = |name: &'a Option<String>| name.as_deref().unwrap_or(NONE);
        Self {
            day: CalendarDay::of(Duration::from_millis(row.time_ms)),
            key: name(&row.key),
            model: name(&row.model),
            upstream: row.node.as_deref().zip(row.upstream.as_deref()),
            account: name(&row.account),
            region: &row.region,
            sum: UsageSum {
                requests: u64::from(is_request),
                failed: u64::from(is_request && row.end().is_failed()),
                tokens_in: row.tokens_in.unwrap_or_default(),
                tokens_cached: row.tokens_cached.unwrap_or_default(),
                tokens_out: row.tokens_out.unwrap_or_default(),
                cost_nano_usd: row.cost_nano_usd.unwrap_or_default(),
                unpriced: u64::from(is_request && is_served && row.cost_nano_usd.is_none()),
            },
        }
    }
}
