//! Traces as checked.

use http::{HeaderName, HeaderValue};

use super::super::address::BaseUrl;

/// Traces of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingConfig {
    /// The collector; `None` traces nothing.
    pub otlp: Option<OtlpConfig>,
    /// The share of requests without a client's trace context that are sampled: 0 to 1.
    pub sample: f64,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self {
            otlp: None,
            sample: 1.0,
        }
    }
}

/// A collector of spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The URL that `/v1/traces` is appended to.
    pub endpoint: BaseUrl,
    /// Sent with every batch; the values are marked sensitive, so that `Debug` hides them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}
