//! Forwarded calls: answers, refusals with the true load, failures, bodies that end and that break.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::asked::usage;
use grapevine_base::call_body::CallBody;
use grapevine_base::exchange::{Answer, AnswerBody, Call, CallFailure, CallPeer, Caller};
use grapevine_core::country::CountryCode;
use grapevine_core::engine::Event;
use grapevine_core::fact::{Phase, Standing};
use grapevine_core::ids::{ModelName, RegionName, UpstreamName};
use grapevine_core::outcome::{Outcome, Refusal, Stage};
use grapevine_core::residency::{ClientOrigin, Residency, Rule, Unknown};
use http::{Method, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::support::{
    CHAT, Fake, IN_FLIGHT_MAX, Node, REPORTS_MAX, TestMesh, answer, call, node_name, soon, until,
    whole,
};
use crate::ServingRules;

/// Two linked nodes; the second answers with `local`.
async fn pair(local: Fake) -> (Node, Node) {
    let mesh = TestMesh::new();
    let mut owner = mesh.node_with("owner", &[], local).await;
    let mut entry = mesh
        .node_with("entry", &[owner.address()], Fake::echo())
        .await;
    entry.until_up("owner").await;
    owner.until_up("entry").await;
    (entry, owner)
}

async fn forward(entry: &Node, call: Call) -> Result<Answer, CallFailure> {
    let owner = node_name("owner");
    soon("answer", entry.parts.forwarder.call(&owner, call)).await
}

async fn refusal(entry: &Node, call: Call) -> CallFailure {
    match forward(entry, call).await {
        Ok(answer) => panic!("answered with {}", answer.status),
        Err(failure) => failure,
    }
}

/// Ends the link to the entry node, whatever runs on it.
fn break_link(owner: &Node) {
    let link = owner.handle.links().get(&node_name("entry"));
    let link = link.expect("a link");
    link.connection.close(quinn::VarInt::from_u32(0), b"");
}

fn spoiled(edit: impl FnOnce(&mut Call)) -> Call {
    let mut call = call(CHAT);
    edit(&mut call);
    call
}

/// A body fed by hand, which ends when the sender is dropped.
fn fed() -> (mpsc::Sender<Result<Bytes, CallFailure>>, AnswerBody) {
    let (feed, fed) = mpsc::channel(1);
    (feed, AnswerBody::new(FedBody(fed)))
}

struct FedBody(mpsc::Receiver<Result<Bytes, CallFailure>>);

impl Body for FedBody {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, CallFailure>>> {
        self.0
            .poll_recv(context)
            .map(|next| next.map(|chunk| chunk.map(Frame::data)))
    }
}

#[tokio::test]
async fn body_that_asks_for_counts_arrives_as_it_is_sent() {
    let (entry, _owner) = pair(Fake::echo()).await;
    let body = Bytes::from_static(CHAT);
    let path = "/v1/chat/completions";
    let option = usage::to_add(path, &body).expect("an option");
    let mut call = call(CHAT);
    call.body = CallBody::asking(body, option);
    let sent = call.body.pieces().concat();
    let answer = forward(&entry, call).await;
    let received = answer.expect("an answer").body.collect().await;
    assert_eq!(received.expect("a body").to_bytes(), sent);
}

#[tokio::test]
async fn call_arrives_byte_for_byte_and_so_does_its_answer() {
    let (entry, _owner) = pair(Fake::echo()).await;
    let answer = forward(&entry, call(CHAT)).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.headers["x-test"], "1");
    assert_eq!(answer.headers["x-path"], "/v1/chat/completions?a=b");
    let load = answer.load.clone().expect("a load");
    assert_eq!((load.upstream.as_str(), load.in_flight), ("primary", 1));
    let body = answer
        .body
        .collect()
        .await
        .expect("a whole body")
        .to_bytes();
    assert_eq!(body, "{\"model\":\"gpt-4o\"}");
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    // Made before the link is up: while this thread is busy, both of its ends are silent.
    let prompt = "0123456789abcdef!".repeat(180_000);
    let large = format!(r#"{{"model":"gpt-4o","prompt":"{prompt}"}}"#);
    let (entry, owner) = pair(Fake::echo()).await;
    let sent = spoiled(|call| call.body = Bytes::from(large.clone()).into());
    let answer = forward(&entry, sent).await.expect("an answer");
    let body = soon("body", answer.body.collect()).await;
    assert!(body.expect("a whole body").to_bytes() == large.as_bytes());
    until("end of the call", || owner.own_in_flight() == 0).await;
}

#[tokio::test]
async fn body_of_nothing_passes() {
    let (entry, _owner) = pair(Fake::echo()).await;
    let nothing = spoiled(|call| {
        call.model = None;
        call.method = Method::GET;
        call.path = "/v1/responses/resp_1".parse().expect("a path");
        call.body = CallBody::default();
    });
    let answer = forward(&entry, nothing).await.expect("an answer");
    let body = answer.body.collect().await.expect("a whole body");
    assert!(body.to_bytes().is_empty());
}

#[tokio::test]
async fn call_to_a_node_without_a_link_is_lost() {
    let mesh = TestMesh::new();
    let alone = mesh.node("alone").await;
    let refused = refusal(&alone, call(CHAT)).await;
    assert_eq!(refused.outcome, Outcome::PeerUnreached);
}

#[tokio::test]
async fn calls_fence_holds_at_the_serving_node() {
    let (entry, owner) = pair(Fake::echo()).await;
    let here = owner.driver.view().region.clone();
    let elsewhere = RegionName::new("elsewhere").expect("a valid name");
    let fenced = |region: &RegionName| {
        let regions = [region.clone()];
        spoiled(|call| call.allow_regions = regions.into())
    };
    let refused = refusal(&entry, fenced(&elsewhere)).await;
    assert_eq!(refused.outcome, Outcome::Refused(Refusal::Residency));
    assert!(forward(&entry, fenced(&here)).await.is_ok());
}

/// The entry node has no rules, as one with an older configuration.
#[tokio::test]
async fn serving_node_applies_its_own_rules_to_the_client() {
    let (entry, owner) = pair(Fake::echo()).await;
    let elsewhere = RegionName::new("elsewhere").expect("a valid name");
    let rule = Rule {
        clients: vec!["EU".parse().expect("a known area")],
        keys: vec!["app".into()],
        models: vec![],
        regions: [elsewhere].into(),
    };
    let residency = Residency::new(vec![rule], Unknown::Fenced);
    owner.handle.set_rules(ServingRules {
        residency,
        ..ServingRules::default()
    });
    let from = |client, key: &str| {
        let key = Some(key.into());
        spoiled(|call| {
            call.caller = Caller {
                client,
                key,
                mark: 7,
                lossy: None,
            }
        })
    };
    let country = |code| ClientOrigin::Country(CountryCode::new(code).expect("a valid code"));
    for client in [country("DE"), ClientOrigin::Unknown] {
        let refused = refusal(&entry, from(client, "app")).await;
        assert_eq!(refused.outcome, Outcome::Refused(Refusal::Residency));
        assert!(refused.detail.contains("residency[0]"), "{refused}");
    }
    assert!(forward(&entry, from(country("US"), "app")).await.is_ok());
    assert!(forward(&entry, from(country("DE"), "web")).await.is_ok());
    owner.handle.set_rules(ServingRules::default());
    assert!(forward(&entry, from(country("DE"), "app")).await.is_ok());
}

#[tokio::test]
async fn full_upstream_refuses_with_its_load() {
    let (hang, mut called) = Fake::hang();
    let (entry, owner) = pair(hang).await;
    let mut hanging = Vec::new();
    for _ in 0..IN_FLIGHT_MAX {
        let forwarder = entry.parts.forwarder.clone();
        hanging.push(tokio::spawn(async move {
            forwarder.call(&node_name("owner"), call(CHAT)).await
        }));
        assert_eq!(soon("call", called.recv()).await, Some("called"));
    }
    let failure = refusal(&entry, call(CHAT)).await;
    assert_eq!(failure.outcome, Outcome::Refused(Refusal::Full));
    let load = failure.load.expect("a load");
    assert_eq!(load.in_flight, IN_FLIGHT_MAX);
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
    until("end of the calls", || owner.own_in_flight() == 0).await;
}

#[tokio::test]
async fn unknown_upstream_and_unknown_model_are_refused() {
    let (entry, _owner) = pair(Fake::echo()).await;
    let other = |name| UpstreamName::new(name).expect("a valid name");
    let failure = refusal(&entry, spoiled(|call| call.upstream = other("second"))).await;
    assert_eq!(failure.outcome, Outcome::Refused(Refusal::UnknownUpstream));
    assert_eq!(failure.load, None);
    let model = ModelName::new("other").expect("a valid name");
    let failure = refusal(&entry, spoiled(|call| call.model = Some(model))).await;
    assert_eq!(failure.outcome, Outcome::Refused(Refusal::UnknownUpstream));
}

/// A peer could announce one model, to pass keys and fences, and send another.
#[tokio::test]
async fn body_that_names_another_model_than_its_head_is_refused() {
    let (entry, owner) = pair(Fake::echo()).await;
    for body in [
        r#"{"model":"other"}"#,
        r#"{"model":"gpt-4o","model":"other"}"#,
        r#"{"model":"gpt-4o","Model":"other"}"#,
        "{}",
        "",
    ] {
        let failure = refusal(&entry, spoiled(|call| call.body = Bytes::from(body).into())).await;
        assert_eq!(
            failure.outcome,
            Outcome::Refused(Refusal::Protocol),
            "{body}"
        );
        assert!(failure.detail.contains("body"), "{failure}");
    }
    let unnamed = spoiled(|call| call.model = None);
    let failure = refusal(&entry, unnamed).await;
    assert_eq!(failure.outcome, Outcome::Refused(Refusal::Protocol));
    until("end of the calls", || owner.own_in_flight() == 0).await;
}

#[tokio::test]
async fn headers_that_no_client_may_send_on_do_not_arrive_from_a_peer_either() {
    let (entry, _owner) = pair(Fake::echo()).await;
    let kept_back = [
        "authorization",
        "x-api-key",
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "x-grapevine-hops",
        "x-http-method-override",
        "x-original-url",
        "x-forwarded-for",
        "content_type",
    ];
    let loaded = spoiled(|call| {
        let headers = Arc::make_mut(&mut call.headers);
        for name in kept_back {
            headers.insert(name, "1".parse().expect("a header value"));
        }
    });
    let answer = forward(&entry, loaded).await.expect("an answer");
    for name in kept_back {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
    assert_eq!(answer.headers["x-test"], "1");
}

/// The rules of the serving node are about models, and the request names none.
#[tokio::test]
async fn request_without_a_model_is_refused_where_rules_are_about_models() {
    let (entry, owner) = pair(Fake::echo()).await;
    let rule = Rule {
        clients: vec![],
        keys: vec![],
        models: vec![ModelName::new("gpt-4o").expect("a valid name")],
        regions: [RegionName::new("elsewhere").expect("a valid name")].into(),
    };
    owner.handle.set_rules(ServingRules {
        residency: Residency::new(vec![rule], Unknown::Fenced),
        ..ServingRules::default()
    });
    let unnamed = |body: &'static str| {
        spoiled(|call| {
            call.model = None;
            call.path = "/v1/moderations".parse().expect("a path");
            call.body = Bytes::from_static(body.as_bytes()).into();
        })
    };
    let failure = refusal(&entry, unnamed(r#"{"input":"x"}"#)).await;
    assert_eq!(failure.outcome, Outcome::Refused(Refusal::Residency));
    assert!(forward(&entry, unnamed("")).await.is_ok());
}

/// A peer's answer is relayed with its own head, so the head is checked against the body.
#[tokio::test]
async fn answer_of_another_length_than_its_head_has_breaks_off() {
    for (length, body) in [("3", "{}"), ("1", "{}"), ("0", "{}")] {
        let local = Fake::new(move |_| async move {
            let mut answered = answer(whole(Bytes::from_static(body.as_bytes())));
            let length = length.parse().expect("a header value");
            answered.headers.insert("content-length", length);
            Ok(answered)
        });
        let (entry, _owner) = pair(local).await;
        let answered = forward(&entry, call(CHAT)).await.expect("a head");
        let failure = answered.body.collect().await.expect_err("a broken body");
        assert_eq!(failure.outcome, Outcome::BrokenOff, "{length}");
    }
}

/// Whoever writes an answer of an announced length asks for no more once it is there.
#[tokio::test]
async fn answer_whose_announced_bytes_were_read_is_not_cancelled() {
    let local = Fake::new(|_| async {
        let mut answered = answer(whole(Bytes::from_static(b"{}")));
        let length = "2".parse().expect("a header value");
        answered.headers.insert("content-length", length);
        Ok(answered)
    });
    let (entry, owner) = pair(local).await;
    let link = entry.handle.links().get(&node_name("owner"));
    let link = link.expect("a link");
    let cancels = || {
        let sent = link.connection.stats().frame_tx;
        (sent.stop_sending, sent.reset_stream)
    };
    let before = cancels();
    for _ in 0..3 {
        let mut body = forward(&entry, call(CHAT)).await.expect("a head").body;
        let frame = body.frame().await.expect("a piece").expect("no error");
        assert_eq!(frame.into_data().ok().as_deref(), Some(&b"{}"[..]));
        assert!(body.is_end_stream());
    }
    assert_eq!(cancels(), before);
    until("end of the calls", || owner.own_in_flight() == 0).await;
}

#[tokio::test]
async fn answer_that_could_be_read_in_two_ways_is_not_taken_from_a_peer() {
    for (status, headers) in [
        (101, &[("upgrade", "websocket")][..]),
        (100, &[]),
        (200, &[("content-length", "2"), ("content-length", "3")]),
        (
            200,
            &[("content-length", "2"), ("transfer-encoding", "chunked")],
        ),
        (200, &[("transfer-encoding", "gzip")]),
    ] {
        let local = Fake::new(move |_| async move {
            let mut answered = answer(whole(Bytes::from_static(b"{}")));
            answered.status = StatusCode::from_u16(status).expect("a status");
            for (name, value) in headers {
                let value = value.parse().expect("a header value");
                answered.headers.append(*name, value);
            }
            Ok(answered)
        });
        let (entry, _owner) = pair(local).await;
        let failure = refusal(&entry, call(CHAT)).await;
        assert_eq!(
            failure.outcome,
            Outcome::Refused(Refusal::Protocol),
            "{status}"
        );
    }
}

#[tokio::test]
async fn draining_node_refuses() {
    let (entry, owner) = pair(Fake::echo()).await;
    owner
        .driver
        .send(Event::PhaseChanged(Phase::Draining))
        .await;
    until("drain", || owner.driver.view().phase == Phase::Draining).await;
    let failure = refusal(&entry, call(CHAT)).await;
    assert_eq!(failure.outcome, Outcome::Refused(Refusal::Draining));
}

#[tokio::test]
async fn request_in_flight_is_not_taken_twice() {
    let (hang, mut called) = Fake::hang();
    let (entry, _owner) = pair(hang).await;
    let first = call(CHAT);
    let second = first.clone();
    let forwarder = entry.parts.forwarder.clone();
    let hanging = tokio::spawn(async move { forwarder.call(&node_name("owner"), first).await });
    assert_eq!(soon("call", called.recv()).await, Some("called"));
    let failure = refusal(&entry, second).await;
    assert_eq!(failure.outcome, Outcome::Refused(Refusal::Duplicate));
    hanging.abort();
}

#[tokio::test]
async fn failures_at_the_owner_eject_there_and_a_last_resort_is_still_tried() {
    let failing = Fake::new(|_| async {
        Err(CallFailure::new(
            Outcome::ConnectFailed,
            "connection refused",
        ))
    });
    let (entry, owner) = pair(failing).await;
    for _ in 0..3 {
        let failure = refusal(&entry, call(CHAT)).await;
        assert_eq!(failure.outcome, Outcome::ConnectFailed);
        assert!(failure.detail.contains("connection refused"), "{failure}");
    }
    let ejected = || {
        let view = owner.driver.view();
        let standing = view.own.values().next().map(|own| own.standing);
        matches!(standing, Some(Standing::Ejected { .. }))
    };
    until("ejection", ejected).await;
    let failure = refusal(&entry, call(CHAT)).await;
    assert_eq!(failure.outcome, Outcome::Refused(Refusal::Ejected));
    let failure = refusal(&entry, spoiled(|call| call.last_resort = true)).await;
    assert_eq!(failure.outcome, Outcome::ConnectFailed);
}

#[tokio::test]
async fn deadline_ends_a_call_that_hangs() {
    let (hang, mut called) = Fake::hang();
    let (entry, _owner) = pair(hang).await;
    let began = Instant::now();
    let short = spoiled(|call| call.deadline = began + Duration::from_millis(200));
    let failure = refusal(&entry, short).await;
    assert_eq!(failure.outcome, Outcome::DeadlinePassed);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(soon("call", called.recv()).await, Some("called"));
    assert_eq!(soon("drop", called.recv()).await, Some("dropped"));
}

#[tokio::test]
async fn owner_sees_the_time_that_is_left() {
    let (report, mut reports) = mpsc::channel(REPORTS_MAX);
    let fake = Fake::new(move |call| {
        let left = call.deadline.saturating_duration_since(Instant::now());
        report.try_send(left).expect("room for one");
        async { Ok(answer(whole(Bytes::new()))) }
    });
    let (entry, _owner) = pair(fake).await;
    let in_two_seconds = Instant::now() + Duration::from_secs(2);
    let answered = forward(&entry, spoiled(|call| call.deadline = in_two_seconds)).await;
    assert!(answered.is_ok());
    let left = reports.recv().await.expect("a call");
    assert!(
        left > Duration::from_secs(1) && left <= Duration::from_secs(2),
        "{left:?}"
    );
}

#[tokio::test]
async fn body_streams_piece_by_piece() {
    let (feed, fake) = fed_by_hand();
    let (entry, owner) = pair(fake).await;
    let mut body = forward(&entry, call(CHAT)).await.expect("an answer").body;
    for piece in ["one", "two", "three"] {
        feed.send(Ok(Bytes::from(piece))).await.expect("a reader");
        let frame = soon("piece", body.frame()).await.expect("a piece");
        let data = frame.expect("a piece").into_data().expect("data");
        assert_eq!(data, piece);
    }
    assert_eq!(owner.own_in_flight(), 1);
    drop(feed);
    assert!(soon("end", body.frame()).await.is_none());
    until("end of the call", || owner.own_in_flight() == 0).await;
}

/// An upstream that answers once, with a body fed by hand.
pub(super) fn fed_by_hand() -> (mpsc::Sender<Result<Bytes, CallFailure>>, Fake) {
    let (feed, body) = fed();
    let body = std::sync::Mutex::new(Some(body));
    let fake = Fake::new(move |_| {
        let body = body.lock().expect("one call").take().expect("one call");
        async { Ok(answer(body)) }
    });
    (feed, fake)
}

#[tokio::test]
async fn body_that_breaks_off_never_ends_cleanly() {
    for outcome in [Outcome::BrokenOff, Outcome::TimedOut(Stage::Idle)] {
        let (feed, fake) = fed_by_hand();
        let (entry, owner) = pair(fake).await;
        let mut body = forward(&entry, call(CHAT)).await.expect("an answer").body;
        let half = Ok(Bytes::from_static(b"half"));
        feed.send(half).await.expect("a reader");
        assert!(soon("piece", body.frame()).await.is_some());
        let broken = Err(CallFailure::new(outcome, "broken"));
        feed.send(broken).await.expect("a reader");
        let failure = soon("end", body.collect()).await.expect_err("no clean end");
        assert_eq!(failure.outcome, outcome);
        until("end of the call", || owner.own_in_flight() == 0).await;
    }
}

#[tokio::test]
async fn body_that_breaks_before_anything_is_sent_may_be_tried_elsewhere() {
    let (feed, fake) = fed_by_hand();
    let (entry, _owner) = pair(fake).await;
    let broken = Err(CallFailure::new(Outcome::BrokenOff, "broken"));
    feed.send(broken).await.expect("room for one");
    assert_eq!(refusal(&entry, call(CHAT)).await.outcome, Outcome::Reset);
}

#[tokio::test]
async fn owner_that_goes_away_breaks_the_body_off() {
    let (feed, fake) = fed_by_hand();
    let (entry, owner) = pair(fake).await;
    let mut body = forward(&entry, call(CHAT)).await.expect("an answer").body;
    feed.send(Ok(Bytes::from_static(b"half")))
        .await
        .expect("a reader");
    assert!(soon("piece", body.frame()).await.is_some());
    break_link(&owner);
    let failure = soon("end", body.collect()).await.expect_err("no clean end");
    assert_eq!(failure.outcome, Outcome::BrokenOff);
}

#[tokio::test]
async fn owner_that_goes_away_before_the_answer_is_lost() {
    let (hang, mut called) = Fake::hang();
    let (entry, owner) = pair(hang).await;
    let forwarder = entry.parts.forwarder.clone();
    let waiting =
        tokio::spawn(async move { forwarder.call(&node_name("owner"), call(CHAT)).await });
    assert_eq!(soon("call", called.recv()).await, Some("called"));
    break_link(&owner);
    let failure = soon("end", waiting).await.expect("no panic");
    assert_eq!(failure.expect_err("no answer").outcome, Outcome::PeerLost);
    assert_eq!(soon("drop", called.recv()).await, Some("dropped"));
}

#[tokio::test]
async fn reader_that_stalls_holds_the_upstream_back() {
    const PIECE: usize = 16 * 1_024;
    let (feed, fake) = fed_by_hand();
    let (entry, _owner) = pair(fake).await;
    let stalled = forward(&entry, call(CHAT)).await.expect("an answer").body;
    let mut taken = 0;
    let piece = || Ok(Bytes::from_static(&[0; PIECE]));
    // Feeds until nothing has been taken for long enough to be sure.
    while let Ok(sent) = tokio::time::timeout(Duration::from_millis(300), feed.send(piece())).await
    {
        sent.expect("a reader");
        taken += PIECE;
        assert!(taken < 4 * 1_024 * 1_024, "nothing holds it back");
    }
    assert!(taken >= PIECE);
    drop(stalled);
    soon("end of the relay", feed.closed()).await;
}

#[tokio::test]
async fn answer_that_ends_while_its_node_closes_arrives_whole() {
    let (feed, fake) = fed_by_hand();
    let (entry, owner) = pair(fake).await;
    let body = forward(&entry, call(CHAT)).await.expect("an answer").body;
    owner
        .driver
        .send(Event::PhaseChanged(Phase::Draining))
        .await;
    until("drain", || owner.driver.view().phase == Phase::Draining).await;
    let last = Ok(Bytes::from_static(&[7; 200_000]));
    feed.send(last).await.expect("a reader");
    drop(feed);
    until("end of the call", || owner.own_in_flight() == 0).await;
    let (body, ()) = tokio::join!(soon("body", body.collect()), owner.handle.close());
    assert_eq!(body.expect("a whole body").to_bytes().len(), 200_000);
}
