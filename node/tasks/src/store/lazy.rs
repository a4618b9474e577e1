//! A store that is opened when it is needed: a node that never gets a task makes no file, and one whose store
//! cannot be opened runs all the same, returns the error to each caller, and tries again at the next call.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_core::ids::ServiceKey;
use tokio::sync::{Notify, OnceCell};

use super::{
    Added, End, FileRecord, Lease, LeaseAsk, LeaseHold, Note, Store, StoreError, Swept, TaskCounts,
    TaskQuery, Usage,
};
use crate::id::Id;
use crate::task::{NewTask, ServiceKeyText, Task, TaskProgress};

/// Opens an engine.
#[async_trait]
pub trait OpenStore: Send + Sync + 'static {
    /// Opens it; called again after every failure.
    async fn open(&self) -> Result<Arc<dyn Store>, StoreError>;
}

/// A store behind its opening.
pub struct Lazy {
    opener: Box<dyn OpenStore>,
    /// The file without which there is nothing to look at; `None` for an engine elsewhere.
    file: Option<PathBuf>,
    store: OnceCell<Arc<dyn Store>>,
    opened: Notify,
}

impl Lazy {
    /// A store that `opener` opens; one in a `file` that is not there yet is empty until something is added.
    pub fn new(opener: impl OpenStore, file: Option<PathBuf>) -> Self {
        Self {
            opener: Box::new(opener),
            file,
            store: OnceCell::new(),
            opened: Notify::new(),
        }
    }

    /// The store, opened now if need be.
    async fn open(&self) -> Result<&Arc<dyn Store>, StoreError> {
        let open = async {
            let store = self.opener.open().await?;
            self.opened.notify_waiters();
            Ok(store)
        };
        self.store.get_or_try_init(|| open).await
    }

    /// The store, where there is anything in it.
    async fn look(&self) -> Result<Option<&Arc<dyn Store>>, StoreError> {
        if let Some(store) = self.store.get() {
            return Ok(Some(store));
        }
        match &self.file {
            // Where that is unknown, opening the store shows it.
            Some(file) if matches!(file.try_exists(), Ok(false)) => Ok(None),
            _ => self.open().await.map(Some),
        }
    }
}

#[async_trait]
impl Store for Lazy {
    async fn add(&self, task: NewTask) -> Result<Added, StoreError> {
        self.open().await?.add(task).await
    }

    async fn get(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        match self.look().await? {
            Some(store) => store.get(id).await,
            None => Ok(None),
        }
    }

    async fn list(&self, query: &TaskQuery) -> Result<Vec<Task>, StoreError> {
        match self.look().await? {
            Some(store) => store.list(query).await,
            None => Ok(Vec::new()),
        }
    }

    async fn lease(&self, ask: &LeaseAsk) -> Result<Vec<(Lease, Task)>, StoreError> {
        match self.look().await? {
            Some(store) => store.lease(ask).await,
            None => Ok(Vec::new()),
        }
    }

    async fn wait(&self, service: &ServiceKey, at_most: Duration) {
        let opened = self.opened.notified();
        match self.store.get() {
            Some(store) => store.wait(service, at_most).await,
            None => {
                // Either way there is a reason to look.
                let _ = tokio::time::timeout(at_most, opened).await;
            }
        }
    }

    async fn renew(
        &self,
        lease: &Lease,
        span: Duration,
        progress: Option<TaskProgress>,
    ) -> Result<LeaseHold, StoreError> {
        match self.look().await? {
            Some(store) => store.renew(lease, span, progress).await,
            None => Ok(LeaseHold::Lost),
        }
    }

    async fn save(&self, lease: &Lease, notes: &[Note]) -> Result<LeaseHold, StoreError> {
        match self.look().await? {
            Some(store) => store.save(lease, notes).await,
            None => Ok(LeaseHold::Lost),
        }
    }

    async fn notes(&self, id: &Id, from: u64) -> Result<Vec<Note>, StoreError> {
        match self.look().await? {
            Some(store) => store.notes(id, from).await,
            None => Ok(Vec::new()),
        }
    }

    async fn finish(&self, lease: &Lease, end: End) -> Result<LeaseHold, StoreError> {
        match self.look().await? {
            Some(store) => store.finish(lease, end).await,
            None => Ok(LeaseHold::Lost),
        }
    }

    async fn cancel(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        match self.look().await? {
            Some(store) => store.cancel(id).await,
            None => Ok(None),
        }
    }

    async fn requeue(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        match self.look().await? {
            Some(store) => store.requeue(id).await,
            None => Ok(None),
        }
    }

    async fn counts(&self) -> Result<BTreeMap<ServiceKeyText, TaskCounts>, StoreError> {
        match self.look().await? {
            Some(store) => store.counts().await,
            None => Ok(BTreeMap::new()),
        }
    }

    async fn sweep(&self, retention: Duration) -> Result<Swept, StoreError> {
        match self.look().await? {
            Some(store) => store.sweep(retention).await,
            None => Ok(Swept::default()),
        }
    }

    async fn put_piece(&self, file: &Id, number: u32, piece: Bytes) -> Result<(), StoreError> {
        self.open().await?.put_piece(file, number, piece).await
    }

    async fn complete_file(&self, file: FileRecord) -> Result<(), StoreError> {
        self.open().await?.complete_file(file).await
    }

    async fn file(&self, id: &Id) -> Result<Option<FileRecord>, StoreError> {
        match self.look().await? {
            Some(store) => store.file(id).await,
            None => Ok(None),
        }
    }

    async fn piece(&self, id: &Id, number: u32) -> Result<Option<Bytes>, StoreError> {
        match self.look().await? {
            Some(store) => store.piece(id, number).await,
            None => Ok(None),
        }
    }

    async fn files(
        &self,
        key: Option<&str>,
        before: Option<&Id>,
        max: usize,
    ) -> Result<Vec<FileRecord>, StoreError> {
        match self.look().await? {
            Some(store) => store.files(key, before, max).await,
            None => Ok(Vec::new()),
        }
    }

    async fn delete_file(&self, id: &Id) -> Result<bool, StoreError> {
        match self.look().await? {
            Some(store) => store.delete_file(id).await,
            None => Ok(false),
        }
    }

    async fn discard_file(&self, id: &Id) -> Result<(), StoreError> {
        match self.look().await? {
            Some(store) => store.discard_file(id).await,
            None => Ok(()),
        }
    }

    async fn usage(&self, account: &str) -> Result<Usage, StoreError> {
        match self.look().await? {
            Some(store) => store.usage(account).await,
            None => Ok(Usage::default()),
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        match self.look().await? {
            Some(store) => store.check().await,
            None => Ok(()),
        }
    }
}
