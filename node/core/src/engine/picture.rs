//! Draws the view: candidates by model and tier, the cheapest first, and the nodes for the operator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::local::Local;
use super::peer::Peer;
use super::remote::Remote;
use crate::fact::{Load, NodeFact, Standing, UpstreamFact};
use crate::geo_point::{GeoPoint, RTT_UNKNOWN};
use crate::ids::{ModelName, NodeName, UpstreamName};
use crate::latency::{FirstByte, Latency, TTFT_UNKNOWN};
use crate::route::is_near;
use crate::time::Instant;
use crate::units::Tier;
use crate::view::{
    Candidate, NodeView, Reach, Routes, TierRoutes, UpstreamStatus, UpstreamView, View, Way,
};

/// An upstream with the models it serves, each with its time to first byte where measured.
struct Offer {
    upstream: Arc<UpstreamView>,
    models: Vec<(ModelName, Option<FirstByte>)>,
    ttft: Option<FirstByte>,
}

type Listed = Vec<(Arc<UpstreamView>, Option<FirstByte>)>;

impl Engine {
    pub(super) fn draw(&mut self, now: Instant) -> View {
        let offers = self.offers(now);
        let own = offers
            .iter()
            .map(|offer| &offer.upstream)
            .filter(|one| one.way == Way::Local);
        let own = own
            .map(|upstream| (upstream.name.clone(), Arc::clone(upstream)))
            .collect();

        let mut by_model: BTreeMap<ModelName, Listed> = BTreeMap::new();
        let mut any: Listed = Vec::new();
        let mut all: Listed = Vec::with_capacity(offers.len());
        for offer in offers {
            all.push((Arc::clone(&offer.upstream), offer.ttft));
            for (model, ttft) in offer.models {
                let entry = (Arc::clone(&offer.upstream), ttft.or(offer.ttft));
                if model.is_any() {
                    any.push(entry);
                } else {
                    by_model.entry(model).or_default().push(entry);
                }
            }
        }
        for listed in by_model.values_mut() {
            listed.extend(any.iter().cloned());
        }
        let mut incumbents = BTreeMap::new();
        let models = by_model
            .into_iter()
            .map(|(model, listed)| {
                let routes = self.routes(now, &model, listed, &mut incumbents);
                (model, routes)
            })
            .collect();
        self.incumbents = incumbents;
        View {
            made_at: now,
            node: self.identity.node.clone(),
            region: self.identity.region.clone(),
            place: self.identity.place,
            phase: self.phase,
            models,
            any_model: tiers(now, any, |_, _| false),
            no_model: tiers(now, all, |_, _| false),
            own,
            nodes: self.nodes(now),
            mesh_rules: Arc::clone(&self.mesh_rules),
        }
    }

    fn offers(&self, now: Instant) -> Vec<Offer> {
        let own = self.locals.values().map(|local| self.own_offer(now, local));
        let peers = self.peers.iter().flat_map(|(name, peer)| {
            let rtt = self.rtt(peer);
            let fact = peer.fact.as_ref();
            let upstreams = fact.map(|fact| peer.upstreams.values().map(move |one| (fact, one)));
            let offers = upstreams.into_iter().flatten();
            offers.map(move |(fact, remote)| peer_offer(now, name, peer, fact, remote, rtt))
        });
        own.chain(peers).collect()
    }

    /// One of the node's own upstreams as a view would show it now, with its fact: for a caller that does not need
    /// the rest of the view.
    pub fn own_upstream(
        &self,
        now: Instant,
        name: &UpstreamName,
    ) -> Option<(UpstreamView, UpstreamFact)> {
        let local = self.locals.get(name)?;
        Some((self.own_view(now, local), local.fact(now)))
    }

    /// The loads of all own upstreams now, as an echo reports them.
    pub fn own_loads(&self, now: Instant) -> Vec<Load> {
        let load = |local: &Local| Load {
            upstream: local.spec.name.clone(),
            in_flight: local.in_flight.count(),
            ttft: local
                .latencies
                .whole()
                .map(|whole| whole.expected(now))
                .unwrap_or_default(),
        };
        self.locals.values().map(load).collect()
    }

