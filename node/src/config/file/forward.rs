//! Paths to forward beside those of the list, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Item;

/// A path to forward: with every method, or with the methods given.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ForwardFile {
    /// A path below /v1/, or everything below one with a final /*; every method.
    Path(String),
    /// A path with its methods.
    Limited(LimitedForwardFile),
}

/// A path with its methods.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path"]))]
pub struct LimitedForwardFile {
    /// A path below /v1/, or everything below one with a final /*.
    pub path: Option<String>,
    /// GET (and with it HEAD), POST, PUT, PATCH, DELETE. Default: all of them.
    pub methods: Option<Vec<Item<String>>>,
}
