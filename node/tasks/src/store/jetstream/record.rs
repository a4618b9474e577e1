//! The content of messages of tasks and files.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::StoreError;
use crate::id::Id;
use crate::task::{NewTask, Task, TaskState, Timestamp};

/// The longest payload or output that a record itself holds, in bytes of JSON: every node follows every
/// record, so long ones lie apart.
pub(super) const INLINE_BYTES_MAX: usize = 1_024;

/// What every removed record begins with.
const REMOVED: &[u8] = b"{\"removed\":";

/// A task with what only its store knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TaskRecord {
    /// The task; its payload and output are null where they lie apart.
    pub(super) task: Task,
    /// The number of its latest lease.
    pub(super) attempt: u32,
    /// When its time is over; `None` is never.
    pub(super) expires_at: Option<Timestamp>,
    /// Whether the payload lies apart.
    pub(super) is_payload_apart: bool,
    /// The attempt whose output lies apart; `None` when it is here, or there is none.
    pub(super) output_apart: Option<u32>,
}

/// A task or a file that is gone; this record stays for a while, so that all who follow receive it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Removed {
    /// Which.
    pub(super) removed: Id,
}

impl TaskRecord {
    /// A task that was just accepted.
    pub(super) fn new(new: &NewTask, payload_bytes: usize, now: Timestamp) -> Self {
        let is_payload_apart = payload_bytes > INLINE_BYTES_MAX;
        let mut new = new.clone();
        if is_payload_apart {
            new.payload = Value::Null;
        }
        Self {
            attempt: 0,
            expires_at: new.expires_after.map(|span| now.after(span)),
            is_payload_apart,
            output_apart: None,
            task: Task {
                state: TaskState::Waiting,
                created_at: now,
                started_at: None,
                ended_at: None,
                not_before: now.after(new.delay),
                attempts: 0,
                worker: None,
                lease_until: None,
                cancel_requested: false,
                progress: None,
                output: None,
                fault: None,
                history: Vec::new(),
                new,
            },
        }
    }

    pub(super) fn id(&self) -> &Id {
        &self.task.new.id
    }
}

/// Whether a message is a [`Removed`].
pub(super) fn is_removed(payload: &[u8]) -> bool {
    payload.starts_with(REMOVED)
}

/// A message as it is sent.
pub(super) fn write(value: &impl Serialize) -> Result<Bytes, StoreError> {
    let text = serde_json::to_vec(value);
    text.map(Bytes::from)
        .map_err(|error| damaged("a record", &error))
}

/// Reads a message that this store sent.
pub(super) fn read<'de, T: Deserialize<'de>>(what: &str, text: &'de [u8]) -> Result<T, StoreError> {
    serde_json::from_slice(text).map_err(|error| damaged(what, &error))
}

fn damaged(what: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Damaged {
        detail: format!("{what} cannot be read: {error}"),
    }
}

/// The part of an id that sorts by time, and what makes it whole: ids of all kinds in one order.
pub(super) fn position(id: &Id) -> RecordPosition {
    id.as_str()[id.kind().prefix().len()..].into()
}

/// A position in the order of ids.
pub(super) type RecordPosition = std::sync::Arc<str>;

/// A record and its sequence in the stream.
pub(super) struct RecordEntry {
    pub(super) sequence: u64,
    pub(super) record: TaskRecord,
}
