//! Links in a mesh too large to be linked whole: opened for calls, closed when idle.

use std::net::SocketAddr;

use bytes::Bytes;
use grapevine_base::exchange::CallPeer;
use grapevine_core::links::ALL_MAX;
use grapevine_core::outcome::Outcome;
use http::StatusCode;

use super::support::{CHAT, Fake, Node, TestMesh, call, node_name, soon, until};
use crate::Members;
use crate::wire::GossipOutput;

/// Nobody answers there: a packet to it is refused at once.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

/// Makes `node` a member of a mesh with `real` and so many others in all, who do not answer.
fn join(node: &Node, real: &[&Node], members: usize) {
    let others = (real.len()..members).map(|index| (node_name(&format!("m{index}")), NOBODY));
    let real = real
        .iter()
        .map(|peer| (peer.name.clone(), peer.handle.advertised()));
    node.parts
        .outgoing
        .members(others.chain(real).collect::<Members>());
}

fn are_linked(one: &Node, other: &Node) -> bool {
    let has = |node: &Node, peer: &Node| node.handle.links().get(&peer.name).is_some();
    has(one, other) || has(other, one)
}

#[tokio::test]
async fn link_that_gossip_opened_is_closed_at_both_ends_and_opened_again_for_a_call() {
    let mesh = TestMesh::new();
    // The last by name: not among the nearest, where all are equally far.
    let (a, z) = (mesh.node("a").await, mesh.node("z").await);
    join(&a, &[&z], 300);
    a.parts
        .outgoing
        .gossip(z.handle.advertised(), Bytes::from_static(b"hello"));
    until("link", || are_linked(&a, &z)).await;
    until("end of the idle link", || !are_linked(&a, &z)).await;
    let answered = soon("answer", a.parts.forwarder.call(&z.name, call(CHAT))).await;
    assert_eq!(answered.expect("an answer").status, StatusCode::CREATED);
    assert!(are_linked(&a, &z));
}

#[tokio::test]
async fn link_with_a_call_in_flight_outlasts_idle_ones() {
    let mesh = TestMesh::new();
    let (local, mut reports) = Fake::hang();
    let (a, y) = (mesh.node("a").await, mesh.node("y").await);
    let z = mesh.node_with("z", &[], local).await;
    join(&a, &[&y, &z], 300);
    let (forwarder, to) = (a.parts.forwarder.clone(), z.name.clone());
    let hanging = tokio::spawn(async move { forwarder.call(&to, call(CHAT)).await });
    assert_eq!(soon("call", reports.recv()).await, Some("called"));
    a.parts
        .outgoing
        .gossip(y.handle.advertised(), Bytes::from_static(b"hello"));
    until("idle link", || are_linked(&a, &y)).await;
    until("end of the idle link", || !are_linked(&a, &y)).await;
    assert!(are_linked(&a, &z));
    hanging.abort();
    assert_eq!(soon("cancellation", reports.recv()).await, Some("dropped"));
}

#[tokio::test]
async fn call_waits_for_no_link_in_a_mesh_that_is_linked_whole() {
    let mesh = TestMesh::new();
    let a = mesh.node("a").await;
    for members in [ALL_MAX, ALL_MAX + 1] {
        join(&a, &[], members);
        let to = node_name("m0");
        let failure = soon("failure", a.parts.forwarder.call(&to, call(CHAT))).await;
        let failure = failure
            .map(|answer| answer.status)
            .expect_err("nobody is there");
        assert_eq!(failure.outcome, Outcome::PeerUnreached);
        let waited = failure.to_string().contains("does not answer");
        assert_eq!(waited, members > ALL_MAX, "{failure}");
    }
}
