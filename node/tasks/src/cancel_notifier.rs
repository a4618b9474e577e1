//! Tells a worker at once that its task is to be cancelled, rather than at its next renewal, up to a third of
//! its lease later.
//!
//! A nudge says only "look now": the worker renews its lease and learns from the store what is wanted. So a
//! nudge that is lost, late, forged or doubled costs nothing but time, and it is sent once, to the node that
//! holds the lease, where this node or a peer does. Workers out of process look by themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::exchange::{CallInside, InsideCall};
use grapevine_core::ids::NodeName;
use tokio::sync::Notify;

use super::id::Id;
use super::task::{Task, TaskState};

/// Where a peer is told to look at a task: `/TASK` follows.
pub(super) const NUDGE_PATH: &str = "/tasks/nudge/";

/// How long telling a peer may take: by then its worker looks soon anyway.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The attempts that run at this node, and the way to those of peers. Cheap to clone.
#[derive(Clone)]
pub struct CancelNotifier {
    node: NodeName,
    /// As many as run: what runs at once has a limit.
    running: Arc<Mutex<BTreeMap<Id, Arc<Notify>>>>,
    inside: Option<Arc<dyn CallInside>>,
}

/// An attempt that may be nudged, until dropped.
pub(super) struct Listening {
    nudges: CancelNotifier,
    id: Id,
    told: Arc<Notify>,
}

impl CancelNotifier {
    /// For attempts at `node`, with a way to peers where there is a mesh.
    pub fn new(node: NodeName, inside: Option<Arc<dyn CallInside>>) -> Self {
        Self {
            node,
            running: Arc::default(),
            inside,
        }
    }

    /// An attempt at the task `id` begins here.
    pub(super) fn listen(&self, id: &Id) -> Listening {
        let told = Arc::new(Notify::new());
        self.running().insert(id.clone(), Arc::clone(&told));
        Listening {
            nudges: self.clone(),
            id: id.clone(),
            told,
        }
    }

    /// Has the attempt at `id` look now, if it runs here.
    pub(super) fn wake(&self, id: &Id) {
        if let Some(told) = self.running().get(id) {
            told.notify_one();
        }
    }

    /// Has whoever runs `task` look now, where its cancellation is wanted.
    pub(super) fn tell(&self, task: &Task) {
        if task.state != TaskState::Running || !task.cancel_requested {
            return;
        }
        let id = &task.new.id;
        // A peer's name, and behind it that of a program beside the peer.
        let worker = task.worker.as_deref().unwrap_or_default();
        let worker = worker.split_once('/').map_or(worker, |(node, _)| node);
        if worker == self.node.as_str() {
            return self.wake(id);
        }
        let (Some(inside), Ok(peer)) = (self.inside.clone(), NodeName::new(worker)) else {
            return;
        };
        let Ok(path) = format!("{NUDGE_PATH}{id}").parse() else {
            return;
        };
        tokio::spawn(async move {
            let call = InsideCall {
                path,
                body: Bytes::new(),
                timeout: TIMEOUT,
            };
            if let Err(failure) = inside.call(&peer, call).await {
                tracing::debug!(peer.name = %peer, %failure.detail, "a worker is not nudged");
            }
        });
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<Id, Arc<Notify>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening {
    /// Waits until somebody nudges; one nudge is kept for whoever comes late.
    pub(super) async fn nudged(&self) {
        self.told.notified().await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut running = self.nudges.running();
        // A later attempt at the same task may have taken the place.
        if running
            .get(&self.id)
            .is_some_and(|told| Arc::ptr_eq(told, &self.told))
        {
            running.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use async_trait::async_trait;
    use grapevine_base::exchange::ServeInside;
    use http::StatusCode;

    use super::*;
    use crate::id::Kind;
    use crate::inside::InsideHandler;
    use grapevine_base::exchange::CallFailure;

    /// Hands calls for `there` to its handler.
    struct Wire(InsideHandler);

    #[async_trait]
    impl CallInside for Wire {
        async fn call(
            &self,
            peer: &NodeName,
            call: InsideCall,
        ) -> Result<(StatusCode, Bytes), CallFailure> {
            assert_eq!(*peer, name("there"));
            let path = call.path.as_str();
            Ok(self.0.serve(&name("here"), path, call.body).await)
        }
    }

    fn name(text: &str) -> NodeName {
        NodeName::new(text).expect("a name")
    }

    fn task(worker: &str, cancel_requested: bool) -> Task {
        let record: Value = json!({
            "id": Id::new(Kind::Task, None), "service": "a:x", "payload": null, "priority": 0,
            "attempts_max": 1, "delay": {"secs": 0, "nanos": 0}, "expires_after": null,
            "idempotency_key": null, "submitter": {"key": null, "origin": null}, "regions": [],
            "state": "running", "created_at": 1, "started_at": 1, "ended_at": null, "not_before": 1,
            "attempts": 1, "worker": worker, "lease_until": 2, "cancel_requested": cancel_requested,
            "progress": null, "output": null, "fault": null, "history": [],
        });
        serde_json::from_value(record).expect("a task")
    }

    async fn is_nudged(listening: &Listening) -> bool {
        let limit = Duration::from_secs(1);
        tokio::time::timeout(limit, listening.nudged())
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn worker_here_and_at_a_peer_is_told_and_nobody_else() {
        let there = CancelNotifier::new(name("there"), None);
        let wire = Wire(InsideHandler {
            nudges: there.clone(),
            owner: None,
        });
        let here = CancelNotifier::new(name("here"), Some(Arc::new(wire)));
        for (worker, nudges) in [
            ("here", &here),
            ("there", &there),
            ("there/program", &there),
        ] {
            let wanted = task(worker, true);
            let (listening, other) = (
                nudges.listen(&wanted.new.id),
                nudges.listen(&Id::new(Kind::Task, None)),
            );
            here.tell(&task(worker, true));
            here.tell(&Task {
                cancel_requested: false,
                ..wanted.clone()
            });
            assert!(
                !is_nudged(&listening).await,
                "{worker}: nothing is wanted of it"
            );
            here.tell(&wanted);
            assert!(is_nudged(&listening).await, "{worker}");
            assert!(!is_nudged(&other).await, "{worker}: another task");
        }
    }

    #[test]
    fn attempt_that_ended_is_forgotten_and_a_later_one_is_not() {
        let nudges = CancelNotifier::new(name("here"), None);
        let id = Id::new(Kind::Task, None);
        let first = nudges.listen(&id);
        let second = nudges.listen(&id);
        drop(first);
        assert_eq!(nudges.running().len(), 1);
        drop(second);
        assert_eq!(nudges.running().len(), 0);
    }
}
