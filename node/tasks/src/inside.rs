//! What peers may ask of the inside of this node.

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_base::exchange::ServeInside;
use grapevine_core::ids::NodeName;
use http::StatusCode;

use super::cancel_notifier::{CancelNotifier, NOTIFY_PATH};
use super::id::Id;
use super::owner::TaskOwner;

/// Calls that peers may make to the inside of this node: notifications about tasks that run here and, where the
/// store is the node's own, everything about what it keeps.
pub struct InsideHandler {
    /// Attempts that run here.
    pub cancels: CancelNotifier,
    /// Answers for the own store; `None` where nodes share an engine.
    pub owner: Option<TaskOwner>,
}

#[async_trait]
impl ServeInside for InsideHandler {
    async fn serve(&self, peer: &NodeName, path: &str, body: Bytes) -> (StatusCode, Bytes) {
        if let Some(id) = path.strip_prefix(NOTIFY_PATH) {
            // Where a task has an owner, only the owner may notify its worker.
            let id = id.parse::<Id>().ok();
            let id = id.filter(|id| id.owner().is_none_or(|owner| owner == *peer));
            if let Some(id) = id {
                self.cancels.wake(&id);
            }
            return (StatusCode::NO_CONTENT, Bytes::new());
        }
        match &self.owner {
            Some(owner) => owner.serve(peer, path, body).await,
            None => (StatusCode::NOT_FOUND, Bytes::new()),
        }
    }
}
