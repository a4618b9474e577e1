//! Whether the node is ready for requests, and why not.
//!
//! Gossip and forwarding are told apart, since a mesh whose members are up while no request gets
//! through looks healthy to everyone but its clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use grapevine_core::fact::Phase;
use grapevine_core::view::{Reach, View};
use grapevine_core::work;
use serde_json::{Value, json};

/// Shared flags of what the view does not know. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    alone: AtomicBool,
    open_to_all: AtomicBool,
}

/// What speaks against readiness, and what an operator should know all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// Why the node is not ready; empty when it is.
    pub against: Vec<String>,
    /// What does not keep it from being ready.
    pub warnings: Vec<String>,
}

impl Readiness {
    /// The node has no mesh.
    pub fn set_alone(&self, alone: bool) {
        self.0.alone.store(alone, Ordering::Relaxed);
    }

    /// The public address lets everyone in.
    pub fn set_open_to_all(&self, open: bool) {
        self.0.open_to_all.store(open, Ordering::Relaxed);
    }

    /// What stands for and against, by `view`.
    pub fn reasons(&self, view: &View) -> Reasons {
        let mut reasons = Reasons::default();
        match view.phase {
            Phase::Ready => {}
            Phase::Joining => reasons.against.push("joining: the node is starting".into()),
            Phase::Draining => reasons
                .against
                .push("draining: the node is shutting down".into()),
        }
        if !self.0.alone.load(Ordering::Relaxed) {
            judge_mesh(view, &mut reasons);
        }
        if view
            .no_model
            .tiers
            .iter()
            .all(|tier| tier.usable.is_empty())
        {
            let warning = "upstreams: none can be used now, neither here nor at a peer";
            reasons.warnings.push(warning.into());
        }
        for tasks in work::unserved(view) {
            let work::Unserved {
                service,
                node,
                waiting,
                ..
            } = tasks;
            let warning =
                format!("tasks: {waiting} of {service} wait at {node}, and no live node serves it");
            reasons.warnings.push(warning);
        }
        if self.0.open_to_all.load(Ordering::Relaxed) {
            let warning = "keys: none are configured, so the public address lets everyone in";
            reasons.warnings.push(warning.into());
        }
        reasons
    }
}

impl Reasons {
    /// Whether nothing speaks against it.
    pub fn is_ready(&self) -> bool {
        self.against.is_empty()
    }

    /// For `/readyz`.
    pub fn to_json(&self) -> Value {
        json!({"ready": self.is_ready(), "reasons": self.against, "warnings": self.warnings})
    }
}

/// A node cut off from its peers goes on serving: that is a warning, not a reason against.
fn judge_mesh(view: &View, reasons: &mut Reasons) {
    let peers = || view.nodes.iter().skip(1);
    if peers().all(|peer| !peer.live) {
        reasons
            .warnings
            .push("gossip: no live peer has been found".into());
    }
    for peer in peers().filter(|peer| peer.live && peer.rules_differ) {
        let name = &peer.name;
        reasons.warnings.push(format!(
            "residency: {name} has other rules; requests go by both until they are the same"
        ));
    }
    for peer in peers().filter(|peer| peer.live && peer.phase == Phase::Ready) {
        if matches!(peer.reach, Reach::Down | Reach::Silent) {
            let name = &peer.name;
            reasons
                .warnings
                .push(format!("forwarding: {name} is live but cannot be reached"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use grapevine_core::engine::{Engine, Event, Identity};
    use grapevine_core::fact::ServicesFact;
    use grapevine_core::ids::{Generation, NodeName, RegionName, ServiceKey};
    use grapevine_core::time::Instant;

    use super::*;
    use crate::entropy;

    /// Warnings of tasks at a node where `waiting` tasks wait and that serves them or does not.
    fn warnings(waiting: u32, is_served: bool) -> Vec<String> {
        let key = ServiceKey::new("my-plugin:process").expect("a key");
        let identity = Identity {
            node: NodeName::new("sgp").expect("a name"),
            generation: Generation(1),
            region: RegionName::new("sgp").expect("a name"),
            place: None,
            protocol: 1,
            build: String::new(),
            serves_requests: true,
            public: grapevine_core::fact::Public::default(),
        };
        let mut engine = Engine::new(Instant::START, identity);
        let fact = ServicesFact {
            serves: is_served
                .then(|| key.clone())
                .into_iter()
                .collect::<BTreeSet<_>>(),
            waiting: BTreeMap::from([(key, waiting)]),
            store: None,
        };
        let mut rng = entropy::generator();
        for event in [
            Event::ServicesChanged(fact),
            Event::PhaseChanged(Phase::Ready),
        ] {
            engine.handle(Instant::START, event, &mut rng);
        }
        let reasons = Readiness::default().reasons(&engine.view(Instant::START));
        assert!(reasons.is_ready());
        let warnings = reasons.warnings.into_iter();
        warnings
            .filter(|warning| warning.starts_with("tasks"))
            .collect()
    }

    #[test]
    fn tasks_that_nobody_serves_are_a_warning_and_no_reason_against() {
        assert_eq!(
            warnings(12, false),
            ["tasks: 12 of my-plugin:process wait at sgp, and no live node serves it"]
        );
        assert_eq!(warnings(12, true), [""; 0]);
        assert_eq!(warnings(0, false), [""; 0]);
    }
}
