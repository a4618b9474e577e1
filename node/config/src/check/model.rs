//! Checks of what clients are told of a model.

use super::super::file::RenamedModelFile;
use super::super::text::parse_count;
use super::Checker;

/// More tokens than any model reads.
const TOKENS_MAX: u64 = 1_000_000_000;

impl Checker<'_> {
    /// The length of a model's context, in tokens.
    pub(super) fn tokens(&mut self, key: &str, file: &RenamedModelFile) -> Option<u64> {
        let text = file.context_length.as_ref()?;
        match parse_count(&text.0) {
            Ok(tokens) if (1..=TOKENS_MAX).contains(&tokens) => return Some(tokens),
            Ok(_) => {
                let problem = format!("{} must be from 1 to {TOKENS_MAX}", self.shown(key));
                self.problem(
                    key,
                    problem,
                    "write the model's context in tokens, such as 128k",
                );
            }
            Err(error) => {
                let problem = format!("{} {error}", self.shown(key));
                self.problem(
                    key,
                    problem,
                    "write the model's context in tokens, such as 128k",
                );
            }
        }
        None
    }
}