    fn own_view(&self, now: Instant, local: &Local) -> UpstreamView {
        let spec = &local.spec;
        UpstreamView {
            way: Way::Local,
            node: self.identity.node.clone(),
            name: spec.name.clone(),
            region: self.identity.region.clone(),
            place: self.identity.place,
            tier: spec.tier,
            weight: spec.weight,
            attempts_max: spec.attempts_max,
            standing: local.standing(now),
            reported_at: now,
            figures_at: now,
            rtt: Duration::ZERO,
            reach: Reach::Open,
            others_in_flight: 0,
            in_flight_max: local.capacity.limit(),
            admission_max: spec.in_flight_max,
            in_flight: local.in_flight.clone(),
            hot_until: None,
            returned_at: local.returned_at,
            trial: local.takes_trial(),
        }
    }

    fn own_offer(&self, now: Instant, local: &Local) -> Offer {
        let latencies = &local.latencies;
        let measured = |model: &ModelName| latencies.of(model).map(|one| one.first_byte(now));
        Offer {
            upstream: Arc::new(self.own_view(now, local)),
            models: local
                .models()
                .iter()
                .map(|model| (model.clone(), measured(model)))
                .collect(),
            ttft: latencies.whole().map(|whole| whole.first_byte(now)),
        }
    }

    /// Measured, else guessed from the distance, else a constant.
    fn rtt(&self, peer: &Peer) -> Duration {
        let place = peer.fact.as_ref().and_then(|fact| fact.place);
        let prior = |here: GeoPoint, there: GeoPoint| here.rtt_prior(there);
        let guessed = self
            .identity
            .place
            .zip(place)
            .map(|(here, there)| prior(here, there));
        peer.rtt.or(guessed).unwrap_or(RTT_UNKNOWN)
    }

    fn routes(
        &self,
        now: Instant,
        model: &ModelName,
        listed: Listed,
        incumbents: &mut BTreeMap<(ModelName, Tier), (NodeName, UpstreamName)>,
    ) -> Routes {
        let before = |tier: Tier| self.incumbents.get(&(model.clone(), tier));
        let mut routes = tiers(now, listed, |tier, upstream| {
            before(tier)
                .is_some_and(|(node, name)| *node == upstream.node && *name == upstream.name)
        });
        for tier in &mut routes.tiers {
            let Some(best) = tier.usable.first() else {
                continue;
            };
            let best_cost = base_cost(best);
            let keeps = |candidate: &&Arc<Candidate>| {
                candidate.incumbent && is_near(base_cost(candidate), best_cost)
            };
            let incumbent = tier.usable.iter().find(keeps).unwrap_or(best);
            let key = (model.clone(), incumbent.upstream.tier);
            let value = (
                incumbent.upstream.node.clone(),
                incumbent.upstream.name.clone(),
            );
            for candidate in &mut tier.usable {
                let is = candidate.upstream.node == value.0 && candidate.upstream.name == value.1;
                if candidate.incumbent != is {
                    Arc::make_mut(candidate).incumbent = is;
                }
            }
            incumbents.insert(key, value);
        }
        routes
    }

    fn nodes(&self, now: Instant) -> Vec<NodeView> {
        let own = NodeView {
            name: self.identity.node.clone(),
            fact: Some(self.identity.fact()),
            generation: self.identity.generation,
            phase: self.phase,
            live: true,
            reach: Reach::Open,
            rtt: Some(Duration::ZERO),
            services: self.services.clone(),
            upstreams: self
                .locals
                .values()
                .map(|local| own_status(now, local))
                .collect(),
            rules_differ_since: None,
        };
        let peers = self.peers.iter().map(|(name, peer)| NodeView {
            name: name.clone(),
            fact: peer.fact.clone(),
            generation: peer.generation,
            phase: peer.phase,
            live: peer.live,
            reach: peer.reach(),
            rtt: peer.rtt,
            services: peer.services.clone(),
            upstreams: peer.upstreams.values().map(remote_status).collect(),
            rules_differ_since: peer.rules_differ_since,
        });
        std::iter::once(own).chain(peers).collect()
    }
}

/// How many candidates a view holds: what making it costs.
pub(super) fn candidates(view: &View) -> usize {
    let count = |routes: &Routes| -> usize {
        routes
            .tiers
            .iter()
            .map(|tier| tier.usable.len() + tier.unusable.len())
            .sum()
    };
    view.models.values().map(count).sum::<usize>() + count(&view.any_model) + count(&view.no_model)
}

