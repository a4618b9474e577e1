//! How this node sees each peer.

use grapevine_core::view::{NodeView, Reach};

use super::super::labels::PeerLabels;
use super::Inner;

impl Inner {
    pub(super) fn read_peer(&self, node: &NodeView) {
        let labels = PeerLabels {
            peer: node.name.to_string(),
        };
        self.peer_live
            .get_or_create(&labels)
            .set(i64::from(node.live));
        let reachable = node.reach == Reach::Open;
        self.peer_reachable
            .get_or_create(&labels)
            .set(i64::from(reachable));
        self.peer_residency_differs
            .get_or_create(&labels)
            .set(i64::from(node.rules_differ_since.is_some()));
        if let Some(rtt) = node.rtt {
            self.peer_rtt.get_or_create(&labels).set(rtt.as_secs_f64());
        }
    }
}
