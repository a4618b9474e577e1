//! A caller that disconnects ends the upstream call across the hop, at once.

use std::time::Duration;

use bytes::Bytes;
use grapevine_base::exchange::{AnswerBody, CallFailure, CallPeer};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::support::{
    CHAT, CallReport, Fake, Node, REPORTS_MAX, TestMesh, answer, call, node_name, soon, until,
};

/// How long a cancel may take to reach the upstream.
const CANCEL_MAX: Duration = Duration::from_millis(100);

async fn pair(local: Fake) -> (Node, Node) {
    let mesh = TestMesh::new();
    let owner = mesh.node_with("owner", &[], local).await;
    let mut entry = mesh
        .node_with("entry", &[owner.address()], Fake::echo())
        .await;
    entry.until_up("owner").await;
    (entry, owner)
}

#[tokio::test]
async fn call_dropped_before_its_answer_ends_the_upstream_call() {
    let (hang, mut reports) = Fake::hang();
    let (entry, owner) = pair(hang).await;
    let forwarder = entry.parts.forwarder.clone();
    let waiting =
        tokio::spawn(async move { forwarder.call(&node_name("owner"), call(CHAT)).await });
    assert_eq!(soon("call", reports.recv()).await, Some("called"));
    let dropped = Instant::now();
    waiting.abort();
    assert_eq!(soon("drop", reports.recv()).await, Some("dropped"));
    assert!(dropped.elapsed() < CANCEL_MAX, "{:?}", dropped.elapsed());
    until("end of the call", || owner.own_in_flight() == 0).await;
}

/// A body that yields one piece, then hangs, and reports when it is dropped.
struct Endless {
    first: Option<Bytes>,
    _report: CallReport,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, CallFailure>>> {
        match self.first.take() {
            Some(first) => std::task::Poll::Ready(Some(Ok(http_body::Frame::data(first)))),
            None => std::task::Poll::Pending,
        }
    }
}

#[tokio::test]
async fn body_dropped_within_the_answer_ends_the_upstream_call() {
    let (report, mut reports) = mpsc::channel(REPORTS_MAX);
    let fake = Fake::new(move |_| {
        let body = Endless {
            first: Some(Bytes::from_static(b"first")),
            _report: CallReport::new(&report),
        };
        async { Ok(answer(AnswerBody::new(body))) }
    });
    let (entry, owner) = pair(fake).await;
    let owner_name = node_name("owner");
    let answered = entry.parts.forwarder.call(&owner_name, call(CHAT));
    let mut body = soon("answer", answered).await.expect("an answer").body;
    assert!(soon("piece", body.frame()).await.is_some());
    assert_eq!(reports.recv().await, Some("called"));
    let dropped = Instant::now();
    drop(body);
    assert_eq!(soon("drop", reports.recv()).await, Some("dropped"));
    assert!(dropped.elapsed() < CANCEL_MAX, "{:?}", dropped.elapsed());
    until("end of the call", || owner.own_in_flight() == 0).await;
}
