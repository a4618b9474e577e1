//! Reads chitchat: members and their addresses, changed keys, and the nodes that it has forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use chitchat::ChitchatId;
use grapevine_core::ids::NodeName;
use tokio::time::Instant;

use super::super::chat::GossipUpdate;
use super::{STABLE_AFTER, Task};
use crate::wire::GossipOutput;

impl<O: GossipOutput> Task<O> {
    /// Takes what changed in chitchat.
    pub(super) async fn look(&mut self) {
        let Some(chat) = &mut self.chat else { return };
        let GossipUpdate {
            live,
            changes,
            own_is_intact,
        } = chat.take_update().await;
        for change in changes {
            if !self.receiver.change(&change) {
                chat.put_back(&change);
            }
        }
        let addresses = live.iter().map(|id| id.gossip_advertise_addr);
        self.live_addresses = addresses.collect();
        let members = live
            .iter()
            .filter_map(|id| self.receiver.member(&id.node_id, id.generation_id));
        let mut members: BTreeSet<_> = members.collect();
        // A peer that speaks to this node is alive, whatever heartbeats a relay reports.
        let speaking = self.transport.outgoing.speaking().into_iter();
        members.extend(speaking.filter(|peer| self.receiver.is_author(peer)));
        if let Some(members) = self
            .members
            .observe(Instant::now(), &members, self.pace.share())
        {
            self.receiver.set_members(members.clone());
            self.pace.set_nodes(members.len() + 1);
        }
        self.transport.outgoing.members(self.addresses(&live));
        let node = self.chat_config.node.as_str();
        let own_name_speaks = live.iter().any(|id| &*id.node_id == node);
        let interval = self.chat_config.interval.div_f64(self.pace.share());
        let former = self.receiver.former_incarnation(own_name_speaks, interval);
        if !own_is_intact {
            self.on_foreign_write();
        }
        if let Some(former) = former {
            self.supersede(former);
        }
    }

    /// The members' addresses, each in its latest proven incarnation: anybody can claim a later one elsewhere.
    fn addresses(&self, live: &[ChitchatId]) -> BTreeMap<NodeName, SocketAddr> {
        let mut live: Vec<&ChitchatId> = live.iter().collect();
        live.sort_by_key(|id| id.generation_id);
        let addresses = live.into_iter().filter_map(|id| {
            let node = self.receiver.member(&id.node_id, id.generation_id)?;
            Some((node, id.gossip_advertise_addr))
        });
        addresses.collect()
    }

    /// Lapses incarnations that newcomers are not sent, and drops the authors that chitchat has dropped,
    /// once there are more than a few.
    pub(super) async fn forget(&mut self) {
        let Some(chat) = &self.chat else { return };
        self.transport.guard.retain(&chat.known().await);
        // A chitchat that has just started does not know every member yet.
        if self.started_at.elapsed() >= STABLE_AFTER {
            self.receiver.lapse(&chat.sent_to_newcomers().await);
        }
        if self.receiver.is_crowded(self.members.reported().len()) {
            self.receiver.retain(&chat.names().await);
        }
    }
}
