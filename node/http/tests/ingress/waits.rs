//! Timeouts, and clients that go away.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::support::*;

#[tokio::test]
async fn upstream_that_never_answers_is_a_gateway_timeout() {
    let upstream = Scripted::start(vec![Act::Hang]).await;
    let mut plan = Plan::with(&[&upstream]);
    plan.targets[0].timeouts.answer = Duration::from_millis(100);
    let node = plan.start().await;
    let reply = node.chat().await;
    assert_eq!(reply.status, 504);
    assert_eq!(reply.json()["error"]["code"], "upstream_timeout");
    assert_eq!(node.outcomes().await, ["answer_timeout"]);
    upstream.hung_up_at().await;
}

#[tokio::test]
async fn streams_and_other_answers_wait_for_the_first_byte_apart() {
    let body = r#"{"model":"gpt-4o","stream":true}"#;
    for (path, body, is_stream) in [
        (CHAT, body, true),
        ("/v1/responses?stream=true", MODEL_BODY, true),
        ("/v1/audio/speech", MODEL_BODY, true),
        ("/v1/responses", MODEL_BODY, false),
        ("/v1/embeddings", MODEL_BODY, false),
    ] {
        let upstream = Scripted::start(vec![Act::Hang]).await;
        let mut plan = Plan::with(&[&upstream]);
        let timeouts = &mut plan.targets[0].timeouts;
        let (wait, outcome) = match is_stream {
            true => (&mut timeouts.first_byte, "first_byte_timeout"),
            false => (&mut timeouts.answer, "answer_timeout"),
        };
        *wait = Duration::from_millis(100);
        let node = plan.start().await;
        let reply = node.ask("POST", path, "", body).await;
        assert_eq!(reply.json()["error"]["code"], "upstream_timeout", "{path}");
        assert_eq!(node.outcomes().await, [outcome], "{path}");
    }
}

#[tokio::test]
async fn first_byte_of_the_body_counts_and_not_its_head() {
    let upstream = Scripted::start(vec![event_stream(), Act::Hang]).await;
    let mut plan = Plan::with(&[&upstream]);
    plan.targets[0].timeouts.first_byte = Duration::from_millis(100);
    let node = plan.start().await;
    let body = r#"{"model":"gpt-4o","stream":true}"#;
    assert_eq!(node.ask("POST", CHAT, "", body).await.status, 504);
    assert_eq!(node.outcomes().await, ["first_byte_timeout"]);
}

#[tokio::test]
async fn stream_without_limits_of_its_own_outlives_every_other_wait() {
    let script = stream_with_a_pause(Duration::from_millis(300));
    let upstream = Scripted::start(script).await;
    let mut plan = Plan::with(&[&upstream]);
    plan.settings.deadline = Duration::from_millis(200);
    let timeouts = &mut plan.targets[0].timeouts;
    timeouts.first_byte = Duration::from_millis(200);
    timeouts.answer = Duration::from_millis(200);
    (timeouts.idle, timeouts.total) = (None, None);
    let node = plan.start().await;
    let body = r#"{"model":"gpt-4o","stream":true}"#;
    let reply = node.ask("POST", CHAT, "", body).await;
    assert!(reply.is_whole);
    assert_eq!(reply.body, "data: 1\n\ndata: 2\n\n");
}

#[tokio::test]
async fn connection_that_does_not_open_is_a_connect_timeout() {
    // A listener whose queue is full drops further handshakes.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut fillers = Vec::new();
    while let Ok(Ok(filler)) = tokio::time::timeout(
        Duration::from_millis(200),
        tokio::net::TcpStream::connect(address),
    )
    .await
    {
        fillers.push(filler);
    }
    let mut plan = Plan::default();
    plan.add("up1", address);
    plan.targets[0].timeouts.connect = Duration::from_millis(100);
    let node = plan.start().await;
    assert_eq!(node.chat().await.status, 502);
    assert_eq!(node.outcomes().await, ["connect_timeout"]);
}

