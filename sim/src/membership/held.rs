//! Whom one node counts as a member: what the detector reports, with deaths held back where rounds are rare.
//!
//! The same rule as `members.rs` of the product's gossip, without its freeze for a process that was
//! stopped, which does not occur in the simulator.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::Generation;

use super::NodeIndex;

/// The members as one node reports them to its engine.
#[derive(Debug)]
pub(super) struct Held {
    /// The latest generation that was reported of each member.
    members: Vec<Option<Generation>>,
    count: usize,
    absent_since: BTreeMap<NodeIndex, Instant>,
}

impl Held {
    /// No members, out of `nodes`.
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            members: vec![None; nodes],
            count: 0,
            absent_since: BTreeMap::new(),
        }
    }

    /// Members, the node itself left out.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Takes that `node` is alive; true when it was no member, or had another generation.
    pub(super) fn alive(&mut self, node: NodeIndex, generation: Generation) -> bool {
        self.absent_since.remove(&node);
        let before = self.members[node.at()].replace(generation);
        if before.is_none() {
            self.count += 1;
        }
        before != Some(generation)
    }

    /// Takes that `node` is not alive any more.
    pub(super) fn silent(&mut self, now: Instant, node: NodeIndex) {
        if self.members[node.at()].is_some() {
            self.absent_since.entry(node).or_insert(now);
        }
    }

    /// The nodes that are now considered dead, in order. They are no longer members.
    pub(super) fn believe(&mut self, now: Instant, patience: Duration) -> Vec<NodeIndex> {
        if self.absent_since.is_empty() {
            return Vec::new();
        }
        let absent = self.absent_since.iter();
        let due = absent.filter(|(_, since)| now.since(**since) >= patience);
        let dead: Vec<_> = due.map(|(node, _)| *node).collect();
        for node in &dead {
            self.absent_since.remove(node);
            self.members[node.at()] = None;
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
    fn later_incarnation_of_a_member_is_reported() {
        let mut held = Held::new(1);
        assert!(held.alive(NodeIndex(0), Generation(1)));
        assert!(held.alive(NodeIndex(0), Generation(2)));
        assert!(!held.alive(NodeIndex(0), Generation(2)));
        assert_eq!(held.count(), 1);
    }
}
