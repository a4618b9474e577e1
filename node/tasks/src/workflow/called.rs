//! How the call of a step ended.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StepFault {
    /// One word for programs.
    pub(super) code: String,
    /// The same for people.
    pub(super) message: String,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Called {
    /// The answer's body, or why there is no usable one.
    pub(super) output: Result<Value, StepFault>,
    /// The last answer's status; `None` without an answer.
    pub(super) status: Option<u16>,
    /// Attempts made.
    pub(super) attempts: u32,
}

impl Called {
    /// Nothing was called.
    pub(super) fn not_made(fault: StepFault) -> Self {
        Self {
            output: Err(fault),
            status: None,
            attempts: 0,
        }
    }
}