fn peer_offer(
    now: Instant,
    name: &NodeName,
    peer: &Peer,
    node: &NodeFact,
    remote: &Remote,
    rtt: Duration,
) -> Offer {
    let fact: &UpstreamFact = &remote.fact;
    let upstream = UpstreamView {
        way: Way::Peer,
        node: name.clone(),
        name: fact.name.clone(),
        region: node.region.clone(),
        place: node.place,
        tier: fact.tier,
        weight: fact.weight,
        // A second attempt is its owner's to make: a hop for the same upstream gains nothing.
        attempts_max: 1,
        standing: fact.standing,
        reported_at: remote.reported_at,
        figures_at: remote.figures_at,
        rtt,
        reach: peer.reach(),
        others_in_flight: remote.others_in_flight,
        in_flight_max: fact.in_flight_max,
        admission_max: u32::MAX,
        in_flight: remote.in_flight.clone(),
        hot_until: remote.hot_until,
        returned_at: remote.returned_at,
        trial: false,
    };
    Offer {
        upstream: Arc::new(upstream),
        models: remote.models(now),
        ttft: remote.first_byte(now),
    }
}

fn tiers(
    now: Instant,
    listed: Listed,
    is_incumbent: impl Fn(Tier, &UpstreamView) -> bool,
) -> Routes {
    // Unmeasured ones count as fast as the fastest known, so that they get measured.
    let prior = listed
        .iter()
        .filter_map(|(_, ttft)| Some((*ttft)?.expected))
        .min()
        .unwrap_or(TTFT_UNKNOWN);
    let mut by_tier: BTreeMap<Tier, TierRoutes> = BTreeMap::new();
    for (upstream, ttft) in listed {
        let routes = by_tier.entry(upstream.tier).or_default();
        let usable = upstream.is_usable(now);
        let incumbent = is_incumbent(upstream.tier, &upstream);
        let measured = ttft.is_some();
        let candidate = Candidate {
            upstream,
            ttft: ttft.map_or(prior, |ttft| ttft.expected),
            ttft_low: ttft.map_or(prior, |ttft| ttft.low),
            measured,
            incumbent,
        };
        let list = if usable {
            &mut routes.usable
        } else {
            &mut routes.unusable
        };
        list.push(Arc::new(candidate));
    }
    let mut tiers: Vec<TierRoutes> = by_tier.into_values().collect();
    for tier in &mut tiers {
        tier.usable.sort_by_key(|candidate| base_cost(candidate));
        tier.unusable.sort_by_key(|candidate| {
            let upstream = &candidate.upstream;
            (
                upstream.reach,
                badness(upstream.standing),
                base_cost(candidate),
            )
        });
    }
    Routes { tiers }
}

fn base_cost(candidate: &Candidate) -> Duration {
    candidate.upstream.rtt.saturating_add(candidate.ttft)
}

/// How far an upstream is from being usable.
fn badness(standing: Standing) -> (u8, Duration) {
    match standing {
        Standing::Ready => (0, Duration::ZERO),
        Standing::Probing { .. } => (1, Duration::ZERO),
        Standing::CoolingDown { remaining } => (2, remaining),
        Standing::Ejected { .. } => (3, Duration::ZERO),
    }
}

fn own_status(now: Instant, local: &Local) -> UpstreamStatus {
    UpstreamStatus {
        fact: Arc::new(local.fact(now)),
        reported_at: now,
        stands_since: local.stands_since,
        again_at: local.again_at(now),
        in_flight: local.in_flight.count(),
        percentiles: local.latencies.whole().map(Latency::percentiles),
    }
}

fn remote_status(remote: &Remote) -> UpstreamStatus {
    UpstreamStatus {
        fact: Arc::clone(&remote.fact),
        reported_at: remote.reported_at,
        stands_since: remote.stands_since,
        again_at: match remote.fact.standing {
            Standing::CoolingDown { remaining } => Some(remote.reported_at + remaining),
            Standing::Ready | Standing::Ejected { .. } | Standing::Probing { .. } => None,
        },
        in_flight: remote
            .others_in_flight
            .saturating_add(remote.in_flight.count()),
        percentiles: None,
    }
}
