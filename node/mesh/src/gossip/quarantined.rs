//! Peers whose gossip is ignored for a while, logged as that begins and ends.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::NodeName;
use grapevine_core::quarantine::Quarantine;
use tracing::{info, warn};

/// Peers whose gossip is ignored. It is dropped unread; requests to and from them continue, since those have
/// checks of their own.
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
    /// The peers in quarantine, and how long each stays there.
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

    /// Puts `peer` in quarantine for `cause`, which no honest node has.
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

    /// Logs each quarantine that ended. To be called about once a second.
    pub(super) fn log_ended(&self) {
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
