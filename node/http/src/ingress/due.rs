//! What an attempt waits for, and until when.

use std::future::Future;

use bytes::Bytes;
use grapevine_core::outcome::Outcome;
use grapevine_core::route::Choice;
use grapevine_core::view::Way;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::Instant;

use grapevine_base::exchange::{Answer, CallFailure};

fn deadline_passed() -> CallFailure {
    CallFailure::new(Outcome::DeadlinePassed, "the request's time limit passed")
}

/// The result of `calling` a peer, or a failure at the `deadline`.
pub(super) async fn within<T>(
    deadline: Instant,
    calling: impl Future<Output = Result<T, CallFailure>>,
) -> Result<T, CallFailure> {
    let passed = |_| Err(deadline_passed());
    tokio::time::timeout_at(deadline, calling)
        .await
        .unwrap_or_else(passed)
}

/// Waits for the first frame of the body: an answer counts only when it has arrived. An own upstream's body
/// applies the deadline itself.
pub(super) async fn first_frame(
    choice: &Choice,
    answer: &mut Answer,
    deadline: Instant,
) -> Result<Option<Frame<Bytes>>, CallFailure> {
    let framed = async { answer.body.frame().await.transpose() };
    match choice.candidate.upstream.way {
        Way::Local => framed.await,
        Way::Peer => within(deadline, framed).await,
    }
}
