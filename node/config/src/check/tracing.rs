//! Checks of the node's log and traces.

use super::super::address::BaseUrl;
use super::super::checked::{LogConfig, OtlpConfig, TracingConfig};
use super::super::file::{ConfigFile, OtlpFile, TracingFile};
use super::Checker;

/// The remedy for the collector.
const ENDPOINT_FORM: &str =
    "write the base URL of its OTLP/HTTP receiver, such as http://127.0.0.1:4318";

/// What the exporter appends to the collector's URL.
const TRACES_PATH: &str = "/v1/traces";

impl Checker<'_> {
    /// The log and traces of the node.
    pub(super) fn observability(&mut self, file: &ConfigFile) -> (LogConfig, TracingConfig) {
        let log = self.log(file.log.as_ref());
        (log, self.tracing(file.tracing.as_ref()))
    }

    fn tracing(&mut self, file: Option<&TracingFile>) -> TracingConfig {
        let default = TracingConfig::default();
        let Some(file) = file else { return default };
        let sample = file.sample.unwrap_or(default.sample);
        if !(0.0..=1.0).contains(&sample) {
            let problem = format!("{} must be from 0 to 1", self.shown("tracing.sample"));
            let remedy = "write a share of all requests, such as 0.1";
            self.problem("tracing.sample", problem, remedy);
        }
        let otlp = file.otlp.as_ref().and_then(|otlp| self.otlp(otlp));
        if file.otlp.is_none() && file.sample.is_some() {
            let problem = "has no effect, since tracing.otlp.endpoint is missing";
            self.warning("tracing.sample", problem, ENDPOINT_FORM);
        }
        TracingConfig { otlp, sample }
    }

    fn otlp(&mut self, file: &OtlpFile) -> Option<OtlpConfig> {
        let headers = self.headers("tracing.otlp.headers", file.headers.as_ref());
        let key = "tracing.otlp.endpoint";
        let endpoint: BaseUrl = self.parse(key, file.endpoint.as_deref(), ENDPOINT_FORM)?;
        if endpoint.path().ends_with(TRACES_PATH) {
            let problem = format!(
                "{} ends in {TRACES_PATH}, which is appended to it",
                self.shown(key)
            );
            self.warning(key, problem, ENDPOINT_FORM);
        }
        Some(OtlpConfig { endpoint, headers })
    }
}
