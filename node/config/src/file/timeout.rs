//! How long a call to an upstream may take, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationOrOffText, DurationText};

/// Timeouts of a call to an upstream.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutFile {
    /// Connecting, including TLS. Default: 2s.
    pub connect: Option<DurationText>,
    /// To the first byte of a stream. Default: 2m.
    pub first_byte: Option<DurationText>,
    /// To the first byte of an answer that is no stream, which is complete then. Default: 10m.
    pub answer: Option<DurationText>,
    /// Between two chunks of the response body. Default: 5m.
    pub idle: Option<DurationOrOffText>,
    /// The whole call. Default: 1h.
    pub total: Option<DurationOrOffText>,
}
