//! Which candidates a request tries, and in which order: the product's plan, or one of the baselines.
//!
//! The baselines see the same candidates as the product and fail over like it. They lack what
//! the product adds: measurements by other nodes, and a choice by them.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::cache_meter::CacheMeter;
use grapevine_core::fact::Standing;
use grapevine_core::latency::{ByClass, FirstByte, RequestShape, TTFT_UNKNOWN};
use grapevine_core::limit::InFlight;
use grapevine_core::request::Request;
use grapevine_core::route::{
    self, Choice, Cost, Plan, PlanError, RouteQuery, RouteReason, Strategy,
};
use grapevine_core::units::{Share, Tier, Weight};
use grapevine_core::view::{Candidate, Reach, UpstreamView, View, Way};

use super::{Policy, World};
use crate::chance;
use crate::membership::NodeIndex;

impl World {
    /// The plan of a request, by the policy of this world.
    pub(super) fn planned(&mut self, id: u64) -> Result<Plan, PlanError> {
        let entry = self.requests.get(&id).and_then(|client| client.entry);
        let (entry, _) = entry.ok_or(PlanError::Joining)?;
        if self.policy == Policy::Oracle {
            return Ok(in_order(self.ideal(id, entry)));
        }
        let view = self.view(entry).ok_or(PlanError::Joining)?;
        if self.policy == Policy::Grapevine {
            return self.routed(id, &view);
        }
        Ok(in_order(self.alone(id, entry, &view)))
    }

    /// The choice of a node that receives nothing from others.
    fn alone(&mut self, id: u64, entry: NodeIndex, view: &View) -> Vec<Choice> {
        let mut all = self.permitted(id, view);
        let (now, shape) = (self.now, self.shape(id));
        let Some(process) = self.nodes[entry.at()].process.as_mut() else {
            return Vec::new();
        };
        match self.policy {
            Policy::RoundRobin => {
                all.sort_by(|left, right| name(left).cmp(&name(right)));
                let turn = process.turn % all.len().max(1);
                process.turn += 1;
                all.rotate_left(turn);
            }
            Policy::LeastInFlightAlone => {
                all.sort_by_key(|one| (one.upstream.in_flight.count(), one.upstream.rtt));
            }
            Policy::LeastLatencyAlone => {
                let seen = |one: &Arc<Candidate>| {
                    let key = (one.upstream.node.clone(), one.upstream.name.clone());
                    let is_shunned = process.shunned.get(&key).is_some_and(|until| now < *until);
                    // What was not called yet is called first, as every such balancer must.
                    let seen = process.seen.get(&key).copied();
                    (is_shunned, seen.unwrap_or(one.upstream.rtt.mul_f64(0.001)))
                };
                all.sort_by_cached_key(seen);
            }
            _ => all.sort_by(|left, right| configured(left).cmp(&configured(right))),
        }
        let choices = all
            .into_iter()
            .take(self.scenario.routing.attempts_max as usize);
        let choices = choices.map(|candidate| Choice {
            cost: Cost::of(&candidate, shape, now),
            candidate,
            reason: RouteReason::Priority,
        });
        choices.collect()
    }

    fn routed(&mut self, id: u64, view: &Arc<View>) -> Result<Plan, PlanError> {
        let view = if self.sabotage.ignores_ejection() {
            Arc::new(all_healthy(view))
        } else {
            Arc::clone(view)
        };
        let fence = self.fence_of(id);
        let request = self.requests.get(&id).ok_or(PlanError::Joining)?;
        let region = match self.scenario.routing.strategy {
            Strategy::Geo => Some(self.clients.region(request.clientele)),
            _ => None,
        };
        let attempts_left = request.request.as_ref().map(Request::attempts_left);
        let ask = RouteQuery {
            model: Some(&request.model),
            shape: self.shape(id),
            dialect: None,
            websocket: false,
            strategy: self.scenario.routing.strategy,
            session: request.session,
            owner: None,
            upstream: None,
            cache_weight: 0.0,
            client_place: region.map(|region| self.scenario.atlas.region(region).place),
            home_regions: &[],
            prefer_region: None,
            allow_regions: &[],
            fence: fence.as_deref(),
            attempts_max: attempts_left.unwrap_or(self.failover.attempts_max),
        };
        let mut plan = route::plan(&view, &ask, self.now, &mut self.chance.routing)?;
        if self.sabotage.herds() {
            // This second's choice of all nodes.
            let second = self.now.since_start().as_secs();
            let draw = |choice: &Choice| {
                let node = NodeIndex::of(&choice.candidate.upstream.node);
                chance::hash(&[second, node.map_or(0, |node| u64::from(node.0))])
            };
            plan.choices.sort_by_key(draw);
        }
        Ok(plan)
    }

    /// Every candidate that the request may go to and that can be reached.
    fn permitted(&self, id: u64, view: &View) -> Vec<Arc<Candidate>> {
        let Some(request) = self.requests.get(&id) else {
            return Vec::new();
        };
        let Some(routes) = view.routes(Some(&request.model)) else {
            return Vec::new();
        };
        let tiers = routes.tiers.iter();
        let all = tiers.flat_map(|tier| tier.usable.iter().chain(&tier.unusable));
        let may = |one: &&Arc<Candidate>| {
            let upstream = &one.upstream;
            let is_reachable = matches!(upstream.reach, Reach::Open | Reach::Silent);
            is_reachable && request.permitted.allows(&upstream.region)
        };
        all.filter(may).cloned().collect()
    }

