//! Tasks in SQL: a file of the node's own (SQLite), or a server that nodes share (Postgres).
//!
//! Reading order: [`link`] (a connection, and what the engines' SQL differs in), [`schema`], [`record`]
//! (a row and a task), [`tasks`], [`turns`] (who is next), [`notes`], [`files`] and [`sweep`] (the statements, written once for both), then
//! [`sqlite`] with its [`writer`], and [`postgres`] (how a connection is got, and what an error means).
//!
//! Why not apalis 1.0: its own statements, run by `tests/bench/queues/apalis_faults.py`, give a task that
//! kills its worker to the next one forever (10 runs with `max_attempts` 2, never a dead letter), and take
//! the late report of an earlier attempt for the later one's, since they are fenced by the worker's name
//! alone (the record is completed twice). Its set-up of SQLite uses `synchronous = OFF`. Its leases are a
//! worker's, not a task's, so a task that hangs in a live worker is never taken back.

mod database_file;
mod files;
mod link;
mod notes;
mod postgres;
mod record;
mod schema;
mod sqlite;
mod sweep;
mod tasks;
mod turns;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_config::secret::Secret;
use grapevine_core::ids::ServiceKey;

use self::link::{DatabaseLink, QueryStep};
use super::open_error::OpenError;
use super::task_notifier::TaskNotifier;
use super::{
    Added, End, FileRecord, Lease, LeaseAsk, LeaseHold, Note, PAGE_MAX, Store, StoreError, Swept,
    TaskCounts, TaskQuery, Usage, limits,
};
use crate::id::Id;
use crate::task::{NewTask, ServiceKeyText, Task, TaskProgress, TaskState};

/// Services whose last turn is remembered; beyond them all rounds begin anew.
const TURNS_MAX: usize = 1_024;

/// Tasks in SQL.
pub struct SqlStore {
    engine: Engine,
    notifier: Arc<TaskNotifier>,
    /// The account whose turn was the last, by service; see [`turns`].
    last_turns: Mutex<BTreeMap<ServiceKeyText, String>>,
}

enum Engine {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

impl SqlStore {
    /// Tasks in the file at `path`, which is made when there is none.
    ///
    /// # Errors
    /// When the file cannot be made, is no store of tasks, or is damaged. One that is locked or whose disk
    /// is full is no error: the store works once it can.
    pub async fn sqlite(path: &Path) -> Result<Self, OpenError> {
        Ok(Self {
            engine: Engine::Sqlite(sqlite::Sqlite::open(path).await?),
            notifier: Arc::new(TaskNotifier::new()),
            last_turns: Mutex::default(),
        })
    }

    /// Tasks in the server at `url`, in a schema named `grapevine`. The server need not answer now.
    ///
    /// # Errors
    /// When `url` is no URL.
    pub fn postgres(url: &Secret) -> Result<Self, OpenError> {
        let notifier = Arc::new(TaskNotifier::new());
        Ok(Self {
            engine: Engine::Postgres(postgres::Postgres::open(url, &notifier)?),
            notifier,
            last_turns: Mutex::default(),
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut DatabaseLink) -> QueryStep<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.engine {
            Engine::Sqlite(engine) => engine.read(work).await,
            Engine::Postgres(engine) => engine.alone(work).await,
        }
    }

    /// Work that is durable when this returns, all of it or none.
    async fn write<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut DatabaseLink) -> QueryStep<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.engine {
            Engine::Sqlite(engine) => engine.write(work).await,
            Engine::Postgres(engine) => engine.together(work).await,
        }
    }

