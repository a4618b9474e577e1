//! The store of a peer: every call goes to the node that keeps the task, which answers it.
//!
//! The other end is [`TaskOwner`](super::owner::TaskOwner). What is asked is JSON of the trait's own types;
//! pieces of files are their bytes. Whatever keeps a call from its owner is [`StoreError::OwnerAway`]:
//! the call may have arrived and must be retried, which every call of the trait tolerates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_base::exchange::{CallInside, InsideCall};
use grapevine_core::ids::{NodeName, ServiceKey};
use grapevine_core::outcome::{Outcome, Refusal};
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::behalf::Behalf;
use super::id::Id;
use super::question::{
    Ask, ERROR_STATUS, PIECE_PATH, PUT_PATH, Question, STORE_PATH, TaskPage, WAIT_MAX, fitting,
};
use super::rights::refused;
use super::store::{
    Added, End, FileRecord, Lease, LeaseAsk, LeaseHold, Note, PATIENCE, Store, StoreError, Swept,
    TaskCounts, TaskQuery, Usage,
};
use super::task::{CheckedText, NewTask, ServiceKeyText, Task, TaskProgress};

/// How much longer than the owner's own patience an answer may take.
const GRACE: Duration = Duration::from_secs(3);

/// A pause after an owner could not be asked to wait, so that nobody asks it without end.
const AWAY_PAUSE: Duration = Duration::from_millis(500);

/// The store of one peer, asked for somebody. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    peer: NodeName,
    inside: Arc<dyn CallInside>,
    behalf: Behalf,
}

impl Remote {
    /// The store that `peer` keeps, asked on this behalf.
    pub fn new(peer: NodeName, inside: Arc<dyn CallInside>, behalf: Behalf) -> Self {
        Self {
            peer,
            inside,
            behalf,
        }
    }

    /// Asks, and reads the answer.
    async fn ask<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, StoreError> {
        self.ask_within(ask, PATIENCE + GRACE).await
    }

    async fn ask_within<T: DeserializeOwned>(
        &self,
        ask: &Ask,
        timeout: Duration,
    ) -> Result<T, StoreError> {
        let question = Question {
            behalf: self.behalf.clone(),
            ask: ask.clone(),
        };
        let body = serde_json::to_vec(&question).map_err(|error| self.unreadable(&error))?;
        let body = self.call(STORE_PATH, body.into(), timeout).await?;
        let body = body.unwrap_or_default();
        if body.len() > ask.answer_bytes_max() {
            let detail = format!(
                "the answer of {} is longer than permitted for this call",
                self.peer
            );
            return Err(StoreError::Unavailable { detail });
        }
        serde_json::from_slice(&body).map_err(|error| self.unreadable(&error))
    }

    /// Calls the owner; `None` where it answers that there is nothing.
    async fn call(
        &self,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Option<Bytes>, StoreError> {
        let path = path.parse().map_err(|_| StoreError::Unavailable {
            detail: "the path of a call cannot be written".to_owned(),
        })?;
        let call = InsideCall {
            path,
            body,
            timeout,
        };
        let (status, body) = match self.inside.call(&self.peer, call).await {
            Ok(answer) => answer,
            // Nothing is wrong with the way there: the owner or this node is busy, or it is too long.
            Err(failure)
                if matches!(
                    failure.outcome,
                    Outcome::Refused(Refusal::Full | Refusal::Protocol)
                ) =>
            {
                let detail = failure.detail;
                return Err(StoreError::Unavailable { detail });
            }
            Err(failure) => {
                return Err(StoreError::OwnerAway {
                    node: self.peer.to_string(),
                    detail: failure.detail,
                });
            }
        };
        match status {
            StatusCode::OK => Ok(Some(body)),
            StatusCode::NO_CONTENT => Ok(None),
            ERROR_STATUS => match serde_json::from_slice(&body) {
                Ok(error) => Err(error),
                Err(error) => Err(self.unreadable(&error)),
            },
            // Its tasks are not there yet, or it is of another build.
            status => Err(StoreError::Unavailable {
                detail: format!("{} answers {status} to a call for its tasks", self.peer),
            }),
        }
    }

    fn unreadable(&self, error: &serde_json::Error) -> StoreError {
        // The error's own text could quote the message.
        StoreError::Unavailable {
            detail: format!(
                "a message between {} and this node cannot be read: {:?} error",
                self.peer,
                error.classify()
            ),
        }
    }
}

#[async_trait]
impl Store for Remote {
    async fn add(&self, task: NewTask) -> Result<Added, StoreError> {
        self.ask(&Ask::Add(task)).await
    }

    async fn get(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        self.ask(&Ask::Get(id.clone())).await
    }

