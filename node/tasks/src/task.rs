//! A task: one piece of background work, and its whole record.

use std::sync::Arc;
use std::time::Duration;

use grapevine_base::clock;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::carried::CarriedLimits;
use super::id::Id;

pub use super::checked_text::{CheckedText, ModelText, RegionText, ServiceKeyText};

/// The longest payload of a task in bytes of JSON. What is longer goes into a file.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1_024;

/// The longest output of a task in bytes of JSON. What is longer goes into a file.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1_024;

/// The longest idempotency key in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// Ended attempts that a task remembers: the latest.
pub const HISTORY_MAX: usize = 16;

/// How an attempt ended whose end nobody reported: its worker died, or was silent for as long as its lease.
pub const LOST: &str = "lost";

/// A task is suspect of ending its workers once so many attempts in a row were lost with them. One loss is not
/// enough: a node that dies loses all that it runs, a thousand tasks perhaps, and at most one of them is the
/// cause. A task is rarely lost twice in a row, unless it is the cause or ran beside it both times.
pub const SUSPECT_LOSSES: u32 = 2;

/// A task is a dead letter once so many attempts in a row were lost, whatever attempts it has left. The last
/// of them ran while no other suspect did at its node, so they are its own doing, or that of bad luck four
/// times over; an operator may requeue it.
pub const LOSSES_MAX: u32 = 4;

/// The longest message of a fault in bytes; longer ones are cut.
pub const MESSAGE_BYTES_MAX: usize = 1_024;

/// Milliseconds since the Unix epoch, for records and people. Nothing is timed by it but what must
/// outlive a process: delays, leases and retention, by the clock of the store.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The wall clock now.
    pub fn now() -> Self {
        Self(u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX))
    }

    /// This much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(span))
    }

    /// Whole seconds, as OpenAI's API writes times.
    pub fn seconds(self) -> u64 {
        self.0 / 1_000
    }
}

/// Which of two waiting tasks goes first: the higher. Zero is the usual one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TaskPriority(pub i8);

/// Who asked for a task, for the rules that hold for its requests too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitter {
    /// The name of its key, where it has one.
    pub key: Option<Arc<str>>,
    /// The network that it came from, where it has no key; `None` when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Arc<str>>,
    /// Its country, or its continent where no more is known, as core writes them; `None` when it could
    /// not be placed.
    pub origin: Option<String>,
    /// The models that its key may use; `None` is every model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelText>>,
    /// The limits of its issued key; `None` where it has none, and of a static key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<CarriedLimits>,
}

/// A task to be accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    /// Its name.
    pub id: Id,
    /// What runs it.
    pub service: ServiceKeyText,
    /// The input of the service. At most [`PAYLOAD_BYTES_MAX`].
    pub payload: Value,
    /// Its priority among the waiting tasks.
    pub priority: TaskPriority,
    /// Attempts in all; at least 1.
    pub attempts_max: u32,
    /// How long it waits before its first attempt.
    pub delay: Duration,
    /// How long after its acceptance it is given up; `None` is never.
    pub expires_after: Option<Duration>,
    /// A second task of the same service with this key is the first one.
    pub idempotency_key: Option<String>,
    /// Who asked for it.
    pub submitter: Submitter,
    /// The regions that may see it; empty when all may.
    pub regions: Vec<RegionText>,
}

/// A task as its store holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// As it was accepted.
    #[serde(flatten)]
    pub new: NewTask,
    /// Where it stands.
    pub state: TaskState,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The earliest time of its next attempt, while it waits.
    pub not_before: Timestamp,
    /// Attempts begun, since it was accepted, requeued, or lost in an attempt that had got it further.
    pub attempts: u32,
    /// Who runs it, while it runs.
    pub worker: Option<String>,
    /// Until when, unless renewed.
    pub lease_until: Option<Timestamp>,
    /// Somebody wants it cancelled, and its worker has not ended it yet.
    pub cancel_requested: bool,
    /// How far it is.
    pub progress: Option<TaskProgress>,
    /// What it gave, once completed.
    pub output: Option<Value>,
    /// The last thing that went wrong.
    pub fault: Option<TaskFault>,
    /// How its attempts ended, the latest [`HISTORY_MAX`].
    pub history: Vec<FinishedAttempt>,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// For its time, or for a worker.
    Waiting,
    /// A worker holds a lease on it.
    Running,
    /// Done.
    Completed,
    /// Given up after its last attempt, or at once: a dead letter, which may be requeued.
    Dead,
    /// Ended by request.
    Cancelled,
    /// Its time was over before it was done.
    Expired,
}

/// How far a task is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskProgress {
    /// Parts that succeeded.
    pub completed: u64,
    /// Parts that failed.
    pub failed: u64,
    /// Parts in all; zero while not known.
    pub total: u64,
}

/// What went wrong. Never holds a secret, a prompt or a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFault {
    /// One word for programs.
    pub code: String,
    /// The same for people. At most [`MESSAGE_BYTES_MAX`].
    pub message: String,
}

/// An attempt that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedAttempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// Who ran it.
    pub worker: String,
    /// When it ended, as far as the store knows.
    pub at: Timestamp,
    /// `completed`, `failed`, `cancelled`, `expired`, or [`LOST`] when its lease ran out.
    pub how: String,
    /// Parts of the task that were done by then, successful or not, as far as the store knows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub done: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl TaskState {
    /// One word for the API and the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether nothing more happens to it by itself.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

impl TaskProgress {
    /// Parts done, successful or not.
    pub const fn done(&self) -> u64 {
        self.completed.saturating_add(self.failed)
    }

    /// So many parts succeeded, none failed.
    pub fn new(completed: usize, total: usize) -> Self {
        Self {
            completed: completed as u64,
            failed: 0,
            total: total as u64,
        }
    }
}

impl TaskFault {
    /// A fault, its message cut to its limit.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        let mut end = message.len().min(MESSAGE_BYTES_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        Self {
            code: code.to_owned(),
            message,
        }
    }
}

impl Submitter {
    /// The account that its tasks and files count to, for turns and quotas: its key, else its network.
    pub fn account(&self) -> String {
        match (&self.key, &self.network) {
            (Some(key), _) => format!("key {key}"),
            (None, Some(network)) => format!("net {network}"),
            (None, None) => String::new(),
        }
    }
}

impl Task {
    /// Parts done, as far as the store knows.
    pub fn done(&self) -> u64 {
        self.progress.map_or(0, |progress| progress.done())
    }

    /// Whether it has got further since its last attempt ended.
    pub fn got_further(&self) -> bool {
        self.done() > self.history.last().map_or(0, |ended| ended.done)
    }

    /// Attempts in a row, up to the last that ended, that were [`LOST`] since it was accepted, requeued, or
    /// got further.
    pub fn losses(&self) -> u32 {
        let ended = self.history.iter().rev();
        let lost = ended.take_while(|ended| ended.how == LOST).count();
        let begun = match self.state {
            TaskState::Running => self.attempts.saturating_sub(1),
            _ => self.attempts,
        };
        u32::try_from(lost).unwrap_or(u32::MAX).min(begun)
    }

    /// Whether it may be the cause of its workers' deaths: at one node no two of these run at once.
    pub fn is_suspect(&self) -> bool {
        self.losses() >= SUSPECT_LOSSES
    }

    /// Remembers how an attempt ended, and forgets the oldest beyond [`HISTORY_MAX`].
    pub fn remember(&mut self, ended: FinishedAttempt) {
        self.history.push(ended);
        let extra = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..extra);
    }
}
