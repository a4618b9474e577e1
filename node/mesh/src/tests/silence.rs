//! What a link's silence ends, and what it leaves alone.

use std::time::Duration;

use bytes::Bytes;
use grapevine_base::exchange::{Answer, AnswerBody, CallFailure, CallPeer};
use grapevine_core::engine::{Event, UpstreamSpec};
use grapevine_core::link::{CALLS_MAX, LOST};
use grapevine_core::notice::Notice;
use grapevine_core::outcome::{Outcome, Refusal};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::calls::fed_by_hand;
use super::linking::Doomed;
use super::support::{
    CHAT, Fake, Node, PATIENCE, Relay, TestMesh, answer, call, node_name, soon, spec, until,
};

/// An entry node that reaches its owner through a relay, which forwards no ICMP.
struct Stage {
    entry: Node,
    owner: Node,
    relay: Relay,
}

impl Stage {
    async fn start(local: Fake) -> Self {
        let mesh = TestMesh::new();
        let owner = mesh.node_with("owner", &[], local).await;
        let relay = Relay::to(owner.address()).await;
        let mut entry = mesh
            .node_with("entry", &[relay.address], Fake::echo())
            .await;
        entry.until_up("owner").await;
        Self {
            entry,
            owner,
            relay,
        }
    }

    async fn until_silent(&mut self) {
        let peer = node_name("owner");
        self.entry.until_notice(Notice::LinkSilent { peer }).await;
    }
}

async fn forward(entry: &Node) -> Result<Answer, CallFailure> {
    let forwarder = &entry.parts.forwarder;
    soon("answer", forwarder.call(&node_name("owner"), call(CHAT))).await
}

/// An answer of which a piece has come.
async fn running(entry: &Node, feed: &mpsc::Sender<Result<Bytes, CallFailure>>) -> AnswerBody {
    let mut body = forward(entry).await.expect("an answer").body;
    feed_piece(feed).await;
    assert!(soon("piece", body.frame()).await.is_some());
    body
}

async fn feed_piece(feed: &mpsc::Sender<Result<Bytes, CallFailure>>) {
    let piece = Ok(Bytes::from_static(b"piece"));
    soon("room", feed.send(piece)).await.expect("a reader");
}

#[tokio::test]
async fn answer_that_runs_goes_on_after_a_blackout_of_a_second_and_a_half() {
    let (feed, fake) = fed_by_hand();
    let mut stage = Stage::start(fake).await;
    let mut body = running(&stage.entry, &feed).await;
    stage.relay.cut();
    stage.until_silent().await;
    // Sent into the blackout: QUIC brings it later.
    feed_piece(&feed).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.relay.heal();
    let piece = soon("piece", body.frame()).await.expect("a piece");
    assert!(piece.expect("no failure").is_data());
    drop(feed);
    assert!(soon("end", body.frame()).await.is_none());
    // The same connection: nobody dialled anew.
    assert_eq!(stage.entry.handle.connections(), 1);
}

#[tokio::test]
async fn request_without_a_head_or_a_first_piece_is_lost_with_the_first_half_second_of_silence() {
    let (hang, _called) = Fake::hang();
    let (_feed, fed_by_hand) = fed_by_hand();
    for (fake, has_head) in [(hang, false), (fed_by_hand, true)] {
        let stage = Stage::start(fake).await;
        let forwarder = stage.entry.parts.forwarder.clone();
        let asked = async move {
            match forwarder.call(&node_name("owner"), call(CHAT)).await {
                Ok(mut answer) => (true, answer.body.frame().await.expect("a failure").err()),
                Err(failure) => (false, Some(failure)),
            }
        };
        let asked = tokio::spawn(asked);
        until("call", || stage.owner.own_in_flight() == 1).await;
        // The head has to come before the cut does, and the peer to speak once the request has arrived.
        tokio::time::sleep(Duration::from_millis(200)).await;
        stage.relay.cut();
        let (had_head, failure) = soon("failure", asked).await.expect("no panic");
        assert_eq!(had_head, has_head);
        assert_eq!(failure.expect("a failure").outcome, Outcome::PeerLost);
        // The connection itself still stands.
        let link = stage.entry.handle.links().get(&node_name("owner"));
        assert!(link.expect("a link").connection.close_reason().is_none());
    }
}

