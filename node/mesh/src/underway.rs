//! Forwarded requests in flight at this node, each known to its peer by one id.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grapevine_core::admission::{self, Refused, UnderwayKey};
use grapevine_core::ids::NodeName;

/// Forwarded requests under way here.
#[derive(Clone, Debug, Default)]
pub(super) struct Underway(Arc<Mutex<admission::Underway>>);

/// One of them; forgotten when dropped.
#[derive(Debug)]
pub(super) struct UnderwayGuard {
    all: Underway,
    peer: NodeName,
    key: UnderwayKey,
}

impl Underway {
    /// Counts one of `peer` until the guard is dropped.
    ///
    /// # Errors
    /// When it is there already, or the peer has too many.
    pub(super) fn enter(
        &self,
        peer: &NodeName,
        key: UnderwayKey,
    ) -> Result<UnderwayGuard, Refused> {
        self.lock().enter(peer, key.clone())?;
        Ok(UnderwayGuard {
            all: self.clone(),
            peer: peer.clone(),
            key,
        })
    }

    fn lock(&self) -> MutexGuard<'_, admission::Underway> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderwayGuard {
    fn drop(&mut self) {
        self.all.lock().leave(&self.peer, &self.key);
    }
}
