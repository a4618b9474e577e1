//! The PROXY protocol as written.

use schemars::JsonSchema;
use serde::Deserialize;

/// Whether connections to the public address start with a PROXY protocol header.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocolWord {
    /// Never.
    Off,
    /// Connections of trusted proxies may.
    Optional,
    /// Always: a connection without the header, or not from a trusted proxy, is closed.
    Required,
}
