//! Connections to upstreams that end at a bad moment: between two requests, or before a body was read.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use grapevine_base::exchange::{CallFailure, CallLocal};
use grapevine_core::outcome::Outcome;
use grapevine_http::upstream::UpstreamClient;
use http_body_util::BodyExt;
use rustls::RootCertStore;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio_rustls::TlsAcceptor;

use crate::deadlines::{DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame};
use crate::support::*;
use crate::upstreams::{chat_call, client, tls_for_localhost, trusting};

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";

async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// The status and the body of the answer to a chat request with `body`.
async fn asked(client: &UpstreamClient, body: &str) -> Result<(u16, String), CallFailure> {
    let answer = client.call(chat_call("primary", body.to_owned())).await?;
    let status = answer.status.as_u16();
    let body = answer.body.collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// How an upstream meets the second request on a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum SecondRequest {
    /// It closed before: it reads nothing of it.
    ClosedBefore,
    /// It reads it and closes at once.
    Closes,
    /// It works on it for longer than a round trip, and closes.
    WorksAndCloses,
    /// It begins an answer and closes.
    BeginsAndCloses,
    /// It says that it is at work, and closes.
    SaysSoAndCloses,
}

/// An upstream whose first connections take one request each, all of them at the same time. Those after them
/// work, or close at once.
struct StaleUpstream {
    client: UpstreamClient,
    connections: Arc<AtomicUsize>,
}

impl StaleUpstream {
    async fn start(stale: usize, second: SecondRequest, others_work: bool) -> Self {
        let (listener, address) = listening().await;
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, all) = (connections.clone(), Arc::new(Barrier::new(stale.max(1))));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let is_stale = count.fetch_add(1, Ordering::SeqCst) < stale;
                let all = all.clone();
                tokio::spawn(async move {
                    match is_stale {
                        true => serve_once(stream, &all, second).await,
                        false if others_work => serve(stream).await,
                        false => drop(stream),
                    }
                });
            }
        });
        let tls = trusting(RootCertStore::empty());
        Self {
            client: client(&format!("http://{address}/v1"), tls),
            connections,
        }
    }

    /// Opens `count` connections, which are idle then.
    async fn warmed(self, count: usize) -> Self {
        let asks = (0..count).map(|_| asked(&self.client, MODEL_BODY));
        for answer in futures_util::future::join_all(asks).await {
            assert_eq!(answer.expect("an answer"), (200, "good".to_owned()));
        }
        assert_eq!(self.connections(), count);
        self
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream) {
    while read_request(&mut stream).await.is_some() {
        if stream.write_all(GOOD).await.is_err() {
            return;
        }
    }
}

async fn serve_once(mut stream: TcpStream, all: &Barrier, second: SecondRequest) {
    if read_request(&mut stream).await.is_none() {
        return;
    }
    all.wait().await;
    stream.write_all(GOOD).await.expect("sent");
    if second == SecondRequest::ClosedBefore {
        // What is not read makes the end of the connection a reset.
        return stream.readable().await.expect("a request");
    }
    if read_request(&mut stream).await.is_none() {
        return;
    }
    let start: &[u8] = match second {
        SecondRequest::BeginsAndCloses => b"HTTP/1.1 2",
        SecondRequest::SaysSoAndCloses => b"HTTP/1.1 102 Processing\r\n\r\n",
        _ => b"",
    };
    stream.write_all(start).await.expect("sent");
    if second == SecondRequest::WorksAndCloses {
        tokio::time::sleep(Duration::from_millis(1_300)).await;
    }
}

#[tokio::test]
async fn request_on_a_closed_connection_is_sent_again_on_a_fresh_one() {
    for second in [SecondRequest::ClosedBefore, SecondRequest::Closes] {
        let upstream = StaleUpstream::start(8, second, true).await.warmed(8).await;
        // The first fresh one is used again.
        for _ in 0..2 {
            let answer = asked(&upstream.client, MODEL_BODY)
                .await
                .expect("an answer");
            assert_eq!(answer, (200, "good".to_owned()), "{second:?}");
            assert_eq!(upstream.connections(), 9, "{second:?}");
        }
        // Those beneath it are closed, every one.
        let asks = (0..8).map(|_| asked(&upstream.client, MODEL_BODY));
        for answer in futures_util::future::join_all(asks).await {
            assert_eq!(
                answer.expect("an answer"),
                (200, "good".to_owned()),
                "{second:?}"
            );
        }
        assert_eq!(upstream.connections(), 16, "{second:?}");
    }
}

#[tokio::test]
async fn large_body_on_a_closed_connection_is_sent_again() {
    let second = SecondRequest::ClosedBefore;
    let upstream = StaleUpstream::start(1, second, true).await.warmed(1).await;
    let answer = asked(&upstream.client, &large_body()).await;
    assert_eq!(answer.expect("an answer"), (200, "good".to_owned()));
}

