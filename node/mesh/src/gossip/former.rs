//! This node's own former life, as peers remember it, and when to rise above it.
//!
//! A life is numbered by the wall clock. When that went back, the life before this one has the higher
//! number, and peers go on believing it. They gossip it to this node like any other, with the
//! certificate that proves it. Only what this node's own certificate signed counts, and only numbers
//! above this life's: no member can make them up, and what it repeats was risen above already.
//!
//! A life that still speaks is no former one but a second process of the same name: an older one that
//! drains while its successor runs, or a mistake. If this node rose above it, that one would rise in
//! turn, and so on. So a former life counts once it was silent for longer than a death takes to detect.

use std::time::Duration;

use tokio::time::Instant;

use super::authors::AuthorIncarnation;

/// Intervals for which a former life must be silent. The detector needs two heartbeats to hold it for
/// alive and six intervals to hold it for dead.
const SILENT_INTERVALS: u32 = 10;

/// The former life that was heard of and not risen above yet.
#[derive(Debug, Default)]
pub(super) struct Former {
    heard: Option<(AuthorIncarnation, Instant)>,
}

impl Former {
    /// Takes a proven life; of several the latest counts, of gossip and of the node each.
    pub(super) fn hear(&mut self, now: Instant, life: AuthorIncarnation) {
        let latest = self.heard.map_or(life, |(heard, _)| AuthorIncarnation {
            gossip: heard.gossip.max(life.gossip),
            node: heard.node.max(life.node),
        });
        if self.heard.is_none_or(|(heard, _)| heard != latest) {
            self.heard = Some((latest, now));
        }
    }

    /// The life to rise above, once. `speaks` is whether the detector holds any other life of this node
    /// for alive; `interval` is the time between two rounds of gossip, as they are sent.
    pub(super) fn silent(
        &mut self,
        now: Instant,
        speaks: bool,
        interval: Duration,
    ) -> Option<AuthorIncarnation> {
        let (life, silent_since) = self.heard.as_mut()?;
        if speaks {
            *silent_since = now;
        }
        if now.duration_since(*silent_since) < interval * SILENT_INTERVALS {
            return None;
        }
        let life = *life;
        self.heard = None;
        Some(life)
    }
}

#[cfg(test)]
mod tests {
    use grapevine_core::ids::Generation;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);

    fn life(gossip: u64, node: u64) -> AuthorIncarnation {
        AuthorIncarnation {
            gossip: Generation(gossip),
            node: Generation(node),
        }
    }

    #[test]
    fn silent_life_is_risen_above_once() {
        let mut former = Former::default();
        let now = Instant::now();
        assert_eq!(former.silent(now, false, INTERVAL), None);
        former.hear(now, life(9, 5));
        assert_eq!(former.silent(now + INTERVAL, false, INTERVAL), None);
        let later = now + INTERVAL * SILENT_INTERVALS;
        assert_eq!(former.silent(later, false, INTERVAL), Some(life(9, 5)));
        assert_eq!(former.silent(later, false, INTERVAL), None);
    }

    #[test]
    fn life_that_speaks_is_not_risen_above() {
        let mut former = Former::default();
        let start = Instant::now();
        former.hear(start, life(9, 5));
        let mut now = start;
        for _ in 0..100 {
            now += INTERVAL;
            assert_eq!(former.silent(now, true, INTERVAL), None);
        }
        let later = now + INTERVAL * SILENT_INTERVALS;
        assert_eq!(former.silent(later, false, INTERVAL), Some(life(9, 5)));
    }

    #[test]
    fn latest_of_several_lives_counts() {
        let mut former = Former::default();
        let now = Instant::now();
        for life in [life(3, 3), life(9, 5), life(7, 6)] {
            former.hear(now, life);
        }
        let later = now + INTERVAL * SILENT_INTERVALS;
        assert_eq!(former.silent(later, false, INTERVAL), Some(life(9, 6)));
    }
}
