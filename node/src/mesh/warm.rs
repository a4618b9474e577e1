//! Which members to stay connected to.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use grapevine_core::ids::NodeName;
use grapevine_core::place::RTT_UNKNOWN;
use grapevine_core::view::{NodeView, View};

use super::dial::Members;

/// Up to this many members all stay connected. An idle connection costs 116 KB and, at this
/// keep-alive, under half a millisecond of CPU per second.
pub(super) const ALL_MAX: usize = 64;

/// Beyond it, this many of the nearest that answer requests,
pub(super) const NEAREST: usize = 8;

/// this many of the nearest that do background work alone, so that they keep no place from those above,
pub(super) const WORKERS: usize = 4;

/// and this many others, so that the mesh of connections has no gaps between regions.
pub(super) const OTHERS: usize = 4;

/// The members to stay connected to: all of a small mesh; of a large one the nearest, and a few
/// others that are the same each time, so that connections do not come and go.
pub(super) fn warm_set(view: &View, me: &NodeName, members: &Members) -> BTreeSet<NodeName> {
    let mut names: Vec<&NodeName> = members.keys().filter(|name| *name != me).collect();
    if names.len() > ALL_MAX {
        names.sort_by_cached_key(|name| (distance(view, name), (*name).clone()));
        let (answering, others): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| answers(view, name));
        let working = others.iter().filter(|name| works(view, name));
        let mut warm: BTreeSet<NodeName> = answering
            .iter()
            .take(NEAREST)
            .chain(working.take(WORKERS))
            .map(|name| (*name).clone())
            .collect();
        let mut rest: Vec<&NodeName> = answering.into_iter().chain(others).collect();
        rest.retain(|name| !warm.contains(*name));
        rest.sort_by_cached_key(|name| lot(me, name));
        warm.extend(rest.into_iter().take(OTHERS).cloned());
        return warm;
    }
    names.into_iter().cloned().collect()
}

/// Whether a member answers requests, as far as is known.
fn answers(view: &View, name: &NodeName) -> bool {
    let fact = node(view, name).and_then(|node| node.fact.as_ref());
    fact.is_none_or(|fact| fact.serves_requests)
}

/// Whether a member runs tasks of any service.
fn works(view: &View, name: &NodeName) -> bool {
    let services = node(view, name).and_then(|node| node.services.as_deref());
    services.is_some_and(|services| !services.serves.is_empty())
}

fn node<'a>(view: &'a View, name: &NodeName) -> Option<&'a NodeView> {
    view.nodes.iter().find(|node| node.name == *name)
}

/// The round trip to a member: measured, or guessed from its place, or what stands for unknown.
fn distance(view: &View, name: &NodeName) -> Duration {
    let Some(node) = node(view, name) else {
        return RTT_UNKNOWN;
    };
    let place = node.fact.as_ref().and_then(|fact| fact.place);
    let guessed = || Some(view.place?.rtt_prior(place?));
    node.rtt.or_else(guessed).unwrap_or(RTT_UNKNOWN)
}

/// A number that looks drawn and is always the same for two names.
fn lot(me: &NodeName, name: &NodeName) -> u64 {
    let mut hasher = DefaultHasher::new();
    (me.as_str(), name.as_str()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use grapevine_core::Engine;
    use grapevine_core::engine::Identity;
    use grapevine_core::fact::Phase;
    use grapevine_core::fact::{NodeFact, ServicesFact};
    use grapevine_core::ids::ServiceKey;
    use grapevine_core::ids::{Generation, RegionName};
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

    #[test]
    fn small_mesh_stays_connected_whole() {
        let mut all = members(ALL_MAX);
        all.insert(name("me"), SocketAddr::from(([127, 0, 0, 1], 7_171)));
        let warm = warm_set(&view(), &name("me"), &all);
        assert_eq!(warm.len(), ALL_MAX);
        assert!(!warm.contains("me"));
    }

    #[test]
    fn large_mesh_keeps_the_nearest_and_the_same_few_others() {
        let mut view = view();
        for index in 0..NEAREST {
            view.nodes.push(NodeView {
                name: name(&format!("n{}", index * 10)),
                fact: None,
                generation: Generation(1),
                phase: Phase::Ready,
                live: true,
                reach: Reach::Open,
                rtt: Some(Duration::from_millis(1)),
                services: None,
                upstreams: Vec::new(),
                rules_differ_since: None,
            });
        }
        let warm = warm_set(&view, &name("me"), &members(200));
        assert_eq!(warm.len(), NEAREST + OTHERS);
        for index in 0..NEAREST {
            let near = format!("n{}", index * 10);
            assert!(warm.contains(near.as_str()), "{near}");
        }
        assert_eq!(warm, warm_set(&view, &name("me"), &members(200)));
        assert_ne!(warm, warm_set(&view, &name("other"), &members(200)));
    }

    /// A near member that answers no requests.
    fn worker(index: usize, serves: &[&str]) -> NodeView {
        let serves = serves
            .iter()
            .map(|key| ServiceKey::new(key).expect("a key"))
            .collect();
        NodeView {
            name: name(&format!("n{index}")),
            fact: Some(NodeFact {
                region: RegionName::new("sgp").expect("a valid name"),
                place: None,
                protocol: 1,
                build: String::new(),
                serves_requests: false,
                public: grapevine_core::fact::Public::default(),
            }),
            generation: Generation(1),
            phase: Phase::Ready,
            live: true,
            reach: Reach::Closed,
            rtt: Some(Duration::from_millis(1)),
            services: Some(std::sync::Arc::new(ServicesFact {
                serves,
                ..ServicesFact::default()
            })),
            rules_differ_since: None,
            upstreams: Vec::new(),
        }
    }

    #[test]
    fn near_workers_stay_connected_beside_those_that_answer_requests() {
        let mut view = view();
        let workers = 0..2 * NEAREST;
        view.nodes
            .extend(workers.clone().map(|index| worker(index, &["a:x"])));
        let warm = warm_set(&view, &name("me"), &members(200));
        assert_eq!(warm.len(), NEAREST + WORKERS + OTHERS);
        let near = |index: &usize| warm.contains(format!("n{index}").as_str());
        let working = workers.filter(near).count();
        assert!((WORKERS..=WORKERS + OTHERS).contains(&working), "{working}");
    }
}
