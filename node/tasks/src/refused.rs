//! Why a task is not taken.

use super::store::StoreError;
use super::task::TaskFault;

/// Why a task may not be accepted, or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskRefused {
    /// It asks for what it may not have. Another attempt ends the same way.
    #[error("{}", .0.message)]
    Task(TaskFault),
    /// The store that keeps what it names could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TaskRefused {
    /// A refusal that trying again does not mend.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self::Task(TaskFault::new(code, message))
    }
}
