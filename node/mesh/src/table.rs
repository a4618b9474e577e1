//! Every link in use, by the peer's name and by its addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use grapevine_core::ids::NodeName;

use super::link::{PEERS_MAX, PeerLink};

/// Every link in use.
#[derive(Debug, Default)]
pub struct LinkTable {
    /// By the peer's name.
    pub by_name: BTreeMap<NodeName, Arc<PeerLink>>,
    by_address: BTreeMap<SocketAddr, NodeName>,
}

/// Addresses that are remembered with the peer that answered there.
const ADDRESSES_MAX: usize = 4 * PEERS_MAX;

impl LinkTable {
    /// The same with another link, or none, to `peer`.
    pub(super) fn with(&self, peer: &NodeName, link: Option<&Arc<PeerLink>>) -> Self {
        let mut next = Self {
            by_name: self.by_name.clone(),
            by_address: self.by_address.clone(),
        };
        next.by_name.remove(peer);
        if let Some(link) = link {
            next.by_name.insert(peer.clone(), Arc::clone(link));
            // What a peer claims takes no address from a peer that is linked there.
            if !next.is_anothers(link.address, peer) {
                next.remember(link.address, peer);
            }
            if let Some(address) = link.dialled_address {
                next.remember(address, peer);
            }
        }
        next
    }

    /// Whether another peer is linked that is reached at `address`.
    fn is_anothers(&self, address: SocketAddr, peer: &NodeName) -> bool {
        let owner = self.by_address.get(&address);
        owner.is_some_and(|owner| owner != peer && self.by_name.contains_key(owner))
    }

    fn remember(&mut self, address: SocketAddr, peer: &NodeName) {
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            // Only an endless change of names gets here; addresses of links in use are remembered again.
            self.by_address.clear();
        }
        self.by_address.insert(address, peer.clone());
    }

    /// The link to the peer that advertises `address`, or that answered when it was dialled.
    pub fn at(&self, address: SocketAddr) -> Option<&Arc<PeerLink>> {
        self.by_name.get(self.by_address.get(&address)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> NodeName {
        NodeName::new(name).expect("a valid name")
    }

    #[test]
    fn address_of_a_peer_that_is_not_linked_is_free_to_claim() {
        let address = SocketAddr::from(([127, 0, 0, 1], 7_171));
        let mut table = LinkTable::default();
        table.remember(address, &name("a"));
        assert!(!table.is_anothers(address, &name("a")));
        assert!(!table.is_anothers(address, &name("b")));
    }
}
