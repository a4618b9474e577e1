//! What the links of a node mean for its peers: who is in reach, and who was lost.

use super::peer::LinkStatus;
use super::{Effect, Engine, ViewDue};
use crate::ids::NodeName;
use crate::link::DIAL_PAUSE;
use crate::links::MeshSize;
use crate::notice::Notice;
use crate::time::Instant;

impl Engine {
    pub(super) fn link_changed(
        &mut self,
        now: Instant,
        name: NodeName,
        link: LinkStatus,
        effects: &mut Vec<Effect>,
    ) {
        let mesh = self.mesh_size;
        let Some(peer) = self.peer(now, &name, effects) else {
            return;
        };
        if peer.link == link {
            return;
        }
        let parted = std::mem::take(&mut peer.parted);
        let notice = match (peer.link, link) {
            // Links that gossip opens and closes are no transition of the peer.
            (LinkStatus::Down, LinkStatus::Up) if parted => None,
            (_, LinkStatus::Down) => Some(Notice::LinkDown { peer: name }),
            (_, LinkStatus::Silent) => Some(Notice::LinkSilent { peer: name }),
            (LinkStatus::Down, LinkStatus::Up) => Some(Notice::LinkUp { peer: name }),
            (_, LinkStatus::Up) => None,
        };
        peer.link = link;
        if link == LinkStatus::Up {
            peer.suspect_until = None;
            peer.dials_after = None;
        }
        if link == LinkStatus::Down && mesh == MeshSize::Large {
            peer.dials_after = Some(now + DIAL_PAUSE);
        }
        let waits = peer.next_wake();
        if link == LinkStatus::Down && !peer.live {
            peer.died_at = Some(now);
        }
        effects.extend(notice.map(Effect::Notice));
        if mesh == MeshSize::Large {
            self.suspicion_ends_at = self.suspicion_ends_at.into_iter().chain(waits).min();
        }
        self.view_becomes(ViewDue::Now);
    }

    /// Either end closed the link as idle: the peer is as well as before.
    pub(super) fn link_closed(&mut self, name: &NodeName) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.link = LinkStatus::Down;
            peer.parted = true;
            self.view_becomes(ViewDue::Soon);
        }
    }
}
