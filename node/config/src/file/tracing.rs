//! Traces as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::SecretText;

/// Distributed tracing with OpenTelemetry.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TracingFile {
    /// The collector that spans are exported to. Default: none; nothing is traced, and clients' trace context is
    /// passed through.
    pub otlp: Option<OtlpFile>,
    /// The share of requests without a traceparent header that are sampled, 0 to 1. Default: 1.
    pub sample: Option<f64>,
}

/// A collector that accepts OTLP over HTTP, as protobuf.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["endpoint"]))]
pub struct OtlpFile {
    /// The collector's base URL, such as http://127.0.0.1:4318; /v1/traces is appended.
    pub endpoint: Option<String>,
    /// Headers sent with every batch, such as a token. Default: none.
    pub headers: Option<BTreeMap<String, SecretText>>,
}
