//! Whether the node is ready for requests, and why not.
//!
//! Gossip and forwarding are distinguished, since a mesh whose members are up while no request gets
//! through looks healthy to everyone but its clients.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use grapevine_core::fact::Phase;
use grapevine_core::view::{Reach, View};
use grapevine_core::work;
use serde_json::{Value, json};

use crate::clock;
use crate::own_files::OwnFiles;
use crate::vital::VitalTaskEnded;

/// Warnings with one code that are written out; what there is beyond them is counted.
const WARNINGS_PER_CODE_MAX: usize = 16;

/// Shared flags of what the view does not contain. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    alone: AtomicBool,
    open_to_all: AtomicBool,
    broken: OnceLock<VitalTaskEnded>,
    files: OwnFiles,
    /// The last public summary, and its view.
    reported: ArcSwapOption<ReportedReadiness>,
}

#[derive(Debug)]
struct ReportedReadiness {
    view: Arc<View>,
    flags: [bool; 5],
    summary: Arc<Summary>,
}

/// The public summary: yes or no, and why as codes of a closed set, so that its size is bounded and it names
/// nothing of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whether the node takes requests.
    pub is_ready: bool,
    /// For `/readyz`, well below 1 KiB.
    pub body: Value,
}

/// What keeps the node from being ready, and what an operator should know all the same, each as `code: detail`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// Why the node is not ready; empty when it is.
    pub against: Vec<String>,
    /// What does not keep it from being ready. At most [`WARNINGS_PER_CODE_MAX`] of each kind.
    pub warnings: Vec<String>,
    against_codes: BTreeSet<&'static str>,
    warning_codes: BTreeSet<&'static str>,
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

    /// A vital task has ended: the node drains and ends.
    pub fn set_broken(&self, task: VitalTaskEnded) {
        self.0.broken.get_or_init(|| task);
    }

    /// The files that the node runs by, whose state is a warning here.
    pub fn files(&self) -> &OwnFiles {
        &self.0.files
    }

    fn flags(&self) -> [bool; 5] {
        let known = &self.0;
        let [alone, open_to_all] =
            [&known.alone, &known.open_to_all].map(|flag| flag.load(Ordering::Relaxed));
        let broken = known.broken.get().is_some();
        let [config, certificate] = known.files.has_warnings(clock::wall());
        [alone, open_to_all, broken, config, certificate]
    }

    /// The public summary. Computed once for each view, however often it is requested.
    pub fn summary(&self, view: &Arc<View>) -> Arc<Summary> {
        let flags = self.flags();
        if let Some(reported) = &*self.0.reported.load()
            && Arc::ptr_eq(&reported.view, view)
            && reported.flags == flags
        {
            return Arc::clone(&reported.summary);
        }
        let summary = Arc::new(self.reasons(view).summary());
        self.0.reported.store(Some(Arc::new(ReportedReadiness {
            view: Arc::clone(view),
            flags,
            summary: Arc::clone(&summary),
        })));
        summary
    }

    /// The reasons and warnings that follow from `view`, for the operator.
    pub fn reasons(&self, view: &View) -> Reasons {
        let mut reasons = Reasons::default();
        let [alone, open_to_all, ..] = self.flags();
        match view.phase {
            Phase::Ready => {}
            Phase::Joining => reasons.not_ready("joining", "the node is starting"),
            Phase::Draining => reasons.not_ready("draining", "the node is shutting down"),
        }
        // The view may be frozen: it may be the engine that has ended.
        if let Some(task) = self.0.broken.get() {
            reasons.not_ready("broken", &format!("{task}; the node is shutting down"));
        }
        if !alone {
            judge_mesh(view, &mut reasons);
        }
        if view
            .no_model
            .tiers
            .iter()
            .all(|tier| tier.usable.is_empty())
        {
            let detail = "none can be used now, neither here nor at a peer";
            reasons.warn([("upstreams", detail)]);
        }
        let unserved = work::unserved(view).into_iter().map(|tasks| {
            let (service, node, waiting) = (tasks.service, tasks.node, tasks.waiting);
            let detail =
                format!("{waiting} of {service} wait at {node}, and no live node serves it");
            ("tasks", detail)
        });
        reasons.warn(unserved);
        if open_to_all {
            let detail = "none are configured, so the public address lets everyone in";
            reasons.warn([("keys", detail)]);
        }
        for warning in self.0.files.warnings(clock::wall()) {
            reasons.warn([warning]);
        }
        reasons
    }
}

impl Reasons {
    /// Whether nothing keeps it from being ready.
    pub fn is_ready(&self) -> bool {
        self.against.is_empty()
    }

    /// For the operator.
    pub fn to_json(&self) -> Value {
        json!({"ready": self.is_ready(), "reasons": self.against, "warnings": self.warnings})
    }

    /// For the public.
    pub fn summary(&self) -> Summary {
        let (reasons, warnings) = (&self.against_codes, &self.warning_codes);
        Summary {
            is_ready: self.is_ready(),
            body: json!({"ready": self.is_ready(), "reasons": reasons, "warnings": warnings}),
        }
    }

