//! What the mock bills.

use std::ops::AddAssign;

use serde::Serialize;

/// What a generated answer is billed for, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MockUsage {
    /// Of the whole prompt, whatever of it was cached.
    pub input: u64,
    /// Of the prompt, what was read from the cache.
    pub cached: u64,
    /// Of the answer.
    pub output: u64,
}

impl AddAssign for MockUsage {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.cached += other.cached;
        self.output += other.output;
    }
}
