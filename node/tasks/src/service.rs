//! What runs tasks: the trait of a service, and what it is handed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use grapevine_base::exchange::CallApi;
use grapevine_core::ids::ServiceKey;
use serde_json::Value;
use tokio::sync::watch;

use super::pace::ask_patiently;
pub use super::refused::TaskRefused;
use super::store::{Lease, LeaseHold, Note, Store, StoreError};
use super::task::{NewTask, Task, TaskFault, TaskProgress};

/// A kind of background work. One value serves all of its tasks at once.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// The key that tasks and `WORKER_MODE` name it by, such as `my-plugin:process`.
    fn key(&self) -> ServiceKey;

    /// The routes of the API that make its tasks, in words for clients; `None` where `POST /v1/tasks` makes them, of
    /// any payload.
    fn own_routes(&self) -> Option<&'static str> {
        None
    }

    /// Whether `task` may be accepted, and run; `store` keeps it and what it names. Asked before it is accepted, and
    /// again before each attempt: it may come out of a peer's store.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self, task: &NewTask, store: &dyn Store) -> Result<(), TaskRefused> {
        let _ = (task, store);
        Ok(())
    }

    /// How its tasks are retried and how many run at once.
    fn policy(&self) -> ServicePolicy {
        ServicePolicy::default()
    }

    /// Runs one attempt at `task` and returns its output. Dropped when the lease is lost; signalled by
    /// [`Work::cancelled`] when its cancellation is requested. May have run before up to any point: what
    /// must not be done twice is to be [noted](Work::save).
    ///
    /// # Errors
    /// What went wrong, and whether to try again.
    async fn run(&self, task: &Task, work: &Work) -> Result<Value, TaskError>;

    /// `store` ended `task` without a worker's report: its time was over, its last lease was lost, or it was
    /// to be cancelled and its worker is gone. What [`Service::run`] would have done at its end is to be done
    /// here, from the notes. Called at the node that keeps the task, served there or not; more than once at
    /// times, so that the same again must change nothing.
    ///
    /// # Errors
    /// When the store cannot be used; it is called again then.
    async fn settle(&self, task: &Task, store: &dyn Store) -> Result<(), StoreError> {
        let _ = (task, store);
        Ok(())
    }
}

/// How tasks of a service are retried, and how many run at once on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServicePolicy {
    /// Attempts in all; at least 1.
    pub attempts_max: u32,
    /// The wait after the first failure; doubles with each, up to `backoff_max`, each jittered down to half of it.
    pub backoff: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// How long a worker may be silent before its task is given to another.
    pub lease: Duration,
    /// Tasks of the service that one node runs at once, unless configured; at least 1.
    pub concurrency: usize,
}

impl ServicePolicy {
    /// The wait after the failure of attempt number `attempt`, from 1, without its jitter.
    pub(super) fn backoff_after(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        let span = self.backoff.saturating_mul(1 << doublings);
        span.min(self.backoff_max)
    }
}

impl Default for ServicePolicy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            lease: Duration::from_secs(15),
            concurrency: 8,
        }
    }
}

/// Why an attempt did not complete its task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// Another attempt may do better.
    #[error("{}", .0.message)]
    Retry(TaskFault),
    /// Another attempt, not before this long from now.
    #[error("{}", .0.message)]
    RetryAfter(TaskFault, Duration),
    /// Another attempt would end the same way.
    #[error("{}", .0.message)]
    Fatal(TaskFault),
    /// It ended because that was asked for.
    #[error("cancelled")]
    Cancelled,
    /// The lease was lost: somebody else runs it, and nothing more is to be reported.
    #[error("the lease was lost")]
    Lost,
    /// The store could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TaskRefused> for TaskError {
    fn from(refused: TaskRefused) -> Self {
        match refused {
            TaskRefused::Task(fault) => Self::Fatal(fault),
            TaskRefused::Store(error) => Self::Store(error),
        }
    }
}

/// What an attempt works with. Cheap to clone.
#[derive(Clone)]
pub struct Work {
    lease: Lease,
    store: Arc<dyn Store>,
    api: Arc<dyn CallApi>,
    signals: watch::Receiver<Signals>,
    progress: watch::Sender<Option<TaskProgress>>,
}

/// What the runner signals to an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Somebody wants the task cancelled.
    pub cancel: bool,
}

impl Work {
    /// An attempt under `lease`. The runner sends `signals`, and includes `progress` when it renews the
    /// lease.
    pub fn new(
        lease: Lease,
        store: Arc<dyn Store>,
        api: Arc<dyn CallApi>,
        signals: watch::Receiver<Signals>,
        progress: watch::Sender<Option<TaskProgress>>,
    ) -> Self {
        Self {
            lease,
            store,
            api,
            signals,
            progress,
        }
    }

    /// The store that keeps the task and its files.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Makes API requests, routed through the mesh like any client's.
    pub fn api(&self) -> &Arc<dyn CallApi> {
        &self.api
    }

    /// The lease of this attempt.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Reports how far it is: recorded with the next renewal of the lease.
    pub fn set_progress(&self, progress: TaskProgress) {
        self.progress.send_replace(Some(progress));
    }

    /// Keeps notes: durable when this returns. A store that cannot be used is asked again for as long as the
    /// lease holds, since what is to be kept was paid for; a minute at most.
    ///
    /// # Errors
    /// When the lease was lost, somebody wants the task cancelled (what was noted is kept), or the store
    /// cannot be used.
    pub async fn save(&self, notes: &[Note]) -> Result<(), TaskError> {
        match ask_patiently(|| self.store.save(&self.lease, notes)).await? {
            LeaseHold::Kept => Ok(()),
            LeaseHold::CancelRequested => Err(TaskError::Cancelled),
            LeaseHold::Lost => Err(TaskError::Lost),
        }
    }

    /// All notes of earlier attempts and this one, by number. Whole in memory: for tasks with few notes;
    /// others read pages from the [store](Self::store). A store that cannot be used is asked again, as by
    /// [`Work::save`].
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn notes(&self) -> Result<BTreeMap<u64, Note>, TaskError> {
        let mut notes = BTreeMap::new();
        let mut from = 0;
        loop {
            let ask = || self.store.notes(&self.lease.id, from);
            let page = ask_patiently(ask).await?;
            let Some(last) = page.last() else {
                return Ok(notes);
            };
            from = last.number + 1;
            notes.extend(page.into_iter().map(|note| (note.number, note)));
        }
    }

    /// Whether somebody wants the task cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.signals.borrow().cancel
    }

    /// Waits until somebody wants the task cancelled.
    pub async fn cancelled(&self) {
        let mut signals = self.signals.clone();
        if signals.wait_for(|signals| signals.cancel).await.is_err() {
            // The runner is gone, and this attempt with it in a moment.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let policy = ServicePolicy {
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(10),
            ..ServicePolicy::default()
        };
        let seconds = [0, 1, 2, 3, 4, 5, u32::MAX].map(|it| policy.backoff_after(it).as_secs());
        assert_eq!(seconds, [1, 1, 2, 4, 8, 10, 10]);
    }
}
