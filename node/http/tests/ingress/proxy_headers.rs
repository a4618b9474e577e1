//! PROXY headers before the first request: which are trusted, and what happens with malformed ones.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grapevine_config::checked::ProxyProtocol;
use grapevine_http::ingress::{ClientLocation, Locate};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::listening::{certificate, chat_over_http2};
use crate::support::*;

/// The start of version 2, a command, a family, and a length to be appended.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A node behind a balancer, and the client addresses that it saw.
struct Behind {
    node: Node,
    upstream: Scripted,
    peers: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Behind {
    async fn start(mode: ProxyProtocol, trusted: &str, change: impl FnOnce(&mut Plan)) -> Self {
        let upstream = Scripted::start(answer(200, "", "{}")).await;
        let mut plan = Plan::with(&[&upstream]);
        plan.settings.proxy_protocol = mode;
        plan.settings.trusted_proxies = vec![trusted.parse().expect("a network")];
        let peers = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&peers);
        plan.locate = Locate::new(move |peer, _| {
            seen.lock().expect("no test panics here").push(peer);
            ClientLocation::default()
        });
        change(&mut plan);
        let node = plan.start().await;
        Self {
            node,
            upstream,
            peers,
        }
    }

    /// A node that trusts this machine.
    async fn trusting(mode: ProxyProtocol) -> Self {
        Self::start(mode, "127.0.0.0/8", |_| {}).await
    }

    /// Sends `header` and a request in one write, and reads the answer.
    async fn ask(&self, header: &[u8]) -> Reply {
        let mut stream = self.node.connect().await;
        let request = request("POST", CHAT, "", MODEL_BODY);
        let bytes = [header, request.as_bytes()].concat();
        stream.write_all(&bytes).await.expect("sent");
        read_reply(&mut stream).await
    }

    fn last_peer(&self) -> String {
        let peers = self.peers.lock().expect("no test panics here");
        peers.last().map(ToString::to_string).unwrap_or_default()
    }

    /// Sends invalid `bytes`: no answer arrives, and no upstream is called.
    async fn is_closed_for(&self, bytes: &[u8]) -> bool {
        let (before, asked) = (self.without_proxy_header(), self.upstream.seen().len());
        let mut stream = self.node.connect().await;
        // The node may close before it has everything.
        let _ = stream.write_all(bytes).await;
        let reply = read_reply(&mut stream).await;
        until(|| self.without_proxy_header() > before).await;
        reply.status == 0 && self.upstream.seen().len() == asked
    }

    fn without_proxy_header(&self) -> u64 {
        let count = self.node.workers.without_proxy_header();
        count.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn binary(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("a short body");
    let fixed = [version_command, family];
    [BINARY, &fixed, &length.to_be_bytes(), body].concat()
}

/// Version 2 of a client at 9.9.9.9:12345.
fn binary_v4() -> Vec<u8> {
    binary(
        0x21,
        0x11,
        &[9, 9, 9, 9, 10, 0, 0, 1, 0x30, 0x39, 0x1f, 0x90],
    )
}

/// Version 2 of a client at [2620:fe::9]:12345, with an extra field after the addresses.
fn binary_v6() -> Vec<u8> {
    let address = |text: &str| {
        text.parse::<std::net::Ipv6Addr>()
            .expect("an address")
            .octets()
    };
    let ports = [0x30, 0x39, 0x1f, 0x90];
    let extra = [4, 0, 1, 0];
    let body = [
        &address("2620:fe::9")[..],
        &address("fd00::1"),
        &ports,
        &extra,
    ]
    .concat();
    binary(0x21, 0x21, &body)
}

/// Valid headers, and the addresses that they contain.
fn good() -> Vec<(Vec<u8>, &'static str)> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        (
            text("PROXY TCP4 9.9.9.9 10.0.0.1 12345 8080\r\n"),
            "9.9.9.9:12345",
        ),
        (
            text("PROXY TCP6 2620:fe::9 fd00::1 12345 8080\r\n"),
            "[2620:fe::9]:12345",
        ),
        (
            text("PROXY TCP6 ::ffff:9.9.9.9 fd00::1 12345 8080\r\n"),
            "9.9.9.9:12345",
        ),
        (binary_v4(), "9.9.9.9:12345"),
        (binary_v6(), "[2620:fe::9]:12345"),
    ]
}

#[tokio::test]
async fn client_of_a_trusted_balancer_is_the_one_in_the_header() {
    for mode in [ProxyProtocol::Optional, ProxyProtocol::Required] {
        let behind = Behind::trusting(mode).await;
        for (header, client) in good() {
            assert_eq!(behind.ask(&header).await.status, 200, "{client}");
            assert_eq!(behind.last_peer(), client);
        }
        assert_eq!(behind.without_proxy_header(), 0);
    }
}

#[tokio::test]
async fn header_may_come_byte_by_byte_and_the_request_stays_whole() {
    let behind = Behind::trusting(ProxyProtocol::Optional).await;
    for (header, client) in good() {
        let mut stream = behind.node.connect().await;
        for byte in header {
            stream.write_all(&[byte]).await.expect("sent");
            tokio::task::yield_now().await;
        }
        let request = request("POST", CHAT, "", MODEL_BODY);
        stream.write_all(request.as_bytes()).await.expect("sent");
        assert_eq!(read_reply(&mut stream).await.status, 200, "{client}");
        assert_eq!(behind.last_peer(), client);
    }
    let bodies = behind.upstream.seen();
    assert!(bodies.iter().all(|seen| seen.ends_with(MODEL_BODY)));
}

