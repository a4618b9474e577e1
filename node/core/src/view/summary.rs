//! The mesh in a few counts, as one node sees it: what every page, command and metric shows.
//!
//! Each of them once counted for itself, and the same dead node was ready on one page and missing on the next.

use super::{NodeView, Reach, Routes, UpstreamStatus, View};
use crate::fact::Phase;
use crate::ids::ModelName;

/// Models without a usable upstream that a summary names.
pub const MODELS_NAMED_MAX: usize = 16;

/// How a node stands, as another or itself sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It takes work.
    Ready,
    /// It started, and takes no work yet.
    Joining,
    /// It finishes what it has and takes no more.
    Draining,
    /// Membership considers it dead and no link to it is up, or the way to it answers nothing.
    Unreachable,
}

impl NodeState {
    /// One word for the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Joining => "joining",
            Self::Draining => "draining",
            Self::Unreachable => "unreachable",
        }
    }
}

impl NodeView {
    /// How it stands. One that serves no requests needs no link, since nothing is forwarded to it: membership alone says
    /// whether it is there. One that membership considers dead keeps its work while its link is up, and is there.
    pub fn state(&self) -> NodeState {
        let is_forwarded_to = self.fact.as_ref().is_none_or(|fact| fact.serves_requests);
        let is_cut_off = is_forwarded_to && matches!(self.reach, Reach::Silent | Reach::Down);
        let is_dead = !self.live && self.reach != Reach::Open;
        match self.phase {
            _ if is_dead => NodeState::Unreachable,
            Phase::Joining => NodeState::Joining,
            Phase::Draining => NodeState::Draining,
            Phase::Ready if is_cut_off => NodeState::Unreachable,
            Phase::Ready => NodeState::Ready,
        }
    }

    /// Whether new requests may be sent to its upstream `status`, as others go.
    pub fn may_use(&self, status: &UpstreamStatus) -> bool {
        self.reach.takes_work() && status.fact.standing.is_ready()
    }
}

impl Routes {
    /// Candidates that may be used, those left out that are for want of others.
    pub fn usable(&self) -> usize {
        self.tiers.iter().map(|tier| tier.usable.len()).sum()
    }
}

/// Nodes by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeTotals {
    /// Those that take work.
    pub ready: usize,
    /// Those that do not yet.
    pub joining: usize,
    /// Those that do not any more.
    pub draining: usize,
    /// Those that nothing comes from.
    pub unreachable: usize,
}

impl NodeTotals {
    /// All of them.
    pub const fn all(&self) -> usize {
        self.ready + self.joining + self.draining + self.unreachable
    }
}

/// The mesh in a few counts, as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshSummary {
    /// Nodes by state.
    pub nodes: NodeTotals,
    /// All upstreams.
    pub upstreams: usize,
    /// Those that may be used.
    pub upstreams_usable: usize,
    /// Those of unreachable nodes, whatever was last heard of them.
    pub upstreams_unreachable: usize,
    /// Models that some upstream lists by name.
    pub models: usize,
    /// Those of them that no upstream may be used for.
    pub models_unserved: usize,
    /// The first of those by name, at most [`MODELS_NAMED_MAX`].
    pub unserved: Vec<ModelName>,
}

impl MeshSummary {
    /// The summary of `view`.
    pub fn of(view: &View) -> Self {
        let mut summary = Self::default();
        for node in &view.nodes {
            summary.count(node);
        }
        summary.models = view.models.len();
        for (model, _) in view.models.iter().filter(|(_, it)| it.usable() == 0) {
            summary.models_unserved += 1;
            if summary.unserved.len() < MODELS_NAMED_MAX {
                summary.unserved.push(model.clone());
            }
        }
        summary
    }

