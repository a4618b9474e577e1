//! How a world begins, and what checkers and reports may read of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::fact::Standing;
use grapevine_core::ids::UpstreamName;
use grapevine_core::outcome::RetryOn;
use grapevine_core::request::FailoverPolicy;

use super::client::Clients;
use super::node::Node;
use super::tail::Tail;
use super::{INSPECTION, Policy, World, WorldEvent};
use crate::chance::{self, Chance};
use crate::check::{Checks, Seen};
use crate::digest::Digest;
use crate::endpoint::Endpoint;
use crate::heap::Heap;
use crate::membership::{Membership, Model, NodeIndex, Real, Sent, Settings};
use crate::network::Network;
use crate::record::Record;
use crate::sabotage::Sabotage;
use crate::scenario::{MembershipKind, Scenario};

/// All nodes first start within this time, each at its own moment.
const STARTS_WITHIN: Duration = Duration::from_millis(500);

/// A node that started earlier than this has no connection left to its earlier incarnation.
const CALM_AFTER: Duration = Duration::from_secs(2);

/// The options of a run, in addition to its scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) policy: Policy,
    /// Whether transitions are pushed as rumors, in addition to gossip.
    pub(crate) rumors: bool,
    pub(crate) sabotage: Sabotage,
    /// How many of the last events are kept as text.
    pub(crate) last_events: usize,
}

impl Setup {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seed,
            policy: Policy::Grapevine,
            rumors: true,
            sabotage: Sabotage::None,
            last_events: 0,
        }
    }
}

impl World {
    pub(crate) fn new(scenario: Arc<Scenario>, setup: Setup) -> Self {
        let count = scenario.nodes.len();
        let members: Box<dyn Membership> = match scenario.membership {
            MembershipKind::Model => Box::new(Model::new(Settings::default(), count)),
            MembershipKind::Chitchat => {
                Box::new(Real::new(Settings::default(), count as u32, setup.seed))
            }
        };
        let mut nodes: Vec<Node> = (scenario.nodes.iter().enumerate())
            .map(|(index, region)| Node::new(NodeIndex(index as u32), *region))
            .collect();
        let mut endpoints = Vec::new();
        for upstream in &scenario.upstreams {
            for (node, has_one) in nodes.iter_mut().zip(&upstream.at) {
                if *has_one {
                    node.endpoints
                        .insert(upstream.name.clone(), endpoints.len());
                    endpoints.push(Endpoint::new(upstream));
                }
            }
        }
        let atlas = scenario.atlas.clone();
        let conditions = (scenario.jitter, scenario.loss);
        let regions = scenario.nodes.clone();
        let network = Network::new(atlas, regions, conditions, scenario.bandwidth, setup.seed);
        let mut world = Self {
            policy: setup.policy,
            rumors: setup.rumors,
            failover: Arc::new(FailoverPolicy {
                attempts_max: setup.sabotage.attempts_max(scenario.routing.attempts_max),
                retry_on: RetryOn::default(),
            }),
            rules: scenario.rules.clone(),
            now: Instant::START,
            heap: Heap::default(),
            published: vec![Vec::new(); count],
            rumor_sender: None,
            nodes,
            endpoints,
            network,
            members,
            chance: Chance::new(setup.seed),
            clients: Clients::new(&scenario),
            calm_since: None,
            calm_until: Instant::START,
            requests: BTreeMap::new(),
            calls: BTreeMap::new(),
            record: Record::new(&scenario),
            checks: Checks::new(&scenario, setup.policy),
            digest: Digest::default(),
            tail: Tail::of(setup.last_events),
            sabotage: setup.sabotage,
            events: 0,
            scenario,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for (index, rules) in self.rules.iter().enumerate() {
            let node = NodeIndex(index as u32);
            self.checks
                .see(Instant::START, &Seen::Ruled { node, rules });
        }
        for index in 0..self.nodes.len() {
            let node = NodeIndex(index as u32);
            let span = STARTS_WITHIN.mul_f64(chance::unit(&mut self.chance.faults));
            self.plan(Instant::START + span, WorldEvent::Starts { node });
        }
        for fault in 0..self.scenario.faults.len() {
            let at = Instant::from_start(self.scenario.faults[fault].at);
            self.plan(at, WorldEvent::Breaks { fault });
        }
        let warm = Instant::from_start(self.scenario.warm_up);
        self.plan(warm, WorldEvent::Asks);
        for arrival in 0..self.scenario.workload.arrivals.len() {
            let at = Instant::from_start(self.scenario.workload.arrivals[arrival].at);
            self.plan(at, WorldEvent::Arrives { arrival, before: 0 });
        }
        self.plan(Instant::START + INSPECTION, WorldEvent::Inspection);
    }

    pub(super) fn inspect(&mut self) {
        let now = self.now;
        self.plan(now + INSPECTION, WorldEvent::Inspection);
        self.look_for_calm();
        let engines = self.nodes.iter().filter(|node| node.is_alive()).count();
        let requests = self.requests.len();
        let calls = self.calls.len();
        let alive = engines;
        self.checks.see(
            now,
            &Seen::Inspected {
                requests,
                calls,
                planned: self.heap.len(),
                alive,
            },
        );
    }

    /// Notes since when every packet has arrived: then no node needs to look for silence.
    fn look_for_calm(&mut self) {
        let runs = |node: &Node| node.runs(self.now) && self.now.since(node.began_at) > CALM_AFTER;
        let is_calm = self.scenario.loss == 0.0
            && !self.network.is_disturbed()
            && self.nodes.iter().all(runs);
        if is_calm {
            self.calm_since.get_or_insert(self.now);
        }
    }

    /// Something begins to keep packets from arriving.
    pub(super) fn disturb(&mut self) {
        if self.calm_since.take().is_some() {
            self.calm_until = self.now;
        }
    }

    /// The nodes that are alive.
    pub(crate) fn alive(&self) -> Vec<NodeIndex> {
        let all = (0..self.nodes.len()).map(|index| NodeIndex(index as u32));
        all.filter(|node| self.nodes[node.at()].is_alive())
            .collect()
    }

    /// The standing of every upstream of a live node, as its owner has it.
    pub(crate) fn standings(&self, owner: NodeIndex) -> Vec<(UpstreamName, Standing)> {
        let node = &self.nodes[owner.at()];
        let Some(process) = &node.process else {
            return Vec::new();
        };
        let names = node.endpoints.keys();
        let standing = |name: &UpstreamName| {
            let (upstream, _) = process.engine.own_upstream(self.now, name)?;
            Some((name.clone(), upstream.standing))
        };
        names.filter_map(standing).collect()
    }

    /// What a node sent for gossip.
    pub(crate) fn gossip_sent(&self, node: NodeIndex) -> Sent {
        self.members.sent(node)
    }

    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }
}
