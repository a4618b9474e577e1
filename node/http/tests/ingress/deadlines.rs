//! How long connections may be idle, on every protocol, and which are shed when there is no room.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use grapevine_base::listener::metrics::{ConnectionMetrics, Listener};
use grapevine_config::checked::ProxyProtocol;
use grapevine_core::connection::CloseReason;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::listening::certificate;
use crate::support::*;

/// A deadline that passes soon.
const SOON: Duration = Duration::from_millis(400);

/// A deadline that passes in no test.
const NEVER: Duration = Duration::from_secs(3_600);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types and flags of frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The fields of a chat request, each as a literal (RFC 7541, 6.2.2).
fn chat_fields() -> Vec<u8> {
    let length = MODEL_BODY.len().to_string();
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "h"),
        (":path", CHAT),
        ("content-type", "application/json"),
        ("content-length", &length),
    ] {
        for text in [name, value] {
            if text == name {
                block.push(0);
            }
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A whole chat request on `stream`.
fn chat_frames(stream: u32) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS, stream, &chat_fields()),
        frame(DATA, END_STREAM, stream, MODEL_BODY.as_bytes()),
    ]
    .concat()
}

/// The start of a client's HTTP/2 connection, with these settings.
fn hello(settings: &[u8]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()
}

/// A node with one upstream, and what it counts.
struct World {
    node: Node,
    upstream: Scripted,
    metrics: ConnectionMetrics,
}

impl World {
    async fn start(script: Vec<Act>, change: impl FnOnce(&mut Plan)) -> Self {
        let upstream = Scripted::start(script).await;
        let mut plan = Plan::with(&[&upstream]);
        plan.listen.header_timeout = NEVER;
        plan.listen.idle_timeout = NEVER;
        let metrics = plan.listen.metrics.clone();
        change(&mut plan);
        Self {
            node: plan.start().await,
            upstream,
            metrics,
        }
    }

    /// A node whose upstream answers at once.
    async fn quick(change: impl FnOnce(&mut Plan)) -> Self {
        Self::start(answer(200, "", "{}"), change).await
    }

    fn closed(&self, reason: CloseReason) -> u64 {
        let metrics = self.metrics.of(Listener::Public, 0);
        metrics.closed_so_far(reason)
    }

    async fn sent(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.node.connect().await;
        stream.write_all(bytes).await.expect("sent");
        stream
    }
}

/// Waits until the node closes the connection; what it sent before.
async fn closed(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A connection that is broken off may end in an error.
    let _ = closed.expect("the node closes the connection");
    bytes
}

#[tokio::test]
async fn client_that_sends_too_little_is_closed_and_counted() {
    let world = World::quick(|plan| plan.listen.header_timeout = SOON).await;
    let with_settings = hello(&[]);
    let with_partial_head = [
        hello(&[]),
        frame(HEADERS, 0, 1, &chat_fields()[..20]),
        frame(CONTINUATION, 0, 1, &chat_fields()[20..30]),
    ]
    .concat();
    let starts: [&[u8]; 7] = [
        b"",
        b"P",
        b"PRI ",
        b"POST /v1/chat",
        PREFACE,
        &with_settings,
        &with_partial_head,
    ];
    for start in starts {
        closed(world.sent(start).await).await;
    }
    until(|| world.closed(CloseReason::Head) == 7).await;
}

#[tokio::test]
async fn silence_within_and_after_tls_is_closed_and_counted() {
    let (server, client) = certificate(&[b"h2", b"http/1.1"]);
    let world = World::quick(|plan| {
        plan.listen.header_timeout = SOON;
        plan.listen.tls = Some(Arc::new(ArcSwap::new(server)));
    })
    .await;
    closed(world.sent(b"\x16\x03\x01\x02").await).await;
    until(|| world.closed(CloseReason::Handshake) == 1).await;
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let mut client = client.clone();
        client.alpn_protocols = vec![alpn.to_vec()];
        let connector = TlsConnector::from(Arc::new(client));
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = connector.connect(name, world.node.connect().await).await;
        closed(stream.expect("a handshake")).await;
    }
    until(|| world.closed(CloseReason::Head) == 2).await;
}

