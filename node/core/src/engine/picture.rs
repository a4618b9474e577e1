//! Draws the view: candidates by model and tier, the cheapest first, and the nodes for the operator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::accounts::SharedRests;
use super::local::Local;
use super::peer::Peer;
use super::refusals::Refusals;
use super::remote::Remote;
use super::tiers::{Entry, Listed, near_count, tiers};
use crate::account::AccountRests;
use crate::fact::{Load, NodeFact, Standing, UpstreamFact};
use crate::geo_point::{GeoPoint, RTT_UNKNOWN};
use crate::ids::{ModelName, NodeName, UpstreamName};
use crate::latency::{AnswerClass, LatencyFigures};
use crate::time::Instant;
use crate::units::Tier;
use crate::view::{Candidate, Reach, Routes, UpstreamView, View, Way};

/// An upstream with the models it serves, each with what is known of its latency.
struct Offer {
    upstream: Arc<UpstreamView>,
    models: Vec<(ModelName, LatencyFigures)>,
    models_out: BTreeMap<ModelName, Standing>,
    refusals: Refusals,
    account_rests: AccountRests,
    figures: LatencyFigures,
}

/// One that takes any model, with those that stand otherwise there.
struct Wildcard {
    entry: Entry,
    models_out: BTreeMap<ModelName, Standing>,
    account_rests: AccountRests,
}

