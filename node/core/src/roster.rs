//! Which incarnations of nodes gossip may contain, within limits.
//!
//! A relay of gossip can claim any number of nodes, and each costs memory and bytes in every message. So an
//! incarnation takes space only once it is proven: the caller admits it when the node itself is connected, or when
//! its certificate signed the incarnation. That leaves the nodes to which the mesh CA issued a certificate, each of
//! which can still begin any number of incarnations, under any number of addresses. Hence:
//!
//! - Every node has slots of its own, which no other can take: a full table refuses unknown nodes, and never
//!   forgets one for another.
//! - Beyond those, incarnations share a pool, of which each node gets a part.
//! - A node begins incarnations at a bounded rate: a crash loop passes, a flood does not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Instant;
use crate::ids::{Generation, NodeName};

/// Nodes of one mesh.
pub const NODES_MAX: usize = 1_024;

/// Incarnations of a node that have a slot of their own: the present one, and the one before, which is remembered for
/// minutes.
pub const INCARNATIONS_OWN: usize = 2;

/// Incarnations of all nodes beyond those.
pub const INCARNATIONS_SHARED_MAX: usize = 512;

/// Incarnations of one node, those in the shared pool included.
pub const INCARNATIONS_MAX: usize = 32;

/// Incarnations that a node may begin in a burst; one more every [`INCARNATION_INTERVAL`].
pub const INCARNATIONS_BURST: u32 = 8;

/// A node with more time than this between two incarnations is never refused for its rate.
pub const INCARNATION_INTERVAL: Duration = Duration::from_secs(5);

/// An admitted incarnation may be forgotten after this, unless gossip knows it by then: its first message may be
/// lost.
pub const UNKNOWN_KEPT: Duration = Duration::from_secs(60);

/// One more incarnation than the limits allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more incarnations of nodes than the limits allow")]
pub struct Crowded;

/// A generation, and where it is reached: both together are one member to chitchat.
pub type MemberKey = (Generation, SocketAddr);

/// The proven incarnations.
#[derive(Debug, Default)]
pub struct Roster {
    nodes: BTreeMap<NodeName, Incarnations>,
    shared: usize,
}

#[derive(Debug)]
struct Incarnations {
    admitted: BTreeMap<MemberKey, Instant>,
    /// Incarnations that may begin at once.
    left: u32,
    refilled_at: Instant,
}

impl Roster {
    /// Whether this incarnation of `node` is proven.
    pub fn knows(&self, node: &NodeName, incarnation: MemberKey) -> bool {
        let incarnations = self.nodes.get(node);
        incarnations.is_some_and(|incarnations| incarnations.admitted.contains_key(&incarnation))
    }

    /// Whether some proven incarnation of `node` is reached at `address`.
    pub fn knows_address(&self, node: &NodeName, address: SocketAddr) -> bool {
        let Some(incarnations) = self.nodes.get(node) else {
            return false;
        };
        incarnations
            .admitted
            .keys()
            .any(|(_, known)| *known == address)
    }

