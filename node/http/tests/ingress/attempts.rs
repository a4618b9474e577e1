//! Failover before the first byte, and the error when nothing answers.

use std::time::Duration;

use bytes::Bytes;
use grapevine_base::exchange::{AnswerBody, CallFailure};
use grapevine_core::fact::Load;
use grapevine_core::ids::UpstreamName;
use grapevine_core::outcome::{Outcome, Refusal};

use crate::support::*;

/// The first upstream plays `script`, the second is healthy: the client sees the second's answer.
async fn moves_on(script: Vec<Act>, outcome: &str) {
    let broken = Scripted::start(script).await;
    let healthy = Scripted::start(answer(200, "", "{\"healthy\":1}")).await;
    let mut plan = Plan::with(&[&broken, &healthy]);
    plan.targets[0].timeouts.first_byte = Duration::from_millis(100);
    let node = plan.start().await;
    // A stream: a whole answer that is late may have been billed, and is not asked for twice.
    let reply = node.ask("POST", CHAT, "", STREAM_BODY).await;
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (200, "{\"healthy\":1}"),
        "{outcome}"
    );
    assert_eq!(reply.header("x-grapevine-upstream"), Some("up2"));
    assert_eq!(reply.header("x-grapevine-attempts"), Some("2"));
    assert_eq!(reply.header("x-grapevine-reason"), Some("fallback"));
    assert_eq!(node.outcomes().await, [outcome, "answered"]);
    assert_eq!(broken.seen().len(), 1, "{outcome}");
}

#[tokio::test]
async fn bad_statuses_move_on() {
    for status in [408, 500, 502, 503] {
        moves_on(answer(status, "", "{}"), "server_error").await;
    }
    moves_on(answer(529, "", "{}"), "rate_limited").await;
}

#[tokio::test]
async fn rate_limit_moves_on() {
    moves_on(answer(429, "retry-after: 7\r\n", "{}"), "rate_limited").await;
}

#[tokio::test]
async fn refused_credential_moves_on() {
    moves_on(
        answer(401, "", "{\"error\":\"sk-12\"}"),
        "credential_refused",
    )
    .await;
    moves_on(answer(403, "", "{}"), "credential_refused").await;
}

#[tokio::test]
async fn connection_closed_without_an_answer_moves_on() {
    moves_on(vec![Act::Close], "reset").await;
}

#[tokio::test]
async fn garbage_instead_of_http_moves_on() {
    moves_on(vec![send("nonsense\r\n\r\n"), Act::Close], "reset").await;
}

#[tokio::test]
async fn head_that_does_not_come_in_time_moves_on() {
    moves_on(vec![Act::Hang], "first_byte_timeout").await;
}

#[tokio::test]
async fn stream_that_ends_after_its_head_moves_on() {
    moves_on(vec![event_stream(), Act::Close], "reset").await;
}

#[tokio::test]
async fn stream_that_stays_silent_after_its_head_moves_on() {
    moves_on(vec![event_stream(), Act::Hang], "first_byte_timeout").await;
}

#[tokio::test]
async fn closed_port_moves_on_without_costing_a_retry() {
    let healthy = Scripted::start(answer(200, "", "{}")).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let mut plan = Plan::default();
    plan.add("up1", address);
    plan.add("up2", healthy.address);
    let node = plan.start().await;
    while node.driver.budget().take_retry(false) {}
    assert_eq!(node.chat().await.status, 200);
    assert_eq!(node.outcomes().await, ["connect_failed", "answered"]);
}

#[tokio::test]
async fn spent_retry_budget_gives_the_answer_there_is() {
    let first = Scripted::start(answer(500, "", "{\"first\":1}")).await;
    let second = Scripted::start(answer(200, "", "{}")).await;
    let node = Plan::with(&[&first, &second]).start().await;
    let _in_flight = node.driver.budget().request();
    while node.driver.budget().take_retry(true) || node.driver.budget().take_retry(false) {}
    let reply = node.chat().await;
    assert_eq!((reply.status, reply.body.as_str()), (500, "{\"first\":1}"));
    assert!(second.seen().is_empty());
}

#[tokio::test]
async fn rate_limits_all_around_give_the_last_one_as_it_is() {
    let first = Scripted::start(answer(429, "retry-after: 5\r\n", "{\"error\":1}")).await;
    let second = Scripted::start(answer(429, "retry-after: 9\r\n", "{\"error\":2}")).await;
    let node = Plan::with(&[&first, &second]).start().await;
    let reply = node.chat().await;
    assert_eq!((reply.status, reply.body.as_str()), (429, "{\"error\":2}"));
    assert_eq!(reply.header("retry-after"), Some("9"));
    assert_eq!(reply.header("x-grapevine-upstream"), Some("up2"));
    assert_eq!(reply.header("x-grapevine-attempts"), Some("2"));
}

#[tokio::test]
async fn refused_credentials_all_around_are_not_the_clients_fault() {
    let upstream = Scripted::start(answer(401, "", "{\"error\":\"bad key sk-12**34\"}")).await;
    let node = Plan::with(&[&upstream]).start().await;
    let reply = node.chat().await;
    assert_eq!(reply.status, 502);
    assert_eq!(reply.json()["error"]["code"], "upstream_credential");
    assert!(!reply.body.contains("sk-12"), "{}", reply.body);
}

