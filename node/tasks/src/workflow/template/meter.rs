//! What one filling may take, counted before it is taken.
//!
//! Bytes are counted when a value is made and never given back: what a filling holds at any moment is no more
//! than all that it has ever made, and a loop that makes and drops values comes to its end too. A counter
//! that is lowered when values are dropped would allow more, and would have to be right about sharing.

use std::cell::Cell;

/// Steps of one filling: one for each node of the syntax that is evaluated, for each item that is visited and
/// for each [`BYTES_PER_STEP`] that are read or made. About 20 ms of one core.
pub const STEPS_MAX: usize = 250_000;

/// Bytes of the values that one filling may make, kept or not. A text that grows is held twice for a moment,
/// so that a filling takes up to double of this.
pub const MADE_BYTES_MAX: usize = 32 * 1_024 * 1_024;

/// Bytes that are read or made in one step.
const BYTES_PER_STEP: usize = 256;

/// Counts one filling.
#[derive(Debug, Default)]
pub(super) struct Meter {
    steps: Cell<usize>,
    bytes: Cell<usize>,
}

impl Meter {
    /// One step.
    ///
    /// # Errors
    /// When [`STEPS_MAX`] were done.
    pub(super) fn step(&self) -> Result<(), String> {
        self.steps(1)
    }

    /// Before `bytes` are read.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub(super) fn read(&self, bytes: usize) -> Result<(), String> {
        self.steps(bytes / BYTES_PER_STEP + 1)
    }

    /// Before a value of `bytes` is made.
    ///
    /// # Errors
    /// When it and all before it have more than [`MADE_BYTES_MAX`], or as [`Self::step`].
    pub(super) fn make(&self, bytes: usize) -> Result<(), String> {
        let made = self.bytes.get().saturating_add(bytes);
        if made > MADE_BYTES_MAX {
            return Err(format!(
                "makes more than the {MADE_BYTES_MAX} bytes of values that one filling may; \
                 repeat and copy less"
            ));
        }
        self.bytes.set(made);
        self.read(bytes)
    }

    fn steps(&self, count: usize) -> Result<(), String> {
        let done = self.steps.get().saturating_add(count);
        if done > STEPS_MAX {
            return Err(format!(
                "takes too long: more than {STEPS_MAX} steps; loop over less"
            ));
        }
        self.steps.set(done);
        Ok(())
    }
}
