//! What all tasks of the mesh share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use bytes::Bytes;
use grapevine_base::bodies::BodyBudget;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::ServeInside;
use grapevine_core::ids::{MeshName, NodeName};
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
    pub(super) verifier: Verifier,
    /// This node's greeting, as a frame.
    pub(super) greeting: Bytes,
    /// Addresses that lead to this node itself.
    pub(super) own_addresses: Vec<SocketAddr>,
    pub(super) links: Links,
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
    fn swap(&self, config: quinn::ClientConfig);

    fn swap_rules(&self, rules: ServingRules);
}

impl<L: Send + Sync> Swap for Hub<L> {
    fn swap(&self, config: quinn::ClientConfig) {
        self.client.store(Arc::new(config));
    }

    fn swap_rules(&self, rules: ServingRules) {
        self.rules.serving.store(Arc::new(rules));
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
