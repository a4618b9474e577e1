//! Reports to core that an own upstream's answer takes unusually long, while it does.
//!
//! A timer of the attempt itself and not a table of what is in flight: it ends with the attempt, however
//! that ends, and there is nothing to bound.

use std::future::Future;

use grapevine_core::forwarding::PathScope;
use grapevine_core::health::Witness;
use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::latency::RequestShape;
use grapevine_core::request::LongWait;

use crate::coarse;
use crate::driver::DriverHandle;

/// Watches one call of an own upstream.
pub struct Overdue<'a> {
    driver: &'a DriverHandle,
    upstream: UpstreamName,
    model: Option<ModelName>,
    /// `None` for a path of another scope: its latency is not comparable.
    wait: Option<LongWait>,
}

impl<'a> Overdue<'a> {
    /// Watches the call that `witness` began.
    pub fn new(
        driver: &'a DriverHandle,
        scope: PathScope,
        upstream: UpstreamName,
        model: Option<ModelName>,
        shape: RequestShape,
        witness: Witness,
    ) -> Self {
        let wait = || {
            let view = driver.view();
            let expected = view.own_expected(&upstream, model.as_ref(), shape);
            let p99 = view.own_p99(&upstream, shape.class);
            LongWait::new(witness, shape, expected, p99)
        };
        Self {
            wait: (scope == PathScope::Inference).then(wait),
            driver,
            upstream,
            model,
        }
    }

    /// Reports the wait for `awaited`, a part of the way to the first byte, whenever a report is due. It is to be pinned
    /// where it is made, see [`coarse::timeout_at`].
    pub async fn during<T>(&mut self, mut awaited: impl Future<Output = T> + Unpin) -> T {
        let Some(wait) = &mut self.wait else {
            return awaited.await;
        };
        loop {
            let due = self.driver.clock().timer(wait.due_at());
            tokio::select! {
                biased;
                came = &mut awaited => return came,
                () = coarse::sleep_until(due) => {}
            }
            let (upstream, model) = (self.upstream.clone(), self.model.clone());
            // What a full inbox loses, the report at the next doubling repeats.
            let _ = (self.driver).try_send(wait.report(self.driver.now(), upstream, model));
        }
    }
}
