//! A dry run's answer: where the request would go, and why.

use grapevine_core::Instant;
use grapevine_core::ids::{ModelName, RegionName};
use grapevine_core::residency::Origin;
use grapevine_core::route::{Choice, Plan};
use grapevine_core::view::Way;
use serde_json::{Value, json};

use super::visitor::Visitor;
use crate::observe::milliseconds;

/// `plan` for `model`, for people.
pub(super) fn plan(
    plan: &Plan,
    model: Option<&ModelName>,
    visitor: &Visitor,
    now: Instant,
) -> Value {
    let choices: Vec<Value> = plan.choices.iter().map(|it| choice(it, now)).collect();
    json!({
        "object": "grapevine.plan",
        "model": model.map(ModelName::as_str),
        "last_resort": plan.last_resort,
        "client": {
            "area": area(visitor.caller.client),
            "home_regions": visitor.homes.iter().map(RegionName::as_str).collect::<Vec<_>>(),
        },
        "residency": visitor.residency(),
        "choices": choices,
    })
}

/// The country or the continent; nothing where neither is known.
fn area(client: Origin) -> Option<String> {
    match client {
        Origin::Unknown => None,
        Origin::Continent(continent) => Some(continent.to_string()),
        Origin::Country(country) => Some(country.to_string()),
    }
}

fn choice(choice: &Choice, now: Instant) -> Value {
    let upstream = &choice.candidate.upstream;
    json!({
        "node": upstream.node.as_str(),
        "region": upstream.region.as_str(),
        "upstream": upstream.name.as_str(),
        "hops": if upstream.way == Way::Local { 0 } else { 1 },
        "reason": choice.reason.as_str(),
        "state": upstream.standing.as_str(),
        "usable": upstream.is_usable(now),
        "tier": upstream.tier.0,
        "in_flight": upstream.in_flight(),
        "in_flight_max": upstream.in_flight_max,
        "ttft_measured": choice.candidate.measured,
        "cost_ms": {
            "rtt": milliseconds(choice.cost.rtt),
            "ttft": milliseconds(choice.cost.ttft),
            "load": milliseconds(choice.cost.load),
            "staleness": milliseconds(choice.cost.staleness),
            "total": milliseconds(choice.cost.total()),
        },
    })
}
