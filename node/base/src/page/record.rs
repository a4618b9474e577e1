//! What a node alone knows of its own upstreams.

use serde::Deserialize;

/// An attempt or a probe that showed an upstream's state.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CheckEntry {
    /// How long ago it was in ms.
    pub ms_ago: f64,
    /// `probe` or `traffic`.
    pub by: String,
    /// Whether it counts as a success.
    pub good: bool,
    /// How it ended, in one word.
    pub outcome: String,
}

/// How an upstream is configured, without anything secret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConfiguredEntry {
    /// Whose API it has.
    pub provider: String,
    /// Where it is.
    pub base_url: String,
    /// Attempts at it within one request.
    pub max_retries: u64,
    /// How long a call may take.
    pub timeout: TimeoutEntry,
}

/// How long a call may take, each as in the configuration, such as `2s` or `off`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TimeoutEntry {
    /// To open the connection.
    pub connect: String,
    /// To the first byte of a stream.
    pub first_byte: String,
    /// To the first byte of an answer that is no stream.
    pub answer: String,
    /// Between two pieces of an answer.
    pub idle: String,
    /// All of it.
    pub total: String,
}
