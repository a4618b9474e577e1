//! Peers that send what no peer should, and packets from strangers.

use grapevine_base::bodies::BodyBudget;
use grapevine_core::ids::RegionName;
use grapevine_core::outcome::{Outcome, Refusal};
use grapevine_proto::frame::{BODY_BYTES_MAX, HEAD_BYTES_MAX, RequestHead, ResponseStart};
use quinn::{RecvStream, VarInt};
use tokio::net::UdpSocket;

use super::support::{
    CHAT, Fake, IN_FLIGHT_MAX, Node, RawPeer, TestMesh, chat_head, head, soon, until,
};
use crate::{MeshOptions, streams};

/// A node whose upstream must not be called, and a peer that speaks frames by hand.
async fn victim() -> (Node, RawPeer, tokio::sync::mpsc::Receiver<&'static str>) {
    let mesh = TestMesh::new();
    let (hang, called) = Fake::hang();
    let mut node = mesh.node_with("a", &[], hang).await;
    let raw = RawPeer::connect(&mesh, node.address(), "b", "b").await;
    node.until_up("b").await;
    (node, raw, called)
}

/// Reads the answer on a stream as a refusal.
async fn refusal(mut recv: RecvStream) -> (Outcome, String) {
    let payload = soon("answer", streams::read_frame(&mut recv, HEAD_BYTES_MAX))
        .await
        .expect("a frame");
    match ResponseStart::decode(&payload).expect("a readable frame") {
        ResponseStart::None(none) => (none.outcome, none.detail.to_owned()),
        ResponseStart::Answer(head) => panic!("answered with {}", head.status),
    }
}

async fn sent(raw: &RawPeer, bytes: &[u8]) -> RecvStream {
    let (mut send, recv) = raw.connection.open_bi().await.expect("a stream");
    send.write_all(bytes).await.expect("a write");
    send.finish().expect("an open stream");
    recv
}

#[tokio::test]
async fn unknown_version_is_refused_by_both_names() {
    let (_node, raw, _called) = victim().await;
    let (outcome, detail) = refusal(sent(&raw, &[3, 0, 0, 0, 9, 1, 1]).await).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::Protocol));
    assert!(
        detail.contains("version 9") && detail.contains("version 1"),
        "{detail}"
    );
}

#[tokio::test]
async fn oversize_and_malformed_frames_are_refused_and_the_link_stays() {
    let (node, raw, _called) = victim().await;
    for frame in [&[0xff, 0xff, 0xff, 0xff][..], &[2, 0, 0, 0, 1, 0xff]] {
        let (outcome, _) = refusal(sent(&raw, frame).await).await;
        assert_eq!(outcome, Outcome::Refused(Refusal::Protocol));
    }
    assert!(raw.connection.close_reason().is_none());
    assert_eq!(node.own_in_flight(), 0);
}

#[tokio::test]
async fn truncated_frame_ends_its_stream_alone() {
    let (_node, raw, _called) = victim().await;
    let frame = head("r", 0).encode().expect("a frame");
    let mut recv = sent(&raw, &frame[..frame.len() - 1]).await;
    let read = soon("end", streams::read_frame(&mut recv, HEAD_BYTES_MAX)).await;
    assert!(read.is_err());
    assert!(raw.connection.close_reason().is_none());
}

#[tokio::test]
async fn request_that_was_forwarded_before_is_refused() {
    let (_node, raw, _called) = victim().await;
    let twice = RequestHead {
        hops: 2,
        ..head("r", 0)
    };
    let frame = twice.encode().expect("a frame");
    let (outcome, _) = refusal(sent(&raw, &frame).await).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::HopLimit));
}

