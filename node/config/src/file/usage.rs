//! How tokens are counted, as written.

use schemars::JsonSchema;
use serde::Deserialize;

/// Token usage.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UsageFile {
    /// Whether OpenAI's streams are asked for their token counts where the client did not ask
    /// (stream_options.include_usage), and the event with them is kept from that client. An upstream
    /// that refuses stream_options is asked without it. Default: on.
    pub ask: Option<AskUsageWord>,
}

/// Whether streams are asked for their token counts.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AskUsageWord {
    /// Where the client did not ask itself.
    On,
    /// Never: requests stay as they are.
    Off,
}
