//! Which part of the node answers a peer's call to its inside.

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_base::exchange::{InsideSlot, ServeInside};
use grapevine_core::ids::NodeName;
use http::StatusCode;

use super::keys::{KeyKeeper, PEER_PREFIX};
use super::usage::{self, UsageDesk};

/// Statements about keys and sums of usage here, all else at the background work.
pub(super) struct Insides {
    pub(super) keys: KeyKeeper,
    pub(super) usage: UsageDesk,
    pub(super) tasks: InsideSlot,
}

#[async_trait]
impl ServeInside for Insides {
    async fn serve(&self, peer: &NodeName, path: &str, body: Bytes) -> (StatusCode, Bytes) {
        if path.starts_with(PEER_PREFIX) {
            return self.keys.serve(peer, path, body).await;
        }
        if path == usage::PEER_PATH {
            return self.usage.serve(&body);
        }
        self.tasks.serve(peer, path, body).await
    }
}
