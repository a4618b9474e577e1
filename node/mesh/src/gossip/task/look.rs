//! What chitchat knows, taken in: members and where they are, changed keys, and whom it has forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use chitchat::ChitchatId;
use grapevine_core::ids::NodeName;
use tokio::time::Instant;

use super::super::chat::GossipUpdate;
use super::{LIFE_IS_GOOD, Task};
use crate::wire::GossipOutput;

impl<O: GossipOutput> Task<O> {
    /// Takes what is new in chitchat.
    pub(super) async fn look(&mut self) {
        let Some(chat) = &mut self.chat else { return };
        let GossipUpdate {
            live,
            changes,
            own_is_intact,
        } = chat.news().await;
        for change in changes {
            if !self.hearing.change(&change) {
                chat.put_back(&change);
            }
        }
        let addresses = live.iter().map(|id| id.gossip_advertise_addr);
        self.live_addresses = addresses.collect();
        let members = live
            .iter()
            .filter_map(|id| self.hearing.member(&id.node_id, id.generation_id));
        let mut members: BTreeSet<_> = members.collect();
        // No relay's word on a heartbeat takes a peer for dead that speaks to this node.
        let speaking = self.transport.outgoing.speaking().into_iter();
        members.extend(speaking.filter(|peer| self.hearing.is_author(peer)));
        if let Some(members) = self
            .members
            .observe(Instant::now(), &members, self.pace.share())
        {
            self.hearing.set_members(members.clone());
            self.pace.set_nodes(members.len() + 1);
        }
        self.transport.outgoing.members(self.places(&live));
        let node = self.chat_config.node.as_str();
        let own_name_speaks = live.iter().any(|id| &*id.node_id == node);
        let interval = self.chat_config.interval.div_f64(self.pace.share());
        let former = self.hearing.former_life(own_name_speaks, interval);
        if !own_is_intact {
            self.on_foreign_write();
        }
        if let Some(former) = former {
            self.outlive(former);
        }
    }

    /// Where the members are, each in its latest proven life: anybody can claim a later one elsewhere.
    fn places(&self, live: &[ChitchatId]) -> BTreeMap<NodeName, SocketAddr> {
        let mut live: Vec<&ChitchatId> = live.iter().collect();
        live.sort_by_key(|id| id.generation_id);
        let places = live.into_iter().filter_map(|id| {
            let node = self.hearing.member(&id.node_id, id.generation_id)?;
            Some((node, id.gossip_advertise_addr))
        });
        places.collect()
    }

    /// Lets lives lapse that newcomers are not told of, and drops the authors that chitchat has dropped,
    /// once they are more than a few.
    pub(super) async fn forget(&mut self) {
        let Some(chat) = &self.chat else { return };
        self.transport.guard.retain(&chat.known().await);
        // A young life of chitchat does not know everybody yet.
        if self.started_at.elapsed() >= LIFE_IS_GOOD {
            self.hearing.lapse(&chat.told_to_newcomers().await);
        }
        if self.hearing.is_crowded(self.members.told().len()) {
            self.hearing.retain(&chat.names().await);
        }
    }
}
