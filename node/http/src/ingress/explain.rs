//! Where a request would go and why, for a client's dry run and for an operator's query about a client.
//!
//! Both use the same plan as a real request, and call no upstream. Where the strategy is random, the plan is
//! too: the next one may differ.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use grapevine_base::driver::DriverHandle;
use grapevine_base::limits::LimitsHandle;
use grapevine_core::Instant;
use grapevine_core::dialect::{Dialect, RequestDialect};
use grapevine_core::ids::{ModelName, RegionName, UpstreamName};
use grapevine_core::latency::RequestShape;
use grapevine_core::request::{FallbackModels, late_after};
use grapevine_core::residency::ClientOrigin;
use grapevine_core::route::{self, Cost, Plan, PlanError, RouteQuery};
use grapevine_core::view::{Candidate, View, Way};
use grapevine_observe::{milliseconds, reported};
use serde_json::{Value, json};

use super::keys;
use super::limits;
use super::problem::{Problem, Shape};
use super::visitor::{ClientLocation, Visitor};
use super::{IngressSettings, client_headers};

/// A request as an operator supposes it.
#[derive(Clone, Debug, Default)]
pub struct Supposed {
    /// The location of its client.
    pub location: ClientLocation,
    /// The model it asks for; `None` is a request without one.
    pub model: Option<ModelName>,
    /// The name of the client's key.
    pub key: Option<String>,
    /// The id of its conversation.
    pub session: Option<String>,
    /// The region that the client prefers.
    pub prefer_region: Option<RegionName>,
    /// The regions that the client allows; empty is all.
    pub allow_regions: Vec<RegionName>,
    /// The client's dialect; `None` prefers no upstream for its own.
    pub dialect: Option<Dialect>,
}

/// The supposed request's key is not configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// The name that was asked for.
    asked: String,
    /// The configured names.
    known: Vec<Arc<str>>,
}

impl std::error::Error for UnknownKey {}

impl fmt::Display for UnknownKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, known } = self;
        match known.as_slice() {
            [] => write!(formatter, "no key is called '{asked}': none is configured"),
            known => write!(
                formatter,
                "no key is called '{asked}'; there are: {}",
                known.join(", ")
            ),
        }
    }
}

/// Explains supposed requests by the settings and the view in force.
#[derive(Clone, Debug)]
pub struct Explainer {
    /// The settings of the ingress.
    pub settings: Arc<ArcSwap<IngressSettings>>,
    /// The handle of core's driver.
    pub driver: DriverHandle,
    /// The limits of keys.
    pub limits: LimitsHandle,
}

impl Explainer {
    /// The plan for `supposed` as JSON. Without a plan it contains `error`, in OpenAI's shape, and all
    /// candidates as left out.
    ///
    /// # Errors
    /// When there is no key of that name.
    pub fn explain(&self, supposed: &Supposed) -> Result<Value, UnknownKey> {
        let settings = self.settings.load_full();
        let unknown = || UnknownKey {
            asked: supposed.key.clone().unwrap_or_default(),
            known: settings.keys.names(),
        };
        let named = supposed.key.as_deref();
        let key = named
            .map(|name| settings.keys.named(name).ok_or_else(unknown))
            .transpose()?;
        let model = supposed.model.as_ref();
        let key_name = key.as_ref().map(|key| Arc::clone(&key.name));
        let peers = &self.driver.view().mesh_rules;
        let visitor = Visitor::new(&settings, peers, supposed.location, key_name, model);
        let session = supposed.session.as_deref().map(str::as_bytes);
        let mut allow_regions = supposed.allow_regions.clone();
        let fenced = keys::fence(key.as_deref(), &mut allow_regions);
        let ask = RouteQuery {
            model,
            shape: RequestShape::default(),
            dialect: supposed.dialect.map(translatable),
            websocket: false,
            strategy: settings.strategy,
            session: session.map(route::session),
            owner: None,
            upstream: None,
            cache_weight: settings.cache_weight,
            client_place: visitor.place,
            home_regions: &visitor.homes,
            prefer_region: supposed.prefer_region.as_ref(),
            allow_regions: &allow_regions,
            fence: visitor.permitted.regions(),
            attempts_max: settings.failover.attempts_max,
        };
        let (mut shown, problem) = explain(&self.driver, &ask, &visitor);
        let configured = model.and_then(|model| settings.fallbacks.get(model));
        let mut standing_in = configured.cloned().unwrap_or_default();
        standing_in
            .models
            .retain(|model| key.as_deref().is_none_or(|key| key.allows(model)));
        shown["fallbacks"] = fallbacks(&standing_in);
        let now = self.driver.now();
        let limits = key
            .as_deref()
            .and_then(|key| limits::explain(&self.limits, key, model, now));
        if let Some(limits) = limits {
            shown["limits"] = limits;
        }
        let not_allowed = key.as_deref().and_then(|key| keys::refusal(key, model));
        let not_allowed = not_allowed.or(fenced.err());
        if let Some(problem) = not_allowed.or(problem) {
            shown["error"] = problem.to_json(Shape::OpenAi, "")["error"].take();
            shown["error"]["status"] = problem.status.as_u16().into();
        }
        Ok(shown)
    }
}

/// A request in `dialect` that can be translated, as one for a model's answer.
const fn translatable(dialect: Dialect) -> RequestDialect {
    RequestDialect {
        dialect,
        translates: true,
    }
}

