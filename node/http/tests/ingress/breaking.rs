//! Answers that break off: no client of whatever version takes them for whole.

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;

use crate::support::*;

const EVENT: &str = "data: {}\n\n";

/// Scripts of an upstream that breaks off, each with what the client gets of it.
fn breaking() -> Vec<(Vec<Act>, &'static str)> {
    let json = "HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n{\"a\":";
    let long = chunk(&long_beginning());
    vec![
        (vec![send(json), Act::Close], "{\"a\":"),
        (vec![head("application/json"), long, Act::Close], "{\"a\":"),
        (vec![event_stream(), chunk(EVENT), Act::Close], EVENT),
        (
            vec![event_stream(), chunk(EVENT), send("zz\r\n"), Act::Hang],
            EVENT,
        ),
    ]
}

async fn node(script: Vec<Act>) -> (Node, Scripted) {
    let upstream = Scripted::start(script).await;
    (Plan::with(&[&upstream]).start().await, upstream)
}

async fn ask(node: &Node, version: &str) -> Reply {
    let mut stream = node.connect().await;
    let request = request("POST", CHAT, "", MODEL_BODY).replace("HTTP/1.1", version);
    stream.write_all(request.as_bytes()).await.expect("sent");
    read_reply(&mut stream).await
}

#[tokio::test]
async fn broken_answer_is_never_whole_for_a_client_of_http1() {
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        for (script, begun) in breaking() {
            let (node, _upstream) = node(script.clone()).await;
            let reply = ask(&node, version).await;
            assert!(!reply.is_whole, "{version}: {reply:?}");
            // A reset may take what was not read yet.
            let is_begun = reply.body.starts_with(begun) || version == "HTTP/1.0";
            assert!(is_begun, "{version} {script:?}: {reply:?}");
            assert_eq!(node.outcomes().await, ["broken_off"]);
        }
    }
}

#[tokio::test]
async fn short_answer_that_breaks_off_is_an_error() {
    let sized = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\":";
    for script in [
        vec![send(sized), Act::Close],
        vec![head("application/json"), chunk("{\"a\":"), Act::Close],
    ] {
        let (node, _upstream) = node(script).await;
        let reply = ask(&node, "HTTP/1.1").await;
        assert!(reply.is_whole && reply.status == 502, "{reply:?}");
        assert!(reply.body.contains("upstream_broken_off"), "{reply:?}");
        assert_eq!(node.outcomes().await, ["broken_off"]);
    }
}

#[tokio::test]
async fn error_event_goes_out_before_the_connection_of_http10_is_reset() {
    let (node, _upstream) = node(vec![event_stream(), chunk(EVENT), Act::Close]).await;
    let mut stream = node.connect().await;
    let request = request("POST", CHAT, "", MODEL_BODY).replace("HTTP/1.1", "HTTP/1.0");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let text = read_until(&mut stream, "upstream_broken_off").await;
    assert!(!text.to_lowercase().contains("transfer-encoding"), "{text}");
}

#[tokio::test]
async fn whole_answer_to_http10_ends_cleanly() {
    for script in [
        vec![head("application/json"), chunk("{}"), send("0\r\n\r\n")],
        vec![event_stream(), chunk(EVENT), send("0\r\n\r\n")],
        answer(200, "", "{}"),
    ] {
        let (node, _upstream) = node(script).await;
        let reply = ask(&node, "HTTP/1.0").await;
        assert!(reply.is_whole && reply.status == 200, "{reply:?}");
        assert!(reply.body == "{}" || reply.body == EVENT, "{reply:?}");
    }
}

#[tokio::test]
async fn broken_answer_is_a_reset_stream_for_a_client_of_http2() {
    for (script, _) in breaking() {
        let (node, _upstream) = node(script.clone()).await;
        let io = TokioIo::new(node.connect().await);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (mut sender, connection) = handshake.await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://h{CHAT}"))
            .header("content-type", "application/json")
            .body(Full::new(bytes::Bytes::from(MODEL_BODY)))
            .expect("a request");
        let reply = sender.send_request(request).await.expect("an answer");
        assert!(reply.into_body().collect().await.is_err(), "{script:?}");
    }
}
