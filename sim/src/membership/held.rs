//! Whom one node counts as a member: the detector's word, with deaths held back where rounds are rare.
//!
//! The same rule as `members.rs` of the product's gossip, without its freeze for a process that was
//! stopped, which no node of the simulator is.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::Generation;

use super::NodeIndex;

/// The members as one node tells its engine.
#[derive(Debug)]
pub(super) struct Held {
    /// The latest life that was told of each member.
    told: Vec<Option<Generation>>,
    count: usize,
    absent_since: BTreeMap<NodeIndex, Instant>,
}

impl Held {
    /// Nobody, out of `nodes`.
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            told: vec![None; nodes],
            count: 0,
            absent_since: BTreeMap::new(),
        }
    }

    /// Members, the node itself left out.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Takes that `node` is alive; true when it was no member, or one in another life.
    pub(super) fn alive(&mut self, node: NodeIndex, life: Generation) -> bool {
        self.absent_since.remove(&node);
        let told = self.told[node.at()].replace(life);
        if told.is_none() {
            self.count += 1;
        }
        told != Some(life)
    }

    /// Takes that `node` is not alive any more.
    pub(super) fn silent(&mut self, now: Instant, node: NodeIndex) {
        if self.told[node.at()].is_some() {
            self.absent_since.entry(node).or_insert(now);
        }
    }

    /// Those whose death is believed now, in order. They are members no more.
    pub(super) fn believe(&mut self, now: Instant, patience: Duration) -> Vec<NodeIndex> {
        if self.absent_since.is_empty() {
            return Vec::new();
        }
        let absent = self.absent_since.iter();
        let due = absent.filter(|(_, since)| now.since(**since) >= patience);
        let dead: Vec<_> = due.map(|(node, _)| *node).collect();
        for node in &dead {
            self.absent_since.remove(node);
            self.told[node.at()] = None;
            self.count -= 1;
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[test]
    fn death_is_believed_after_patience_and_a_sign_of_life_ends_the_wait() {
        let node = NodeIndex(1);
        let at = |millis| Instant::from_start(Duration::from_millis(millis));
        let mut held = Held::new(2);
        assert!(held.alive(node, Generation(1)));
        held.silent(at(0), node);
        assert_eq!(held.believe(at(999), PATIENCE), []);
        assert!(!held.alive(node, Generation(1)));
        held.silent(at(1_000), node);
        held.silent(at(1_500), node);
        assert_eq!(held.believe(at(1_999), PATIENCE), []);
        assert_eq!(held.believe(at(2_000), PATIENCE), [node]);
        assert_eq!(held.count(), 0);
        assert!(held.alive(node, Generation(1)));
    }
    #[test]
    fn later_life_of_a_member_is_told() {
        let mut held = Held::new(1);
        assert!(held.alive(NodeIndex(0), Generation(1)));
        assert!(held.alive(NodeIndex(0), Generation(2)));
        assert!(!held.alive(NodeIndex(0), Generation(2)));
        assert_eq!(held.count(), 1);
    }
}
