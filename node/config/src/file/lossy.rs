//! What translations may lose, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Item;

/// What a translation may lose.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LossyFile {
    /// Everything or nothing.
    Word(LossyWord),
    /// What stands at these paths.
    Paths(Vec<Item<String>>),
}

/// Whether a translation may lose something.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LossyWord {
    /// The request is sent without what cannot be said.
    Allow,
    /// The request is refused.
    Refuse,
}
