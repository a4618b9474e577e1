//! What an operator is told of addresses that do wrong again and again: once a minute each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Keeps a peer that is refused again and again from filling the log.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<BTreeMap<IpAddr, Instant>>);

/// One address is complained about this often.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Addresses remembered as complained about; beyond it, new ones wait until old ones expire.
const COMPLAINTS_MAX: usize = 64;

impl Complaints {
    /// Whether to complain about `address` at `now`.
    pub(super) fn may(&self, address: IpAddr, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < COMPLAINT_INTERVAL);
        if told.len() >= COMPLAINTS_MAX || told.contains_key(&address) {
            return false;
        }
        told.insert(address, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_complained_about_once_a_minute() {
        let complaints = Complaints::default();
        let address = IpAddr::from([203, 0, 113, 5]);
        let now = Instant::now();
        assert!(complaints.may(address, now));
        assert!(!complaints.may(address, now));
        assert!(complaints.may(IpAddr::from([203, 0, 113, 6]), now));
        assert!(complaints.may(address, now + COMPLAINT_INTERVAL));
    }
}