#[tokio::test]
async fn peer_that_does_not_receive_this_node_gets_no_new_work() {
    let mut stage = Stage::start(Fake::echo()).await;
    let link = stage.entry.handle.links().get(&node_name("owner"));
    let link = link.expect("a link");
    stage.relay.cut_there();
    let received = link.connection.stats().udp_rx.datagrams;
    stage.until_silent().await;
    assert!(
        link.connection.stats().udp_rx.datagrams > received,
        "packets of the owner arrived all the while"
    );
    stage.relay.heal();
    until("echo", || !link.is_silent()).await;
}

#[tokio::test]
async fn link_that_stays_cut_is_down_after_ten_seconds_and_its_answers_end_with_it() {
    let (feed, fake) = fed_by_hand();
    let mut stage = Stage::start(fake).await;
    let body = running(&stage.entry, &feed).await;
    stage.relay.cut();
    let cut = Instant::now();
    stage.until_silent().await;
    let ended = tokio::time::timeout(LOST + PATIENCE, body.collect()).await;
    let failure = ended.expect("an end").expect_err("no clean end");
    assert_eq!(failure.outcome, Outcome::BrokenOff);
    assert!(cut.elapsed() > LOST / 2, "{:?}", cut.elapsed());
    stage.entry.until_down("owner").await;
}

#[tokio::test]
async fn answers_of_a_peer_process_that_is_gone_end_long_before_the_timeout() {
    let mesh = TestMesh::new();
    let mut entry = mesh.node("entry").await;
    let (feed, fake) = fed_by_hand();
    let mut config = mesh.config("owner");
    config.seeds = vec![entry.address().to_string()];
    let owner = Doomed::start(config, fake);
    entry.until_up("owner").await;
    let body = running(&entry, &feed).await;
    owner.kill();
    let killed = Instant::now();
    let failure = soon("end", body.collect()).await.expect_err("no clean end");
    assert_eq!(failure.outcome, Outcome::BrokenOff);
    assert!(killed.elapsed() < LOST / 2, "{:?}", killed.elapsed());
    entry.until_down("owner").await;
}

#[tokio::test]
async fn thousands_of_calls_run_over_one_link_and_one_beyond_the_limit_is_refused_at_once() {
    const MANY: u32 = 3_000;
    let fake = Fake::new(|_| async { Ok(answer(AnswerBody::new(NeverEnding))) });
    let stage = Stage::start(fake).await;
    let wide = UpstreamSpec {
        in_flight_max: CALLS_MAX,
        ..spec()
    };
    stage.owner.driver.send(Event::Configured(vec![wide])).await;
    let is_wide = || {
        let view = stage.owner.driver.view();
        view.own.values().all(|one| one.in_flight_max == CALLS_MAX)
    };
    until("configuration", is_wide).await;
    let mut calls = JoinSet::new();
    for _ in 0..MANY {
        let forwarder = stage.entry.parts.forwarder.clone();
        calls.spawn(async move { forwarder.call(&node_name("owner"), call(CHAT)).await });
    }
    let mut answers = Vec::new();
    while let Some(answered) = soon("answer", calls.join_next()).await {
        answers.push(answered.expect("no panic").expect("an answer"));
    }
    assert_eq!(stage.owner.own_in_flight(), MANY);
    let link = stage.entry.handle.links().get(&node_name("owner"));
    let link = link.expect("a link");
    assert_eq!(link.sent.count(), MANY);
    let rest: Vec<_> = (MANY..CALLS_MAX).map(|_| link.sent.enter()).collect();
    let refused = forward(&stage.entry).await.map(|answer| answer.status);
    let refused = refused.expect_err("a refusal");
    assert_eq!(refused.outcome, Outcome::Refused(Refusal::Full));
    drop((rest, answers));
    until("end of the calls", || stage.owner.own_in_flight() == 0).await;
    assert!(forward(&stage.entry).await.is_ok());
}

/// A body that begins and never ends.
struct NeverEnding;

impl http_body::Body for NeverEnding {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, CallFailure>>> {
        std::task::Poll::Pending
    }
}
