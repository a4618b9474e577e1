//! Where tasks are kept: the one interface of every engine.
//!
//! | state | by | to |
//! | --- | --- | --- |
//! | waiting | [`Store::lease`] | running, one more attempt |
//! | running | [`Store::finish`] with an output | completed |
//! | running | `finish` with a fault, attempts left | waiting, after the fault's delay |
//! | running | `finish` with a fault, none left or no retry | dead |
//! | running | its lease ran out ([`Store::sweep`]), attempts left | waiting; none left, or lost too often in a row: dead |
//! | waiting | [`Store::cancel`] | cancelled |
//! | running | `cancel` | running, cancel requested; `finish` makes it cancelled, and so does a lost lease |
//! | waiting, running | its time is over (`sweep`) | expired; a running one first loses its lease |
//! | dead, cancelled, expired | [`Store::requeue`] | waiting, attempts from zero, time anew, notes kept |
//!
//! Reading order: this interface, [`transition`] (that table, as functions that every engine asks),
//! [`limits`] (what is too long), [`open`] (which engine), [`sql`] (SQLite and Postgres),
//! [`jetstream`] (NATS).
//!
//! Invariants of every engine:
//!
//! - What [`Store::add`] accepted is on disk, there or in the engine, before it returns.
//! - A report on a running task counts only with the [`Lease`] of the attempt that runs now. So an
//!   attempt that was thought dead and comes back changes nothing, and no task is completed twice.
//! - A task that was lost with its worker twice in a row is suspect: it is given only to those that ask for one, and
//!   no two are given at once.
//! - Leases, delays and retention use the store's clock alone: callers pass durations, never times.
//! - A store that cannot do its work returns an error at once or within [`PATIENCE`]; it works again when its
//!   engine does, without a restart.

pub mod jetstream;
pub mod lazy;
pub mod limits;
pub mod open;
pub mod open_error;
pub mod sql;
mod task_notifier;
pub mod transition;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_core::ids::{RegionName, ServiceKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id::Id;
use super::task::{
    NewTask, RegionText, ServiceKeyText, Task, TaskFault, TaskProgress, TaskState, Timestamp,
};

/// How long a store may try before it returns an error.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The longest note in bytes.
pub const NOTE_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// Notes given at once at most.
pub const NOTES_PAGE: usize = 256;

/// Bytes of a piece of a file; all pieces but the last are this long.
pub const PIECE_BYTES: usize = 256 * 1_024;

/// The longest file in bytes (OpenAI's limit of a batch's input is 200 MB).
pub const FILE_BYTES_MAX: u64 = 512 * 1_024 * 1_024;

/// Records listed at once at most.
pub const PAGE_MAX: usize = 100;

/// Leases given at once at most.
pub const LEASES_MAX: usize = 64;

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StoreError {
    /// The engine does not answer, is locked, or its disk is full. Nothing was accepted; to be tried again.
    #[error("the task store cannot be used now: {detail}")]
    Unavailable {
        /// The engine's message. Never a secret.
        detail: String,
    },
    /// The store holds what it cannot read. Trying again does not help; the operator must look.
    #[error("the task store is damaged: {detail}")]
    Damaged {
        /// What is wrong, and where.
        detail: String,
    },
    /// The idempotency key was used for another payload.
    #[error("the idempotency key belongs to {id}, which was asked for something else")]
    Conflict {
        /// The task that has it.
        id: Id,
    },
    /// Longer than its limit.
    #[error("{what} is longer than the {max} bytes that are kept")]
    TooLong {
        /// What.
        what: String,
        /// The limit.
        max: u64,
    },
    /// Its data residency does not permit it to be seen there, or the request to go there.
    #[error("{detail}")]
    Residency {
        /// Which region, of what.
        detail: String,
    },
    /// The node that keeps it does not let this node do that.
    #[error("the node that keeps it refuses: {detail}")]
    Refused {
        /// Why.
        detail: String,
    },
    /// The node that keeps it cannot be reached.
    #[error("node {node}, which keeps it, cannot be reached: {detail}")]
    OwnerAway {
        /// The owner.
        node: String,
        /// Why not.
        detail: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later, with nothing done about it.
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::OwnerAway { .. })
    }
}

