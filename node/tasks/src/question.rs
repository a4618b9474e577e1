//! What a node asks of a peer that keeps tasks, as it crosses the mesh.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::behalf::Behalf;
use super::id::Id;
use super::store::{End, FileRecord, Lease, LeaseAsk, Note, TaskQuery};
use super::task::{NewTask, ServiceKeyText, Task, TaskProgress};

/// Where everything but pieces of files is asked.
pub(super) const STORE_PATH: &str = "/tasks/store";

/// Where a piece of a file is put by the worker of a task: `/TASK/FILE/NUMBER` follows.
pub(super) const PUT_PATH: &str = "/tasks/put";

/// Where a piece of a file is read: `/FILE/NUMBER` follows, and the body contains for whom.
pub(super) const PIECE_PATH: &str = "/tasks/piece";

/// The status of an answer that is a [`StoreError`](super::store::StoreError).
pub(super) const ERROR_STATUS: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

/// Bytes of records and notes in one message, before they are written as text: half of what a message
/// may hold, since bytes grow by a third and there is more than them in it.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// The longest question or answer that is read into a tree of JSON, in bytes: a task has a payload and an output.
pub(super) const TREE_BYTES_MAX: usize = 1_024 * 1_024;

/// The longest text of a [`Behalf`], in bytes: keys, services and regions by name.
pub(super) const BEHALF_BYTES_MAX: usize = 64 * 1_024;

/// How a question begins that keeps notes.
const SAVE: &str = "{\"save\":";

/// The longest that an owner lets a peer wait for tasks at once.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(20);

/// What is asked of an owner, and for whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) behalf: Behalf,
    pub(super) ask: Ask,
}

/// A question whose parts are not read yet.
#[derive(Deserialize)]
struct Unread<'a> {
    #[serde(borrow)]
    behalf: &'a RawValue,
    #[serde(borrow)]
    ask: &'a RawValue,
}

impl Question {
    /// Reads a question. What could grow when it is read, as trees of JSON do to many times their length, is short;
    /// notes alone are long, and stay as they are.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let unread: Unread<'_> = serde_json::from_slice(body).ok()?;
        let (behalf, ask) = (unread.behalf.get(), unread.ask.get());
        let is_short = ask.len() <= TREE_BYTES_MAX || ask.starts_with(SAVE);
        if !is_short || behalf.len() > BEHALF_BYTES_MAX {
            return None;
        }
        Some(Self {
            behalf: serde_json::from_str(behalf).ok()?,
            ask: serde_json::from_str(ask).ok()?,
        })
    }
}

/// What is asked of an owner. What only its own operator and its own threads need is not among it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    Add(NewTask),
    Get(Id),
    List(TaskQuery),
    Lease(LeaseAsk),
    Wait {
        service: ServiceKeyText,
        at_most: Duration,
    },
    Renew {
        lease: Lease,
        span: Duration,
        progress: Option<TaskProgress>,
    },
    Save {
        lease: Lease,
        notes: Vec<Note>,
    },
    Notes {
        id: Id,
        from: u64,
    },
    Finish {
        lease: Lease,
        end: End,
    },
    Cancel(Id),
    Requeue(Id),
    CompleteFile(FileRecord),
    File(Id),
    DeleteFile(Id),
}

impl Ask {
    /// The longest answer that is read, in bytes: one task, or as many as a message holds.
    pub(super) const fn answer_bytes_max(&self) -> usize {
        match self {
            Self::Lease(_) | Self::List(_) => MESSAGE_BYTES_MAX,
            Self::Notes { .. } => usize::MAX,
            _ => TREE_BYTES_MAX,
        }
    }
}

/// Some of the tasks that were asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TaskPage {
    pub(super) tasks: Vec<Task>,
    /// Whether there may be more, which did not fit.
    pub(super) more: bool,
}

/// How many of `items` go into one message; one at least, where there is one.
pub(super) fn fitting<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> usize {
    let mut left = MESSAGE_BYTES_MAX;
    let fitting = items.iter().enumerate().take_while(|(index, item)| {
        let bytes = bytes(item);
        let fits = *index == 0 || bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    });
    fitting.count()
}
