//! Closes the links that nobody needs: what each was used for, as core needs it, and what core decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use grapevine_base::exchange::CallLocal;
use grapevine_core::Instant;
use grapevine_core::ids::NodeName;
use grapevine_core::links::idle::{self, LinkUse};
use grapevine_proto::frame::close;
use quinn::VarInt;

use super::hub::Hub;
use super::link::PeerLink;
use super::session::carry_out;

/// When each link that this node dialled was used last, by its serial number. Bounded as links are.
#[derive(Debug, Default)]
pub(super) struct IdleLinks(BTreeMap<u64, LinkUse>);

impl IdleLinks {
    /// Closes what core finds idle in a mesh of so many `members`; returns to whom. To be called once in
    /// [`idle::LOOK`].
    pub(super) fn close<L: CallLocal>(
        &mut self,
        hub: &Arc<Hub<L>>,
        warm: &BTreeSet<NodeName>,
        members: usize,
    ) -> Vec<NodeName> {
        let now = hub.driver.now();
        let table = hub.links.table();
        let dialled: BTreeMap<&NodeName, &Arc<PeerLink>> = table
            .by_name
            .iter()
            .filter(|(_, link)| link.dialled_here)
            .collect();
        let known = std::mem::take(&mut self.0);
        self.0 = dialled
            .values()
            .map(|link| (link.serial, used(now, link, known.get(&link.serial))))
            .collect();
        let uses = dialled
            .iter()
            .map(|(peer, link)| (*peer, self.0[&link.serial]));
        let linger = idle::linger(hub.gossip_interval, members + 1);
        let closing = idle::to_close(now, linger, warm, uses);
        closing
            .into_iter()
            .filter(|peer| part(hub, dialled[peer]))
            .collect()
    }
}

/// The use of a link up to now, after what was `known` at the last look.
fn used(now: Instant, link: &PeerLink, known: Option<&LinkUse>) -> LinkUse {
    let (exchanged, called) = link.take_uses();
    let in_flight = !link.is_idle();
    let known = known.copied().unwrap_or(LinkUse {
        exchanged_at: now,
        called_at: None,
        in_flight,
    });
    LinkUse {
        exchanged_at: if exchanged { now } else { known.exchanged_at },
        called_at: if called || in_flight {
            Some(now)
        } else {
            known.called_at
        },
        in_flight,
    }
}

/// Closes a link unless a call has come meanwhile. A call that finds it in the table at this very moment is sent again
/// over the next one ([`super::forward::unless_superfluous`]).
fn part<L: CallLocal>(hub: &Arc<Hub<L>>, link: &Arc<PeerLink>) -> bool {
    if !link.is_idle() || !link.start_retiring() {
        return false;
    }
    let change = hub.links.remove(link);
    let code = VarInt::from_u32(close::SUPERFLUOUS);
    link.connection.close(code, b"idle");
    carry_out(hub, change);
    hub.link_counts.closed_idle();
    true
}
