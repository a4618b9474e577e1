//! An earlier incarnation of this node, as peers remember it, and when to rise above it.
//!
//! Incarnations are numbered by the wall clock. When the clock went back, the earlier incarnation has the
//! higher number, and peers keep believing it. They gossip it to this node like any other, with the
//! certificate that proves it. Only what this node's own certificate signed counts, and only numbers
//! above the current one: no member can forge them, and this node has risen above any that it repeats.
//!
//! An incarnation that still speaks is not an earlier one but a second process of the same name: an older
//! one that drains while its successor runs, or a mistake. If this node rose above it, that one would rise
//! in turn, without end. So an earlier incarnation counts once it was silent for longer than the failure
//! detector needs.

use std::time::Duration;

use tokio::time::Instant;

use super::authors::AuthorIncarnation;

/// Intervals for which an earlier incarnation must be silent. The detector needs two heartbeats to find it
/// alive and six intervals to find it dead.
const SILENT_INTERVALS: u32 = 10;

/// The earlier incarnation that this node learned of and has not risen above yet.
#[derive(Debug, Default)]
pub(super) struct Former {
    learned: Option<(AuthorIncarnation, Instant)>,
}

impl Former {
    /// Takes a proven incarnation; of several the latest counts, of gossip and of the node separately.
    pub(super) fn learn(&mut self, now: Instant, found: AuthorIncarnation) {
        let latest = self.learned.map_or(found, |(known, _)| AuthorIncarnation {
            gossip: known.gossip.max(found.gossip),
            node: known.node.max(found.node),
        });
        if self.learned.is_none_or(|(known, _)| known != latest) {
            self.learned = Some((latest, now));
        }
    }

    /// The incarnation to rise above, once. `speaks` is whether the detector finds any other incarnation of
    /// this node alive; `interval` is the time between two rounds of gossip, as they are sent.
    pub(super) fn silent(
        &mut self,
        now: Instant,
        speaks: bool,
        interval: Duration,
    ) -> Option<AuthorIncarnation> {
        let (former, silent_since) = self.learned.as_mut()?;
        if speaks {
            *silent_since = now;
        }
        if now.duration_since(*silent_since) < interval * SILENT_INTERVALS {
            return None;
        }
        let former = *former;
        self.learned = None;
        Some(former)
    }
}

#[cfg(test)]
mod tests {
    use grapevine_core::ids::Generation;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);

    fn incarnation(gossip: u64, node: u64) -> AuthorIncarnation {
        AuthorIncarnation {
            gossip: Generation(gossip),
            node: Generation(node),
        }
    }

    #[test]
    fn silent_incarnation_is_risen_above_once() {
        let mut former = Former::default();
        let now = Instant::now();
        assert_eq!(former.silent(now, false, INTERVAL), None);
        former.learn(now, incarnation(9, 5));
        assert_eq!(former.silent(now + INTERVAL, false, INTERVAL), None);
        let later = now + INTERVAL * SILENT_INTERVALS;
        assert_eq!(
            former.silent(later, false, INTERVAL),
            Some(incarnation(9, 5))
        );
        assert_eq!(former.silent(later, false, INTERVAL), None);
    }

    #[test]
    fn incarnation_that_speaks_is_not_risen_above() {
        let mut former = Former::default();
        let start = Instant::now();
        former.learn(start, incarnation(9, 5));
        let mut now = start;
        for _ in 0..100 {
            now += INTERVAL;
            assert_eq!(former.silent(now, true, INTERVAL), None);
        }
        let later = now + INTERVAL * SILENT_INTERVALS;
        assert_eq!(
            former.silent(later, false, INTERVAL),
            Some(incarnation(9, 5))
        );
    }

    #[test]
    fn latest_of_several_incarnations_counts() {
        let mut former = Former::default();
        let now = Instant::now();
        for found in [incarnation(3, 3), incarnation(9, 5), incarnation(7, 6)] {
            former.learn(now, found);
        }
        let later = now + INTERVAL * SILENT_INTERVALS;
        assert_eq!(
            former.silent(later, false, INTERVAL),
            Some(incarnation(9, 6))
        );
    }
}
