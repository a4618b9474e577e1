//! Upstreams that take WebSockets, and requests that are one.

use super::*;
use crate::ids::RegionName;
use crate::route::takes_websockets;

fn taking(name: &str, rtt_ms: u64, websocket: bool) -> UpstreamView {
    UpstreamView {
        websocket,
        ..upstream(name, rtt_ms)
    }
}

#[test]
fn websocket_goes_to_upstreams_that_take_it_alone_and_a_request_to_all() {
    let view = view(vec![taking("near", 1, false), taking("far", 90, true)]);
    let plan = plan_with(&view, |ask| ask.websocket = true, 1).expect("a plan");
    assert_eq!(nodes(&plan), ["far"]);
    let plan = plan_with(&view, |_| {}, 1).expect("a plan");
    assert_eq!(nodes(&plan), ["near", "far"]);
}

#[test]
fn where_none_takes_it_that_is_the_reason() {
    let view = view(vec![taking("near", 1, false)]);
    let failed = plan_with(&view, |ask| ask.websocket = true, 1);
    let by = Bar::WebSocket;
    assert!(matches!(failed, Err(PlanError::NotAllowed { by: found }) if found == by));
}

#[test]
fn any_upstream_that_could_be_asked_is_found_by_model_and_region() {
    let view = view(vec![taking("near", 1, false), taking("far", 90, true)]);
    let region = &view.models.values().next().expect("a model").tiers[0].usable[1];
    let region: RegionName = region.upstream.region.clone();
    assert!(takes_websockets(&view, |_| true, |_| true));
    assert!(!takes_websockets(&view, |_| false, |_| true));
    assert!(takes_websockets(&view, |_| true, |it| *it == region));
    assert!(!takes_websockets(&view, |_| true, |_| false));
}