    fn not_ready(&mut self, code: &'static str, detail: &str) {
        self.against_codes.insert(code);
        self.against.push(format!("{code}: {detail}"));
    }

    /// Adds warnings of one kind.
    fn warn<T: std::fmt::Display>(
        &mut self,
        warnings: impl IntoIterator<Item = (&'static str, T)>,
    ) {
        let mut left_out = 0;
        let mut last = "";
        for (number, (code, detail)) in warnings.into_iter().enumerate() {
            self.warning_codes.insert(code);
            last = code;
            match number < WARNINGS_PER_CODE_MAX {
                true => self.warnings.push(format!("{code}: {detail}")),
                false => left_out += 1,
            }
        }
        if left_out > 0 {
            self.warnings
                .push(format!("{last}: {left_out} more of these are left out"));
        }
    }
}

/// A node cut off from its peers keeps serving: that is a warning, and does not make it unready.
fn judge_mesh(view: &View, reasons: &mut Reasons) {
    let live = || view.nodes.iter().skip(1).filter(|peer| peer.live);
    if live().next().is_none() {
        reasons.warn([("gossip", "no live peer has been found")]);
    }
    reasons.warn(
        live()
            .filter(|peer| peer.rules_differ_since.is_some())
            .map(|peer| {
                let detail = format!(
                    "{} has other rules; they bind this node where most nodes agree",
                    peer.name
                );
                ("residency", detail)
            }),
    );
    let is_unreachable = |reach| matches!(reach, Reach::Down | Reach::Silent);
    let ready = live().filter(|peer| peer.phase == Phase::Ready);
    reasons.warn(ready.filter(|peer| is_unreachable(peer.reach)).map(|peer| {
        let detail = format!("{} is live but cannot be reached", peer.name);
        ("forwarding", detail)
    }));
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

    fn key(text: &str) -> ServiceKey {
        ServiceKey::new(text).expect("a key")
    }

    /// Warnings of tasks at a node where `waiting` tasks wait and that serves them or does not.
    fn warnings(waiting: u32, is_served: bool) -> Vec<String> {
        let key = key("my-plugin:process");
        let fact = ServicesFact {
            serves: is_served
                .then(|| key.clone())
                .into_iter()
                .collect::<BTreeSet<_>>(),
            waiting: BTreeMap::from([(key, waiting)]),
            store: None,
        };
        let reasons = Readiness::default().reasons(&view(fact));
        assert!(reasons.is_ready());
        let warnings = reasons.warnings.into_iter();
        warnings
            .filter(|warning| warning.starts_with("tasks"))
            .collect()
    }

    /// The view of a node without peers.
    fn view(fact: ServicesFact) -> View {
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
        let mut rng = entropy::generator();
        for event in [
            Event::ServicesChanged(fact),
            Event::PhaseChanged(Phase::Ready),
        ] {
            engine.handle(Instant::START, event, &mut rng);
        }
        engine.view(Instant::START)
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

    #[test]
    fn public_summary_is_short_and_names_nothing_however_much_waits() {
        let waiting = (0..3_000).map(|number| (key(&format!("made-up:{number}")), 1));
        let fact = ServicesFact {
            waiting: waiting.collect(),
            ..ServicesFact::default()
        };
        let view = Arc::new(view(fact));
        let readiness = Readiness::default();
        let summary = readiness.summary(&view);
        let text = summary.body.to_string();
        assert!(text.len() <= 1_024 && !text.contains("made-up"), "{text}");
        assert_eq!(
            summary.body,
            json!({"ready": true, "reasons": [], "warnings": ["gossip", "tasks", "upstreams"]})
        );
        let reasons = readiness.reasons(&view).to_json().to_string();
        assert!(reasons.len() < 4_096, "{} bytes", reasons.len());
        assert!(
            reasons.contains("tasks: 2984 more of these are left out"),
            "{reasons}"
        );
    }

    #[test]
    fn public_summary_is_computed_once_for_each_view() {
        let readiness = Readiness::default();
        let (first, second) = (ServicesFact::default(), ServicesFact::default());
        let (first, second) = (Arc::new(view(first)), Arc::new(view(second)));
        let summary = readiness.summary(&first);
        assert!(Arc::ptr_eq(&summary, &readiness.summary(&first)));
        assert!(!Arc::ptr_eq(&summary, &readiness.summary(&second)));
        // What the view does not contain counts too.
        readiness.set_open_to_all(true);
        let warnings = &readiness.summary(&second).body["warnings"];
        assert!(warnings.to_string().contains("keys"), "{warnings}");
        readiness
            .files()
            .refused(None, "listen: is wrong", clock::wall());
        let summary = readiness.summary(&second);
        let warnings = &summary.body["warnings"];
        assert!(warnings.to_string().contains("config"), "{warnings}");
        assert!(summary.is_ready, "a file on disk harms nobody yet");
    }
}
