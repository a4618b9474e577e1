//! What all tasks of the mesh share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use grapevine_base::bodies::BodyBudget;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::ServeInside;
use grapevine_core::ids::{MeshName, NodeName};
use grapevine_core::links::ALL_MAX;
use grapevine_observe::links::LinkCounts;
use quinn::Endpoint;
use tokio::sync::mpsc;

use super::complaints::Complaints;
use super::forwards::SharedForwards;
use super::identity::Verifier;
use super::links::Links;
use super::pending::PendingGossip;
use super::rules::{Rules, ServingRules};
use super::wire::GossipSender;

/// What all tasks of the mesh share. `L` answers forwarded requests.
pub(super) struct Hub<L> {
    pub(super) mesh: MeshName,
    pub(super) me: NodeName,
    pub(super) driver: DriverHandle,
    pub(super) local: L,
    /// Answers peers' calls to the inside of this node.
    pub(super) inside: Arc<dyn ServeInside>,
    pub(super) endpoint: Endpoint,
    pub(super) client: ArcSwap<quinn::ClientConfig>,
    /// How connections are taken in where the mesh is too large to be linked whole.
    pub(super) brief_server: ArcSwap<quinn::ServerConfig>,
    pub(super) verifier: Verifier,
    /// This node's greeting, as a frame.
    pub(super) greeting: Bytes,
    /// Addresses that lead to this node itself.
    pub(super) own_addresses: Vec<SocketAddr>,
    pub(super) links: Links,
    pub(super) link_counts: LinkCounts,
    /// Time between rounds of gossip in a small mesh.
    pub(super) gossip_interval: Duration,
    pub(super) serials: AtomicU64,
    pub(super) gossip: mpsc::Sender<(GossipSender, Bytes)>,
    pub(super) rumors: mpsc::Sender<(NodeName, Bytes)>,
    pub(super) rights: mpsc::Sender<(NodeName, Bytes)>,
    pub(super) pending: PendingGossip,
    pub(super) forwards: SharedForwards,
    /// The memory that bodies may take: requests of peers, and answers to this node's own calls.
    pub(super) bodies: BodyBudget,
    pub(super) complaints: Complaints,
    pub(super) rules: Rules,
}

/// Swaps what a reload changes, independent of what answers calls.
pub(super) trait Swap: Send + Sync + std::fmt::Debug {
    fn swap(&self, client: quinn::ClientConfig, brief_server: quinn::ServerConfig);

    fn swap_rules(&self, rules: ServingRules);
}

impl<L: Send + Sync> Swap for Hub<L> {
    fn swap(&self, client: quinn::ClientConfig, brief_server: quinn::ServerConfig) {
        self.client.store(Arc::new(client));
        self.brief_server.store(Arc::new(brief_server));
    }

    fn swap_rules(&self, rules: ServingRules) {
        self.rules.serving.store(Arc::new(rules));
    }
}

impl<L> Hub<L> {
    /// Whether the mesh is too large to be linked whole, as far as this node knows it.
    pub(super) fn is_large_mesh(&self) -> bool {
        // The view lists this node too.
        self.driver.view().nodes.len() > ALL_MAX + 1
    }
}

impl<L> std::fmt::Debug for Hub<L> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Hub")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}
