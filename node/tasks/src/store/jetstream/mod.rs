//! Tasks in NATS JetStream: a server, or a cluster, per region, which nodes of the region share.
//!
//! One stream holds everything, a message per subject: a task's record, replaced at each of its steps by
//! whoever has seen the last one (the server compares); its payload, output and notes where they are long;
//! pieces and records of files. Every node follows the records and keeps them in memory in the orders it is
//! asked for: what may be leased, by priority and age; what is listed; what is over. A queue of messages
//! beside the records was not taken: it would know neither priorities nor regions, and be a second truth
//! that a crash sets against the first.
//!
//! Reading order: [`url`], [`subjects`] (what is where), [`record`], [`link`] (what is asked of the server),
//! [`view`] (what was received) with its [`turns`] (who is next), [`follow`] (how), then [`accept`], [`tasks`],
//! [`notes`], [`files`], [`sweep`].
//!
//! What the operator has to know:
//!
//! - nats-server 2.11 or newer with JetStream. It acknowledges what its process has written, and syncs
//!   that to disk every two minutes unless `sync_interval: always` is set or replicas are kept: without
//!   either, a machine that loses power loses what is younger.
//! - Each region has a server with a JetStream domain of its own, linked to a hub as a leaf node. The
//!   domain stands in every subject, so that no region takes another's messages.

mod accept;
mod files;
mod follow;
mod link;
mod notes;
mod record;
mod subjects;
mod sweep;
mod tasks;
mod turns;
mod url;
mod view;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_config::secret::Secret;
use grapevine_core::ids::ServiceKey;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::follow::Shared;
use self::link::JetStreamLink;
use self::url::Target;
use super::open_error::OpenError;
use super::{
    Added, End, FileRecord, Lease, LeaseAsk, LeaseHold, Note, PATIENCE, Store, StoreError, Swept,
    TaskCounts, TaskQuery, Usage,
};
use crate::id::Id;
use crate::task::{NewTask, ServiceKeyText, Task, TaskProgress};

/// How long a sweep may take: it does many things, one after another.
const SWEEP_LIMIT: Duration = Duration::from_secs(60);

/// Tasks in a JetStream server.
pub struct JetStore {
    shared: Arc<Shared>,
    follower: JoinHandle<()>,
}

impl JetStore {
    /// Tasks in the server at `url`, in a stream named `grapevine`. The server need not answer now.
    ///
    /// # Errors
    /// When `url` is no URL, or names a file that cannot be read.
    pub async fn open(url: &Secret) -> Result<Self, OpenError> {
        let link = JetStreamLink::open(Target::parse(url)?).await?;
        let shared = Arc::new(Shared::new(link));
        let follower = tokio::spawn(Arc::clone(&shared).follow());
        Ok(Self { shared, follower })
    }

    /// Waits for an answer, but not longer than a store may take.
    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match timeout(PATIENCE, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.no_answer(PATIENCE)),
        }
    }

    fn no_answer(&self, limit: Duration) -> StoreError {
        self.shared
            .link
            .away(&format!("no answer within {limit:?}"))
    }
}

impl Drop for JetStore {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

#[async_trait]
impl Store for JetStore {
    async fn add(&self, task: NewTask) -> Result<Added, StoreError> {
        self.within(self.shared.add(&task)).await
    }

    async fn get(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        self.within(self.shared.get_task(id)).await
    }

    async fn list(&self, query: &TaskQuery) -> Result<Vec<Task>, StoreError> {
        self.within(self.shared.list_tasks(query)).await
    }

    async fn lease(&self, ask: &LeaseAsk) -> Result<Vec<(Lease, Task)>, StoreError> {
        let service = ask.service.0.as_str();
        let count = self.shared.notifier.count(service);
        let given = self.within(self.shared.lease_tasks(ask)).await?;
        if given.is_empty() {
            self.shared.notifier.found_nothing(service, count);
        }
        Ok(given)
    }

    async fn wait(&self, service: &ServiceKey, at_most: Duration) {
        self.shared.notifier.wait(service.as_str(), at_most).await;
    }

    async fn renew(
        &self,
        lease: &Lease,
        span: Duration,
        progress: Option<TaskProgress>,
    ) -> Result<LeaseHold, StoreError> {
        self.within(self.shared.renew_lease(lease, span, progress))
            .await
    }

    async fn save(&self, lease: &Lease, notes: &[Note]) -> Result<LeaseHold, StoreError> {
        self.within(self.shared.save_notes(lease, notes)).await
    }

    async fn notes(&self, id: &Id, from: u64) -> Result<Vec<Note>, StoreError> {
        self.within(self.shared.read_notes(id, from)).await
    }

    async fn finish(&self, lease: &Lease, end: End) -> Result<LeaseHold, StoreError> {
        self.within(self.shared.finish_task(lease, end)).await
    }

    async fn cancel(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        self.within(self.shared.cancel_task(id)).await
    }

    async fn requeue(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        self.within(self.shared.requeue_task(id)).await
    }

    async fn counts(&self) -> Result<BTreeMap<ServiceKeyText, TaskCounts>, StoreError> {
        self.within(self.shared.ready()).await?;
        let now = self.shared.now();
        Ok(self.shared.view().counts(now))
    }

    async fn sweep(&self, retention: Duration) -> Result<Swept, StoreError> {
        let swept = timeout(SWEEP_LIMIT, self.shared.sweep_all(retention)).await;
        swept.unwrap_or_else(|_| Err(self.no_answer(SWEEP_LIMIT)))
    }

    async fn put_piece(&self, file: &Id, number: u32, piece: Bytes) -> Result<(), StoreError> {
        self.within(self.shared.put_file_piece(file, number, piece))
            .await
    }

    async fn complete_file(&self, file: FileRecord) -> Result<(), StoreError> {
        self.within(self.shared.complete(&file)).await
    }

    async fn file(&self, id: &Id) -> Result<Option<FileRecord>, StoreError> {
        self.within(self.shared.get_file(id)).await
    }

    async fn piece(&self, id: &Id, number: u32) -> Result<Option<Bytes>, StoreError> {
        self.within(self.shared.get_piece(id, number)).await
    }

    async fn files(
        &self,
        key: Option<&str>,
        before: Option<&Id>,
        max: usize,
    ) -> Result<Vec<FileRecord>, StoreError> {
        self.within(self.shared.list_files(key, before, max)).await
    }

    async fn delete_file(&self, id: &Id) -> Result<bool, StoreError> {
        self.within(self.shared.remove_file(id)).await
    }

    async fn discard_file(&self, id: &Id) -> Result<(), StoreError> {
        self.within(self.shared.discard(id)).await
    }

    async fn usage(&self, account: &str) -> Result<Usage, StoreError> {
        self.within(self.shared.ready()).await?;
        Ok(self.shared.view().usage(account))
    }

    async fn check(&self) -> Result<(), StoreError> {
        // A message: a full disk is seen by nothing less.
        let checked = async {
            let subjects = self.shared.ready().await?;
            self.shared.tick(&subjects).await.map(drop)
        };
        self.within(checked).await
    }
}