    /// The same for work whose statements need not stand together: each is durable by itself.
    async fn write_each<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut DatabaseLink) -> QueryStep<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.engine {
            Engine::Sqlite(engine) => engine.write(work).await,
            Engine::Postgres(engine) => engine.alone(work).await,
        }
    }

    /// A task of `service` can be leased: notifies those who wait here, and other nodes.
    fn notify(&self, service: &ServiceKeyText) {
        self.notifier.notify(service.0.as_str());
        if let Engine::Postgres(engine) = &self.engine {
            engine.notify(service);
        }
    }

    fn last_turns(&self) -> MutexGuard<'_, BTreeMap<ServiceKeyText, String>> {
        self.last_turns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the pieces of a file that is marked as removed, in steps.
    async fn remove_pieces(&self, id: &Id) -> Result<(), StoreError> {
        loop {
            let id = id.clone();
            let more = self
                .write(move |link| Box::pin(async move { files::remove_pieces(link, &id).await }));
            if !more.await? {
                return Ok(());
            }
        }
    }

    fn notify_for(&self, task: &Task) {
        if task.state == TaskState::Waiting {
            self.notify(&task.new.service);
        }
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn add(&self, task: NewTask) -> Result<Added, StoreError> {
        let payload = limits::new_task(&task)?;
        let service = task.service.clone();
        let is_due = task.delay.is_zero();
        let added = self
            .write_each(move |link| {
                Box::pin(async move { tasks::add(link, &task, &payload).await })
            })
            .await?;
        if is_due && added == Added::New {
            self.notify(&service);
        }
        Ok(added)
    }

    async fn get(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        let id = id.clone();
        self.read(move |link| Box::pin(async move { tasks::get(link, &id).await }))
            .await
    }

    async fn list(&self, query: &TaskQuery) -> Result<Vec<Task>, StoreError> {
        let query = query.clone();
        self.read(move |link| Box::pin(async move { tasks::list(link, &query).await }))
            .await
    }

    async fn lease(&self, ask: &LeaseAsk) -> Result<Vec<(Lease, Task)>, StoreError> {
        limits::ask(ask)?;
        let count = self.notifier.count(ask.service.0.as_str());
        let last = self.last_turns().get(&ask.service).cloned();
        let turns = {
            let (ask, last) = (ask.clone(), last.unwrap_or_default());
            self.write(move |link| Box::pin(async move { turns::lease(link, &ask, last).await }))
                .await?
        };
        {
            let mut last_turns = self.last_turns();
            if last_turns.len() >= TURNS_MAX {
                last_turns.clear();
            }
            last_turns.insert(ask.service.clone(), turns.last);
        }
        let given = turns.given;
        if given.is_empty() {
            self.notifier.found_nothing(ask.service.0.as_str(), count);
        }
        Ok(given)
    }

    async fn wait(&self, service: &ServiceKey, at_most: Duration) {
        self.notifier.wait(service.as_str(), at_most).await;
    }

    async fn renew(
        &self,
        lease: &Lease,
        span: Duration,
        progress: Option<TaskProgress>,
    ) -> Result<LeaseHold, StoreError> {
        let lease = lease.clone();
        self.write_each(move |link| {
            Box::pin(async move { tasks::renew(link, &lease, span, progress).await })
        })
        .await
    }

    async fn save(&self, lease: &Lease, notes: &[Note]) -> Result<LeaseHold, StoreError> {
        limits::notes(notes)?;
        let (lease, notes) = (lease.clone(), notes.to_vec());
        self.write(move |link| Box::pin(async move { notes::save(link, &lease, &notes).await }))
            .await
    }

    async fn notes(&self, id: &Id, from: u64) -> Result<Vec<Note>, StoreError> {
        let id = id.clone();
        self.read(move |link| Box::pin(async move { notes::notes(link, &id, from).await }))
            .await
    }

    async fn finish(&self, lease: &Lease, end: End) -> Result<LeaseHold, StoreError> {
        limits::end(&end)?;
        let lease = lease.clone();
        let (held, task) = self
            .write_each(move |link| Box::pin(async move { tasks::finish(link, &lease, end).await }))
            .await?;
        task.iter().for_each(|task| self.notify_for(task));
        Ok(held)
    }

    async fn cancel(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        let id = id.clone();
        self.write(move |link| Box::pin(async move { tasks::cancel(link, &id).await }))
            .await
    }

    async fn requeue(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        let id = id.clone();
        let task = self
            .write(move |link| Box::pin(async move { tasks::requeue(link, &id).await }))
            .await?;
        task.iter().for_each(|task| self.notify_for(task));
        Ok(task)
    }

    async fn counts(&self) -> Result<BTreeMap<ServiceKeyText, TaskCounts>, StoreError> {
        self.read(|link| Box::pin(tasks::counts(link))).await
    }

    async fn sweep(&self, retention: Duration) -> Result<Swept, StoreError> {
        let mut swept = self.write(|link| Box::pin(sweep::take_back(link))).await?;
        if swept.lost > 0 {
            self.notifier.notify_all();
        }
        swept.removed += self
            .write(move |link| Box::pin(sweep::remove_tasks(link, retention)))
            .await?;
        swept.removed += self
            .write(move |link| Box::pin(sweep::remove_files(link, retention)))
            .await?;
        self.write_each(|link| Box::pin(sweep::give_back(link)))
            .await?;
        Ok(swept)
    }

    async fn put_piece(&self, file: &Id, number: u32, piece: Bytes) -> Result<(), StoreError> {
        limits::piece(number, piece.len())?;
        let file = file.clone();
        self.write(move |link| {
            Box::pin(async move { files::put_piece(link, &file, number, piece).await })
        })
        .await
    }

    async fn complete_file(&self, file: FileRecord) -> Result<(), StoreError> {
        limits::file(&file)?;
        self.write(move |link| Box::pin(async move { files::complete(link, &file).await }))
            .await
    }

    async fn file(&self, id: &Id) -> Result<Option<FileRecord>, StoreError> {
        let id = id.clone();
        self.read(move |link| Box::pin(async move { files::get(link, &id).await }))
            .await
    }

    async fn piece(&self, id: &Id, number: u32) -> Result<Option<Bytes>, StoreError> {
        let id = id.clone();
        self.read(move |link| Box::pin(async move { files::piece(link, &id, number).await }))
            .await
    }

    async fn files(
        &self,
        key: Option<&str>,
        before: Option<&Id>,
        max: usize,
    ) -> Result<Vec<FileRecord>, StoreError> {
        let (key, before) = (key.map(str::to_owned), before.cloned());
        let max = max.min(PAGE_MAX);
        self.read(move |link| {
            Box::pin(async move { files::list(link, key.as_deref(), before.as_ref(), max).await })
        })
        .await
    }

    async fn delete_file(&self, id: &Id) -> Result<bool, StoreError> {
        let file = id.clone();
        let deleted = self
            .write_each(move |link| Box::pin(async move { files::delete(link, &file).await }))
            .await?;
        if deleted {
            self.remove_pieces(id).await?;
        }
        Ok(deleted)
    }

    async fn discard_file(&self, id: &Id) -> Result<(), StoreError> {
        let file = id.clone();
        self.write_each(move |link| Box::pin(async move { files::discard(link, &file).await }))
            .await?;
        self.remove_pieces(id).await
    }

    async fn usage(&self, account: &str) -> Result<Usage, StoreError> {
        let account = account.to_owned();
        self.read(move |link| Box::pin(async move { tasks::usage(link, &account).await }))
            .await
    }

    async fn check(&self) -> Result<(), StoreError> {
        // A write: a full disk and a lock are seen by nothing less.
        let text = "UPDATE schema_version SET version = version";
        self.write_each(move |link| {
            Box::pin(async move { link.execute(text, vec![]).await.map(drop) })
        })
        .await
    }
}
