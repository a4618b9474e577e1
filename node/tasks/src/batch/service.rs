//! The service itself: batches and background responses under one key.

use async_trait::async_trait;
use grapevine_core::ids::ServiceKey;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::super::service::{Service, TaskError, TaskRefused, Work};
use super::super::store::{Store, StoreError};
use super::super::task::{NewTask, Task, TaskFault};
use super::{BatchPayload, check, output, response, run, view};

/// The key of the service.
pub const SERVICE: &str = "async-task:process";

/// Runs batches, and makes responses in the background.
#[derive(Debug)]
pub struct AsyncTasks {
    calls: Semaphore,
    lines_at_once: usize,
}

impl AsyncTasks {
    /// Calls at most `lines_at_once` lines of batches at once, at least 1; responses are limited by the
    /// service's concurrency.
    pub fn new(lines_at_once: usize) -> Self {
        let lines_at_once = lines_at_once.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            calls: Semaphore::new(lines_at_once),
            lines_at_once,
        }
    }
}

/// The service's key.
pub fn service_key() -> ServiceKey {
    ServiceKey::new(SERVICE).expect("the key is spelled right")
}

/// Writes the files of a batch that no worker ended, unless they are there; see [`Service::settle`].
async fn settle(task: &Task, store: &dyn Store) -> Result<(), StoreError> {
    match view::batch_job(task) {
        Some(job) if !view::is_settled(task, store).await? => {
            output::settle(task, &job, store).await
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl Service for AsyncTasks {
    fn key(&self) -> ServiceKey {
        service_key()
    }

    fn own_routes(&self) -> Option<&'static str> {
        Some("POST /v1/batches, or POST /v1/responses with background: true")
    }

    async fn check(&self, task: &NewTask, store: &dyn Store) -> Result<(), TaskRefused> {
        check::check(task, store).await
    }

    async fn run(&self, task: &Task, work: &Work) -> Result<Value, TaskError> {
        let job = serde_json::from_value(task.new.payload.clone());
        let job = job.map_err(|error| {
            TaskError::Fatal(TaskFault::new("invalid_payload", error.to_string()))
        })?;
        match job {
            BatchPayload::Batch(job) => {
                let run = run::Run {
                    task,
                    job: &job,
                    work,
                    calls: &self.calls,
                    lines_at_once: self.lines_at_once,
                };
                let output = run.run().await?;
                Ok(serde_json::to_value(output).expect("text keys always are JSON"))
            }
            BatchPayload::Response(job) => response::run(task, &job, work).await,
        }
    }

    /// Writes the files of a batch.
    async fn settle(&self, task: &Task, store: &dyn Store) -> Result<(), StoreError> {
        settle(task, store).await
    }
}
