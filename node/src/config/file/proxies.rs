//! What is said of proxies before the node, as written.

use schemars::JsonSchema;
use serde::Deserialize;

/// Whether connections to the public address begin with a PROXY header.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocolWord {
    /// None does.
    Off,
    /// Those of trusted proxies may.
    Optional,
    /// All must: one without, or of somebody else than a trusted proxy, is closed.
    Required,
}
