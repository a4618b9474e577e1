//! What gossip refused, and its restarts and rumors, counted for metrics and logged now and then.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::warn;

/// A kind of refusal is logged at most this often: a hostile peer must not fill the disk.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Why something that was received was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A gossip message that is malformed, or that no honest node sends.
    Message,
    /// A value or rumor that is not what its key requires.
    Malformed,
    /// A value or rumor over its limit.
    Oversize,
    /// A certificate that is not of this mesh, or that names another node than the value's author.
    Certificate,
    /// A signature that is not by the certificate's key: forged, or altered on the way.
    Signature,
    /// A value of another incarnation of the node than it was found in, or of another version.
    Generation,
    /// One node or key too many.
    Crowded,
    /// One check too many for this second; gossip repeats what was dropped.
    Throttled,
    /// Somebody else wrote into this node's own state, or tried to.
    ForeignWrite,
    /// Something of a peer in quarantine.
    Quarantined,
}

impl Rejection {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 10] = [
        Self::Message,
        Self::Malformed,
        Self::Oversize,
        Self::Certificate,
        Self::Signature,
        Self::Generation,
        Self::Crowded,
        Self::Throttled,
        Self::ForeignWrite,
        Self::Quarantined,
    ];

    /// One word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Malformed => "malformed",
            Self::Oversize => "oversize",
            Self::Certificate => "certificate",
            Self::Signature => "signature",
            Self::Generation => "generation",
            Self::Crowded => "crowded",
            Self::Throttled => "throttled",
            Self::ForeignWrite => "foreign_write",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Counts since the start of the process.
#[derive(Debug)]
pub struct Counters {
    started: Instant,
    rejected: [Refusals; Rejection::ALL.len()],
    /// Times that chitchat was restarted.
    pub restarts: AtomicU64,
    /// Rumors of this node that were pushed.
    pub rumors_pushed: AtomicU64,
    /// Rumors of others that were relayed.
    pub rumors_relayed: AtomicU64,
    /// Rumors that contained something new.
    pub rumors_new: AtomicU64,
    /// Rumors that contained nothing new; dropped before their signature was checked.
    pub rumors_repeated: AtomicU64,
    /// Models of own upstreams that the last publication of each left out for lack of room.
    pub models_left_out: AtomicU64,
    /// Own upstreams that are not published at all for lack of room.
    pub upstreams_left_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Refusals {
    count: AtomicU64,
    /// Milliseconds after `started` before which nothing is logged.
    quiet_until: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            rejected: Default::default(),
            restarts: AtomicU64::new(0),
            rumors_pushed: AtomicU64::new(0),
            rumors_relayed: AtomicU64::new(0),
            rumors_new: AtomicU64::new(0),
            rumors_repeated: AtomicU64::new(0),
            models_left_out: AtomicU64::new(0),
            upstreams_left_out: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// How often something was dropped for `reason`.
    pub fn rejected(&self, reason: Rejection) -> u64 {
        self.rejected[reason as usize].count.load(Ordering::Relaxed)
    }

    /// Counts a refusal of something that came from, or claims to be of, `source`.
    pub(super) fn reject(&self, reason: Rejection, source: &dyn fmt::Display) {
        let refusals = &self.rejected[reason as usize];
        let count = refusals.count.fetch_add(1, Ordering::Relaxed) + 1;
        let elapsed = self.started.elapsed();
        let quiet_until = refusals.quiet_until.load(Ordering::Relaxed);
        if elapsed >= Duration::from_millis(quiet_until) {
            let until = (elapsed + LOG_INTERVAL).as_millis();
            let until = u64::try_from(until).unwrap_or(u64::MAX);
            refusals.quiet_until.store(until, Ordering::Relaxed);
            warn!(reason = reason.as_str(), %source, count, "gossip dropped");
        }
    }

    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter() {
        let counters = Counters::default();
        for (index, reason) in Rejection::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            counters.reject(reason, &"somebody");
            counters.reject(reason, &"somebody");
            assert_eq!(counters.rejected(reason), 2, "{reason:?}");
        }
    }
}
