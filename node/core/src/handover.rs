//! Which node gets a waiting task: the nearest that serves it, others only when that one leaves it.
//!
//! Every node that serves a key asks the task's owner for work. The owner answers the nearest at once
//! and holds the others back by a span that grows with their rank, so that a task goes to the nearest
//! node unless that is busy or dead, and waits a second at most for the choice. Nothing is agreed on
//! between nodes: a wrong rank costs distance, never a task.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fact::Phase;
use crate::geo_point::RTT_UNKNOWN;
use crate::ids::{NodeName, RegionName, ServiceKey};
use crate::time::Instant;
use crate::view::{NodeView, View};

/// How much longer each further node waits than the one before it: above the time in which a near and
/// idle node takes a task, also over a link of 150 ms.
pub const HOLD_STEP: Duration = Duration::from_millis(300);

/// The longest that a node is held back.
pub const HOLD_MAX: Duration = Duration::from_secs(1);

/// A queue that nobody looked at for longer may have been empty in between.
const LOOK_GAP_MAX: Duration = Duration::from_millis(500);

/// Services whose queues are remembered at once.
const QUEUES_MAX: usize = 256;

/// How long tasks of a service must have waited before the node with this rank may have them.
pub fn hold(rank: usize) -> Duration {
    HOLD_STEP
        .saturating_mul(u32::try_from(rank).unwrap_or(u32::MAX))
        .min(HOLD_MAX)
}

/// How many live nodes that serve `service` are nearer to the node of `view` than `peer` is; the node
/// itself is the nearest of all.
pub fn rank(view: &View, service: &ServiceKey, peer: &NodeName) -> usize {
    let distance = |node: &NodeView| (node.rtt.unwrap_or(RTT_UNKNOWN), node.name.clone());
    let asking = view.nodes.iter().find(|node| node.name == *peer);
    let asking = asking.map_or((RTT_UNKNOWN, peer.clone()), distance);
    let serving = view.nodes.iter().filter(|node| serves(node, service));
    let nearer = serving
        .filter(|node| node.name != *peer && (node.name == view.node || distance(node) < asking));
    nearer.count()
}

/// Whether `node` takes tasks of `service` now.
pub(crate) fn serves(node: &NodeView, service: &ServiceKey) -> bool {
    let serves_it = |services: &crate::fact::ServicesFact| services.serves.contains(service);
    takes_tasks(node) && node.services.as_deref().is_some_and(serves_it)
}

/// Whether `node` takes tasks now, of whatever it serves.
pub(crate) fn takes_tasks(node: &NodeView) -> bool {
    node.live && node.phase != Phase::Draining
}

/// The region in which `peer` runs tasks of `service`, from a value that it signed; `None` where it publishes none
/// now. A node is lent tasks for that region and those services alone.
pub fn runs_in<'a>(
    view: &'a View,
    service: &ServiceKey,
    peer: &NodeName,
) -> Option<&'a RegionName> {
    let node = view.nodes.iter().find(|node| node.name == *peer)?;
    serves(node, service).then_some(&node.fact.as_ref()?.region)
}

/// The region of `peer`, from a value that it signed, alive or not; `None` where nothing was received.
pub fn region_of<'a>(view: &'a View, peer: &NodeName) -> Option<&'a RegionName> {
    let node = view.nodes.iter().find(|node| node.name == *peer)?;
    Some(&node.fact.as_ref()?.region)
}

/// Since when tasks of each service have been waiting at this node, as far as that was observed.
#[derive(Clone, Debug, Default)]
pub struct Queues(BTreeMap<ServiceKey, Queue>);

#[derive(Clone, Copy, Debug)]
struct Queue {
    /// Tasks have been waiting since then.
    since: Instant,
    seen_at: Instant,
}

