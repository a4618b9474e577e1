//! How hard a model thinks: words on one side, tokens on the other.
//!
//! | effort | tokens it becomes | tokens that become it |
//! | --- | --- | --- |
//! | `none` | thinking is disabled | |
//! | `minimal` | 1,024 | |
//! | `low` | 4,096 | fewer than 8,192 |
//! | `medium` | 8,192 | fewer than 16,384 |
//! | `high` | 16,384 | all others |
//! | `xhigh` | 32,768 | |
//! | `max` | 63,999 | |
//!
//! 1,024 is the least budget that Anthropic takes, and 63,999 leaves one token of the 64,000 that the answers of its
//! models with budgets may have. A budget becomes one of the three words that every reasoning model takes. Neither is
//! named as a loss: both sides say "how hard", and a provider's own meaning of a word changes from model to model.

/// The least number of tokens that Anthropic lets a model think.
pub const BUDGET_MIN: u64 = 1_024;

/// The effort at which a model does not think.
pub const NO_EFFORT: &str = "none";

const BUDGETS: [(&str, u64); 6] = [
    ("minimal", BUDGET_MIN),
    ("low", 4_096),
    ("medium", 8_192),
    ("high", 16_384),
    ("xhigh", 32_768),
    ("max", 63_999),
];

/// The tokens that stand for an effort; nothing for a word that is not in the table.
pub fn budget_of(effort: &str) -> Option<u64> {
    BUDGETS
        .iter()
        .find(|(word, _)| *word == effort)
        .map(|(_, tokens)| *tokens)
}

/// The effort that stands for so many tokens.
pub const fn effort_of(budget: u64) -> &'static str {
    match budget {
        ..8_192 => "low",
        8_192..16_384 => "medium",
        _ => "high",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_every_model_takes_survive_the_way_through_tokens() {
        for word in ["low", "medium", "high"] {
            assert_eq!(budget_of(word).map(effort_of), Some(word));
        }
    }

    #[test]
    fn unknown_word_has_no_budget() {
        assert_eq!(budget_of("none"), None);
        assert_eq!(budget_of("heroic"), None);
    }
}
