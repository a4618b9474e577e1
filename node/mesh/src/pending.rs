//! Gossip that waits for a connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Gossip for addresses without a link, until one is there.
#[derive(Clone, Debug)]
pub(super) struct PendingGossip {
    waiting: Arc<Mutex<BTreeMap<SocketAddr, Bytes>>>,
    strangers: mpsc::Sender<SocketAddr>,
}

/// The most addresses for which gossip waits.
const PENDING_MAX: usize = 256;

impl PendingGossip {
    /// None waiting; addresses to be dialled go to `strangers`.
    pub(super) fn new(strangers: mpsc::Sender<SocketAddr>) -> Self {
        Self {
            waiting: Arc::default(),
            strangers,
        }
    }

    /// Keeps `message` for `address`, instead of an older one, and asks for a dial.
    pub(super) fn keep(&self, address: SocketAddr, message: Bytes) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= PENDING_MAX && !waiting.contains_key(&address) {
            // Gossip repeats itself, and the oldest messages wait for peers that are not there.
            waiting.clear();
        }
        waiting.insert(address, message);
        drop(waiting);
        // A full queue means that enough dials are asked for.
        let _ = self.strangers.try_send(address);
    }

    /// Takes what waits for `address`.
    pub(super) fn take(&self, address: SocketAddr) -> Option<Bytes> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_message_replaces_an_older_one() {
        let (strangers, mut dialler) = mpsc::channel(1);
        let pending = PendingGossip::new(strangers);
        let address = SocketAddr::from(([127, 0, 0, 1], 7_171));
        pending.keep(address, Bytes::from_static(b"old"));
        pending.keep(address, Bytes::from_static(b"new"));
        assert_eq!(pending.take(address), Some(Bytes::from_static(b"new")));
        assert_eq!(pending.take(address), None);
        assert_eq!(dialler.try_recv(), Ok(address));
    }
}
