//! The way to peers, which a node without a mesh does not have.

use grapevine_core::ids::NodeName;
use grapevine_core::outcome::Outcome;

use grapevine_base::exchange::{Answer, Call, CallFailure, CallPeer};
use grapevine_mesh::Forwarder;

/// Carries calls through the mesh, where there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers(Option<Forwarder>);

impl Peers {
    pub(super) const fn through(forwarder: Forwarder) -> Self {
        Self(Some(forwarder))
    }
}

impl CallPeer for Peers {
    async fn call(&self, peer: &NodeName, call: Call) -> Result<Answer, CallFailure> {
        match &self.0 {
            Some(forwarder) => forwarder.call(peer, call).await,
            None => Err(CallFailure::new(
                Outcome::PeerUnreached,
                "this node has no mesh",
            )),
        }
    }
}
