//! How a step ended, as it is remembered in the notes of its run.
//!
//! Notes are numbered by step and item: `step << 32 | item + 1`, and `step << 32` for the step as a whole. A
//! failure that ends the run has a number of its own for each lease, beyond all of these: a requeued run
//! tries the step again.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::store::{NOTE_BYTES_MAX, Note};
use super::super::task::Timestamp;
use super::called::{Called, StepFault};

/// The longest answer of a call that is kept, in bytes: a note holds it with its metadata.
pub(super) const ANSWER_BYTES_MAX: usize = NOTE_BYTES_MAX - 64 * 1_024;

/// How a step, or one of its items, ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StepResult {
    /// In which state.
    pub(super) state: StepState,
    /// The answer's body: JSON, or text where it was none. Null when skipped or failed.
    #[serde(default)]
    pub(super) output: Value,
    /// The last answer's status; `None` without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<StepFault>,
    /// Calls made, over all items.
    #[serde(default)]
    pub(super) attempts: u32,
    /// When it began.
    pub(super) started_at: Timestamp,
    /// When it ended.
    pub(super) ended_at: Timestamp,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StepState {
    /// For steps before it, or for a worker.
    Waiting,
    /// Being called.
    Running,
    /// Done.
    Completed,
    /// Its condition did not hold.
    Skipped,
    /// Given up.
    Failed,
}

/// The bit that marks the failure that ended an attempt. Engines keep numbers up to `i64::MAX` apart.
const FAILURE: u64 = 1 << 62;

/// What a note of a run is about, unless it is a failure that ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NoteKey {
    pub(super) step: usize,
    /// `None` is the step as a whole.
    pub(super) item: Option<usize>,
}

impl NoteKey {
    pub(super) fn number(self) -> u64 {
        let item = self.item.map_or(0, |item| item as u64 + 1);
        (self.step as u64) << 32 | item
    }

    /// What the note of this number is about; `None` when it is a failure.
    pub(super) fn of(number: u64) -> Option<Self> {
        if number & FAILURE != 0 {
            return None;
        }
        let item = (number & u64::from(u32::MAX)).checked_sub(1);
        Some(Self {
            step: usize::try_from(number >> 32).ok()?,
            item: item.and_then(|item| usize::try_from(item).ok()),
        })
    }

    /// The number of the note of a failure of `step` that ended the attempt with the lease of this number.
    pub(super) fn failure(step: usize, attempt: u32) -> u64 {
        FAILURE | u64::from(attempt) << 16 | step as u64 & 0xFFFF
    }

    /// The step that failed in `attempt`, the number of a lease, where `number` is that of such a failure's note.
    pub(super) fn failed_step(number: u64, attempt: u32) -> Option<usize> {
        let is_failure = number & !0xFFFF == FAILURE | u64::from(attempt) << 16;
        is_failure.then_some((number & 0xFFFF) as usize)
    }
}

impl StepResult {
    /// The note that remembers it.
    pub(super) fn note(&self, number: u64) -> Note {
        let content =
            serde_json::to_vec(self).expect("text keys and finite numbers always are JSON");
        Note {
            number,
            content: content.into(),
        }
    }

    /// The result that a note holds; `None` when it holds none.
    pub(super) fn read(content: &Bytes) -> Option<Self> {
        serde_json::from_slice(content).ok()
    }

    /// What templates see of it.
    pub(super) fn scope(&self) -> Value {
        serde_json::json!({
            "state": self.state,
            "output": self.output,
            "status": self.status,
            "error": self.error,
        })
    }
}

impl StepResult {
    pub(super) fn of(began: Timestamp, called: Called) -> Self {
        let state = match called.output {
            Ok(_) => StepState::Completed,
            Err(_) => StepState::Failed,
        };
        let (output, error) = match called.output {
            Ok(output) => (output, None),
            Err(error) => (Value::Null, Some(error)),
        };
        Self {
            state,
            output,
            status: called.status,
            error,
            attempts: called.attempts,
            started_at: began,
            ended_at: Timestamp::now(),
        }
    }

    pub(super) fn skipped(at: Timestamp) -> Self {
        Self {
            state: StepState::Skipped,
            output: Value::Null,
            status: None,
            error: None,
            attempts: 0,
            started_at: at,
            ended_at: at,
        }
    }

    /// A step that fanned out: completed with the outputs in order. One item that failed and may makes a null
    /// among them, and is counted in the error.
    pub(super) fn of_items(began: Timestamp, items: impl Iterator<Item = Self>) -> Self {
        let items: Vec<Self> = items.collect();
        let failed = items
            .iter()
            .filter(|it| it.state == StepState::Failed)
            .count();
        let error = (failed > 0).then(|| StepFault {
            code: "items_failed".to_owned(),
            message: format!("{failed} of {} items failed", items.len()),
        });
        Self {
            state: StepState::Completed,
            attempts: items.iter().map(|it| it.attempts).sum(),
            output: items.into_iter().map(|it| it.output).collect(),
            status: None,
            error,
            started_at: began,
            ended_at: Timestamp::now(),
        }
    }

    pub(super) fn at_item(mut self, item: usize) -> Self {
        if let Some(error) = &mut self.error {
            error.message = format!("item {item}: {}", error.message);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_numbered_by_step_and_item() {
        for (step, item) in [(0, None), (0, Some(0)), (63, Some(999)), (63, None)] {
            let key = NoteKey { step, item };
            assert_eq!(NoteKey::of(key.number()), Some(key));
        }
        let whole = NoteKey {
            step: 1,
            item: None,
        };
        let last_item = NoteKey {
            step: 0,
            item: Some(999),
        };
        assert!(last_item.number() < whole.number());
        let failure = NoteKey::failure(63, 7);
        let last = NoteKey::failure(usize::MAX, u32::MAX);
        assert!(i64::try_from(last).is_ok(), "{last}");
        assert_eq!(NoteKey::of(failure), None);
        assert_eq!(NoteKey::failed_step(failure, 7), Some(63));
        assert_eq!(NoteKey::failed_step(failure, 6), None);
        assert_eq!(NoteKey::failed_step(whole.number(), 0), None);
    }
}
