//! Notifies a worker at once that its task is to be cancelled, rather than at its next renewal, up to a third of
//! its lease later.
//!
//! A notification carries no state: the worker renews its lease and learns from the store what is requested. So a
//! notification that is lost, late, forged or duplicated costs only time. It is sent once, to the node that holds
//! the lease, where this node or a peer does. Workers out of process poll by themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::exchange::{CallInside, InsideCall};
use grapevine_core::ids::NodeName;
use tokio::sync::Notify;

use super::id::Id;
use super::task::{Task, TaskState};

/// The path that notifies a peer about a task: the task's id follows.
pub(super) const NOTIFY_PATH: &str = "/tasks/nudge/";

/// How long notifying a peer may take: by then its worker renews soon anyway.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The attempts that run at this node, and the way to those of peers. Cheap to clone.
#[derive(Clone)]
pub struct CancelNotifier {
    node: NodeName,
    /// One entry per running attempt: how many run at once is limited.
    running: Arc<Mutex<BTreeMap<Id, Arc<Notify>>>>,
    inside: Option<Arc<dyn CallInside>>,
}

/// A running attempt that can be notified, until dropped.
pub(super) struct Listening {
    notifier: CancelNotifier,
    id: Id,
    notify: Arc<Notify>,
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

    /// Registers an attempt at the task `id`, which begins here.
    pub(super) fn listen(&self, id: &Id) -> Listening {
        let notify = Arc::new(Notify::new());
        self.running().insert(id.clone(), Arc::clone(&notify));
        Listening {
            notifier: self.clone(),
            id: id.clone(),
            notify,
        }
    }

    /// Notifies the attempt at `id`, if it runs here.
    pub(super) fn wake(&self, id: &Id) {
        if let Some(notify) = self.running().get(id) {
            notify.notify_one();
        }
    }

    /// Notifies the worker of `task`, where its cancellation is requested.
    pub(super) fn notify(&self, task: &Task) {
        if task.state != TaskState::Running || !task.cancel_requested {
            return;
        }
        let id = &task.new.id;
        // A peer's name, followed by that of a program beside the peer where one runs the task.
        let worker = task.worker.as_deref().unwrap_or_default();
        let worker = worker.split_once('/').map_or(worker, |(node, _)| node);
        if worker == self.node.as_str() {
            return self.wake(id);
        }
        let (Some(inside), Ok(peer)) = (self.inside.clone(), NodeName::new(worker)) else {
            return;
        };
        let Ok(path) = format!("{NOTIFY_PATH}{id}").parse() else {
            return;
        };
        tokio::spawn(async move {
            let call = InsideCall {
                path,
                body: Bytes::new(),
                timeout: TIMEOUT,
            };
            if let Err(failure) = inside.call(&peer, call).await {
                tracing::debug!(peer.name = %peer, %failure.detail, "a worker was not notified");
            }
        });
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<Id, Arc<Notify>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening {
    /// Waits for a notification; one that came before the call is kept.
    pub(super) async fn notified(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut running = self.notifier.running();
        // A later attempt at the same task may have replaced the entry.
        if running
            .get(&self.id)
            .is_some_and(|notify| Arc::ptr_eq(notify, &self.notify))
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

    async fn is_notified(listening: &Listening) -> bool {
        let limit = Duration::from_secs(1);
        tokio::time::timeout(limit, listening.notified())
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_worker_here_or_at_a_peer_is_notified() {
        let there = CancelNotifier::new(name("there"), None);
        let wire = Wire(InsideHandler {
            cancels: there.clone(),
            owner: None,
        });
        let here = CancelNotifier::new(name("here"), Some(Arc::new(wire)));
        for (worker, notifier) in [
            ("here", &here),
            ("there", &there),
            ("there/program", &there),
        ] {
            let wanted = task(worker, true);
            let (listening, other) = (
                notifier.listen(&wanted.new.id),
                notifier.listen(&Id::new(Kind::Task, None)),
            );
            here.notify(&task(worker, true));
            here.notify(&Task {
                cancel_requested: false,
                ..wanted.clone()
            });
            assert!(
                !is_notified(&listening).await,
                "{worker}: nothing is wanted of it"
            );
            here.notify(&wanted);
            assert!(is_notified(&listening).await, "{worker}");
            assert!(!is_notified(&other).await, "{worker}: another task");
        }
    }

    #[test]
    fn attempt_that_ended_is_forgotten_and_a_later_one_is_not() {
        let notifier = CancelNotifier::new(name("here"), None);
        let id = Id::new(Kind::Task, None);
        let first = notifier.listen(&id);
        let second = notifier.listen(&id);
        drop(first);
        assert_eq!(notifier.running().len(), 1);
        drop(second);
        assert_eq!(notifier.running().len(), 0);
    }
}
