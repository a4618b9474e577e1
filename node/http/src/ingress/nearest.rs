//! `GET /v1/mesh/nearest`: which nodes a client should use, for SDKs and shells.
//!
//! Round trips are measured from this node, and each node's figures are those that it publishes. The client's
//! own latency is not known; the distance is its estimate.

use std::time::Duration;

use grapevine_core::fact::Public;
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::RegionName;
use grapevine_core::residency::ClientOrigin;
use grapevine_core::steer::{self, NODES_MAX, Near, SteeredClient, Steering};
use grapevine_core::view::{NodeView, View};
use grapevine_observe::milliseconds;
use serde_json::{Value, json};

use super::client_headers::ClientOptions;
use super::problem::Problem;
use super::visitor::Visitor;

pub(super) const PATH: &str = "/v1/mesh/nearest";

/// The default number of nodes in an answer.
const LIMIT: usize = 5;

/// The nearest nodes of `view` for `visitor`, at most as many as `query` asks for.
///
/// # Errors
/// When the query cannot be understood, no node is ready, or none that is ready is permitted.
pub(super) fn list(
    view: &View,
    visitor: &Visitor,
    mapped: Vec<RegionName>,
    options: &ClientOptions,
    query: Option<&str>,
) -> Result<Value, Problem> {
    let limit = limit(query)?;
    let mut homes = mapped.clone();
    if let Some(region) = &options.prefer_region {
        homes.insert(0, region.clone());
    }
    let allowed = visitor.allowed(&options.allow_regions);
    let is_free = visitor.fence().is_none() && options.allow_regions.is_empty();
    let client = SteeredClient {
        place: visitor.place,
        homes: &homes,
        regions: (!is_free).then_some(&allowed),
    };
    let steering = steer::nearest(view, client, limit, Public::is_published);
    if !steering.is_any_ready() {
        return Err(Problem::no_node_ready());
    }
    if steering.nodes.is_empty() && steering.unpublished == 0 {
        return Err(barred(view, visitor));
    }
    let nodes = steering.nodes.iter();
    let nodes: Vec<Value> = nodes.map(|near| node(near, options)).collect();
    Ok(json!({
        "object": "list",
        "client": who(visitor, &mapped),
        "residency": visitor.residency(),
        "data": nodes,
        "left_out": left_out(&steering),
    }))
}

/// How many nodes are asked for.
fn limit(query: Option<&str>) -> Result<usize, Problem> {
    let mut pairs = query.unwrap_or_default().split('&');
    let Some(text) = pairs.find_map(|pair| pair.strip_prefix("limit=")) else {
        return Ok(LIMIT);
    };
    let limit = text.parse().ok().filter(|it| (1..=NODES_MAX).contains(it));
    limit.ok_or_else(|| {
        let message = format!("limit must be a whole number from 1 to {NODES_MAX}");
        Problem::invalid(Some("limit"), message)
    })
}

/// There are ready nodes, but none for this client: the rules are reported before its own options.
fn barred(view: &View, visitor: &Visitor) -> Problem {
    let fenced = SteeredClient {
        place: None,
        homes: &[],
        regions: visitor.permitted.regions(),
    };
    let is_own_choice = !steer::nearest(view, fenced, 1, |_| true).nodes.is_empty();
    match is_own_choice {
        true => Problem::no_node_allowed(),
        false => Problem::residency(visitor.fence()),
    }
}

/// The client's facts that the answer is based on.
fn who(visitor: &Visitor, homes: &[RegionName]) -> Value {
    let (country, continent) = match visitor.caller.client {
        ClientOrigin::Unknown => (None, None),
        ClientOrigin::Continent(continent) => (None, Some(continent)),
        ClientOrigin::Country(country) => (Some(country), country.continent()),
    };
    json!({
        "country": country.map(|country| country.to_string()),
        "continent": continent.map(|continent| continent.to_string()),
        "place": visitor.place.map(place),
        "home_regions": homes.iter().map(RegionName::as_str).collect::<Vec<_>>(),
    })
}

fn place(place: GeoPoint) -> Value {
    json!({"lat": place.latitude(), "lon": place.longitude()})
}

fn node(near: &Near<'_>, options: &ClientOptions) -> Value {
    let (node, fact) = (near.node, near.fact);
    let addresses = fact.public.addresses.iter();
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    let is_preferred = options.prefer_region.as_ref() == Some(&fact.region);
    json!({
        "object": "grapevine.node",
        "node": node.name.as_str(),
        "region": fact.region.as_str(),
        "url": fact.public.url,
        "addresses": addresses,
        // To a tenth: a location is seldom known to a kilometre.
        "distance_km": near.distance_km.map(|km| (km * 10.0).round() / 10.0),
        "rtt_ms": node.rtt.map(milliseconds),
        "upstreams": upstreams(node),
        "reason": if is_preferred { "preferred-region" } else { near.reason.as_str() },
    })
}

/// The node's upstreams in aggregate: their names are not published to clients.
fn upstreams(node: &NodeView) -> Value {
    let ready = || {
        let all = node.upstreams.iter();
        all.filter(|status| status.fact.standing.is_ready())
    };
    let fastest: Option<Duration> = ready().filter_map(|status| status.fact.ttft).min();
    let in_flight = ready().map(|status| status.in_flight);
    json!({
        "total": node.upstreams.len(),
        "healthy": ready().count(),
        "in_flight": in_flight.fold(0, u32::saturating_add),
        "ttft_ms": fastest.map(milliseconds),
    })
}

/// Ready nodes that are not in the list, whatever its limit.
fn left_out(steering: &Steering<'_>) -> Value {
    json!({"without_public_address": steering.unpublished, "not_allowed": steering.barred})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_a_number_of_nodes() {
        for (query, wanted) in [
            (None, Ok(LIMIT)),
            (Some("x=1"), Ok(LIMIT)),
            (Some("limit=1"), Ok(1)),
            (Some("x=1&limit=16"), Ok(16)),
            (Some("limit=0"), Err(400)),
            (Some("limit=17"), Err(400)),
            (Some("limit="), Err(400)),
            (Some("limit=-1"), Err(400)),
        ] {
            let limit = limit(query).map_err(|problem| problem.status.as_u16());
            assert_eq!(limit, wanted, "{query:?}");
        }
    }
}
