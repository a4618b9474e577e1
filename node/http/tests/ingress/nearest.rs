//! `GET /v1/mesh/nearest`: who may call it, and the errors when there is no node to list.

use grapevine_core::engine::Event;
use grapevine_core::fact::Phase;
use grapevine_http::ingress::Keys;

use super::support::{Node, Plan, Reply, static_key, until};

const PATH: &str = "/v1/mesh/nearest";

async fn ask(node: &Node, headers: &str) -> Reply {
    node.ask("GET", PATH, headers, "").await
}

#[tokio::test]
async fn only_known_keys_see_nodes() {
    let mut plan = Plan::default();
    plan.settings.keys = Keys::new([static_key("app", "right", &[])]);
    let node = plan.start().await;
    for headers in ["", "authorization: Bearer wrong\r\n"] {
        let reply = ask(&node, headers).await;
        assert_eq!(reply.status, 401, "{reply:?}");
    }
    let reply = ask(&node, "authorization: Bearer right\r\n").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.header("x-request-id").is_some(), "{reply:?}");
}

#[tokio::test]
async fn ready_nodes_without_a_public_address_are_counted_and_not_listed() {
    let plan = Plan {
        known_peers: vec![("eur", 2), ("sgp", 2)],
        ..Plan::default()
    };
    let node = plan.start().await;
    let list = ask(&node, "").await.json();
    assert_eq!(list["data"], serde_json::json!([]));
    assert_eq!(list["left_out"]["without_public_address"], 3);
}

#[tokio::test]
async fn allowed_regions_without_a_ready_node_are_451_and_bad_ones_400() {
    let node = Plan::default().start().await;
    let reply = ask(&node, "x-grapevine-allow-regions: mars\r\n").await;
    assert_eq!(reply.status, 451, "{reply:?}");
    assert_eq!(reply.json()["error"]["code"], "no_allowed_region");
    let reply = ask(&node, "x-grapevine-allow-regions: a b\r\n").await;
    assert_eq!(reply.status, 400, "{reply:?}");
}

#[tokio::test]
async fn draining_node_without_peers_has_no_node_to_list_for_now() {
    let node = Plan::default().start().await;
    node.driver.send(Event::PhaseChanged(Phase::Draining)).await;
    until(|| node.driver.view().phase == Phase::Draining).await;
    let reply = ask(&node, "").await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.json()["error"]["code"], "no_node_ready");
    assert_eq!(reply.header("x-should-retry"), Some("true"));
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
}
