//! The load of own upstreams, as sent to peers.

use grapevine_core::fact::{Load, UpstreamFact};
use grapevine_core::ids::UpstreamName;
use grapevine_core::view::View;

/// The load of an own upstream, as sent with every answer; `None` when there is no such upstream.
pub(super) fn own_load(view: &View, upstream: &UpstreamName) -> Option<Load> {
    let own = view.own.get(upstream)?;
    let fact = own_fact(view, upstream);
    Some(Load {
        upstream: upstream.clone(),
        in_flight: own.in_flight(),
        ttft: fact.and_then(|fact| fact.ttft).unwrap_or_default(),
    })
}

/// What this node publishes of an own upstream.
pub(super) fn own_fact<'a>(view: &'a View, upstream: &UpstreamName) -> Option<&'a UpstreamFact> {
    let published = &view.nodes.first()?.upstreams;
    let mut facts = published.iter().map(|status| &*status.fact);
    facts.find(|fact| fact.name == *upstream)
}

/// The loads of all own upstreams, as sent with every echo.
pub(super) fn own_loads(view: &View) -> Vec<Load> {
    let names = view.own.keys();
    names.filter_map(|name| own_load(view, name)).collect()
}