impl Engine {
    pub(super) fn draw(&mut self, now: Instant) -> View {
        let shared = self.shared_rests(now);
        let offers = self.offers(now, &shared);
        self.account_rest_ends_at = shared.next_end();
        let own = offers
            .iter()
            .map(|offer| &offer.upstream)
            .filter(|one| one.way == Way::Local);
        let own = own
            .map(|upstream| (upstream.name.clone(), Arc::clone(upstream)))
            .collect();

        let (by_model, any, all) = listed(offers);
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
            settled: self.is_settled(),
            models,
            any_model: tiers(now, any, |_, _| false),
            no_model: tiers(now, all, |_, _| false),
            own,
            nodes: self.nodes(now),
            mesh_rules: Arc::clone(&self.mesh_rules),
        }
    }

    fn offers(&self, now: Instant, shared: &SharedRests) -> Vec<Offer> {
        let published_again = self.publish_interval();
        let own = self.locals.values().map(|local| self.own_offer(now, local));
        let peers = self.peers.iter().flat_map(|(name, peer)| {
            let (rtt, reach) = (self.rtt(peer), peer.reach(self.mesh_size));
            let fact = peer.fact.as_ref();
            let upstreams = fact.map(|fact| peer.upstreams.values().map(move |one| (fact, one)));
            let offers = upstreams.into_iter().flatten();
            offers.map(move |(fact, remote)| {
                peer_offer(now, (name, reach), fact, remote, rtt, published_again)
            })
        });
        let mut offers: Vec<Offer> = own.chain(peers).collect();
        offers
            .iter_mut()
            .for_each(|offer| shared.join_to(&offer.upstream, &mut offer.account_rests));
        offers
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

    /// The 99th percentile of the time to first byte of an own upstream's answers of `class`; `None` before the first.
    pub fn own_p99(&self, name: &UpstreamName, class: AnswerClass) -> Option<Duration> {
        self.locals.get(name)?.latencies.overall(class)?.p99()
    }

    /// The loads of all own upstreams now, as an echo reports them.
    pub fn own_loads(&self, now: Instant) -> Vec<Load> {
        let load = |local: &Local| Load {
            upstream: local.spec.name.clone(),
            in_flight: local.in_flight_now(),
            ttft: local
                .latencies
                .overall(AnswerClass::Stream)
                .map(|stream| stream.expected(now))
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
            dialects: spec.dialects,
            websocket: spec.websocket,
            attempts_max: spec.attempts_max,
            standing: local.standing(now),
            reported_at: now,
            figures_at: now,
            break_rate: local.health.break_rate(now),
            rtt: Duration::ZERO,
            reach: Reach::Open,
            others_in_flight: local.others_in_flight(),
            in_flight_max: local.load_limit(),
            reported: local.load.reported(now),
            admission_max: spec.in_flight_max,
            in_flight: local.in_flight.clone(),
            cache: local.cache.clone(),
            hot_until: None,
            returned_at: local.returned_at,
            trial: local.takes_trial(),
            account: spec.account.clone(),
        }
    }

    fn own_offer(&self, now: Instant, local: &Local) -> Offer {
        let latencies = &local.latencies;
        Offer {
            upstream: Arc::new(self.own_view(now, local)),
            models: local
                .listed()
                .iter()
                .map(|model| (model.clone(), latencies.figures(now, Some(model))))
                .collect(),
            models_out: local.models_out(now),
            refusals: Refusals::default(),
            account_rests: local.account_rests.clone(),
            figures: latencies.figures(now, None),
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
            let preferred = |candidate: &&Arc<Candidate>| {
                (candidate.upstream.way == Way::Peer, !candidate.incumbent)
            };
            let near = &tier.usable[..near_count(&tier.usable, now)];
            let Some(incumbent) = near.iter().min_by_key(preferred) else {
                continue;
            };
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
}

/// The entries of each model, of those that take any, and of all.
fn listed(offers: Vec<Offer>) -> (BTreeMap<ModelName, Listed>, Listed, Listed) {
    let mut by_model: BTreeMap<ModelName, Listed> = BTreeMap::new();
    let mut any: Vec<Wildcard> = Vec::new();
    let mut all: Listed = Vec::with_capacity(offers.len());
    for offer in offers {
        let entry = |figures, model_standing, model: Option<&ModelName>| Entry {
            upstream: Arc::clone(&offer.upstream),
            figures,
            model_standing,
            refused_until: offer.refusals.until(model),
            account_rests_until: offer.account_rests.until(model),
        };
        all.push(entry(offer.figures, None, None));
        let mut wildcard = None;
        for (model, figures) in offer.models {
            let figures = figures.or(offer.figures);
            if model.is_any() {
                wildcard = Some(entry(figures, None, None));
            } else {
                let standing = offer.models_out.get(&model).copied();
                let entry = entry(figures, standing, Some(&model));
                by_model.entry(model).or_default().push(entry);
            }
        }
        if let Some(entry) = wildcard {
            // A model that nobody lists has routes of its own where it stands otherwise.
            let resting = offer.account_rests.models();
            for model in offer.models_out.keys().chain(resting) {
                by_model.entry(model.clone()).or_default();
            }
            any.push(Wildcard {
                entry,
                models_out: offer.models_out,
                account_rests: offer.account_rests,
            });
        }
    }
    for (model, listed) in &mut by_model {
        listed.extend(any.iter().map(|wildcard| Entry {
            model_standing: wildcard.models_out.get(model).copied(),
            account_rests_until: wildcard.account_rests.until(Some(model)),
            ..wildcard.entry.clone()
        }));
    }
    let any = any.into_iter().map(|wildcard| wildcard.entry).collect();
    (by_model, any, all)
}

/// How many candidates a view holds: what making it costs.
pub(super) fn candidates(view: &View) -> usize {
    let count = |routes: &Routes| -> usize {
        routes
            .tiers
            .iter()
            .map(|tier| tier.usable.len() + tier.suspect.len() + tier.unusable.len())
            .sum()
    };
    view.models.values().map(count).sum::<usize>() + count(&view.any_model) + count(&view.no_model)
}

fn peer_offer(
    now: Instant,
    (name, reach): (&NodeName, Reach),
    node: &NodeFact,
    remote: &Remote,
    rtt: Duration,
    published_again: Duration,
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
        dialects: fact.dialects,
        websocket: fact.websocket,
        // A second attempt is its owner's to make: a hop for the same upstream gains nothing.
        attempts_max: 1,
        standing: fact.standing,
        reported_at: remote.reported_at,
        figures_at: remote.figures_at,
        break_rate: fact.break_rate,
        rtt,
        reach,
        others_in_flight: remote.others_in_flight,
        in_flight_max: fact.in_flight_max,
        reported: fact.further.load.as_deref().copied(),
        admission_max: u32::MAX,
        in_flight: remote.in_flight.clone(),
        cache: remote.cache.clone(),
        hot_until: remote.hot_until,
        returned_at: remote.returned_at,
        trial: false,
        account: remote.account.clone(),
    };
    Offer {
        upstream: Arc::new(upstream),
        models: remote.models(now, published_again),
        models_out: fact.models_out.clone(),
        refusals: remote.refusals.clone(),
        account_rests: remote.account_rests.clone(),
        figures: remote.figures(now, published_again),
    }
}
