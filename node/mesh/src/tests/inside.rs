//! Calls to the inside of a peer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_base::exchange::{CallFailure, CallPeer, InsideCall, ServeInside};
use grapevine_core::engine::Event;
use grapevine_core::fact::Phase;
use grapevine_core::ids::NodeName;
use grapevine_core::link::INSIDE_CALLS_MAX;
use grapevine_core::outcome::{Outcome, Refusal};
use grapevine_proto::frame::{
    BODY_BYTES_MAX, HEAD_BYTES_MAX, INSIDE_METHOD, InsideHead, NoAnswer, RequestHead, ResponseStart,
};
use http::{Method, StatusCode};
use tokio::sync::mpsc;

use super::support::{
    CallReport, Fake, Node, PATIENCE, REPORTS_MAX, RawPeer, TestMesh, node_name, soon, until,
};
use crate::streams;
use crate::wire::GossipOutput;

/// Answers `/echo` with the body, `/who` with the peer's name, `/long` with too much; hangs on `/hang`,
/// and reports that.
struct FakeInside(mpsc::Sender<&'static str>);

#[async_trait]
impl ServeInside for FakeInside {
    async fn serve(&self, peer: &NodeName, path: &str, body: Bytes) -> (StatusCode, Bytes) {
        match path {
            "/echo?a=b" => (StatusCode::OK, body),
            "/who" => (StatusCode::ACCEPTED, peer.to_string().into()),
            "/long" => (StatusCode::OK, vec![0; BODY_BYTES_MAX + 1].into()),
            "/hang" => {
                let _dropped = CallReport::new(&self.0);
                std::future::pending().await
            }
            _ => (StatusCode::NOT_FOUND, Bytes::new()),
        }
    }
}

struct Pair {
    asker: Node,
    owner: Node,
    reports: mpsc::Receiver<&'static str>,
}

async fn pair() -> Pair {
    let mesh = TestMesh::new();
    let owner = mesh.node("owner").await;
    let (report, reports) = mpsc::channel(REPORTS_MAX.max(2 * INSIDE_CALLS_MAX as usize));
    assert!(owner.inside.open(Arc::new(FakeInside(report))));
    let seeds = [owner.address()];
    let mut asker = mesh.node_with("asker", &seeds, Fake::echo()).await;
    asker.until_up("owner").await;
    Pair {
        asker,
        owner,
        reports,
    }
}

fn call(path: &str, body: impl Into<Bytes>) -> InsideCall {
    InsideCall {
        path: path.parse().expect("a path"),
        body: body.into(),
        timeout: PATIENCE,
    }
}

async fn ask(
    node: &Node,
    peer: &str,
    call: InsideCall,
) -> Result<(StatusCode, Bytes), CallFailure> {
    soon("answer", node.parts.inside.call(&node_name(peer), call)).await
}

fn failed(result: Result<(StatusCode, Bytes), CallFailure>) -> Outcome {
    match result {
        Err(failure) => failure.outcome,
        Ok((status, _)) => panic!("answered with {status}"),
    }
}

#[tokio::test]
async fn call_comes_back_with_the_whole_answer_and_the_peer_is_proven() {
    let pair = pair().await;
    for body in [Bytes::new(), vec![7; 3 * 1_024 * 1_024].into()] {
        let (status, answer) = ask(&pair.asker, "owner", call("/echo?a=b", body.clone()))
            .await
            .expect("an answer");
        assert!(status == StatusCode::OK && answer == body);
    }
    let (status, name) = ask(&pair.asker, "owner", call("/who", ""))
        .await
        .expect("an answer");
    assert_eq!((status, &*name), (StatusCode::ACCEPTED, &b"asker"[..]));
}

#[tokio::test]
async fn both_ends_of_a_link_may_call() {
    let pair = pair().await;
    let back = ask(&pair.owner, "asker", call("/who", "")).await;
    let (status, _) = back.expect("an answer");
    assert_eq!(status, StatusCode::NOT_FOUND, "no handler was set there");
    let (status, _) = ask(&pair.asker, "owner", call("/nowhere", ""))
        .await
        .expect("an answer");
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn draining_node_still_answers() {
    let pair = pair().await;
    let driver = pair.owner.driver.clone();
    driver.send(Event::PhaseChanged(Phase::Draining)).await;
    until("draining", || driver.view().phase == Phase::Draining).await;
    let (status, _) = ask(&pair.asker, "owner", call("/who", ""))
        .await
        .expect("an answer");
    assert_eq!(status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn node_that_serves_no_requests_refuses_them_and_still_answers_inside() {
    let mesh = TestMesh::new();
    let (hang, mut called) = Fake::hang();
    let worker = Node::start_serving(mesh.config("worker"), hang, false).await;
    let seeds = [worker.address()];
    let mut asker = mesh.node_with("asker", &seeds, Fake::echo()).await;
    asker.until_up("worker").await;
    let forwarder = asker.parts.forwarder.clone();
    let request = super::support::call(super::support::CHAT);
    let answered = soon("answer", forwarder.call(&node_name("worker"), request)).await;
    let failure = answered.expect_err("a refusal");
    assert_eq!(
        failure.outcome,
        Outcome::Refused(Refusal::UnknownUpstream),
        "{failure}"
    );
    assert!(failure.detail.contains("WORKER_MODE"), "{failure}");
    assert!(called.try_recv().is_err());
    let (status, _) = ask(&asker, "worker", call("/who", ""))
        .await
        .expect("an answer");
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused() {
    let pair = pair().await;
    let long = vec![0; BODY_BYTES_MAX + 1];
    let protocol = Outcome::Refused(Refusal::Protocol);
    let asked = ask(&pair.asker, "owner", call("/echo?a=b", long)).await;
    assert_eq!(failed(asked), protocol);
    assert_eq!(
        failed(ask(&pair.asker, "owner", call("/long", "")).await),
        protocol
    );
}

#[tokio::test]
async fn dropped_call_and_one_that_takes_too_long_end_the_work_at_the_owner() {
    let mut pair = pair().await;
    let inside = Arc::clone(&pair.asker.parts.inside);
    let waiting =
        tokio::spawn(async move { inside.call(&node_name("owner"), call("/hang", "")).await });
    assert_eq!(soon("call", pair.reports.recv()).await, Some("called"));
    waiting.abort();
    assert_eq!(soon("drop", pair.reports.recv()).await, Some("dropped"));
    let short = InsideCall {
        timeout: Duration::from_millis(50),
        ..call("/hang", "")
    };
    let asked = ask(&pair.asker, "owner", short).await;
    assert_eq!(failed(asked), Outcome::DeadlinePassed);
    assert_eq!(soon("call", pair.reports.recv()).await, Some("called"));
    assert_eq!(soon("drop", pair.reports.recv()).await, Some("dropped"));
}

#[tokio::test]
async fn calls_in_flight_are_bounded() {
    let mut pair = pair().await;
    let calls: Vec<_> = (0..INSIDE_CALLS_MAX)
        .map(|_| {
            let inside = Arc::clone(&pair.asker.parts.inside);
            tokio::spawn(async move { inside.call(&node_name("owner"), call("/hang", "")).await })
        })
        .collect();
    for _ in 0..INSIDE_CALLS_MAX {
        assert_eq!(soon("call", pair.reports.recv()).await, Some("called"));
    }
    let asked = ask(&pair.asker, "owner", call("/who", "")).await;
    assert_eq!(failed(asked), Outcome::Refused(Refusal::Full));
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    for _ in 0..INSIDE_CALLS_MAX {
        assert_eq!(soon("drop", pair.reports.recv()).await, Some("dropped"));
    }
    let asked = ask(&pair.asker, "owner", call("/who", "")).await;
    assert!(asked.is_ok(), "{asked:?}");
}

#[tokio::test]
async fn peer_without_a_link_is_dialled_where_its_address_is_known() {
    let mesh = TestMesh::new();
    let (asker, owner) = (mesh.node("asker").await, mesh.node("owner").await);
    let asked = ask(&asker, "owner", call("/who", "")).await;
    assert_eq!(failed(asked), Outcome::PeerLost);
    let members = BTreeMap::from([(node_name("owner"), owner.address())]);
    asker.parts.outgoing.members(members);
    let (status, _) = ask(&asker, "owner", call("/who", ""))
        .await
        .expect("an answer");
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn owner_that_dies_within_a_call_is_lost() {
    let mut pair = pair().await;
    let inside = Arc::clone(&pair.asker.parts.inside);
    let waiting =
        tokio::spawn(async move { inside.call(&node_name("owner"), call("/hang", "")).await });
    assert_eq!(soon("call", pair.reports.recv()).await, Some("called"));
    soon("close", pair.owner.handle.close()).await;
    let asked = soon("end", waiting).await.expect("no panic");
    assert_eq!(failed(asked), Outcome::PeerLost);
}

#[tokio::test]
async fn earlier_build_refuses_and_the_error_names_the_remedy() {
    let mesh = TestMesh::new();
    let mut asker = mesh.node("asker").await;
    let raw = RawPeer::connect(&mesh, asker.address(), "old", "old").await;
    asker.until_up("old").await;
    let old = async {
        let (mut send, mut recv) = raw.connection.accept_bi().await.expect("a stream");
        let payload = streams::read_frame(&mut recv, HEAD_BYTES_MAX).await;
        let payload = payload.expect("a frame");
        // What an earlier build reads: a good head, with a method that it can pass on to nobody.
        let head = RequestHead::decode(&payload).expect("a request's head");
        assert!(Method::from_bytes(head.method.as_bytes()).is_err());
        let none = NoAnswer {
            outcome: Outcome::Refused(Refusal::UnknownUpstream),
            load: None,
            detail: "node has no such upstream",
        };
        let frame = ResponseStart::None(none).encode().expect("a frame");
        send.write_all(&frame).await.expect("a write");
        send.finish().expect("an open stream");
    };
    let (asked, ()) = tokio::join!(ask(&asker, "old", call("/who", "")), old);
    let failure = asked.expect_err("a refusal");
    assert!(failure.detail.contains("update it"), "{}", failure.detail);
}

#[test]
fn no_request_of_a_client_looks_like_a_call_to_the_inside() {
    assert!(Method::from_bytes(INSIDE_METHOD.as_bytes()).is_err());
    let head = super::support::head("r", 0);
    assert_eq!(InsideHead::of(&head), None);
}
