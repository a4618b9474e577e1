//! Models that stand in for others, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Item;

/// The models that stand in for one, optionally with the causes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FallbackFile {
    /// The models, in the order to ask them, for every cause.
    Models(Vec<Item<String>>),
    /// The models with their causes.
    Limited(LimitedFallbackFile),
}

/// The models that stand in for one, and when.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["models"]))]
pub struct LimitedFallbackFile {
    /// The models, in the order to ask them, at most 8.
    pub models: Option<Vec<Item<String>>>,
    /// The causes. Default: all of them.
    pub on: Option<Vec<Item<FallbackWord>>>,
}

/// Why another model is asked.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FallbackWord {
    /// The upstream answers that the request is longer than the model can read.
    ContextTooLong,
    /// The upstream answers that its policy forbids the request's content.
    ContentPolicy,
    /// No upstream serves the model at the moment, or none of them answered.
    Unavailable,
}
