//! Forwarded requests in flight at this node, each identified by its peer and one id.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grapevine_core::admission::{self, ForwardKey, ForwardRefused};
use grapevine_core::ids::NodeName;

/// Forwarded requests in flight here.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedForwards(Arc<Mutex<admission::ForwardsInFlight>>);

/// One of them; forgotten when dropped.
#[derive(Debug)]
pub(super) struct ForwardGuard {
    all: SharedForwards,
    peer: NodeName,
    key: ForwardKey,
}

impl SharedForwards {
    /// Counts one of `peer` until the guard is dropped.
    ///
    /// # Errors
    /// When it is in flight already, or the peer has too many.
    pub(super) fn enter(
        &self,
        peer: &NodeName,
        key: ForwardKey,
    ) -> Result<ForwardGuard, ForwardRefused> {
        self.lock().enter(peer, key.clone())?;
        Ok(ForwardGuard {
            all: self.clone(),
            peer: peer.clone(),
            key,
        })
    }

    fn lock(&self) -> MutexGuard<'_, admission::ForwardsInFlight> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ForwardGuard {
    fn drop(&mut self) {
        self.all.lock().leave(&self.peer, &self.key);
    }
}