    /// Incarnations at present.
    pub fn len(&self) -> usize {
        self.nodes
            .values()
            .map(|incarnations| incarnations.admitted.len())
            .sum()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Takes an incarnation that was proven.
    ///
    /// # Errors
    /// When there is no room, or too many of this node came lately. It may be offered again.
    pub fn admit(
        &mut self,
        now: Instant,
        node: &NodeName,
        incarnation: MemberKey,
    ) -> Result<(), Crowded> {
        if self.knows(node, incarnation) {
            return Ok(());
        }
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(node) {
            return Err(Crowded);
        }
        let incarnations = self
            .nodes
            .entry(node.clone())
            .or_insert_with(|| Incarnations {
                admitted: BTreeMap::new(),
                left: INCARNATIONS_BURST,
                refilled_at: now,
            });
        let count = incarnations.admitted.len();
        let is_shared = count >= INCARNATIONS_OWN;
        if count >= INCARNATIONS_MAX || (is_shared && self.shared >= INCARNATIONS_SHARED_MAX) {
            return Err(Crowded);
        }
        incarnations.refill(now);
        incarnations.left = incarnations.left.checked_sub(1).ok_or(Crowded)?;
        incarnations.admitted.insert(incarnation, now);
        self.shared += usize::from(is_shared);
        Ok(())
    }

    /// Forgets the incarnations that gossip has forgotten.
    pub fn retain(&mut self, now: Instant, is_known: impl Fn(&NodeName, MemberKey) -> bool) {
        self.shared = 0;
        self.nodes.retain(|node, incarnations| {
            let is_kept = |incarnation: &MemberKey, admitted_at: &mut Instant| {
                now.since(*admitted_at) < UNKNOWN_KEPT || is_known(node, *incarnation)
            };
            incarnations.admitted.retain(is_kept);
            self.shared += incarnations.admitted.len().saturating_sub(INCARNATIONS_OWN);
            // The rate is remembered with the incarnations; a node that had none for a minute begins anew.
            !incarnations.admitted.is_empty()
        });
    }
}

impl Incarnations {
    fn refill(&mut self, now: Instant) {
        let passed = now.since(self.refilled_at).as_nanos() / INCARNATION_INTERVAL.as_nanos();
        let earned = u32::try_from(passed).unwrap_or(u32::MAX);
        if earned == 0 {
            return;
        }
        self.left = self.left.saturating_add(earned).min(INCARNATIONS_BURST);
        self.refilled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    fn node(number: usize) -> NodeName {
        NodeName::new(&format!("n{number}")).expect("a valid name")
    }

    fn incarnation(number: u64) -> MemberKey {
        (Generation(number), ([127, 0, 0, 1], 7_171).into())
    }

    #[test]
    fn admitted_incarnation_is_known_and_no_other() {
        let mut roster = Roster::default();
        assert_eq!(roster.admit(at(0), &node(1), incarnation(5)), Ok(()));
        assert!(roster.knows(&node(1), incarnation(5)));
        assert!(!roster.knows(&node(1), incarnation(6)));
        assert!(!roster.knows(&node(2), incarnation(5)));
        let elsewhere = (Generation(5), ([127, 0, 0, 1], 9).into());
        assert!(!roster.knows(&node(1), elsewhere));
        assert!(roster.knows_address(&node(1), incarnation(9).1));
        assert!(!roster.knows_address(&node(1), elsewhere.1));
    }

    #[test]
    fn flood_of_incarnations_is_refused_and_a_crash_loop_passes() {
        let mut roster = Roster::default();
        let flood =
            (0..1_000).filter(|number| roster.admit(at(0), &node(1), incarnation(*number)).is_ok());
        assert_eq!(flood.count(), INCARNATIONS_BURST as usize);
        for number in 0..20 {
            let now = at(number * INCARNATION_INTERVAL.as_secs());
            assert_eq!(roster.admit(now, &node(2), incarnation(number)), Ok(()));
        }
    }

    #[test]
    fn full_pool_leaves_every_node_its_own_slots() {
        let mut roster = Roster::default();
        let mut now = 0;
        for number in 0..100 {
            for generation in 0..INCARNATIONS_MAX as u64 {
                now += INCARNATION_INTERVAL.as_secs();
                let _ = roster.admit(at(now), &node(number), incarnation(generation));
            }
        }
        assert_eq!(roster.shared, INCARNATIONS_SHARED_MAX);
        for number in 100..NODES_MAX {
            for generation in 0..INCARNATIONS_OWN as u64 {
                let admitted = roster.admit(at(now), &node(number), incarnation(generation));
                assert_eq!(admitted, Ok(()), "node {number}");
            }
            let third = roster.admit(at(now), &node(number), incarnation(9));
            assert_eq!(third, Err(Crowded));
        }
        assert_eq!(
            roster.len(),
            NODES_MAX * INCARNATIONS_OWN + INCARNATIONS_SHARED_MAX
        );
        assert_eq!(
            roster.admit(at(now), &node(NODES_MAX), incarnation(1)),
            Err(Crowded)
        );
        assert!(
            roster.knows(&node(0), incarnation(0)),
            "nobody was pushed out"
        );
    }

    #[test]
    fn incarnation_that_gossip_forgot_makes_room_after_a_minute() {
        let mut roster = Roster::default();
        for number in 0..NODES_MAX {
            assert_eq!(roster.admit(at(0), &node(number), incarnation(1)), Ok(()));
        }
        let is_known = |name: &NodeName, _: MemberKey| *name != node(7);
        roster.retain(at(59), is_known);
        assert_eq!(roster.len(), NODES_MAX);
        roster.retain(at(60), is_known);
        assert!(!roster.knows(&node(7), incarnation(1)));
        assert_eq!(
            roster.admit(at(60), &node(NODES_MAX), incarnation(1)),
            Ok(())
        );
    }
}