#[tokio::test]
async fn pause_within_a_body_beyond_the_idle_time_breaks_it_off() {
    let begun = long_beginning();
    let script = vec![head("application/json"), chunk(&begun), Act::Hang];
    let upstream = Scripted::start(script).await;
    let mut plan = Plan::with(&[&upstream]);
    plan.targets[0].timeouts.idle = Some(Duration::from_millis(100));
    let node = plan.start().await;
    let reply = node.chat().await;
    assert_eq!((reply.status, reply.body == begun), (200, true));
    assert!(!reply.is_whole);
    assert_eq!(node.outcomes().await, ["idle_timeout"]);
}

#[tokio::test]
async fn trickle_beyond_the_total_time_breaks_it_off() {
    let mut script = vec![head("application/json"), chunk(&long_beginning())];
    for _ in 0..100 {
        script.extend([chunk("."), Act::Pause(Duration::from_millis(20))]);
    }
    let upstream = Scripted::start(script).await;
    let mut plan = Plan::with(&[&upstream]);
    plan.targets[0].timeouts.total = Some(Duration::from_millis(200));
    let node = plan.start().await;
    assert!(!node.chat().await.is_whole);
    assert_eq!(node.outcomes().await, ["total_timeout"]);
}

#[tokio::test]
async fn clients_own_time_limit_ends_the_wait() {
    let upstream = Scripted::start(vec![Act::Hang]).await;
    let spare = Scripted::start(answer(200, "", "{}")).await;
    let node = Plan::with(&[&upstream, &spare]).start().await;
    let started_at = Instant::now();
    let reply = node
        .ask("POST", CHAT, "x-grapevine-timeout-ms: 150\r\n", MODEL_BODY)
        .await;
    assert!(started_at.elapsed() < Duration::from_secs(2));
    assert_eq!(reply.status, 504);
    assert_eq!(reply.json()["error"]["code"], "deadline_passed");
    assert_eq!(node.outcomes().await, ["deadline_passed"]);
}

#[tokio::test]
async fn deadline_does_not_cut_a_stream_that_has_begun() {
    let script = stream_with_a_pause(Duration::from_millis(300));
    let upstream = Scripted::start(script).await;
    let node = Plan::with(&[&upstream]).start().await;
    let reply = node
        .ask("POST", CHAT, "x-grapevine-timeout-ms: 150\r\n", MODEL_BODY)
        .await;
    assert_eq!(reply.body, "data: 1\n\ndata: 2\n\n");
}

#[tokio::test]
async fn client_that_hangs_up_before_the_answer_ends_the_call() {
    let upstream = Scripted::start(vec![Act::Hang]).await;
    let node = Plan::with(&[&upstream]).start().await;
    let mut stream = node.connect().await;
    let request = request("POST", CHAT, "", MODEL_BODY);
    stream.write_all(request.as_bytes()).await.expect("sent");
    upstream.first_request_came().await;
    let gone_at = Instant::now();
    drop(stream);
    let took = upstream.hung_up_at().await - gone_at;
    assert!(took < Duration::from_millis(100), "{took:?}");
    let record = node.record().await;
    assert_eq!((record.status, record.error), (499, Some("cancelled")));
    assert_eq!(record.attempts[0].outcome, "cancelled");
}

#[tokio::test]
async fn client_that_hangs_up_within_a_stream_ends_the_call() {
    let upstream = Scripted::start(vec![event_stream(), chunk("data: 1\n\n"), Act::Hang]).await;
    let node = Plan::with(&[&upstream]).start().await;
    let mut stream = node.connect().await;
    let request = request("POST", CHAT, "", MODEL_BODY);
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"data: 1\n\n\r\n") {
        assert!(stream.read_buf(&mut bytes).await.expect("an answer") > 0);
    }
    let gone_at = Instant::now();
    drop(stream);
    let took = upstream.hung_up_at().await - gone_at;
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert_eq!(node.outcomes().await, ["cancelled"]);
}

#[tokio::test]
async fn in_flight_counts_return_to_zero() {
    let upstream = Scripted::start(answer(200, "", "{}")).await;
    let node = Plan::with(&[&upstream]).start().await;
    for _ in 0..3 {
        assert_eq!(node.chat().await.status, 200);
    }
    until(|| node.driver.budget().requests() == 0).await;
    let view = node.driver.view();
    assert!(view.own.values().all(|own| own.in_flight.count() == 0));
}
