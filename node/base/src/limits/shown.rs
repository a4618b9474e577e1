//! What an operator is shown of limits: which keys are refused, and what is left to them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::escrow::purse::LimitFigures;
use grapevine_core::escrow::spec::LimitSpec;

use super::{LimitHolder, LimitKind, LimitTable};

/// A key is being limited for so long after its last refusal.
const LIMITED_FOR: Duration = Duration::from_secs(300);

/// Limits that are shown because requests were refused at them; those refused last come first.
pub const LIMITED_MAX: usize = 16;

/// Budgets that are shown; those with the least left come first.
pub const BUDGETS_MAX: usize = 32;

/// The requests that were refused at one limit of one key.
#[derive(Debug, Default)]
pub struct LimitRefusals {
    count: AtomicU64,
    /// The last one, in nanoseconds since the start of the process; 0 where there is none.
    last: AtomicU64,
}

impl LimitRefusals {
    pub(super) fn count(&self, now: Instant) {
        let nanos = u64::try_from(now.since_start().as_nanos()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Relaxed);
        self.last.fetch_max(nanos.max(1), Relaxed);
    }

    /// How many there were since the key's limits were opened here, and how long ago the last one was.
    fn read(&self, now: Instant) -> Option<(u64, Duration)> {
        let last = self.last.load(Relaxed);
        let at = Instant::from_start(Duration::from_nanos(last));
        (last > 0).then(|| (self.count.load(Relaxed), now.since(at)))
    }
}

/// One limit of one key, as it is at this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitStanding {
    /// Whose.
    pub holder: LimitHolder,
    /// What it counts.
    pub kind: LimitKind,
    /// The whole.
    pub spec: LimitSpec,
    /// What is left.
    pub figures: LimitFigures,
    /// Requests refused since the key's limits were opened here, and how long ago the last one was.
    pub refused: Option<(u64, Duration)>,
}

/// The limits that an operator looks at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsOverview {
    /// Keys with limits that this node served within the last ten minutes.
    pub keys: usize,
    /// Limits at which requests were refused within the last five minutes.
    pub limited_total: usize,
    /// The [`LIMITED_MAX`] of them that were last.
    pub limited: Vec<LimitStanding>,
    /// Budgets of the keys above.
    pub budgets_total: usize,
    /// The [`BUDGETS_MAX`] of them with the least left.
    pub budgets: Vec<LimitStanding>,
}

/// Those of `table`, at `now`. Looks at every key: not for request threads.
pub fn overview(table: &LimitTable, now: Instant) -> LimitsOverview {
    let standings = table.iter().flat_map(|(holder, purses)| {
        purses.open().map(move |(limit, spec)| LimitStanding {
            holder: holder.clone(),
            kind: limit.kind,
            spec,
            figures: limit.purse.figures(now),
            refused: limit.refusals.read(now),
        })
    });
    let (mut limited, mut budgets) = (Vec::new(), Vec::new());
    for standing in standings {
        if standing.kind == LimitKind::Money {
            budgets.push(standing.clone());
        }
        if standing.refused.is_some_and(|(_, ago)| ago <= LIMITED_FOR) {
            limited.push(standing);
        }
    }
    // By name where nothing else decides: a table has no order.
    limited.sort_by_key(|it| (it.refused.map(|(_, ago)| ago), name(it), it.kind as usize));
    budgets.sort_by_key(|it| (left_per_million(it), name(it)));
    let (limited_total, budgets_total) = (limited.len(), budgets.len());
    limited.truncate(LIMITED_MAX);
    budgets.truncate(BUDGETS_MAX);
    LimitsOverview {
        keys: table.len(),
        limited_total,
        limited,
        budgets_total,
        budgets,
    }
}

fn name(standing: &LimitStanding) -> String {
    standing.holder.name().to_owned()
}

fn left_per_million(standing: &LimitStanding) -> u128 {
    let LimitFigures {
        remaining, limit, ..
    } = standing.figures;
    u128::from(remaining) * 1_000_000 / u128::from(limit.max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use grapevine_core::escrow::seats::Seats;
    use grapevine_core::escrow::spec::LimitWindow;
    use grapevine_core::escrow::{Escrow, EscrowStart};
    use grapevine_core::ids::NodeName;

    use super::super::{KeyPurses, OpenLimit};
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_start(Duration::from_secs(secs))
    }

    /// Keys with a limit of requests and a budget, of which the last few were refused, each a second after the one before.
    fn table(keys: usize, refused: usize) -> LimitTable {
        let own = NodeName::new("sgp").expect("a name");
        let seats = Seats::new(vec![own.clone()], &own).expect("a list");
        let mut escrow = Escrow::new(Instant::START, seats, EscrowStart::default());
        let spec = |window| LimitSpec {
            amount: 100,
            window,
        };
        let specs = [
            None,
            Some(spec(LimitWindow::Minute)),
            None,
            Some(spec(LimitWindow::Month)),
        ];
        let mut table = HashMap::new();
        for key in 0..keys {
            let holder = LimitHolder::Filed(format!("key-{key:03}").into());
            let mut open = |kind: LimitKind| {
                let spec = specs[kind as usize]?;
                let id = holder.limit(kind, spec);
                Some(OpenLimit {
                    kind,
                    id,
                    purse: escrow.open(Instant::START, id, spec).expect("room"),
                    opened_at: Instant::START,
                    refusals: Arc::default(),
                })
            };
            let limits = LimitKind::ALL.map(&mut open);
            if key >= keys - refused {
                let limit = limits[LimitKind::Requests as usize].as_ref();
                limit.expect("it is open").refusals.count(at(key as u64));
            }
            table.insert(
                holder,
                Arc::new(KeyPurses::new(Instant::START, specs, limits)),
            );
        }
        table
    }

    #[test]
    fn keys_that_were_refused_last_come_first_and_no_more_than_a_screen() {
        let shown = overview(&table(100, 40), at(100));
        assert_eq!((shown.keys, shown.limited_total), (100, 40));
        assert_eq!(shown.limited.len(), LIMITED_MAX);
        let first = &shown.limited[0];
        assert_eq!(
            (first.holder.name(), first.kind),
            ("key-099", LimitKind::Requests)
        );
        assert_eq!(first.refused, Some((1, Duration::from_secs(1))));
        assert_eq!(
            (shown.budgets_total, shown.budgets.len()),
            (100, BUDGETS_MAX)
        );
    }

    #[test]
    fn key_that_was_refused_long_ago_is_not_being_limited() {
        let table = table(1, 1);
        assert_eq!(overview(&table, at(300)).limited.len(), 1);
        assert_eq!(overview(&table, at(301)).limited.len(), 0);
        assert_eq!(
            overview(&LimitTable::new(), at(0)),
            LimitsOverview::default()
        );
    }
}
