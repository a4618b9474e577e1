//! Tells core of an own upstream's answer that takes unusually long, while it does.
//!
//! A timer of the attempt itself and not a table of what is in flight: it ends with the attempt, however
//! that ends, and there is nothing to bound.

use std::future::Future;
use std::pin::pin;

use grapevine_core::forwarding::PathScope;
use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::request::LongWait;

use crate::driver::DriverHandle;

/// Watches one call of an own upstream.
pub struct Overdue<'a> {
    desk: &'a DriverHandle,
    upstream: UpstreamName,
    model: Option<ModelName>,
    /// `None` for a path of another scope: what it takes tells nothing.
    wait: Option<LongWait>,
}

impl<'a> Overdue<'a> {
    /// Watches the call that begins now.
    pub fn new(
        desk: &'a DriverHandle,
        scope: PathScope,
        upstream: UpstreamName,
        model: Option<ModelName>,
    ) -> Self {
        let wait = || {
            let expected = desk.view().own_first_byte(&upstream, model.as_ref());
            LongWait::new(desk.now(), expected)
        };
        Self {
            wait: (scope == PathScope::Inference).then(wait),
            desk,
            upstream,
            model,
        }
    }

    /// Reports the wait for `awaited`, a part of the way to the first byte, whenever a report is due.
    pub async fn during<T>(&mut self, awaited: impl Future<Output = T>) -> T {
        let Some(wait) = &mut self.wait else {
            return awaited.await;
        };
        let mut awaited = pin!(awaited);
        loop {
            let due = self.desk.clock().timer(wait.due_at());
            tokio::select! {
                biased;
                came = &mut awaited => return came,
                () = tokio::time::sleep_until(due) => {}
            }
            let (upstream, model) = (self.upstream.clone(), self.model.clone());
            // A full inbox loses what the next doubling says too.
            let _ = (self.desk).try_tell(wait.report(self.desk.now(), upstream, model));
        }
    }
}
