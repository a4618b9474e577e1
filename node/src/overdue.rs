//! Tells core of an own upstream's answer that takes unusually long, while it does.
//!
//! A timer of the attempt itself and not a table of what is under way: it ends with the attempt, however
//! that ends, and there is nothing to bound.

use std::future::Future;
use std::pin::pin;

use grapevine_core::engine::{Event, WaitReport};
use grapevine_core::forwarding::Scope;
use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::latency;

use crate::driver::Desk;

/// Waits for the first byte of an own upstream's answer, and tells the engine when it takes twice as long as
/// expected, and again with each doubling of the wait. What a path of another scope takes tells nothing.
pub(crate) async fn watched<T>(
    desk: &Desk,
    scope: Scope,
    upstream: &UpstreamName,
    model: Option<&ModelName>,
    first_byte: impl Future<Output = T>,
) -> T {
    if scope == Scope::Extra {
        return first_byte.await;
    }
    let started = desk.now();
    let expected = desk.view().own_first_byte(upstream, model);
    let mut patience = latency::news_after(expected);
    let mut first_byte = pin!(first_byte);
    loop {
        let due = desk.clock().timer(started + patience);
        tokio::select! {
            biased;
            came = &mut first_byte => return came,
            () = tokio::time::sleep_until(due) => {}
        }
        let waited = desk.now().since(started);
        // A full inbox loses what the next doubling says too.
        let _ = desk.try_tell(Event::AnswerAwaited(WaitReport {
            upstream: upstream.clone(),
            model: model.cloned(),
            waited,
        }));
        patience = waited.saturating_mul(2);
    }
}
