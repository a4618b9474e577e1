//! Traces as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::SecretText;

/// Traces of requests, in OpenTelemetry's form.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TracingFile {
    /// The collector that spans are sent to. Default: none; nothing is traced, and what clients tell of
    /// their own traces is passed on.
    pub otlp: Option<OtlpFile>,
    /// The share of requests that are traced, 0 to 1, of those whose client does not tell by a traceparent
    /// header. Default: 1.
    pub sample: Option<f64>,
}

/// A collector that takes OTLP over HTTP, as protobuf.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["endpoint"]))]
pub struct OtlpFile {
    /// Its base URL, such as http://127.0.0.1:4318; /v1/traces is appended. Also the variable
    /// OTEL_EXPORTER_OTLP_ENDPOINT.
    pub endpoint: Option<String>,
    /// Headers sent with every batch, such as a token. Default: none.
    pub headers: Option<BTreeMap<String, SecretText>>,
}
