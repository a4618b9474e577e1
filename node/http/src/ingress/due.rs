//! What an attempt waits for, and until when.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use grapevine_core::ids::ModelName;
use grapevine_core::latency::STALL_MIN;
use grapevine_core::outcome::Outcome;
use grapevine_core::route::Choice;
use grapevine_core::view::Way;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::Instant;

use grapevine_base::coarse;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{Answer, CallFailure};

/// How often a long wait is held against the view.
pub(super) const LOOKS_AROUND_EVERY: Duration = Duration::from_secs(1);

/// What came of a wait.
pub(super) enum Waiting<T> {
    Came(T),
    /// The wait is long, and the view says that the upstream answers nobody.
    Stalled,
}

/// Waits for `calling`, and after [`STALL_MIN`] looks from time to time whether that is in vain.
pub(super) async fn waiting<T>(
    driver: &DriverHandle,
    (model, choice, began_at): (Option<&ModelName>, &Choice, grapevine_core::Instant),
    mut calling: Pin<&mut impl Future<Output = T>>,
) -> Waiting<T> {
    let mut looks_at = began_at + LOOKS_AROUND_EVERY.max(STALL_MIN);
    loop {
        let timer = driver.clock().timer(looks_at);
        tokio::select! {
            biased;
            came = &mut calling => return Waiting::Came(came),
            () = coarse::sleep_until(timer) => {}
        }
        let view = driver.view();
        let candidate = view.candidate(model, &choice.candidate.upstream);
        if candidate.is_none_or(|it| it.answers_nobody()) {
            return Waiting::Stalled;
        }
        looks_at = driver.now() + LOOKS_AROUND_EVERY;
    }
}

fn deadline_passed() -> CallFailure {
    CallFailure::new(Outcome::DeadlinePassed, "the request's time limit passed")
}

/// The result of `calling` a peer, or a failure at the `deadline`. It is to be pinned where it is made, see
/// [`coarse::timeout_at`].
pub(super) async fn within<T>(
    deadline: Instant,
    calling: impl Future<Output = Result<T, CallFailure>> + Unpin,
) -> Result<T, CallFailure> {
    let called = coarse::timeout_at(deadline, calling).await;
    called.unwrap_or_else(|| Err(deadline_passed()))
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
        Way::Peer => within(deadline, pin!(framed)).await,
    }
}
