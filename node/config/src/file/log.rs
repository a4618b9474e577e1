//! Logging as written.

use schemars::JsonSchema;
use serde::Deserialize;

/// Logging.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogFile {
    /// error, warn, info, debug, trace, or a filter such as info,grapevine_mesh=debug. Default: info.
    pub level: Option<String>,
    /// The format of a line. Default: text.
    pub format: Option<LogFormatWord>,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormatWord {
    /// Human-readable text.
    Text,
    /// One JSON object per line.
    Json,
}