#[tokio::test]
async fn balancer_without_a_client_address_is_the_client() {
    let behind = Behind::trusting(ProxyProtocol::Required).await;
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        binary(0x20, 0, &[]),
        binary(0x21, 0, &[]),
    ] {
        assert_eq!(behind.ask(&header).await.status, 200);
        assert!(behind.last_peer().starts_with("127.0.0.1:"));
    }
}

#[tokio::test]
async fn connection_without_a_header_is_served_where_it_is_optional() {
    let behind = Behind::trusting(ProxyProtocol::Optional).await;
    assert_eq!(behind.ask(b"").await.status, 200);
    assert!(behind.last_peer().starts_with("127.0.0.1:"));
    // The start of a request that begins as a header does, in pieces.
    let mut stream = behind.node.connect().await;
    for byte in request("POST", CHAT, "", MODEL_BODY).bytes() {
        stream.write_all(&[byte]).await.expect("sent");
    }
    assert_eq!(read_reply(&mut stream).await.status, 200);
}

#[tokio::test]
async fn connection_without_a_header_is_closed_where_it_is_required() {
    let behind = Behind::trusting(ProxyProtocol::Required).await;
    assert!(
        behind
            .is_closed_for(request("POST", CHAT, "", MODEL_BODY).as_bytes())
            .await
    );
    assert_eq!(behind.without_proxy_header(), 1);
}

#[tokio::test]
async fn header_of_an_untrusted_peer_is_no_header() {
    let optional = Behind::start(ProxyProtocol::Optional, "10.0.0.0/8", |_| {}).await;
    for (header, client) in good() {
        assert_eq!(optional.ask(&header).await.status, 400, "{client}");
    }
    assert!(optional.upstream.seen().is_empty());
    assert_eq!(optional.ask(b"").await.status, 200);
    let required = Behind::start(ProxyProtocol::Required, "10.0.0.0/8", |_| {}).await;
    for (header, client) in good() {
        assert!(required.is_closed_for(&header).await, "{client}");
    }
}

#[tokio::test]
async fn header_is_a_malformed_request_where_it_is_off() {
    let behind = Behind::trusting(ProxyProtocol::Off).await;
    for (header, client) in good() {
        assert_eq!(behind.ask(&header).await.status, 400, "{client}");
    }
}

#[tokio::test]
async fn broken_headers_close_the_connection() {
    let behind = Behind::trusting(ProxyProtocol::Optional).await;
    let request = request("POST", CHAT, "", MODEL_BODY);
    let long = format!("PROXY UNKNOWN {}\r\n{request}", "x".repeat(200));
    for (name, bytes) in [
        ("too long a line", long.into_bytes()),
        ("nonsense", b"PROXY TCP4 nonsense\r\n".to_vec()),
        (
            "too many bytes",
            [BINARY, &[0x21, 0x11, 0xff, 0xff]].concat(),
        ),
        ("an unknown version", binary(0x31, 0x11, &[0; 12])),
        ("an unknown family", binary(0x21, 0x51, &[0; 12])),
        ("a truncated address", binary(0x21, 0x11, &[9, 9, 9])),
    ] {
        assert!(behind.is_closed_for(&bytes).await, "{name}");
    }
    assert_eq!(behind.without_proxy_header(), 6);
}

#[tokio::test]
async fn header_that_never_ends_is_closed_at_the_limit_for_heads() {
    let behind = Behind::start(ProxyProtocol::Required, "127.0.0.0/8", |plan| {
        plan.listen.header_timeout = Duration::from_millis(100);
    });
    let behind = behind.await;
    for start in [&b"PRO"[..], b"PROXY TCP4 9.9.9.9", &binary_v4()[..20]] {
        assert!(behind.is_closed_for(start).await);
    }
}

#[tokio::test]
async fn connection_that_ends_within_its_header_is_dropped() {
    let behind = Behind::trusting(ProxyProtocol::Required).await;
    let mut stream = behind.node.connect().await;
    stream.write_all(&binary_v4()[..20]).await.expect("sent");
    stream.shutdown().await.expect("closed");
    assert_eq!(read_reply(&mut stream).await.status, 0);
    assert!(behind.upstream.seen().is_empty());
}

#[tokio::test]
async fn tls_and_http2_come_after_the_header() {
    let (server, client) = certificate(&[b"h2"]);
    let handle = Arc::new(arc_swap::ArcSwap::new(server));
    let behind = Behind::start(ProxyProtocol::Required, "127.0.0.0/8", |plan| {
        plan.listen.tls = Some(handle);
    });
    let behind = behind.await;
    for (header, address) in good() {
        let mut stream: TcpStream = behind.node.connect().await;
        stream.write_all(&header).await.expect("sent");
        let status = chat_over_http2(stream, client.clone()).await;
        assert_eq!(status.expect("an answer"), 200);
        assert_eq!(behind.last_peer(), address);
    }
    assert!(
        behind
            .is_closed_for(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            .await
    );
}
