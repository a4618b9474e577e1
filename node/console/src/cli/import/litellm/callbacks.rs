//! Callbacks of LiteLLM: what a node does by itself, and what it does not.

use grapevine_base::table::printable;

use super::super::finding::Kind;
use super::super::section::{At, Section};
use super::reading::Reading;

/// The keys of `litellm_settings` that list callbacks.
const KEYS: [&str; 5] = [
    "callbacks",
    "success_callback",
    "failure_callback",
    "service_callback",
    "audit_log_callbacks",
];

impl Reading {
    /// Reports each callback of `litellm_settings`.
    pub(super) fn callbacks(&mut self, section: &mut Section<'_>) {
        for key in KEYS {
            for item in section.take(key).iter().flat_map(At::items) {
                self.callback(&item, item.text());
            }
        }
    }

    /// Reports the settings of each callback, below `callback_settings`.
    pub(super) fn callback_settings(&mut self, file: &mut Section<'_>) {
        let Some(at) = file.take("callback_settings") else {
            return;
        };
        match at.section() {
            Some(mut section) => {
                for (name, at) in section.rest() {
                    self.callback(&at, Some(name));
                }
            }
            None => self.callback(&at, None),
        }
    }

    fn callback(&mut self, at: &At<'_>, name: Option<&str>) {
        let (kind, problem, remedy) = match name {
            Some(name @ ("prometheus" | "prometheus_system")) => (
                Kind::Note,
                format!("{name} is built in: the admin port's /metrics, under other names"),
                "see Metrics in deploy/guide/src/operating.md, and deploy/prometheus/METRICS.md",
            ),
            Some(name @ ("otel" | "opentelemetry")) => (
                Kind::Note,
                format!(
                    "{name} is built in: tracing.otlp.endpoint or OTEL_EXPORTER_OTLP_ENDPOINT names the collector"
                ),
                "see Traces in deploy/guide/src/operating.md",
            ),
            other => (
                Kind::Lost,
                format!(
                    "{}: no code of others runs inside a node",
                    printable(other.unwrap_or("it"))
                ),
                "see the admin port's /metrics and /requests; what takes OTLP can be tracing.otlp.endpoint",
            ),
        };
        self.findings.add(kind, at, problem, remedy);
    }
}
