//! The service `async-task:process`: batches of OpenAI's Batches API, and responses made in the background.
//!
//! Reading order: `check` (what may be asked for), `input` (the lines of a file), `line` (one request of a batch,
//! and its line of output), `marks` (lines that may be why a worker died), `run` (a batch from its first line to
//! its files), `output` (the files), `view` (a batch as clients see
//! it), `response` (one response made later), `service`.
//!
//! Invariants: a line's end is noted, once, by its number; a batch that was broken off goes on with the lines
//! that have no note. The files of a batch are made of its notes alone and have names that follow from the
//! batch's own, so that making them twice gives the same files.

pub(crate) mod check;
mod input;
mod line;
mod marks;
mod output;
mod response;
mod run;
mod service;
pub(crate) mod view;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id::Id;

pub(crate) use output::is_output;
pub(crate) use response::{
    Body as ResponseBody, PURPOSE as RESPONSE_PURPOSE, ResponseJob, input_id,
};
pub use service::{AsyncTasks, SERVICE, service_key};

/// Lines of a batch at most (OpenAI's limit).
pub const LINES_MAX: u64 = 50_000;

/// The longest line in bytes. Requests with images are long.
pub const LINE_BYTES_MAX: usize = 8 * 1_024 * 1_024;

/// Lines that one node calls at once over all of its batches, unless configured.
pub const LINES_AT_ONCE: usize = 16;

/// The shortest and longest time that a batch may be given.
pub const WINDOW_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// How much longer than its window a batch is kept running: its worker writes the files within that. The store
/// ends one that nobody runs, or that takes longer, and its keeper writes the files.
pub const WINDOW_GRACE: Duration = Duration::from_secs(15);

/// Paths that lines of a batch may call.
pub const ENDPOINTS: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/moderations",
    "/v1/responses",
];

/// What a task of this service is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub(crate) enum BatchPayload {
    /// A batch.
    Batch(BatchJob),
    /// A response.
    Response(ResponseJob),
}

/// A batch as it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BatchJob {
    /// Its lines. In the same store as the batch.
    pub(crate) input_file_id: Id,
    /// What they call.
    pub(crate) endpoint: String,
    /// How long it may take, as it was written.
    pub(crate) completion_window: String,
    /// The same, in seconds.
    pub(crate) window_seconds: u64,
    /// The client's own metadata.
    pub(crate) metadata: Value,
}

/// What a batch that was run to its end gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BatchOutput {
    /// How it ended.
    pub(crate) status: BatchEnd,
    /// What was wrong with the input as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<BatchFault>,
    /// Lines in all, succeeded, and failed.
    pub(crate) counts: BatchCounts,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BatchEnd {
    /// Every line was called, with success or without.
    Completed,
    /// The input cannot be used.
    Failed,
    /// Its time was over before its last line.
    Expired,
}

/// What is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchFault {
    /// One word for programs.
    pub(crate) code: String,
    /// For people.
    pub(crate) message: String,
    /// The line, from 1.
    pub(crate) line: Option<u64>,
}

/// Lines of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchCounts {
    /// In all.
    pub(crate) total: u64,
    /// Succeeded.
    pub(crate) completed: u64,
    /// Failed.
    pub(crate) failed: u64,
}
