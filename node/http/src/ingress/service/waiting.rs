//! The wait for a slot, where the node has as many requests in flight as it may.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use grapevine_base::exchange::{CallLocal, CallPeer};
use grapevine_base::queue::QueueKey;
use grapevine_core::limit::RequestGuard;
use grapevine_core::units::Weight;
use grapevine_keys::rights::ClientKey;
use http::request::Parts;

use super::Visit;
use crate::ingress::problem::Problem;

impl<L: CallLocal, P: CallPeer> Visit<'_, L, P> {
    /// Waits for the turn of its key. Its body is not received yet.
    ///
    /// # Errors
    /// Where there is no room to wait, or no slot in time.
    pub(super) async fn wait_for_slot(
        &self,
        key: Option<&ClientKey>,
        timeout: Option<Duration>,
        head: &Parts,
        peer: SocketAddr,
    ) -> Result<RequestGuard, Problem> {
        let weight = key.and_then(|key| key.rights.weight);
        let weight = weight.and_then(|weight| Weight::new(weight.get().into()));
        let line = match key {
            Some(key) => QueueKey::Key(Arc::clone(&key.name)),
            None => {
                let location = self.context.locate.locate(peer, &head.headers);
                QueueKey::at(location.address.unwrap_or(peer.ip()))
            }
        };
        let allowed = timeout.unwrap_or(self.settings.deadline);
        let deadline = self.track.arrived_at() + allowed;
        let queue = &self.context.queue;
        let slot = queue.wait(line, weight.unwrap_or_default(), deadline).await;
        slot.map_err(Problem::no_slot)
    }
}
