//! Checks of what clients are told of a model.

use super::super::checked::ModelPrice;
use super::super::file::{PriceFile, RenamedModelFile};
use super::super::text::parse_count;
use super::Checker;

/// More tokens than any model reads.
const TOKENS_MAX: u64 = 1_000_000_000;

/// More than any model costs.
const PRICE_MAX: f64 = 1_000_000.0;

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

    /// What a model costs.
    pub(super) fn price(&mut self, key: &str, file: Option<&PriceFile>) -> Option<ModelPrice> {
        let file = file?;
        let written = [
            ("input", file.input),
            ("cached_input", file.cached_input),
            ("output", file.output),
        ];
        for (name, price) in written {
            if price.is_some_and(|price| !(0.0..=PRICE_MAX).contains(&price)) {
                let key = format!("{key}.{name}");
                let problem = format!("{} must be from 0 to {PRICE_MAX}", self.shown(&key));
                self.problem(&key, problem, "write the price of a million tokens");
            }
        }
        let input = file.input?;
        Some(ModelPrice {
            input,
            cached_input: file.cached_input.unwrap_or(input),
            output: file.output?,
        })
    }
}