/// The outcome of adding a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Added {
    /// It is durable.
    New,
    /// A task with this idempotency key and payload is there already.
    Same(Id),
}

/// Who may run which tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAsk {
    /// Of this service.
    pub service: ServiceKeyText,
    /// Whoever asks: a node's name, or what an outside worker calls itself. At most 128 bytes.
    pub worker: String,
    /// Where it runs: tasks whose regions are limited to others are not given.
    pub region: RegionText,
    /// How long a lease holds unless renewed; 1 s to 1 h.
    pub span: Duration,
    /// Leases at most; at most [`LEASES_MAX`].
    pub max: usize,
    /// Whether one of them may be on a [suspect](Task::is_suspect) task; never more than one is.
    #[serde(default)]
    pub suspects: bool,
}

/// The right to report on a running task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The task.
    pub id: Id,
    /// Its service.
    pub service: ServiceKeyText,
    /// Which attempt this is, from 1; it counts up with every lease on the task, over requeues too.
    pub attempt: u32,
    /// What the engine needs to find the lease again; opaque.
    #[serde(default)]
    pub token: String,
}

/// Whether a lease still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseHold {
    /// It does, and what was reported is durable.
    Kept,
    /// It does, what was reported is durable, and somebody wants the task cancelled.
    CancelRequested,
    /// It does not: nothing was changed. The work is to be dropped.
    Lost,
}

/// A piece of a task's work that is done and must not be done again: a line of a batch, a step of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Its number within the task; one note for each, and the first one stays.
    pub number: u64,
    /// What is to be remembered. At most [`NOTE_BYTES_MAX`].
    #[serde(with = "super::task_bytes")]
    pub content: Bytes,
}

/// How an attempt ended, as its worker reports it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Done, with this output.
    Completed(Value),
    /// Not done.
    Failed {
        /// What went wrong.
        fault: TaskFault,
        /// How long until the next attempt; `None` where another would not help.
        retry_after: Option<Duration>,
    },
    /// Ended because that was asked for.
    Cancelled,
    /// Given back untouched: the worker shuts down. Does not count as an attempt.
    Returned,
}

/// Which tasks to list, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskQuery {
    /// Of this service.
    pub service: Option<ServiceKeyText>,
    /// In this state.
    pub state: Option<TaskState>,
    /// Of a holder of this key.
    pub key: Option<String>,
    /// That may be seen in this region.
    pub region: Option<RegionText>,
    /// Older than this one.
    pub before: Option<Id>,
    /// Tasks at most; at most [`PAGE_MAX`].
    pub max: usize,
}

/// How much there is of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Waiting for a worker now.
    pub waiting: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// Running.
    pub running: u64,
    /// Dead letters.
    pub dead: u64,
}

/// What the holder of one account has in a store, against its quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tasks that wait for a worker or for their time.
    pub waiting: u64,
    /// Complete files.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// Leases that had run out: their tasks wait again.
    pub lost: u64,
    /// The same, after the last attempt: dead letters.
    pub dead: u64,
    /// Tasks whose time was over.
    pub expired: u64,
    /// Tasks and files removed for their age.
    pub removed: u64,
    /// The tasks that it ended, without a worker's report: dead, cancelled or expired.
    pub ended: Vec<Id>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name for the API.
    pub id: Id,
    /// What its owner calls it. At most 255 bytes.
    pub filename: String,
    /// What it is for, in OpenAI's words: `batch`, `batch_output`, ...
    pub purpose: String,
    /// Who may see it: the holder of this key, or everyone when it came without one.
    pub key: Option<String>,
    /// The account whose quota it counts to; see [`Submitter::account`](super::task::Submitter::account).
    #[serde(default)]
    pub account: String,
    /// The regions that may see it; empty when all may.
    pub regions: Vec<RegionText>,
    /// Its length in bytes, once complete.
    pub bytes: u64,
    /// When it was complete.
    pub created_at: Timestamp,
    /// When it is removed; `None` leaves it to the retention.
    pub expires_at: Option<Timestamp>,
}

