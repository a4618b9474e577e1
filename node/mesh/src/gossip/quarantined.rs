//! Whom gossip does not listen to for a while, told to the operator as it begins and ends.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::NodeName;
use grapevine_core::quarantine::Quarantine;
use tracing::{info, warn};

/// Whom gossip does not listen to. What they send is dropped unread; requests to and from them go on, which
/// their own checks protect.
#[derive(Debug)]
pub struct Quarantined {
    started: tokio::time::Instant,
    quarantine: Mutex<Quarantine>,
}

impl Default for Quarantined {
    fn default() -> Self {
        Self {
            started: tokio::time::Instant::now(),
            quarantine: Mutex::default(),
        }
    }
}

impl Quarantined {
    /// Who is in quarantine, and for how long still.
    pub fn held(&self) -> Vec<(NodeName, Duration)> {
        let now = self.now();
        let quarantine = self.lock();
        let held = quarantine.held(now);
        held.map(|(peer, left)| (peer.clone(), left)).collect()
    }

    /// Whether `peer` is in quarantine.
    pub(super) fn holds(&self, peer: &NodeName) -> bool {
        self.lock().holds(self.now(), peer)
    }

    /// Puts `peer` in quarantine for `cause`, which no honest node gives.
    pub(super) fn put(&self, peer: &NodeName, cause: &dyn fmt::Display) {
        let span = self.lock().put(self.now(), peer);
        if let Some(span) = span {
            warn!(
                peer.name = %peer,
                %cause,
                ?span,
                "peer sent gossip that no honest node sends; its gossip is not listened to for a while"
            );
        }
    }

    /// Tells of those whose quarantine ended. To be called about once a second.
    pub(super) fn tell_ended(&self) {
        for peer in self.lock().ended(self.now()) {
            info!(peer.name = %peer, "peer's gossip is listened to again");
        }
    }

    fn now(&self) -> Instant {
        Instant::from_start(self.started.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Quarantine> {
        self.quarantine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