#[tokio::test]
async fn full_upstream_is_passed_over() {
    let busy = Scripted::start(vec![Act::Hang]).await;
    let spare = Scripted::start(answer(200, "", "{}")).await;
    let mut plan = Plan::with(&[&busy, &spare]);
    plan.specs[0].in_flight_max = 1;
    let node = plan.start().await;
    let view = node.driver.view();
    let (_, own) = view.own.iter().next().expect("an upstream");
    let _taken = own.in_flight.enter_below(1).expect("room for one");
    drop(view.clone());
    let reply = node.chat().await;
    assert_eq!(reply.header("x-grapevine-upstream"), Some("up2"));
    assert!(busy.seen().is_empty());
}

fn load(in_flight: u32) -> Load {
    Load {
        upstream: UpstreamName::new("theirs").expect("a valid name"),
        in_flight,
        ttft: Duration::from_millis(5),
    }
}

/// A body that arrives in pieces and does not know its end, like one from a peer.
struct Endless(std::collections::VecDeque<&'static str>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, CallFailure>>> {
        match self.0.pop_front() {
            Some(piece) => {
                let frame = http_body::Frame::data(Bytes::from_static(piece.as_bytes()));
                std::task::Poll::Ready(Some(Ok(frame)))
            }
            None => std::task::Poll::Pending,
        }
    }
}

#[tokio::test]
async fn answer_that_reached_its_announced_length_is_complete() {
    for pieces in [vec!["{\"peer\":1}"], vec!["{\"peer\"", ":1}"]] {
        let mut plan = Plan::with(&[]);
        plan.known_peers = vec![("sgp", 1)];
        plan.peers = FakePeers::new(move |_, _| {
            let body = Endless(pieces.clone().into());
            async move {
                let mut answer = successful_answer("", None);
                answer.headers.insert("content-length", 10.into());
                answer.body = AnswerBody::new(body);
                Ok(answer)
            }
        });
        let node = plan.start().await;
        let reply = node.chat().await;
        assert!(reply.is_whole && reply.body == "{\"peer\":1}", "{reply:?}");
        assert_eq!(node.outcomes().await, ["answered"]);
    }
}

#[tokio::test]
async fn peer_answers_and_the_headers_show_it() {
    let mut plan = Plan::with(&[]);
    plan.known_peers = vec![("sgp", 1)];
    plan.peers = FakePeers::new(|_, call| async move {
        assert_eq!(call.body.received(), MODEL_BODY.as_bytes());
        assert!(call.headers.get("authorization").is_none());
        Ok(successful_answer("{\"peer\":1}", Some(load(3))))
    });
    let node = plan.start().await;
    let reply = node
        .ask("POST", CHAT, "authorization: Bearer k\r\n", MODEL_BODY)
        .await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "{\"peer\":1}"));
    let expected = [
        ("x-grapevine-node", "sgp"),
        ("x-grapevine-region", "sgp"),
        ("x-grapevine-upstream", "theirs"),
        ("x-grapevine-path", "usa>sgp"),
        ("x-grapevine-hops", "1"),
    ];
    for (name, value) in expected {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn dead_upstream_here_is_answered_by_a_peer() {
    let broken = Scripted::start(vec![Act::Close]).await;
    let mut plan = Plan::with(&[&broken]);
    plan.known_peers = vec![("sgp", 2)];
    plan.peers = FakePeers::new(|_, _| async { Ok(successful_answer("{}", None)) });
    let node = plan.start().await;
    let reply = node.chat().await;
    assert_eq!(reply.header("x-grapevine-path"), Some("usa>sgp"));
    assert_eq!(node.outcomes().await, ["reset", "answered"]);
}

#[tokio::test]
async fn peer_that_refuses_with_its_load_is_not_asked_again() {
    let mut plan = Plan::with(&[]);
    plan.known_peers = vec![("sgp", 1), ("jpn", 2)];
    plan.peers = FakePeers::new(|peer, _| async move {
        if peer == node("jpn") {
            return Ok(successful_answer("{}", None));
        }
        let mut failure = CallFailure::new(Outcome::Refused(Refusal::Full), "full");
        failure.load = Some(load(100));
        Err(failure)
    });
    let node = plan.start().await;
    let reply = node.chat().await;
    assert_eq!(reply.header("x-grapevine-node"), Some("jpn"));
    assert_eq!(node.outcomes().await, ["refused_full", "answered"]);
}

#[tokio::test]
async fn nothing_left_is_an_error_in_the_apis_shape() {
    let broken = Scripted::start(vec![Act::Close]).await;
    let node = Plan::with(&[&broken]).start().await;
    let reply = node.chat().await;
    assert_eq!(reply.status, 502);
    assert_eq!(reply.json()["error"]["type"], "server_error");
    assert_eq!(reply.header("x-should-retry"), Some("true"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(reply.header("x-grapevine-attempts"), Some("1"));
    let reply = node
        .post("/v1/messages", &MODEL_BODY.replace("gpt-4o", "claude"))
        .await;
    assert_eq!(reply.json()["type"], "error");
    assert_eq!(reply.json()["error"]["type"], "api_error");
}

#[tokio::test]
async fn dry_run_shows_the_plan_and_calls_nothing() {
    let first = Scripted::start(answer(200, "", "{}")).await;
    let second = Scripted::start(answer(200, "", "{}")).await;
    let node = Plan::with(&[&first, &second]).start().await;
    let reply = node
        .ask("POST", CHAT, "x-grapevine-dry-run: true\r\n", MODEL_BODY)
        .await;
    let shown = reply.json();
    assert_eq!(shown["choices"][0]["upstream"], "up1");
    assert_eq!(shown["choices"][1]["reason"], "fallback");
    assert!(shown["choices"][0]["cost_ms"]["total"].as_f64().is_some());
    assert!(first.seen().is_empty() && second.seen().is_empty());
}