    fn count(&mut self, node: &NodeView) {
        let state = node.state();
        let nodes = &mut self.nodes;
        *match state {
            NodeState::Ready => &mut nodes.ready,
            NodeState::Joining => &mut nodes.joining,
            NodeState::Draining => &mut nodes.draining,
            NodeState::Unreachable => &mut nodes.unreachable,
        } += 1;
        let usable = node.upstreams.iter().filter(|status| node.may_use(status));
        self.upstreams += node.upstreams.len();
        self.upstreams_usable += usable.count();
        if state == NodeState::Unreachable {
            self.upstreams_unreachable += node.upstreams.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::fact::{NodeFact, Public};
    use crate::ids::{Generation, NodeName, RegionName};

    fn node(live: bool, phase: Phase, reach: Reach) -> NodeView {
        NodeView {
            name: NodeName::new("eur").expect("a name"),
            fact: Some(NodeFact {
                region: RegionName::new("eur").expect("a name"),
                place: None,
                protocol: 1,
                build: String::new(),
                serves_requests: true,
                public: Public::default(),
            }),
            generation: Generation(1),
            phase,
            live,
            reach,
            rtt: Some(Duration::ZERO),
            services: None,
            upstreams: Vec::new(),
            rules_differ_since: None,
        }
    }

    #[test]
    fn node_that_is_dead_or_cut_off_is_unreachable_whatever_it_published_last() {
        let state = |live, phase, reach| node(live, phase, reach).state();
        assert_eq!(
            state(false, Phase::Ready, Reach::Silent),
            NodeState::Unreachable
        );
        assert_eq!(
            state(false, Phase::Draining, Reach::Down),
            NodeState::Unreachable
        );
        assert_eq!(
            state(true, Phase::Ready, Reach::Down),
            NodeState::Unreachable
        );
        assert_eq!(
            state(true, Phase::Ready, Reach::Silent),
            NodeState::Unreachable
        );
        assert_eq!(state(true, Phase::Ready, Reach::Unlinked), NodeState::Ready);
        assert_eq!(state(false, Phase::Ready, Reach::Open), NodeState::Ready);
        assert_eq!(state(true, Phase::Joining, Reach::Down), NodeState::Joining);
        assert_eq!(
            state(true, Phase::Draining, Reach::Closed),
            NodeState::Draining
        );
    }

    #[test]
    fn node_that_serves_no_requests_needs_no_link() {
        let mut worker = node(true, Phase::Ready, Reach::Down);
        if let Some(fact) = &mut worker.fact {
            fact.serves_requests = false;
        }
        assert_eq!(worker.state(), NodeState::Ready);
    }

    #[test]
    fn upstreams_of_an_unreachable_node_are_counted_and_none_of_them_is_usable() {
        let (healthy, ejected) = (status(true), status(false));
        let mut dead = node(false, Phase::Ready, Reach::Down);
        dead.upstreams = vec![healthy.clone(), ejected.clone()];
        let mut alive = node(true, Phase::Ready, Reach::Open);
        alive.upstreams = vec![healthy, ejected];
        let mut summary = MeshSummary::default();
        summary.count(&dead);
        summary.count(&alive);
        assert_eq!((summary.nodes.ready, summary.nodes.unreachable), (1, 1));
        assert_eq!(
            (
                summary.upstreams,
                summary.upstreams_usable,
                summary.upstreams_unreachable
            ),
            (4, 1, 2)
        );
    }

    fn status(is_healthy: bool) -> UpstreamStatus {
        use crate::fact::{FurtherFigures, Standing, UpstreamFact};
        use crate::health::EjectionReason;
        use crate::ids::UpstreamName;
        use crate::latency::ByClass;
        use crate::time::Instant;
        use crate::units::{Share, Tier, Weight};
        let fact = UpstreamFact {
            name: UpstreamName::new("primary").expect("a name"),
            models: std::collections::BTreeMap::new(),
            standing: match is_healthy {
                true => Standing::Ready,
                false => Standing::Ejected {
                    reason: EjectionReason::ErrorRate,
                },
            },
            ttft: None,
            error_rate: Share::ZERO,
            break_rate: Share::ZERO,
            in_flight: 0,
            in_flight_max: 1,
            tier: Tier::default(),
            weight: Weight::default(),
            dialects: crate::dialect::DialectSet::ALL,
            websocket: false,
            models_out: std::collections::BTreeMap::new(),
            further: FurtherFigures::default(),
            account: None,
        };
        UpstreamStatus {
            fact: Arc::new(fact),
            reported_at: Instant::START,
            stands_since: Instant::START,
            again_at: None,
            in_flight: 0,
            engine: None,
            cache: crate::cache_meter::CacheMeter::default(),
            last_failure: None,
            percentiles: ByClass::each(|_| None),
            checks: None,
        }
    }
}