/// Keeps tasks, their notes, and files.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Accepts a task: when this returns `Ok` it is durable.
    async fn add(&self, task: NewTask) -> Result<Added, StoreError>;

    /// A task, with its whole record; `None` when there is none of this id (any more).
    async fn get(&self, id: &Id) -> Result<Option<Task>, StoreError>;

    /// Tasks, the newest first.
    async fn list(&self, query: &TaskQuery) -> Result<Vec<Task>, StoreError>;

    /// Gives out waiting tasks; empty when there are none. Where a suspect one may be given it comes first, so that
    /// it is not left behind by what is added. Accounts take turns for the others: between two tasks of one
    /// account every other that has tasks waiting is given at most one, or an equal share of what is asked for
    /// at once, so that nobody's backlog delays another's task by more than a round. Of one account's tasks the
    /// highest priority comes first, then the oldest. Nodes that share an engine each go round by themselves.
    async fn lease(&self, ask: &LeaseAsk) -> Result<Vec<(Lease, Task)>, StoreError>;

    /// Returns when a task of `service` may wait, at the latest after `at_most`. May return early.
    async fn wait(&self, service: &ServiceKey, at_most: Duration);

    /// Holds a lease for `span` from now on, and records how far the work is.
    async fn renew(
        &self,
        lease: &Lease,
        span: Duration,
        progress: Option<TaskProgress>,
    ) -> Result<LeaseHold, StoreError>;

    /// Keeps notes: durable when this returns. A number that is there already stays as it was.
    async fn save(&self, lease: &Lease, notes: &[Note]) -> Result<LeaseHold, StoreError>;

    /// Notes of a task with numbers of at least `from`, in order, at most [`NOTES_PAGE`].
    async fn notes(&self, id: &Id, from: u64) -> Result<Vec<Note>, StoreError>;

    /// Ends an attempt.
    async fn finish(&self, lease: &Lease, end: End) -> Result<LeaseHold, StoreError>;

    /// Cancels a task, or asks its worker to; the task as it is then, `None` when there is none.
    async fn cancel(&self, id: &Id) -> Result<Option<Task>, StoreError>;

    /// Lets a dead, cancelled or expired task wait again; the task as it is then, unchanged where it was
    /// none of these; `None` when there is none.
    async fn requeue(&self, id: &Id) -> Result<Option<Task>, StoreError>;

    /// How much there is, by service.
    async fn counts(&self) -> Result<BTreeMap<ServiceKeyText, TaskCounts>, StoreError>;

    /// Takes back leases that ran out, expires what is late, and removes what ended longer than
    /// `retention` ago. Many nodes may sweep one store at once.
    async fn sweep(&self, retention: Duration) -> Result<Swept, StoreError>;

    /// Adds a piece to a file that is being written, counted from zero. Not visible until completed; what is
    /// given up is to be [discarded](Store::discard_file), and what a process left that died is swept after a day
    /// at the latest.
    async fn put_piece(&self, file: &Id, number: u32, piece: Bytes) -> Result<(), StoreError>;

    /// Makes a file visible, whole: durable when this returns. The same again changes nothing.
    async fn complete_file(&self, file: FileRecord) -> Result<(), StoreError>;

    /// A file's record; `None` when there is none.
    async fn file(&self, id: &Id) -> Result<Option<FileRecord>, StoreError>;

    /// A piece of a complete file; `None` past its end.
    async fn piece(&self, id: &Id, number: u32) -> Result<Option<Bytes>, StoreError>;

    /// Files of the holder of `key` (`None`: of all), the newest first, older than `before`, at most `max`.
    async fn files(
        &self,
        key: Option<&str>,
        before: Option<&Id>,
        max: usize,
    ) -> Result<Vec<FileRecord>, StoreError>;

    /// Removes a file; whether there was one.
    async fn delete_file(&self, id: &Id) -> Result<bool, StoreError>;

    /// Removes the pieces of a file that will not be completed, and takes no more of them. One that is complete
    /// stays. An owner elsewhere is left to sweep it.
    async fn discard_file(&self, id: &Id) -> Result<(), StoreError>;

    /// What the holder of `account` has here.
    async fn usage(&self, account: &str) -> Result<Usage, StoreError>;

    /// Whether the store can be used now, for readiness.
    async fn check(&self) -> Result<(), StoreError>;
}

/// Whether a task limited to `regions` may be seen in `region`.
pub fn is_permitted(regions: &[RegionText], region: &RegionName) -> bool {
    regions.is_empty() || regions.iter().any(|permitted| permitted.0 == *region)
}