#[tokio::test]
async fn request_that_was_worked_on_is_not_sent_again() {
    for second in [
        SecondRequest::WorksAndCloses,
        SecondRequest::BeginsAndCloses,
        SecondRequest::SaysSoAndCloses,
    ] {
        let upstream = StaleUpstream::start(1, second, true).await.warmed(1).await;
        let failure = asked(&upstream.client, MODEL_BODY).await.expect_err("none");
        assert_eq!(failure.outcome, Outcome::Reset, "{second:?}");
        assert_eq!(upstream.connections(), 1, "{second:?}");
    }
}

#[tokio::test]
async fn fresh_connection_that_closes_is_a_failed_attempt() {
    let upstream = StaleUpstream::start(0, SecondRequest::Closes, false).await;
    let failure = asked(&upstream.client, MODEL_BODY).await.expect_err("none");
    assert_eq!(failure.outcome, Outcome::Reset);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn request_is_sent_again_once() {
    let second = SecondRequest::ClosedBefore;
    let upstream = StaleUpstream::start(4, second, false).await.warmed(4).await;
    let failure = asked(&upstream.client, MODEL_BODY).await.expect_err("none");
    assert_eq!(failure.outcome, Outcome::Reset);
    assert_eq!(upstream.connections(), 5);
}

#[tokio::test]
async fn closed_connection_costs_no_attempt() {
    let (listener, address) = listening().await;
    let first = Arc::new(Barrier::new(1));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        serve_once(stream, &first, SecondRequest::ClosedBefore).await;
        let (stream, _) = listener.accept().await.expect("a connection");
        serve(stream).await;
    });
    let mut plan = Plan::default();
    plan.add("up1", address);
    let node = plan.start().await;
    for _ in 0..2 {
        let reply = node.chat().await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "good"));
        assert_eq!(reply.header("x-grapevine-attempts"), Some("1"));
        assert_eq!(node.outcomes().await, ["answered"]);
    }
}

/// More types and flags of HTTP/2's frames.
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// Reads frames up to the next one of `kinds` with these flags; its stream, `None` at the end of the connection.
async fn next_frame(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    kinds: &[u8],
    wanted: u8,
) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("short")];
        stream.read_exact(&mut payload).await.ok()?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match (head[3], head[4]) {
            (SETTINGS, 0) => {
                let ack = frame(SETTINGS, ACK, 0, &[]);
                stream.write_all(&ack).await.ok()?;
            }
            (kind, flags) if kinds.contains(&kind) && flags & wanted != 0 => return Some(id),
            _ => {}
        }
    }
}

/// An upstream over HTTP/2 that answers the first request of a connection, and the second one with `second`; and
/// how often it was connected to.
async fn http2_upstream(
    second: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
) -> (UpstreamClient, Arc<AtomicUsize>) {
    let (config, roots) = tls_for_localhost();
    let (listener, address) = listening().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let (count, second) = (connections.clone(), Arc::new(second));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let (acceptor, second) = (TlsAcceptor::from(config.clone()), second.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.expect("a handshake");
                let mut preface = [0; 24];
                stream.read_exact(&mut preface).await.expect("HTTP/2");
                let mut answer = frame(SETTINGS, 0, 0, &[]);
                let mut is_first = true;
                while let Some(id) = next_frame(&mut stream, &[DATA, HEADERS], END_STREAM).await {
                    if is_first {
                        // ":status: 200" of HPACK's static table.
                        answer.extend(frame(HEADERS, END_HEADERS, id, &[0x88]));
                        answer.extend(frame(DATA, END_STREAM, id, b"good"));
                    } else {
                        answer = second(id);
                    }
                    stream.write_all(&answer).await.expect("sent");
                    (is_first, answer) = (false, Vec::new());
                }
            });
        }
    });
    let base_url = format!("https://localhost:{}/v1", address.port());
    (client(&base_url, trusting(roots)), connections)
}

fn go_away(last: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), [0; 4]].concat();
    frame(GOAWAY, 0, 0, &payload)
}

#[tokio::test]
async fn stream_that_http2_says_was_not_processed_is_sent_again() {
    // Code 7 is REFUSED_STREAM.
    let refused = |id| frame(RST_STREAM, 0, id, &[0, 0, 0, 7]);
    let gone = |id: u32| go_away(id - 2);
    for (client, connections) in [http2_upstream(refused).await, http2_upstream(gone).await] {
        for _ in 0..2 {
            let answer = asked(&client, MODEL_BODY).await.expect("an answer");
            assert_eq!(answer, (200, "good".to_owned()));
        }
        assert_eq!(connections.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn stream_that_http2_may_have_processed_is_not_sent_again() {
    // Code 2 is INTERNAL_ERROR.
    let (client, connections) = http2_upstream(|id| frame(RST_STREAM, 0, id, &[0, 0, 0, 2])).await;
    asked(&client, MODEL_BODY).await.expect("an answer");
    let failure = asked(&client, MODEL_BODY).await.expect_err("a reset");
    assert_eq!(failure.outcome, Outcome::Reset);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// A chat request of 12 MB.
fn large_body() -> String {
    let prompt = "x".repeat(12_000_000);
    format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"{prompt}"}}]}}"#)
}

