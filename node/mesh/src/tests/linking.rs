//! Links come up, go down, and are chosen the same at both ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grapevine_core::engine::Event;
use grapevine_core::ids::Generation;
use grapevine_core::link::LinkState;
use tokio::time::Instant;

use super::support::{Fake, Log, Node, PATIENCE, RawPeer, Relay, TestMesh, node_name, soon, until};
use crate::link::{LinkParts, PeerLink};
use crate::links::Links;
use crate::wire::{GOSSIP_BYTES_MAX, GossipOutput};
use crate::{Members, outbox};

#[tokio::test]
async fn link_comes_up_at_both_ends_and_measures_its_round_trip() {
    let mesh = TestMesh::new();
    let mut b = mesh.node("b").await;
    let mut a = mesh.node_with("a", &[b.address()], Fake::echo()).await;
    a.until_up("b").await;
    b.until_up("a").await;
    let measured = || {
        let view = a.driver.view();
        let peer = view.nodes.iter().find(|node| node.name == node_name("b"));
        peer.and_then(|peer| peer.rtt)
    };
    until("measured round trip", || measured().is_some()).await;
    assert!(
        measured() < Some(Duration::from_millis(100)),
        "{measured:?}",
        measured = measured()
    );
}

#[tokio::test]
async fn nodes_that_dial_each_other_at_once_settle_on_one_connection() {
    let mesh = TestMesh::new();
    let (mut a, mut b) = (mesh.node("a").await, mesh.node("b").await);
    let member = |node: &Node| Members::from([(node.name.clone(), node.address())]);
    let (of_a, of_b) = (member(&b), member(&a));
    a.parts.outgoing.members(of_a);
    b.parts.outgoing.members(of_b);
    a.until_up("b").await;
    b.until_up("a").await;
    until("one connection", || {
        a.handle.connections() == 1 && b.handle.connections() == 1
    })
    .await;
    let at_a = a.handle.links().get(&b.name).expect("a link");
    let at_b = b.handle.links().get(&a.name).expect("a link");
    assert!(at_a.dialled_here != at_b.dialled_here);
    assert!(at_a.connection.close_reason().is_none());
}

#[tokio::test]
async fn duplicate_connections_never_close_each_other() {
    let mesh = TestMesh::new();
    let mut b = mesh.node("b").await;
    let relay = Relay::to(b.address()).await;
    // The same peer by two addresses: two connections by the same dialler.
    let seeds = [b.address(), relay.address];
    let mut a = mesh.node_with("a", &seeds, Fake::echo()).await;
    a.until_up("b").await;
    b.until_up("a").await;
    until("one connection", || {
        a.handle.connections() == 1 && b.handle.connections() == 1
    })
    .await;
    assert!(a.handle.links().get(&b.name).is_some());
    assert!(b.handle.links().get(&a.name).is_some());
}

/// A peer with two connections that are both silent gets no requests, whichever fell silent first.
#[tokio::test]
async fn peer_is_silent_when_all_its_connections_are() {
    let mesh = TestMesh::new();
    let b = mesh.node("b").await;
    let raw = RawPeer::connect(&mesh, b.address(), "a", "a").await;
    let peer = node_name("peer");
    let (links, mut events) = Links::new(node_name("me"));
    let both = [1, 2].map(|serial| {
        let link = Arc::new(PeerLink::new(LinkParts {
            peer: peer.clone(),
            generation: Generation(1),
            address: b.address(),
            host: "peer:1".into(),
            dialled_address: None,
            serial,
            connection: raw.connection.clone(),
            outbox: outbox::outbox().0,
        }));
        links.admit(Arc::clone(&link)).expect("room");
        link
    });
    let mut last_event = || {
        let events = std::iter::from_fn(|| events.try_recv().ok());
        events.last().expect("an event")
    };
    let (used, other) = match links.is_used(&both[0]) {
        true => (&both[0], &both[1]),
        false => (&both[1], &both[0]),
    };
    let now = Instant::now();
    links.set_state(used, LinkState::Silent, now);
    assert!(links.is_used(other));
    assert!(matches!(last_event(), Event::LinkRecovered { .. }));
    links.set_state(other, LinkState::Silent, now);
    assert!(matches!(last_event(), Event::LinkSilent { .. }));
    links.set_state(other, LinkState::Recovered, now);
    assert!(matches!(last_event(), Event::LinkRecovered { .. }));
    links.remove(other);
    assert!(links.is_used(used));
    assert!(matches!(last_event(), Event::LinkSilent { .. }));
}

