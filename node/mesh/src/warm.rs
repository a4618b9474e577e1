//! Which members to stay connected to: what the view contains of them, as core needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grapevine_core::geo_point::RTT_UNKNOWN;
use grapevine_core::ids::NodeName;
use grapevine_core::links::{self, Member};
use grapevine_core::view::{NodeView, View};

use super::members::Members;

/// The members to stay connected to, as far as the view knows them.
pub(super) fn warm_set(view: &View, me: &NodeName, members: &Members) -> BTreeSet<NodeName> {
    let nodes: BTreeMap<&NodeName, &NodeView> =
        view.nodes.iter().map(|node| (&node.name, node)).collect();
    let member = |name| {
        let node = nodes.get(name).copied();
        let fact = node.and_then(|node| node.fact.as_ref());
        let services = node.and_then(|node| node.services.as_deref());
        Member {
            name,
            rtt: node.map_or(RTT_UNKNOWN, |node| round_trip(view, node)),
            answers: fact.is_none_or(|fact| fact.serves_requests),
            works: services.is_some_and(|services| !services.serves.is_empty()),
        }
    };
    links::warm_set(me, members.keys().map(member))
}

/// Measured, or estimated from its location, or the value for unknown.
fn round_trip(view: &View, node: &NodeView) -> Duration {
    let location = node.fact.as_ref().and_then(|fact| fact.place);
    let estimated = || Some(view.place?.rtt_prior(location?));
    node.rtt.or_else(estimated).unwrap_or(RTT_UNKNOWN)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use grapevine_core::Engine;
    use grapevine_core::engine::Identity;
    use grapevine_core::fact::{NodeFact, Phase, ServicesFact};
    use grapevine_core::ids::{Generation, RegionName, ServiceKey};
    use grapevine_core::links::{NEAREST, OTHERS, WORKERS};
    use grapevine_core::view::Reach;

    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::new(text).expect("a valid name")
    }

    fn view() -> View {
        let identity = Identity {
            node: name("me"),
            generation: Generation(1),
            region: RegionName::new("sgp").expect("a valid name"),
            place: None,
            protocol: 1,
            build: String::new(),
            serves_requests: true,
            public: grapevine_core::fact::Public::default(),
        };
        let start = grapevine_core::Instant::START;
        Engine::new(start, identity).view(start)
    }

    fn members(count: usize) -> Members {
        let address = SocketAddr::from(([127, 0, 0, 1], 7_171));
        (0..count)
            .map(|index| (name(&format!("n{index}")), address))
            .collect()
    }

    /// A near node that answers requests, or works.
    fn near(index: usize, serves_requests: bool) -> NodeView {
        let key = || ServiceKey::new("a:x").expect("a key");
        NodeView {
            name: name(&format!("n{index}")),
            fact: Some(NodeFact {
                region: RegionName::new("sgp").expect("a valid name"),
                place: None,
                protocol: 1,
                build: String::new(),
                serves_requests,
                public: grapevine_core::fact::Public::default(),
            }),
            generation: Generation(1),
            phase: Phase::Ready,
            live: true,
            reach: Reach::Open,
            rtt: Some(Duration::from_millis(1)),
            services: (!serves_requests).then(|| {
                std::sync::Arc::new(ServicesFact {
                    serves: [key()].into(),
                    ..ServicesFact::default()
                })
            }),
            rules_differ_since: None,
            upstreams: Vec::new(),
        }
    }

    #[test]
    fn near_nodes_of_the_view_are_in_by_what_they_do() {
        let mut view = view();
        let (answering, working) = (0..NEAREST, NEAREST..NEAREST + 2 * WORKERS);
        view.nodes
            .extend(answering.clone().map(|index| near(index, true)));
        view.nodes
            .extend(working.clone().map(|index| near(index, false)));
        let warm = warm_set(&view, &name("me"), &members(200));
        assert_eq!(warm.len(), NEAREST + WORKERS + OTHERS);
        let is_in = |index: &usize| warm.contains(format!("n{index}").as_str());
        assert!(answering.clone().all(|index| is_in(&index)));
        assert!(working.filter(is_in).count() >= WORKERS);
    }
}