/// An upstream that answers with `answer` when it has read `read` bytes of a request, and closes: what it has
/// not read makes that a reset.
async fn hasty_upstream(read: usize, answer: &'static str) -> SocketAddr {
    let (listener, address) = listening().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; read];
            stream.read_exact(&mut bytes).await.expect("a beginning");
            stream.write_all(answer.as_bytes()).await.expect("sent");
        }
    });
    address
}

const TOO_LARGE: &str =
    "HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\nconnection: close\r\n\r\nlarge";

#[tokio::test]
async fn answer_before_the_body_was_read_is_the_answer() {
    let body = large_body();
    let chunked = "HTTP/1.1 401 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwrong\r\n0\r\n\r\n";
    let until_the_end = "HTTP/1.1 400 X\r\nconnection: close\r\n\r\nbad";
    for (read, answer, expected) in [
        (1_000, TOO_LARGE, (413, "large")),
        (1_000_000, TOO_LARGE, (413, "large")),
        (1_000, chunked, (401, "wrong")),
        (1_000, until_the_end, (400, "bad")),
    ] {
        let address = hasty_upstream(read, answer).await;
        let tls = trusting(RootCertStore::empty());
        let client = client(&format!("http://{address}/v1"), tls);
        for _ in 0..10 {
            let (status, text) = asked(&client, &body).await.expect("an answer");
            assert_eq!((status, text.as_str()), expected);
        }
    }
}

#[tokio::test]
async fn answer_over_tls_before_the_body_was_read_is_the_answer() {
    let (config, roots) = tls_for_localhost();
    let mut config = (*config).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (acceptor, (listener, address)) = (TlsAcceptor::from(Arc::new(config)), listening().await);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Else its answer may wait for its session tickets to be acknowledged, and be lost with the reset.
            stream.set_nodelay(true).expect("a socket");
            let mut stream = acceptor.accept(stream).await.expect("a handshake");
            let mut bytes = vec![0; 1_000];
            stream.read_exact(&mut bytes).await.expect("a beginning");
            stream.write_all(TOO_LARGE.as_bytes()).await.expect("sent");
            stream.flush().await.expect("sent");
        }
    });
    let base_url = format!("https://localhost:{}/v1", address.port());
    let (client, body) = (client(&base_url, trusting(roots)), large_body());
    for _ in 0..10 {
        let answer = asked(&client, &body).await.expect("an answer");
        assert_eq!(answer, (413, "large".to_owned()));
    }
}

#[tokio::test]
async fn answer_over_http2_before_the_body_was_read_is_the_answer() {
    let (config, roots) = tls_for_localhost();
    let (listener, address) = listening().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let accepted = TlsAcceptor::from(config).accept(stream).await;
        let mut stream = accepted.expect("a handshake");
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.expect("HTTP/2");
        let settings = frame(SETTINGS, 0, 0, &[]);
        stream.write_all(&settings).await.expect("sent");
        while let Some(id) = next_frame(&mut stream, &[HEADERS], END_HEADERS).await {
            // A literal ":status: 413"; then NO_ERROR says that the rest of the body is not wanted.
            let answer = [
                frame(HEADERS, END_HEADERS, id, b"\x08\x03413"),
                frame(DATA, END_STREAM, id, b"large"),
                frame(RST_STREAM, 0, id, &[0; 4]),
            ];
            stream.write_all(&answer.concat()).await.expect("sent");
        }
    });
    let base_url = format!("https://localhost:{}/v1", address.port());
    let (client, body) = (client(&base_url, trusting(roots)), large_body());
    let answer = asked(&client, &body).await.expect("an answer");
    assert_eq!(answer, (413, "large".to_owned()));
}

#[tokio::test]
async fn refusal_of_a_large_body_reaches_the_client() {
    let mut plan = Plan::default();
    plan.settings.body_bytes_max = 16 << 20;
    plan.add("up1", hasty_upstream(1_000, TOO_LARGE).await);
    let node = plan.start().await;
    let reply = node.ask("POST", CHAT, "", &large_body()).await;
    assert_eq!((reply.status, reply.body.as_str()), (413, "large"));
    assert_eq!(node.outcomes().await, ["client_error"]);
}

#[tokio::test]
async fn reset_without_an_answer_is_no_answer() {
    let body = large_body();
    for (read, start) in [
        (1_000, ""),
        (1_000, "HTTP/1.1 413 Too"),
        (
            1_000,
            "HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlar",
        ),
    ] {
        let address = hasty_upstream(read, start).await;
        let tls = trusting(RootCertStore::empty());
        let client = client(&format!("http://{address}/v1"), tls);
        let failure = asked(&client, &body).await.expect_err("no whole answer");
        let outcomes = [Outcome::Reset, Outcome::BrokenOff];
        assert!(outcomes.contains(&failure.outcome), "{start}: {failure}");
    }
}