#[tokio::test]
async fn silence_after_a_proxy_header_is_closed_and_counted() {
    let world = World::quick(|plan| {
        plan.listen.header_timeout = SOON;
        plan.settings.proxy_protocol = ProxyProtocol::Required;
        plan.settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    closed(world.sent(b"PROXY TCP4 9.9.9.9").await).await;
    closed(
        world
            .sent(b"PROXY TCP4 9.9.9.9 10.0.0.1 12345 8080\r\n")
            .await,
    )
    .await;
    until(|| world.closed(CloseReason::Handshake) == 1).await;
    until(|| world.closed(CloseReason::Head) == 1).await;
}

#[tokio::test]
async fn http2_client_that_only_answers_pings_gets_a_goaway() {
    let world = World::quick(|plan| plan.listen.idle_timeout = SOON).await;
    let io = TokioIo::new(world.node.connect().await);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = handshake.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request = http::Request::post(format!("http://h{CHAT}"))
        .body(Full::new(Bytes::from_static(MODEL_BODY.as_bytes())))
        .expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.expect("a body");
    // The sender is kept: it is the node that ends the connection, and in order.
    let ended = timeout(PATIENCE, connection).await.expect("it ends");
    assert!(ended.expect("no panic").is_ok(), "with a GOAWAY");
    until(|| world.closed(CloseReason::Idle) == 1).await;
    drop(sender);
}

#[tokio::test]
async fn idle_http1_connection_is_closed_and_counted() {
    let world = World::quick(|plan| plan.listen.idle_timeout = SOON).await;
    let request = request("POST", CHAT, "", MODEL_BODY).replace("connection: close\r\n", "");
    let answer = closed(world.sent(request.as_bytes()).await).await;
    assert!(answer.ends_with(b"\r\n\r\n{}"));
    until(|| world.closed(CloseReason::Idle) == 1).await;
}

#[tokio::test]
async fn request_in_flight_outlives_both_deadlines() {
    let mut script = vec![Act::Pause(3 * SOON)];
    script.extend(answer(200, "", "{}"));
    let world = World::start(script, |plan| {
        plan.listen.header_timeout = SOON;
        plan.listen.idle_timeout = SOON;
    })
    .await;
    assert_eq!(world.node.chat().await.status, 200);
    let mut stream = world.sent(&[hello(&[]), chat_frames(1)].concat()).await;
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"{}") {
        let read = timeout(PATIENCE, stream.read_buf(&mut bytes)).await;
        assert!(read.expect("in time").expect("an answer") > 0, "{bytes:?}");
    }
}

#[tokio::test]
async fn http2_head_that_stops_is_not_waited_for_beside_a_request() {
    let world = World::start(vec![Act::Hang], |plan| plan.listen.header_timeout = SOON).await;
    let stream = world.sent(&[hello(&[]), chat_frames(1)].concat()).await;
    world.upstream.first_request_came().await;
    let (reader, mut writer) = stream.into_split();
    let partial = frame(HEADERS, 0, 3, &chat_fields()[..20]);
    writer.write_all(&partial).await.expect("sent");
    closed(reader).await;
    until(|| world.closed(CloseReason::Head) == 1).await;
    world.upstream.hung_up_at().await;
}

#[tokio::test]
async fn http2_answer_that_gets_no_window_is_given_up() {
    let script = vec![event_stream(), chunk("data: {}\n\n"), Act::Hang];
    let world = World::start(script, |plan| plan.listen.stall_timeout = SOON).await;
    // SETTINGS_INITIAL_WINDOW_SIZE: nothing.
    let hello = hello(&[0, 4, 0, 0, 0, 0]);
    let stream = world.sent(&[hello, chat_frames(1)].concat()).await;
    world.upstream.hung_up_at().await;
    drop(stream);
}

#[tokio::test]
async fn clients_without_a_request_make_room() {
    let world = World::quick(|plan| plan.listen.connections_max = 8).await;
    let mut silent = Vec::new();
    for index in 0..40 {
        let start: &[u8] = [&b""[..], b"P", b"POST /v1"][index % 3];
        silent.push(world.sent(start).await);
        if index % 4 == 3 {
            assert_eq!(world.node.chat().await.status, 200, "{index}");
        }
    }
    closed(silent.remove(0)).await;
    until(|| world.closed(CloseReason::Shed) > 30).await;
    assert_eq!(world.closed(CloseReason::Full), 0);
}

#[tokio::test]
async fn client_that_finds_no_room_gets_an_error() {
    let world = World::start(vec![Act::Hang], |plan| plan.listen.connections_max = 2).await;
    let chat = request("POST", CHAT, "", MODEL_BODY);
    let mut busy = Vec::new();
    for _ in 0..2 {
        busy.push(world.sent(chat.as_bytes()).await);
    }
    until(|| world.upstream.seen().len() == 2).await;
    let reply = world.node.chat().await;
    assert_eq!((reply.status, reply.is_whole), (503, true));
    assert_eq!(reply.json()["error"]["code"], "overloaded");
    assert_eq!(reply.header("retry-after"), Some("1"));
    until(|| world.closed(CloseReason::Full) == 1).await;
}