    /// The best candidates as they truly are at this moment.
    fn ideal(&self, id: u64, entry: NodeIndex) -> Vec<Choice> {
        let Some(request) = self.requests.get(&id) else {
            return Vec::new();
        };
        let mut all: Vec<(Duration, NodeIndex, usize)> = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let owner = NodeIndex(index as u32);
            let is_cut = self.network.is_cut(entry, owner) || self.network.is_cut(owner, entry);
            let region = &self.scenario.atlas.region(node.region).name;
            if !node.runs(self.now) || is_cut || !request.permitted.allows(region) {
                continue;
            }
            for (kind, upstream) in self.scenario.upstreams.iter().enumerate() {
                let Some(endpoint) = node.endpoints.get(&upstream.name) else {
                    continue;
                };
                let endpoint = &self.endpoints[*endpoint];
                let is_room = endpoint.in_flight() < upstream.in_flight_max as usize;
                if !endpoint.is_healthy(self.now, &request.model)
                    || !is_room
                    || !upstream.models.contains(&request.model)
                {
                    continue;
                }
                let way = match owner == entry {
                    true => Duration::ZERO,
                    false => self.network.round_trip(entry, owner),
                };
                let tier = Duration::from_secs(3_600) * u32::from(upstream.tier.0);
                all.push((
                    tier + way + endpoint.expected(self.now, &request.model),
                    owner,
                    kind,
                ));
            }
        }
        all.sort_unstable();
        let best = all
            .into_iter()
            .take(self.scenario.routing.attempts_max as usize);
        best.map(|(cost, owner, kind)| self.known(entry, owner, kind, cost))
            .collect()
    }

    fn known(&self, entry: NodeIndex, owner: NodeIndex, kind: usize, cost: Duration) -> Choice {
        let upstream = &self.scenario.upstreams[kind];
        let node = &self.nodes[owner.at()];
        let region = self.scenario.atlas.region(node.region);
        let view = UpstreamView {
            way: if owner == entry {
                Way::Local
            } else {
                Way::Peer
            },
            node: node.name.clone(),
            name: upstream.name.clone(),
            region: region.name.clone(),
            place: Some(region.place),
            tier: upstream.tier,
            weight: Weight::default(),
            dialects: grapevine_core::dialect::DialectSet::ALL,
            websocket: false,
            attempts_max: 1,
            standing: Standing::Ready,
            reported_at: self.now,
            figures_at: self.now,
            break_rate: Share::ZERO,
            rtt: Duration::ZERO,
            reach: Reach::Open,
            others_in_flight: 0,
            in_flight_max: u32::MAX,
            reported: None,
            admission_max: u32::MAX,
            in_flight: InFlight::default(),
            cache: CacheMeter::default(),
            hot_until: None,
            returned_at: None,
            trial: false,
            account: None,
        };
        let expected = cost.min(TTFT_UNKNOWN);
        let candidate = Candidate {
            model_standing: None,
            refused_until: None,
            upstream: Arc::new(view),
            ttft: expected,
            ttft_low: expected,
            whole: FirstByte {
                expected,
                low: expected,
            },
            per_kib: Duration::ZERO,
            measured: true,
            whole_measured: true,
            tries: ByClass::default(),
            p95: ByClass::default(),
            incumbent: false,
            account_rests_until: None,
        };
        Choice {
            cost: Cost::of(&candidate, RequestShape::default(), self.now),
            candidate: Arc::new(candidate),
            reason: RouteReason::LeastCost,
        }
    }
}

/// Own upstreams first, then by name.
fn configured(candidate: &Candidate) -> (Tier, bool, (&str, &str)) {
    let upstream = &candidate.upstream;
    (upstream.tier, upstream.way == Way::Peer, name(candidate))
}

fn name(candidate: &Candidate) -> (&str, &str) {
    let upstream = &candidate.upstream;
    (upstream.node.as_str(), upstream.name.as_str())
}

/// The view of a node that considers everything it can reach healthy.
fn all_healthy(view: &View) -> View {
    let mut view = view.clone();
    for routes in view.models.values_mut() {
        for tier in &mut routes.tiers {
            let reachable = |one: &Arc<Candidate>| one.upstream.reach == Reach::Open;
            let unhealthy: Vec<_> = tier
                .unusable
                .iter()
                .filter(|one| reachable(one))
                .cloned()
                .collect();
            for mut one in unhealthy {
                let candidate = Arc::make_mut(&mut one);
                Arc::make_mut(&mut candidate.upstream).standing = Standing::Ready;
                tier.usable.push(one);
            }
        }
    }
    view
}

/// A plan that tries these in their order.
fn in_order(choices: Vec<Choice>) -> Plan {
    Plan {
        choices,
        last_resort: false,
    }
}