#[tokio::test]
async fn request_that_no_client_may_make_is_refused_from_a_peer_too() {
    let (_node, raw, mut called) = victim().await;
    for (method, path) in [
        ("POST", "/admin/x"),
        ("GET", "/v1/organization/users"),
        ("DELETE", "/v1/vector_stores/x"),
        ("POST", "/v1/../admin"),
        ("POST", "/v1/chat/completions/%2e%2e/admin"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/v1/chat/completions;x"),
        ("POST", "/v1/chat/completions?model=other"),
        ("POST", "/v1/chat/completions#x"),
        ("POST", "http://other/v1/chat/completions"),
        ("POST", "*"),
        ("CONNECT", "/v1/chat/completions"),
        ("CONNECT", "other:443"),
        ("TRACE", "/v1/chat/completions"),
        ("DELETE", "/v1/chat/completions"),
        ("post", "/v1/chat/completions"),
    ] {
        let request = RequestHead {
            method,
            path,
            ..head("r", 0)
        };
        let frame = request.encode().expect("a frame");
        let (outcome, detail) = refusal(sent(&raw, &frame).await).await;
        assert_eq!(
            outcome,
            Outcome::Refused(Refusal::Protocol),
            "{method} {path}"
        );
        assert!(detail.starts_with("request"), "{method} {path}: {detail}");
    }
    assert!(called.try_recv().is_err(), "the upstream was called");
}

#[tokio::test]
async fn request_fenced_into_another_region_is_refused() {
    let (_node, raw, _called) = victim().await;
    let fenced = RequestHead {
        allow_regions: vec![RegionName::new("eur").expect("a valid name")],
        ..head("r", 0)
    };
    let frame = fenced.encode().expect("a frame");
    let (outcome, _) = refusal(sent(&raw, &frame).await).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::Residency));
}

#[tokio::test]
async fn upload_that_ends_early_is_not_taken_for_whole() {
    let (node, raw, mut called) = victim().await;
    let mut bytes = head("r", 10_000).encode().expect("a frame");
    bytes.extend_from_slice(&[7; 5_000]);
    // A clean end of the stream, as a sender that vanished would leave it.
    let (outcome, _) = refusal(sent(&raw, &bytes).await).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::Protocol));
    until("end of the call", || node.own_in_flight() == 0).await;
    assert!(called.try_recv().is_err(), "the upstream was called");
}

#[tokio::test]
async fn upload_longer_than_announced_is_refused() {
    let (_node, raw, mut called) = victim().await;
    let mut bytes = head("r", 10).encode().expect("a frame");
    bytes.extend_from_slice(&[7; 11]);
    let (outcome, _) = refusal(sent(&raw, &bytes).await).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::Protocol));
    assert!(called.try_recv().is_err(), "the upstream was called");
}

#[tokio::test]
async fn upload_that_is_reset_or_loses_its_link_ends_the_call() {
    let (node, raw, mut called) = victim().await;
    let mut bytes = head("r", 10_000).encode().expect("a frame");
    bytes.extend_from_slice(&[7; 5_000]);
    for code in [Some(VarInt::from_u32(0x10)), None] {
        let (mut send, _recv) = raw.connection.open_bi().await.expect("a stream");
        send.write_all(&bytes).await.expect("a write");
        until("half of the body", || node.bodies.held() > 5_000).await;
        match code {
            Some(code) => send.reset(code).expect("an open stream"),
            None => raw.connection.close(VarInt::from_u32(0), b""),
        }
        until("end of the call", || node.bodies.held() == 0).await;
    }
    assert!(called.try_recv().is_err(), "the upstream was called");
}

#[tokio::test]
async fn announced_bodies_take_no_slot_and_no_memory() {
    let mesh = TestMesh::new();
    let mut node = mesh.node_with("a", &[], Fake::echo()).await;
    let raw = RawPeer::connect(&mesh, node.address(), "b", "b").await;
    node.until_up("b").await;
    let mut open = Vec::new();
    for index in 0..8 {
        let id = format!("announced-{index}");
        let head = head(&id, BODY_BYTES_MAX).encode().expect("a frame");
        let (mut send, recv) = raw.connection.open_bi().await.expect("a stream");
        send.write_all(&head).await.expect("a write");
        open.push((send, recv));
    }
    until("the heads", || node.bodies.held() > 0).await;
    // More than the upstream has slots for, one after the other and beside those that wait.
    for index in 0..2 * IN_FLIGHT_MAX {
        let id = format!("sent-{index}");
        let mut bytes = chat_head(&id, CHAT.len()).encode().expect("a frame");
        bytes.extend_from_slice(CHAT);
        let mut recv = sent(&raw, &bytes).await;
        let read = soon("answer", streams::read_frame(&mut recv, HEAD_BYTES_MAX)).await;
        let payload = read.expect("a frame");
        let start = ResponseStart::decode(&payload).expect("a readable frame");
        assert!(matches!(start, ResponseStart::Answer(_)), "{start:?}");
    }
    assert!(node.bodies.held() < 8 * HEAD_BYTES_MAX as u64);
}

