//! Warnings about addresses that repeatedly do wrong: one a minute for each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Keeps a peer that is refused repeatedly from filling the log.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<BTreeMap<IpAddr, Instant>>);

/// The time between two warnings about one address.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Addresses remembered as warned about; beyond it, new ones wait until old ones expire.
const COMPLAINTS_MAX: usize = 64;

impl Complaints {
    /// Whether to warn about `address` at `now`.
    pub(super) fn may(&self, address: IpAddr, now: Instant) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logged.retain(|_, at| now.duration_since(*at) < COMPLAINT_INTERVAL);
        if logged.len() >= COMPLAINTS_MAX || logged.contains_key(&address) {
            return false;
        }
        logged.insert(address, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_warned_about_once_a_minute() {
        let complaints = Complaints::default();
        let address = IpAddr::from([203, 0, 113, 5]);
        let now = Instant::now();
        assert!(complaints.may(address, now));
        assert!(!complaints.may(address, now));
        assert!(complaints.may(IpAddr::from([203, 0, 113, 6]), now));
        assert!(complaints.may(address, now + COMPLAINT_INTERVAL));
    }
}
