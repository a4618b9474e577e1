//! Background work over the mesh: what a node serves, and what waits where nobody serves it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::handover;
use crate::ids::{NodeName, ServiceKey, StoreName};
use crate::mode::{Mode, SERVICES_MAX, ServedServices};
use crate::view::View;

/// The services that a node publishes as served: of those `registered` with it the ones that its mode permits, and
/// those that the mode names, which a program beside it may serve. At most [`SERVICES_MAX`], those that the mode
/// names first.
pub fn served<'a>(
    mode: &Mode,
    registered: impl IntoIterator<Item = &'a ServiceKey>,
) -> BTreeSet<ServiceKey> {
    let mut served = match mode.services() {
        ServedServices::All => BTreeSet::new(),
        ServedServices::Only(keys) => keys.clone(),
    };
    for key in registered {
        if served.len() < SERVICES_MAX && mode.serves(key) {
            served.insert(key.clone());
        }
    }
    served
}

/// Tasks that wait at a node while no live node serves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved<'a> {
    /// Their service.
    pub service: &'a ServiceKey,
    /// Where they wait.
    pub node: &'a NodeName,
    /// How many.
    pub waiting: u32,
    /// The engine that keeps them for several nodes; `None` when the node keeps them by itself.
    pub store: Option<&'a StoreName>,
}

/// What waits at live nodes and is served by none, in the order of the view's nodes. Of nodes that share an engine
/// the first counts for all.
pub fn unserved(view: &View) -> Vec<Unserved<'_>> {
    let mut counted = BTreeSet::new();
    let served = served_by_any(view);
    queues(view)
        .filter(|tasks| tasks.waiting > 0 && !served.contains(tasks.service))
        .filter(|tasks| {
            tasks
                .store
                .is_none_or(|store| counted.insert((store, tasks.service)))
        })
        .collect()
}

/// The services that some live node takes tasks of now.
pub fn served_by_any(view: &View) -> BTreeSet<&ServiceKey> {
    let serving = view.nodes.iter().filter(|node| handover::takes_tasks(node));
    let services = serving.filter_map(|node| node.services.as_deref());
    services.flat_map(|services| &services.serves).collect()
}

/// Whether tasks of `service` are accepted at a node: it is `named` by its own program or configuration, `mode` names
/// it, or a live node publishes that it serves it. Nobody would run a task of any other.
pub fn is_known(
    view: &View,
    mode: &Mode,
    named: &BTreeSet<ServiceKey>,
    service: &ServiceKey,
) -> bool {
    let in_mode = match mode.services() {
        ServedServices::All => false,
        ServedServices::Only(keys) => keys.contains(service),
    };
    let serves = |services: &crate::fact::ServicesFact| services.serves.contains(service);
    let mut live = view.nodes.iter().filter(|node| node.live);
    in_mode
        || named.contains(service)
        || live.any(|node| node.services.as_deref().is_some_and(serves))
}

/// Of what waits at a node, what it publishes: at most [`SERVICES_MAX`] services, those first that some live node
/// serves, then those of which the most wait. So no service that was made up hides a true one.
pub fn waiting_published(
    view: &View,
    waiting: BTreeMap<ServiceKey, u32>,
) -> BTreeMap<ServiceKey, u32> {
    if waiting.len() <= SERVICES_MAX {
        return waiting;
    }
    let served = served_by_any(view);
    let mut ranked: Vec<_> = waiting.into_iter().collect();
    ranked.sort_by_key(|(service, count)| (!served.contains(service), Reverse(*count)));
    ranked.truncate(SERVICES_MAX);
    ranked.into_iter().collect()
}

/// How many tasks of each service wait in the mesh, each counted once: of nodes that share an engine the one that
/// publishes the most counts for all.
pub fn waiting(view: &View) -> BTreeMap<&ServiceKey, u64> {
    let mut own: BTreeMap<&ServiceKey, u64> = BTreeMap::new();
    let mut shared: BTreeMap<(&StoreName, &ServiceKey), u32> = BTreeMap::new();
    for tasks in queues(view) {
        match tasks.store {
            None => *own.entry(tasks.service).or_default() += u64::from(tasks.waiting),
            Some(store) => {
                let most = shared.entry((store, tasks.service)).or_default();
                *most = tasks.waiting.max(*most);
            }
        }
    }
    for ((_, service), waiting) in shared {
        *own.entry(service).or_default() += u64::from(waiting);
    }
    own
}

