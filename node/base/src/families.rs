//! Where metrics are registered, and the text that shows them.
//!
//! Two forms of the text: OpenMetrics for scrapers that ask for it, else Prometheus's own, which tools such
//! as `promtool check metrics` read.

use prometheus_client::encoding::text;
use prometheus_client::registry::{Metric, Registry, Unit};

/// What the names of this program's own metrics begin with; OpenTelemetry's have no such prefix.
const OWN: &str = "grapevine_";

/// A form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Prometheus's own, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Form {
    /// The form for a scraper that accepts `accepted`, the value of its `Accept` header.
    pub fn for_scraper(accepted: Option<&str>) -> Self {
        match accepted {
            Some(text) if text.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// The answer's `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All metrics of the node, by name.
#[derive(Debug, Default)]
pub struct Families {
    registry: Registry,
    /// Of every metric, also of those that have no value yet; counters without their `_total`.
    names: Vec<String>,
}

impl Families {
    /// Registers one of this program's own.
    pub fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.add(format!("{OWN}{name}"), help, None, metric);
    }

    /// Registers one of this program's own, in seconds.
    pub fn register_seconds(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.add(format!("{OWN}{name}"), help, Some(Unit::Seconds), metric);
    }

    /// Registers one of OpenTelemetry's, by its whole name there with `_` for each dot.
    pub fn register_open_telemetry(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        metric: impl Metric,
    ) {
        self.add(name.to_owned(), help, unit, metric);
    }

    fn add(&mut self, name: String, help: &str, unit: Option<Unit>, metric: impl Metric) {
        let suffix = unit.as_ref().map(|unit| format!("_{}", unit.as_str()));
        self.names
            .push(format!("{name}{}", suffix.unwrap_or_default()));
        match unit {
            Some(unit) => self.registry.register_with_unit(name, help, unit, metric),
            None => self.registry.register(name, help, metric),
        }
    }

    /// The names of all, also of those that have no value yet; counters without their `_total`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// All that have a value.
    pub fn text(&self, form: Form) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        match form {
            Form::OpenMetrics => text,
            Form::Prometheus => plain(&text),
        }
    }
}

/// OpenMetrics in Prometheus's older form: counters are described by the name their values have, and units
/// and the mark of the end are left out.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) = type_line(line) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            let help = help.take().map_or("", |(_, help)| help);
            plain.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            plain.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

fn type_line(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;

    fn families() -> Families {
        let mut families = Families::default();
        families.register("requests", "Requests", Counter::<u64>::default());
        families.register_seconds("rtt", "Round trip", Gauge::<i64>::default());
        families
    }

    #[test]
    fn plain_form_describes_counters_as_their_values_are_called() {
        let expected = "# HELP grapevine_requests_total Requests.\n\
                        # TYPE grapevine_requests_total counter\n\
                        grapevine_requests_total 0\n\
                        # HELP grapevine_rtt_seconds Round trip.\n\
                        # TYPE grapevine_rtt_seconds gauge\n\
                        grapevine_rtt_seconds 0\n";
        assert_eq!(families().text(Form::Prometheus), expected);
    }

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        let asked = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        let form = Form::for_scraper(Some(asked));
        assert_eq!(form, Form::OpenMetrics);
        assert!(families().text(form).ends_with("# EOF\n"));
        for other in [None, Some("*/*"), Some("text/plain")] {
            assert_eq!(Form::for_scraper(other), Form::Prometheus);
        }
    }
}
