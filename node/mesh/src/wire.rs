//! The interface between the connections and the gossip over them.
//!
//! `links` owns the QUIC connections and moves bytes; `gossip` owns chitchat, the signed values and
//! the rumors, and knows nothing of QUIC. Peers are named by their *advertised* address here, since
//! chitchat knows them by it; it comes from the peer's greeting, never from the packet's source.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use grapevine_core::ids::NodeName;
use tokio::sync::mpsc;

/// The longest gossip message: what one UDP datagram of chitchat's own transport could hold.
pub const GOSSIP_BYTES_MAX: usize = 65_507;

/// The longest rumor.
pub const RUMOR_BYTES_MAX: usize = 8 * 1_024;

/// Who sent a gossip message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipSender {
    /// The node that its certificate names.
    pub node: NodeName,
    /// The address that it advertises.
    pub address: SocketAddr,
}

/// Gossip and rumors received from peers with checked certificates.
#[derive(Debug)]
pub struct Incoming {
    /// Gossip messages with their sender.
    pub gossip: mpsc::Receiver<(GossipSender, Bytes)>,
    /// Rumors with the name of the peer that pushed them, which need not be their author.
    pub rumors: mpsc::Receiver<(NodeName, Bytes)>,
}

impl Incoming {
    /// What these channels receive.
    pub const fn new(
        gossip: mpsc::Receiver<(GossipSender, Bytes)>,
        rumors: mpsc::Receiver<(NodeName, Bytes)>,
    ) -> Self {
        Self { gossip, rumors }
    }
}

/// Gossip and rumors on their way out. Nothing here waits: chitchat's loop must never block.
pub trait GossipOutput: Clone + Send + Sync + 'static {
    /// Queues a gossip message; the newest replaces one that still waits for the same peer. Dials
    /// where there is no connection.
    fn gossip(&self, to: SocketAddr, message: Bytes);

    /// Pushes a rumor to every connected peer but `except`, or, beyond 64 peers, to some at random.
    fn rumor(&self, rumor: Bytes, except: Option<&NodeName>);

    /// Peers that speak on a connection of theirs right now, whatever gossip reports of them.
    fn speaking(&self) -> Vec<NodeName> {
        Vec::new()
    }

    /// Passes the members and their addresses; those of the warm set are kept connected. A transport
    /// without connections of its own has nothing to keep.
    fn members(&self, members: BTreeMap<NodeName, SocketAddr>) {
        drop(members);
    }
}