/// What live nodes publish of their queues.
fn queues(view: &View) -> impl Iterator<Item = Unserved<'_>> {
    let live = view.nodes.iter().filter(|node| node.live);
    let published = live.filter_map(|node| Some((&node.name, node.services.as_deref()?)));
    published.flat_map(|(node, services)| {
        let tasks = services.waiting.iter();
        tasks.map(move |(service, waiting)| Unserved {
            service,
            node,
            waiting: *waiting,
            store: services.store.as_ref(),
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::waiting as waiting_tasks;
    use super::*;
    use crate::engine::{Engine, Identity};
    use crate::fact::{Phase, ServicesFact};
    use crate::ids::{Generation, RegionName};
    use crate::time::Instant;
    use crate::view::{NodeView, Reach};

    pub(crate) fn key(text: &str) -> ServiceKey {
        ServiceKey::new(text).expect("a key")
    }

    pub(crate) fn name(text: &str) -> NodeName {
        NodeName::new(text).expect("a name")
    }

    fn services(serves: &[&str]) -> Option<Arc<ServicesFact>> {
        Some(Arc::new(ServicesFact {
            serves: serves.iter().map(|text| key(text)).collect(),
            waiting: BTreeMap::new(),
            store: None,
        }))
    }

    /// A live peer at this round trip.
    pub(crate) fn node(peer: &str, rtt_ms: u64, serves: &[&str]) -> NodeView {
        NodeView {
            name: name(peer),
            fact: None,
            generation: Generation(1),
            phase: Phase::Ready,
            live: true,
            reach: Reach::Open,
            rtt: Some(Duration::from_millis(rtt_ms)),
            services: services(serves),
            rules_differ_since: None,
            upstreams: Vec::new(),
        }
    }

    /// The view of a node without peers.
    pub(crate) fn view(serves: &[&str]) -> View {
        let identity = Identity {
            node: name("me"),
            generation: Generation(1),
            region: RegionName::new("sgp").expect("a name"),
            place: None,
            protocol: 1,
            build: String::new(),
            serves_requests: true,
            public: crate::fact::Public::default(),
        };
        let mut view = Engine::new(Instant::START, identity).view(Instant::START);
        view.nodes[0].services = services(serves);
        view
    }

    fn waiting(node: &mut NodeView, tasks: &[(&str, u32)]) {
        let waiting = tasks.iter().map(|(text, count)| (key(text), *count));
        let mut services = ServicesFact::clone(node.services.as_deref().expect("services"));
        services.waiting = waiting.collect();
        node.services = Some(Arc::new(services));
    }

    fn listed(view: &View) -> Vec<String> {
        let unserved = unserved(view).into_iter();
        unserved
            .map(|tasks| format!("{} {} {}", tasks.node, tasks.service, tasks.waiting))
            .collect()
    }

    #[test]
    fn mode_chooses_among_the_registered_and_names_others() {
        let registered = [key("a:x"), key("b:y")];
        let served = |text: &str| {
            let mode = text.parse().expect("a mode");
            let served = served(&mode, &registered).into_iter();
            served.map(|key| key.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(served(""), ["a:x", "b:y"]);
        assert_eq!(served("*"), ["a:x", "b:y"]);
        assert_eq!(served("!"), [""; 0]);
        assert_eq!(served("-"), [""; 0]);
        assert_eq!(served("!,b:y,c:z"), ["b:y", "c:z"]);
    }

    #[test]
    fn published_services_are_bounded() {
        let many: Vec<_> = (0..99).map(|number| key(&format!("s:{number}"))).collect();
        assert_eq!(served(&Mode::default(), &many).len(), SERVICES_MAX);
    }

    #[test]
    fn service_is_known_when_somebody_names_it() {
        let mut view = view(&[]);
        view.nodes.push(node("worker", 1, &["far:true"]));
        view.nodes.push(node("dead", 1, &["dead:gone"]));
        view.nodes[2].live = false;
        let mode = "!,in:mode".parse().expect("a mode");
        let named = BTreeSet::from([key("by:name")]);
        let known = |text: &str| is_known(&view, &mode, &named, &key(text));
        assert!(known("far:true") && known("in:mode") && known("by:name"));
        assert!(!known("made:up") && !known("dead:gone"));
        // A mode that serves all names none.
        assert!(!is_known(&view, &Mode::default(), &named, &key("in:mode")));
    }

    #[test]
    fn made_up_services_hide_no_true_one_from_the_mesh() {
        let mut view = view(&[]);
        view.nodes.push(node("worker", 1, &["z:true"]));
        let made_up = (0..3_000).map(|number| (key(&format!("a:{number}")), 9));
        let waiting: BTreeMap<_, _> = made_up.chain([(key("z:true"), 1)]).collect();
        let published = waiting_published(&view, waiting);
        assert_eq!(published.len(), SERVICES_MAX);
        assert_eq!(published.get(&key("z:true")), Some(&1));
    }

    #[test]
    fn tasks_are_unserved_until_a_live_node_serves_them() {
        let mut view = view(&["a:x"]);
        waiting(&mut view.nodes[0], &[("a:x", 1), ("b:y", 2)]);
        let mut peer = node("peer", 1, &[]);
        waiting(&mut peer, &[("c:z", 3)]);
        view.nodes.push(peer);
        assert_eq!(listed(&view), ["me b:y 2", "peer c:z 3"]);
        let mut worker = node("worker", 1, &["b:y", "c:z"]);
        worker.phase = Phase::Draining;
        view.nodes.push(worker);
        assert_eq!(listed(&view).len(), 2);
        view.nodes[2].phase = Phase::Ready;
        assert_eq!(listed(&view), [""; 0]);
    }

    #[test]
    fn tasks_of_a_shared_engine_are_counted_once() {
        let mut view = view(&[]);
        view.nodes.push(node("peer", 1, &[]));
        view.nodes.push(node("apart", 1, &[]));
        let reports = [
            (0, 5, Some("postgres-1")),
            (1, 6, Some("postgres-1")),
            (2, 7, None),
        ];
        for (at, count, store) in reports {
            let mut services = ServicesFact::default();
            services.waiting.insert(key("a:x"), count);
            services.store = store.map(|name| StoreName::new(name).expect("a name"));
            view.nodes[at].services = Some(Arc::new(services));
        }
        assert_eq!(listed(&view), ["me a:x 5", "apart a:x 7"]);
        let all = waiting_tasks(&view);
        assert_eq!(all, BTreeMap::from([(&key("a:x"), 13)]));
    }

    #[test]
    fn dead_node_neither_serves_nor_has_tasks_that_count() {
        let mut view = view(&[]);
        waiting(&mut view.nodes[0], &[("a:x", 1)]);
        let mut dead = node("dead", 1, &["a:x"]);
        waiting(&mut dead, &[("b:y", 9)]);
        dead.live = false;
        view.nodes.push(dead);
        assert_eq!(listed(&view), ["me a:x 1"]);
    }
}