#[tokio::test]
async fn peer_cannot_hold_the_memory_that_another_needs() {
    let mesh = TestMesh::new();
    let config = MeshOptions {
        bodies: BodyBudget::seeded(1 << 20, 1),
        ..mesh.config("a")
    };
    let mut node = Node::start(config, Fake::echo()).await;
    let raw = RawPeer::connect(&mesh, node.address(), "b", "b").await;
    node.until_up("b").await;
    let upload = async |raw: &RawPeer, id: &str, length: usize| {
        let mut bytes = head(id, length + 1).encode().expect("a frame");
        bytes.resize(bytes.len() + length, 7);
        let (mut send, recv) = raw.connection.open_bi().await.expect("a stream");
        // A refusal may stop it in the middle.
        let _ = send.write_all(&bytes).await;
        (send, recv)
    };
    let _held = upload(&raw, "held", 400_000).await;
    until("the first body", || node.bodies.held() > 400_000).await;
    let (_send, recv) = upload(&raw, "more", 300_000).await;
    let (outcome, detail) = refusal(recv).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::Full));
    assert!(detail.contains("limits.body_memory"), "{detail}");

    let other = RawPeer::connect(&mesh, node.address(), "c", "c").await;
    node.until_up("c").await;
    let prompt = "x".repeat(150_000);
    let body = format!(r#"{{"model":"gpt-4o","prompt":"{prompt}"}}"#);
    let mut bytes = chat_head("other", body.len()).encode().expect("a frame");
    bytes.extend_from_slice(body.as_bytes());
    let mut recv = sent(&other, &bytes).await;
    let read = soon("answer", streams::read_frame(&mut recv, HEAD_BYTES_MAX)).await;
    let payload = read.expect("a frame");
    let start = ResponseStart::decode(&payload).expect("a readable frame");
    assert!(matches!(start, ResponseStart::Answer(_)), "{start:?}");
}

#[tokio::test]
async fn garbage_on_the_port_stops_nothing() {
    let mesh = TestMesh::new();
    let node = mesh.node("a").await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    for length in [0, 1, 20, 1_200, 1_472, 60_000] {
        for first in [0x00, 0x40, 0xc0, 0xff] {
            let mut packet = vec![first; length];
            packet
                .iter_mut()
                .skip(1)
                .enumerate()
                .for_each(|(index, byte)| {
                    *byte = index.to_le_bytes()[0].wrapping_mul(31);
                });
            // Some are too long for the loopback device; the test does not care.
            let _ = socket.send_to(&packet, node.address()).await;
        }
    }
    let mut other = mesh.node_with("b", &[node.address()], Fake::echo()).await;
    other.until_up("a").await;
}

#[tokio::test]
async fn garbage_datagrams_and_streams_of_a_peer_stop_nothing() {
    let (node, raw, _called) = victim().await;
    for datagram in [&[][..], &[0], &[2, 9], &[3, 1, 1, 0xff], &[0xff; 100]] {
        let datagram = bytes::Bytes::copy_from_slice(datagram);
        raw.connection.send_datagram(datagram).expect("a datagram");
    }
    for message in [&[][..], &[0], &[4], &[0xff; 100]] {
        let mut stream = raw.connection.open_uni().await.expect("a stream");
        stream.write_all(message).await.expect("a write");
        stream.finish().expect("an open stream");
    }
    let twice = RequestHead {
        hops: 2,
        ..head("r", 0)
    };
    let frame = twice.encode().expect("a frame");
    let (outcome, _) = refusal(sent(&raw, &frame).await).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::HopLimit));
    assert!(
        node.handle
            .links()
            .get(&super::support::node_name("b"))
            .is_some()
    );
}

#[tokio::test]
async fn peer_of_another_protocol_version_is_refused_by_alpn() {
    let mesh = TestMesh::new();
    let node = mesh.node("a").await;
    let credentials = mesh.credentials("b");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = crate::endpoint::open(any, &credentials).expect("an endpoint");
    let mut roots = rustls::RootCertStore::empty();
    for authority in credentials.authorities() {
        roots.add(authority.clone()).expect("a certificate");
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(credentials.private_key().clone_key());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a version")
        .with_root_certificates(roots)
        .with_client_auth_cert(credentials.chain().to_vec(), key)
        .expect("a certificate");
    tls.alpn_protocols = vec![b"grapevine/2".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("TLS 1.3");
    let config = quinn::ClientConfig::new(std::sync::Arc::new(crypto));
    let name = credentials.mesh().common_dns_name();
    let connecting = endpoint
        .connect_with(config, node.address(), &name)
        .expect("a dial");
    assert!(soon("refusal", connecting).await.is_err());
    until("no connection", || node.handle.connections() == 0).await;
}
