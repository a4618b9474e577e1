//! Accepts peers' connections, within bounds on handshakes: of all, and of each address, so that no source
//! takes all slots.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grapevine_base::exchange::CallLocal;
use quinn::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::endpoint::HANDSHAKE_TIMEOUT;
use super::hub::Hub;
use super::link::PEERS_MAX;
use super::session::{EstablishError, complain, establish};

/// The most connections, those not yet greeted included.
const CONNECTIONS_MAX: usize = 2 * PEERS_MAX;

/// The most handshakes in progress.
const HANDSHAKES_MAX: usize = 128;

/// Those of one address, which may be many nodes behind one gateway.
const HANDSHAKES_PER_SOURCE_MAX: usize = HANDSHAKES_MAX / 2;

/// Those of one address that is not validated: a sender that spoofs a peer's address must not take the
/// peer's slots.
const UNVALIDATED_PER_SOURCE_MAX: usize = HANDSHAKES_PER_SOURCE_MAX / 4;

/// Accepts connections until the endpoint is closed.
pub(super) async fn accept<L: CallLocal>(hub: Arc<Hub<L>>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let sources = Sources::default();
    while let Some(incoming) = hub.endpoint.accept().await {
        if hub.endpoint.open_connections() >= CONNECTIONS_MAX {
            incoming.refuse();
            continue;
        }
        let unvalidated = !incoming.remote_address_validated();
        let address = incoming.remote_address().ip();
        let is_busy = handshakes.available_permits() < HANDSHAKES_MAX / 2;
        if unvalidated && (is_busy || sources.of(address) >= UNVALIDATED_PER_SOURCE_MAX) {
            // Costs no state: a spoofed address never comes back. A packet that cannot be answered with a
            // retry is dropped with it.
            let _ = incoming.retry();
            continue;
        }
        let source = sources.enter(address, HANDSHAKES_PER_SOURCE_MAX);
        match (source, Arc::clone(&handshakes).try_acquire_owned()) {
            (Some(source), Ok(permit)) => {
                let hub = Arc::clone(&hub);
                tokio::spawn(async move {
                    let _source = source;
                    take_in(hub, incoming, permit).await;
                });
            }
            (None, _) | (_, Err(_)) => incoming.refuse(),
        }
    }
}

async fn take_in<L: CallLocal>(hub: Arc<Hub<L>>, incoming: Incoming, permit: OwnedSemaphorePermit) {
    let address = incoming.remote_address();
    let established = async {
        let connecting = match hub.is_large_mesh() {
            true => incoming.accept_with(hub.brief_server.load_full())?,
            false => incoming.accept()?,
        };
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting);
        let connection = handshake.await.map_err(|_| EstablishError::TimedOut)??;
        establish(&hub, connection, None).await
    };
    if let Err(error) = established.await {
        complain(&hub, address, &error);
    }
    drop(permit);
}

/// Handshakes by address; bounded by how many there may be of all. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// A handshake, in progress until this is dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    sources: Sources,
    address: IpAddr,
}

impl Sources {
    /// A slot for a handshake from `address`; `None` when `max` from there are in progress.
    pub(super) fn enter(&self, address: IpAddr, max: usize) -> Option<Handshake> {
        let address = address.to_canonical();
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Handshake {
            sources: self.clone(),
            address,
        })
    }

    /// How many from `address` are in progress.
    pub(super) fn of(&self, address: IpAddr) -> usize {
        let counts = self.counts();
        counts.get(&address.to_canonical()).copied().unwrap_or(0)
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut counts = self.sources.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_at_its_limit_takes_no_slot_of_others() {
        let sources = Sources::default();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (greedy, other) = (address("9.9.9.9"), address("9.9.9.8"));
        let mut held: Vec<_> = (0..9).filter_map(|_| sources.enter(greedy, 4)).collect();
        assert_eq!(
            (held.len(), sources.of(greedy), sources.of(other)),
            (4, 4, 0)
        );
        assert!(sources.enter(address("::ffff:9.9.9.9"), 4).is_none());
        assert!(sources.enter(other, 4).is_some());
        held.pop();
        assert!(sources.enter(greedy, 4).is_some());
        held.clear();
        assert!(
            sources.counts().is_empty(),
            "nothing is kept of addresses without handshakes"
        );
    }
}