impl Queues {
    /// Notes that `waiting` tasks of `service` wait at `now`; returns for how long there have been some
    /// without a break, `None` when there are none.
    pub fn seen(&mut self, now: Instant, service: &ServiceKey, waiting: u64) -> Option<Duration> {
        if waiting == 0 {
            self.0.remove(service);
            return None;
        }
        let is_current = |queue: &Queue| now.since(queue.seen_at) <= LOOK_GAP_MAX;
        if self.0.len() >= QUEUES_MAX && !self.0.contains_key(service) {
            self.0.retain(|_, queue| is_current(queue));
            if self.0.len() >= QUEUES_MAX {
                // As if it had just come; those that are remembered free their slots within seconds.
                return Some(Duration::ZERO);
            }
        }
        let queue = self.0.entry(service.clone()).or_insert(Queue {
            since: now,
            seen_at: now,
        });
        if !is_current(queue) {
            queue.since = now;
        }
        queue.seen_at = now;
        Some(now.since(queue.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::tests::{key, name, node, view};

    const SERVICE: &str = "a:x";

    fn at(milliseconds: u64) -> Instant {
        Instant::START + Duration::from_millis(milliseconds)
    }

    #[test]
    fn hold_grows_with_the_rank_up_to_a_second() {
        assert_eq!(
            [0, 1, 2, 3, 4, usize::MAX].map(|rank| hold(rank).as_millis()),
            [0, 300, 600, 900, 1_000, 1_000]
        );
    }

    #[test]
    fn nearest_live_node_that_serves_goes_first() {
        let mut view = view(&[]);
        view.nodes.push(node("far", 90, &[SERVICE]));
        view.nodes.push(node("near", 10, &[SERVICE]));
        view.nodes.push(node("idle", 1, &["b:y"]));
        let mut dead = node("dead", 2, &[SERVICE]);
        dead.live = false;
        view.nodes.push(dead);
        let mut leaving = node("leaving", 3, &[SERVICE]);
        leaving.phase = Phase::Draining;
        view.nodes.push(leaving);
        let ranks = ["near", "far", "stranger"].map(|peer| rank(&view, &key(SERVICE), &name(peer)));
        assert_eq!(ranks, [0, 1, 2]);
    }

    #[test]
    fn node_that_serves_its_own_tasks_goes_before_all_peers() {
        let mut view = view(&[SERVICE]);
        view.nodes[0].rtt = None;
        view.nodes.push(node("near", 0, &[SERVICE]));
        assert_eq!(rank(&view, &key(SERVICE), &name("near")), 1);
    }

    #[test]
    fn equally_near_nodes_have_ranks_of_their_own() {
        let mut view = view(&[]);
        for peer in ["c", "a", "b"] {
            view.nodes.push(node(peer, 5, &[SERVICE]));
        }
        let ranks = ["a", "b", "c"].map(|peer| rank(&view, &key(SERVICE), &name(peer)));
        assert_eq!(ranks, [0, 1, 2]);
    }

    #[test]
    fn wait_counts_from_the_first_look_and_anew_after_an_empty_one() {
        let mut queues = Queues::default();
        let service = key(SERVICE);
        assert_eq!(queues.seen(at(0), &service, 1), Some(Duration::ZERO));
        let waited = queues.seen(at(300), &service, 2);
        assert_eq!(waited, Some(Duration::from_millis(300)));
        assert_eq!(queues.seen(at(400), &service, 0), None);
        assert_eq!(queues.seen(at(500), &service, 1), Some(Duration::ZERO));
    }

    #[test]
    fn long_time_without_a_look_is_no_wait() {
        let mut queues = Queues::default();
        let service = key(SERVICE);
        assert_eq!(queues.seen(at(0), &service, 1), Some(Duration::ZERO));
        assert_eq!(queues.seen(at(501), &service, 1), Some(Duration::ZERO));
        assert_eq!(
            queues.seen(at(1_001), &service, 1),
            Some(Duration::from_millis(500))
        );
    }

    #[test]
    fn remembered_queues_are_bounded() {
        let mut queues = Queues::default();
        for number in 0..2 * QUEUES_MAX {
            let service = key(&format!("s:{number}"));
            assert_eq!(queues.seen(at(0), &service, 1), Some(Duration::ZERO));
        }
        assert_eq!(queues.0.len(), QUEUES_MAX);
        assert!(queues.seen(at(9_000), &key(SERVICE), 1).is_some());
        assert_eq!(queues.0.len(), 1);
    }
}
