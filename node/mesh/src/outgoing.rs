//! What gossip sends with: to a link where there is one, else to the dialler.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use grapevine_base::entropy;
use grapevine_core::ids::NodeName;
use grapevine_core::links;
use tokio::sync::watch;

use super::links::Links;
use super::members::Members;
use super::pending::PendingGossip;
use super::wire::{GOSSIP_BYTES_MAX, GossipOutput, RUMOR_BYTES_MAX};

/// What gossip sends with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MeshOutgoing {
    links: Links,
    pending: PendingGossip,
    own_addresses: Arc<[SocketAddr]>,
    members: watch::Sender<Members>,
}

impl MeshOutgoing {
    /// Sends over `links`; a message without a link waits in `pending`.
    pub(super) fn new(
        links: Links,
        pending: PendingGossip,
        own_addresses: Vec<SocketAddr>,
        members: watch::Sender<Members>,
    ) -> Self {
        Self {
            links,
            pending,
            own_addresses: own_addresses.into(),
            members,
        }
    }
}

impl GossipOutput for MeshOutgoing {
    fn members(&self, members: Members) {
        self.members.send_if_modified(|known| {
            let differs = *known != members;
            *known = members;
            differs
        });
    }

    fn speaking(&self) -> Vec<NodeName> {
        let table = self.links.table();
        let speaking = table.by_name.iter().filter(|(_, link)| !link.is_silent());
        speaking.map(|(name, _)| name.clone()).collect()
    }

    fn gossip(&self, to: SocketAddr, message: Bytes) {
        if message.len() > GOSSIP_BYTES_MAX || self.own_addresses.contains(&to) {
            return;
        }
        let table = self.links.table();
        match table.at(to) {
            Some(link) => {
                link.note_exchange();
                link.outbox.gossip(&link.connection, message);
            }
            None => self.pending.keep(to, message),
        }
    }

    fn rumor(&self, rumor: Bytes, except: Option<&NodeName>) {
        if rumor.len() > RUMOR_BYTES_MAX {
            return;
        }
        let table = self.links.table();
        let mut links: Vec<_> = table.by_name.values().collect();
        links.retain(|link| Some(&link.peer) != except);
        links::spread(&mut links, &mut entropy::generator());
        for link in links {
            // A peer that reads too slowly misses it, and gossip repairs that.
            let _ = link.outbox.rumor(rumor.clone());
        }
    }
}
