//! Paths to forward in addition to the built-in list, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Item;

/// A forwarded path, optionally with a list of methods.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ForwardFile {
    /// A path below /v1/, with every method; a trailing /* includes everything below it.
    Path(String),
    /// A path with its methods.
    Limited(LimitedForwardFile),
}

/// A path with its methods.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path"]))]
pub struct LimitedForwardFile {
    /// A path below /v1/; a trailing /* includes everything below it.
    pub path: Option<String>,
    /// GET (and with it HEAD), POST, PUT, PATCH, DELETE. Default: all of them.
    pub methods: Option<Vec<Item<String>>>,
}