    /// Tasks without their payloads and outputs, which stay where they are.
    async fn list(&self, query: &TaskQuery) -> Result<Vec<Task>, StoreError> {
        let mut query = query.clone();
        let mut tasks = Vec::new();
        loop {
            let page: TaskPage = self.ask(&Ask::List(query.clone())).await?;
            query.max = query.max.saturating_sub(page.tasks.len());
            tasks.extend(page.tasks);
            query.before = tasks.last().map(|task| task.new.id.clone());
            if !page.more || query.max == 0 || query.before.is_none() {
                return Ok(tasks);
            }
        }
    }

    async fn lease(&self, ask: &LeaseAsk) -> Result<Vec<(Lease, Task)>, StoreError> {
        self.ask(&Ask::Lease(ask.clone())).await
    }

    async fn wait(&self, service: &ServiceKey, at_most: Duration) {
        let at_most = at_most.min(WAIT_MAX);
        let service = CheckedText(service.clone());
        let ask = Ask::Wait { service, at_most };
        let waited: Result<(), _> = self.ask_within(&ask, at_most + GRACE).await;
        if waited.is_err() {
            tokio::time::sleep(at_most.min(AWAY_PAUSE)).await;
        }
    }

    async fn renew(
        &self,
        lease: &Lease,
        span: Duration,
        progress: Option<TaskProgress>,
    ) -> Result<LeaseHold, StoreError> {
        let lease = lease.clone();
        self.ask(&Ask::Renew {
            lease,
            span,
            progress,
        })
        .await
    }

    async fn save(&self, lease: &Lease, notes: &[Note]) -> Result<LeaseHold, StoreError> {
        let mut rest = notes;
        loop {
            let (fitting, left) = rest.split_at(fitting(rest, |note| note.content.len()));
            let held = self
                .ask(&Ask::Save {
                    lease: lease.clone(),
                    notes: fitting.to_vec(),
                })
                .await?;
            // A requested cancellation stays and is returned with the last of them.
            if held == LeaseHold::Lost || left.is_empty() {
                return Ok(held);
            }
            rest = left;
        }
    }

    async fn notes(&self, id: &Id, from: u64) -> Result<Vec<Note>, StoreError> {
        let id = id.clone();
        self.ask(&Ask::Notes { id, from }).await
    }

    async fn finish(&self, lease: &Lease, end: End) -> Result<LeaseHold, StoreError> {
        let lease = lease.clone();
        self.ask(&Ask::Finish { lease, end }).await
    }

    async fn cancel(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        self.ask(&Ask::Cancel(id.clone())).await
    }

    async fn requeue(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        self.ask(&Ask::Requeue(id.clone())).await
    }

    /// Refused: the owner publishes its own counts.
    async fn counts(&self) -> Result<BTreeMap<ServiceKeyText, TaskCounts>, StoreError> {
        refused("a node counts its own tasks alone")
    }

    /// Does nothing: the owner sweeps what it keeps.
    async fn sweep(&self, _retention: Duration) -> Result<Swept, StoreError> {
        Ok(Swept::default())
    }

    async fn put_piece(&self, file: &Id, number: u32, piece: Bytes) -> Result<(), StoreError> {
        let Behalf::Worker(task) = &self.behalf else {
            return refused("only the worker of a task makes files at another node");
        };
        let path = format!("{PUT_PATH}/{task}/{file}/{number}");
        self.call(&path, piece, PATIENCE + GRACE).await.map(drop)
    }

    async fn complete_file(&self, file: FileRecord) -> Result<(), StoreError> {
        self.ask(&Ask::CompleteFile(file)).await
    }

    async fn file(&self, id: &Id) -> Result<Option<FileRecord>, StoreError> {
        self.ask(&Ask::File(id.clone())).await
    }

    async fn piece(&self, id: &Id, number: u32) -> Result<Option<Bytes>, StoreError> {
        let path = format!("{PIECE_PATH}/{id}/{number}");
        let behalf = serde_json::to_vec(&self.behalf).map_err(|error| self.unreadable(&error))?;
        self.call(&path, behalf.into(), PATIENCE + GRACE).await
    }

    /// Refused: a node lists its own files alone.
    async fn files(
        &self,
        _key: Option<&str>,
        _before: Option<&Id>,
        _max: usize,
    ) -> Result<Vec<FileRecord>, StoreError> {
        refused("a node lists its own files alone")
    }

    async fn delete_file(&self, id: &Id) -> Result<bool, StoreError> {
        self.ask(&Ask::DeleteFile(id.clone())).await
    }

    /// Does nothing: the owner sweeps what was not completed.
    async fn discard_file(&self, _id: &Id) -> Result<(), StoreError> {
        Ok(())
    }

    /// Nothing, as far as is known here: the owner looks at its quota when it is asked to add.
    async fn usage(&self, _account: &str) -> Result<Usage, StoreError> {
        Ok(Usage::default())
    }

    /// Refused: a node checks its own store alone.
    async fn check(&self) -> Result<(), StoreError> {
        refused("a node checks its own store alone")
    }
}

#[cfg(test)]
mod tests;