#[tokio::test]
async fn seed_that_comes_up_later_is_joined() {
    let mesh = TestMesh::new();
    let early = mesh.node("b").await;
    let address = early.address();
    early.handle.close().await;
    drop(early);
    let mut a = mesh.node_with("a", &[address], Fake::echo()).await;
    let mut config = mesh.config("b");
    config.listen = address;
    let bound = Instant::now();
    let _late = Node::start(config, Fake::echo()).await;
    a.until_up("b").await;
    assert!(bound.elapsed() < PATIENCE);
}

#[tokio::test]
async fn closed_peer_is_down_at_once() {
    let mesh = TestMesh::new();
    let mut b = mesh.node("b").await;
    let mut a = mesh.node_with("a", &[b.address()], Fake::echo()).await;
    a.until_up("b").await;
    b.until_up("a").await;
    let closed = Instant::now();
    // Closing itself waits until the peer has had time to retransmit.
    let seen = async {
        a.until_down("b").await;
        closed.elapsed()
    };
    let ((), seen) = tokio::join!(b.handle.close(), seen);
    assert!(seen < Duration::from_millis(300), "{seen:?}");
    assert!(a.handle.links().get(&b.name).is_none());
}

/// A node on a runtime of its own, so that it can vanish without closing its connections.
pub(super) struct Doomed {
    runtime: tokio::runtime::Runtime,
    _node: Node,
}

impl Doomed {
    pub(super) fn start(config: crate::MeshOptions, local: Fake) -> Self {
        std::thread::scope(|scope| {
            let started = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()
                    .expect("a runtime");
                let node = runtime.block_on(Node::start(config, local));
                Self {
                    runtime,
                    _node: node,
                }
            });
            started.join().expect("the node starts")
        })
    }

    pub(super) fn kill(self) {
        self.runtime.shutdown_background();
    }
}

