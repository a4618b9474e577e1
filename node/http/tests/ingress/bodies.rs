//! How much of the node's memory request bodies may hold, and for how long.

use std::time::Duration;

use grapevine_http::ingress::Keys;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::*;

/// What all bodies may hold.
const MEMORY: u64 = 4 << 20;

/// The part that is sent of each body that never ends.
const PART: usize = 900_000;

async fn started(keys: &[&str]) -> (Node, Scripted) {
    let upstream = Scripted::start(answer(200, "", "{}")).await;
    let mut plan = Plan::with(&[&upstream]);
    plan.body_memory = MEMORY;
    plan.settings.keys = Keys::new(keys.iter().map(|name| static_key(name, name, &[])));
    (plan.start().await, upstream)
}

/// Sends most of a body and nothing more.
async fn unfinished(node: &Node, headers: &str) -> TcpStream {
    let mut stream = node.connect().await;
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: h\r\n{headers}content-length: 1000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    // A refusal may close it in the middle.
    let _ = stream.write_all(&vec![b'x'; PART]).await;
    stream
}

#[tokio::test]
async fn unfinished_bodies_of_one_client_end_at_its_share() {
    let (node, upstream) = started(&[]).await;
    let two = [unfinished(&node, "").await, unfinished(&node, "").await];
    until(|| node.bodies.held() == 2 * PART as u64).await;
    let reply = read_reply(&mut unfinished(&node, "").await).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (429, Some("1"))
    );
    assert_eq!(reply.json()["error"]["code"], "body_share_full");
    assert!(reply.body.contains("limits.body_memory"), "{}", reply.body);
    drop(two);
    until(|| node.bodies.held() == 0).await;
    assert_eq!(node.chat().await.status, 200);
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn bodies_of_one_key_leave_room_for_those_of_another() {
    let (node, _upstream) = started(&["one", "two"]).await;
    let one = "authorization: Bearer one\r\n";
    let _held = [unfinished(&node, one).await, unfinished(&node, one).await];
    until(|| node.bodies.held() == 2 * PART as u64).await;
    let large = format!("{{\"model\":\"gpt-4o\",\"x\":\"{}\"}}", "x".repeat(500_000));
    let two = "authorization: Bearer two\r\n";
    assert_eq!(node.ask("POST", CHAT, two, &large).await.status, 200);
    assert_eq!(node.ask("POST", CHAT, one, &large).await.status, 429);
}

#[tokio::test]
async fn body_is_held_until_its_answer_begins() {
    let script = vec![
        Act::Pause(Duration::from_millis(300)),
        event_stream(),
        chunk("data: 1\n\n"),
        Act::Pause(Duration::from_secs(60)),
    ];
    let upstream = Scripted::start(script).await;
    let node = Plan::with(&[&upstream]).start().await;
    let mut stream = node.connect().await;
    let request = request("POST", CHAT, "", MODEL_BODY);
    stream.write_all(request.as_bytes()).await.expect("sent");
    upstream.first_request_came().await;
    assert_eq!(node.bodies.held(), MODEL_BODY.len() as u64);
    until(|| node.bodies.held() == 0).await;
    // The answer continues: the request is still in flight.
    assert_eq!(node.driver.budget().requests(), 1);
}
