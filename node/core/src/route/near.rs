//! What counts as about equally good, and the best few of many.

use std::sync::Arc;
use std::time::Duration;

use crate::view::Candidate;

/// Candidates of a tier that are scored, beside the ones drawn from the rest.
pub(super) const WINDOW: usize = 16;

/// Costs within a tenth of the best count as equal.
const NEAR_SHARE: f64 = 0.1;

/// Costs within this of the best count as equal.
pub(super) const NEAR_SPAN: Duration = Duration::from_millis(5);

/// The share of requests that go to find out how fast another candidate is by now, however young its figures are.
/// Small enough to leave the 99th percentile alone.
pub(super) const EXPLORED_SHARE: f64 = 1.0 / 200.0;

/// Of so many requests at most one goes to try again what has not been tried for long.
pub(super) const TRIED_REQUESTS: u32 = 10;

/// The span over which one that came back gets its share of the work.
pub(super) const SLOW_START: Duration = Duration::from_secs(10);

/// Whether `cost` is as good as `best` within the precision of measurement: 10 % or 5 ms of it.
pub fn is_near(cost: Duration, best: Duration) -> bool {
    cost <= near_max(best)
}

/// The most that is as good as `best` within the precision of measurement.
pub(super) fn near_max(best: Duration) -> Duration {
    best.mul_f64(1.0 + NEAR_SHARE).max(best + NEAR_SPAN)
}

/// The first [`WINDOW`] of `candidates` by `key`; equals stay in the order they came in.
pub(super) fn best<'a, K: Ord>(
    candidates: impl Iterator<Item = &'a Arc<Candidate>>,
    key: impl Fn(&'a Arc<Candidate>) -> K,
) -> Vec<&'a Arc<Candidate>> {
    let mut best: Vec<(K, &Arc<Candidate>)> = Vec::with_capacity(WINDOW + 1);
    for candidate in candidates {
        keep_least(&mut best, WINDOW, key(candidate), candidate);
    }
    best.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Inserts `item` into `best` at its rank among at most `max`, behind its equals: they came first.
pub(crate) fn keep_least<K: Ord, T>(best: &mut Vec<(K, T)>, max: usize, rank: K, item: T) {
    if best.len() == max && best.last().is_none_or(|(last, _)| *last <= rank) {
        return;
    }
    let index = best.partition_point(|(other, _)| *other <= rank);
    best.insert(index, (rank, item));
    best.truncate(max);
}