#[tokio::test]
async fn peer_restarted_under_its_name_is_noticed_and_linked_again() {
    let mesh = TestMesh::new();
    let mut a = mesh.node("a").await;
    let mut config = mesh.config("b");
    config.seeds = vec![a.address().to_string()];
    let first = Doomed::start(config.clone(), Fake::echo());
    a.until_up("b").await;
    let link = a.handle.links().get(&node_name("b")).expect("a link");
    config.listen = link.address;
    config.generation = Generation(2);
    first.kill();
    let killed = Instant::now();
    let second = loop {
        let config = config.clone();
        // The killed node's socket is closed by its runtime, in its own time.
        if std::net::UdpSocket::bind(config.listen).is_ok() {
            break Doomed::start(config, Fake::echo());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    a.until_down("b").await;
    a.until_up("b").await;
    let generation = || {
        a.handle
            .links()
            .get(&node_name("b"))
            .map(|link| link.generation)
    };
    assert_eq!(generation(), Some(Generation(2)));
    assert!(
        killed.elapsed() < Duration::from_secs(2),
        "{:?}",
        killed.elapsed()
    );
    second.kill();
}

#[tokio::test]
async fn peer_with_another_ca_is_refused_with_a_log_line_about_what_to_check() {
    let (log, _guard) = Log::capture();
    let (ours, theirs) = (TestMesh::new(), TestMesh::new());
    let a = ours.node("a").await;
    let rogue = theirs.node_with("b", &[a.address()], Fake::echo()).await;
    let own_ca = a.handle.verifier().fingerprints();
    until("warning of the node itself", || log.holds(&own_ca)).await;
    assert!(log.holds("do not accept each other"));
    assert!(log.holds("mesh.tls.ca"), "names what to check");
    // Many refusals later there are still at most two lines: both nodes are at 127.0.0.1.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(log.count("do not accept each other") <= 2);
    assert!(a.handle.links().get(&node_name("b")).is_none());
    assert!(rogue.handle.links().get(&node_name("a")).is_none());
}

#[tokio::test]
async fn peer_that_greets_under_another_name_is_refused() {
    let mesh = TestMesh::new();
    let a = mesh.node("a").await;
    let raw = RawPeer::connect(&mesh, a.address(), "b", "c").await;
    let closed = soon("close", raw.connection.closed()).await;
    assert!(
        closed.to_string().contains("certificate names b"),
        "{closed}"
    );
    assert!(a.handle.links().get(&node_name("c")).is_none());
}

#[tokio::test]
async fn node_that_is_its_own_seed_does_not_link_to_itself() {
    let mesh = TestMesh::new();
    let mut config = mesh.config("a");
    let probe = mesh.node("other").await;
    let port = probe.address().port();
    probe.handle.close().await;
    drop(probe);
    config.listen = ([127, 0, 0, 1], port).into();
    // By an address that it does not know as its own.
    config.seeds = vec![format!("localhost:{port}")];
    config.advertise = Some("127.0.0.2:1".into());
    let a = Node::start(config, Fake::echo()).await;
    until("end of the dial", || a.handle.connections() == 0).await;
    assert!(a.handle.links().table().by_name.is_empty());
}

#[tokio::test]
async fn gossip_of_any_size_arrives_under_the_advertised_address() {
    let mesh = TestMesh::new();
    let mut b = mesh.node("b").await;
    let a = mesh.node("a").await;
    // No link yet: the message itself causes the dial.
    let to_b = b.handle.advertised();
    a.parts.outgoing.gossip(to_b, Bytes::from_static(b"small"));
    let (from, message) = soon("gossip", b.parts.incoming.gossip.recv())
        .await
        .expect("an open queue");
    assert_eq!(
        (from.address, &message[..]),
        (a.handle.advertised(), &b"small"[..])
    );
    let large = Bytes::from(vec![7; GOSSIP_BYTES_MAX]);
    a.parts.outgoing.gossip(to_b, large.clone());
    let (_, message) = soon("gossip", b.parts.incoming.gossip.recv())
        .await
        .expect("an open queue");
    assert_eq!(message, large);
}

#[tokio::test]
async fn rumor_goes_to_every_peer_but_the_one_it_came_from() {
    let mesh = TestMesh::new();
    let (mut b, mut c) = (mesh.node("b").await, mesh.node("c").await);
    let mut a = mesh
        .node_with("a", &[b.address(), c.address()], Fake::echo())
        .await;
    for _ in 0..2 {
        let peer = async {
            while a.handle.links().table().by_name.len() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon("two links", peer).await;
    }
    a.parts
        .outgoing
        .rumor(Bytes::from_static(b"first"), Some(&b.name));
    a.parts.outgoing.rumor(Bytes::from_static(b"second"), None);
    let from_a = |rumor: &'static [u8]| Some((a.name.clone(), Bytes::from_static(rumor)));
    let first_at_b = soon("rumor", b.parts.incoming.rumors.recv()).await;
    assert_eq!(first_at_b, from_a(b"second"));
    let first_at_c = soon("rumor", c.parts.incoming.rumors.recv()).await;
    assert_eq!(first_at_c, from_a(b"first"));
    a.handle.close().await;
    a.until_down("b").await;
}

#[tokio::test]
async fn reloaded_certificate_is_used_for_new_links() {
    let mesh = TestMesh::new();
    let b = mesh.node("b").await;
    let renewed = mesh.credentials("b");
    b.handle
        .reload(&renewed)
        .expect("a certificate of the same node");
    let mut a = mesh.node_with("a", &[b.address()], Fake::echo()).await;
    a.until_up("b").await;
    let link = a.handle.links().get(&b.name).expect("a link");
    let identity = link.connection.peer_identity().expect("a certificate");
    let chain = identity
        .downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>()
        .expect("certificates");
    assert_eq!(chain.first(), Some(renewed.certificate()));
    assert_eq!(
        b.handle.signer().current().certificate(),
        renewed.certificate()
    );
    assert!(b.handle.reload(&mesh.credentials("c")).is_err());
}
