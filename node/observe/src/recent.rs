//! A family of metrics that finds those it counted last without making labels or hashing them.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::family::{Family, MetricConstructor};

/// How many metrics are found by comparing. A node's traffic is mostly of a few models at a few upstreams; to compare
/// with all of these takes as long as to hash once.
const RECENT_MAX: usize = 16;

/// How many of them stay in their places. A request counts one or two of a family: to move those in turn takes longer than
/// to compare a few.
const UNMOVED_MAX: usize = 4;

/// A family, and the metrics of it that were counted last.
#[derive(Debug)]
pub(super) struct RecentFamily<L, M, C = fn() -> M> {
    family: Family<L, M, C>,
    /// The last one first, or among the first [`UNMOVED_MAX`].
    recent: Mutex<Vec<(L, M)>>,
}

impl<L: Clone + Eq + Hash + Debug, M: Clone, C: MetricConstructor<M>> RecentFamily<L, M, C> {
    /// Remembers nothing yet of `family`, a handle of which is registered. Nothing may be removed from it.
    pub(super) const fn new(family: Family<L, M, C>) -> Self {
        let recent = Mutex::new(Vec::new());
        Self { family, recent }
    }

    /// All of its metrics.
    pub(super) const fn family(&self) -> &Family<L, M, C> {
        &self.family
    }

    /// Counts with the metric whose labels satisfy `are_its`, which are those that `labels` makes.
    pub(super) fn count<R>(
        &self,
        are_its: impl Fn(&L) -> bool,
        labels: impl FnOnce() -> L,
        count: impl FnOnce(&M) -> R,
    ) -> R {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let at = recent.iter().position(|(known, _)| are_its(known));
        let at = match at {
            Some(at) if at < UNMOVED_MAX => at,
            Some(at) => {
                recent[..=at].rotate_right(1);
                0
            }
            None => {
                let labels = labels();
                let metric = self.family.get_or_create_owned(&labels);
                recent.truncate(RECENT_MAX - 1);
                recent.insert(0, (labels, metric));
                0
            }
        };
        count(&recent[at].1)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn every_metric_is_counted_however_many_there_are() {
        let family = Family::<Vec<(&str, usize)>, Counter>::default();
        let recent = RecentFamily::new(family.clone());
        for round in 0..3 {
            for number in (0..3 * RECENT_MAX).chain([round]) {
                let labels = vec![("number", number)];
                recent.count(|known| *known == labels, || labels.clone(), Counter::inc);
            }
        }
        for number in 0..3 * RECENT_MAX {
            let expected = if number < 3 { 4 } else { 3 };
            assert_eq!(
                family.get_or_create(&vec![("number", number)]).get(),
                expected
            );
        }
        assert_eq!(recent.recent.lock().expect("no panic").len(), RECENT_MAX);
    }
}