/// The plan for `ask` as JSON, and the error where there is no plan.
pub(super) fn explain(
    driver: &DriverHandle,
    ask: &RouteQuery<'_>,
    visitor: &Visitor,
) -> (Value, Option<Problem>) {
    let (view, now) = (driver.view(), driver.now());
    let planned = client_headers::with_rng(|rng| route::plan(&view, ask, now, rng));
    let shown = shown(&view, ask, planned.as_ref(), visitor, now);
    let refused = planned.err();
    let problem = refused.map(|error| Problem::no_plan(ask.model, error, visitor.fence()));
    (shown, problem)
}

fn shown(
    view: &View,
    ask: &RouteQuery<'_>,
    planned: Result<&Plan, &PlanError>,
    visitor: &Visitor,
    now: Instant,
) -> Value {
    let choices = planned.map_or(&[][..], |plan| &plan.choices);
    let absent = route::left_out(view, ask, choices, now);
    let chosen = choices
        .iter()
        .map(|one| candidate(&one.candidate, &one.cost, one.reason.as_str(), ask, now));
    let left_out = absent
        .iter()
        .map(|one| candidate(&one.candidate, &one.cost, one.absence.as_str(), ask, now));
    let names = |regions: &[RegionName]| -> Vec<String> {
        regions.iter().map(ToString::to_string).collect()
    };
    json!({
        "object": "grapevine.plan",
        "node": view.node.as_str(),
        "region": view.region.as_str(),
        "model": ask.model.map(ModelName::as_str),
        "strategy": ask.strategy.as_str(),
        "last_resort": planned.is_ok_and(|plan| plan.last_resort),
        "client": {
            "area": area(visitor.caller.client),
            "location": ask.client_place.map(|place| {
                json!({"lat": place.latitude(), "lon": place.longitude()})
            }),
            "home_regions": names(ask.home_regions),
            "key": visitor.caller.key.as_deref(),
            "session": ask.session.is_some(),
            "has_owner": ask.owner.is_some(),
            "upstream": ask.upstream.map(UpstreamName::as_str),
            "prefer_region": ask.prefer_region.map(RegionName::as_str),
            "dialect": ask.dialect.map(|asked| asked.dialect.name()),
            "allow_regions": names(ask.allow_regions),
        },
        "residency": visitor.residency(),
        "choices": chosen.collect::<Vec<_>>(),
        "left_out": left_out.collect::<Vec<_>>(),
    })
}

/// The models that may stand in, and when.
pub(super) fn fallbacks(fallbacks: &FallbackModels) -> Value {
    let on: Vec<_> = fallbacks.on.iter().map(|cause| cause.as_str()).collect();
    let shown = |model: &ModelName| json!({"model": model.as_str(), "on": on});
    fallbacks.models.iter().map(shown).collect()
}

/// The country or the continent; nothing where neither is known.
fn area(client: ClientOrigin) -> Option<String> {
    match client {
        ClientOrigin::Unknown => None,
        ClientOrigin::Continent(continent) => Some(continent.to_string()),
        ClientOrigin::Country(country) => Some(country.to_string()),
    }
}

fn candidate(
    candidate: &Candidate,
    cost: &Cost,
    reason: &'static str,
    ask: &RouteQuery<'_>,
    now: Instant,
) -> Value {
    let upstream = &candidate.upstream;
    // What stands against this model alone says more than that its upstream is healthy.
    let of_model = candidate
        .model_standing
        .filter(|_| upstream.standing.is_ready());
    let standing = of_model.unwrap_or(upstream.standing);
    let places = ask.client_place.zip(upstream.place);
    // As the owner publishes it. Of a provider whose models differ in that, the owner decides by the model.
    let asked_in = ask.dialect.and_then(|it| it.asked_in(upstream.dialects));
    json!({
        "node": upstream.node.as_str(),
        "region": upstream.region.as_str(),
        "upstream": upstream.name.as_str(),
        "hops": if upstream.way == Way::Local { 0 } else { 1 },
        "reason": reason,
        "dialect": asked_in.map(Dialect::name),
        "translated": asked_in.zip(ask.dialect).map(|(to, from)| to != from.dialect),
        "state": standing.as_str(),
        "state_reason": standing.reason().map(|reason| reason.as_str()),
        "account": upstream.account.as_ref().map(|account| account.name.as_str()),
        "account_rests_ms": candidate.account_rests_for(now).map(milliseconds),
        "usable": candidate.is_usable(now),
        "hot": upstream.is_hot(now),
        "tier": upstream.tier.0,
        "in_flight": upstream.in_flight(),
        "reported": reported::to_json(
            upstream.reported,
            None,
            now.since(upstream.reported_at),
            (upstream.in_flight(), upstream.in_flight_max),
        ),
        "in_flight_max": upstream.in_flight_max,
        "distance_km": places.map(|(client, place)| client.distance_km(place).round()),
        "cached_share": upstream.cache.share().get(),
        "ttft_measured": candidate.is_measured(ask.shape.class),
        "late_after_ms": late_after(candidate, ask.shape).map(milliseconds),
        "cost_ms": {
            "rtt": milliseconds(cost.rtt),
            "ttft": milliseconds(cost.ttft),
            "load": milliseconds(cost.load),
            "staleness": milliseconds(cost.staleness),
            "breaks": milliseconds(cost.breaks),
            "total": milliseconds(cost.total()),
        },
    })
}
