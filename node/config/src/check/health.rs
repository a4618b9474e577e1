//! Checks of an upstream's timeouts and of its health checking.

use std::time::Duration;

use grapevine_core::engine::Probe;
use grapevine_core::health::HealthPolicy;

use super::super::checked::{ApiEndpoint, ProbeConfig, ProviderConfig, TimeoutConfig};
use super::super::file::{DurationOrOffText, DurationText, HealthFile, ProbeWord, TimeoutFile};
use super::super::text::{format_duration, parse_duration};
use super::Checker;

/// Thresholds above this are never reached.
const THRESHOLD_MAX: u32 = 1_000;

/// The shortest timeout that may be written.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// The longest timeout that may be written.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

impl Checker<'_> {
    pub(super) fn timeout(&mut self, key: &str, file: Option<&TimeoutFile>) -> TimeoutConfig {
        let default = TimeoutConfig::default();
        let Some(file) = file else { return default };
        let at = |name: &str| format!("{key}.{name}");
        let timeout = TimeoutConfig {
            connect: self.wait(&at("connect"), file.connect.as_ref(), default.connect),
            first_byte: self.wait(
                &at("first_byte"),
                file.first_byte.as_ref(),
                default.first_byte,
            ),
            answer: self.wait(&at("answer"), file.answer.as_ref(), default.answer),
            idle: self.wait_or_off(&at("idle"), file.idle.as_ref(), default.idle),
            total: self.wait_or_off(&at("total"), file.total.as_ref(), default.total),
        };
        let Some(total) = timeout.total else {
            return timeout;
        };
        let parts = [
            ("connect", Some(timeout.connect)),
            ("first_byte", Some(timeout.first_byte)),
            ("answer", Some(timeout.answer)),
            ("idle", timeout.idle),
        ];
        for (name, part) in parts {
            let is_written = self.source_map.has(&at(name));
            if let Some(part) = part.filter(|part| is_written && *part > total) {
                let problem = format!(
                    "{} must not be longer than the total ({})",
                    format_duration(part),
                    format_duration(total)
                );
                self.problem(&at(name), problem, format!("lower {name} or raise total"));
            }
        }
        timeout
    }

    fn wait(&mut self, key: &str, text: Option<&DurationText>, default: Duration) -> Duration {
        self.duration(key, text, default, WAIT_MIN..=WAIT_MAX)
    }

    /// A wait that may be without a limit.
    fn wait_or_off(
        &mut self,
        key: &str,
        text: Option<&DurationOrOffText>,
        default: Option<Duration>,
    ) -> Option<Duration> {
        let Some(DurationOrOffText(text)) = text else {
            return default;
        };
        match parse_duration(text) {
            _ if text == "off" => None,
            Ok(span) if (WAIT_MIN..=WAIT_MAX).contains(&span) => Some(span),
            parsed => {
                let problem = match parsed {
                    Ok(_) => format!(
                        "must be from {} to {}",
                        format_duration(WAIT_MIN),
                        format_duration(WAIT_MAX)
                    ),
                    Err(error) => error.to_string(),
                };
                let problem = format!("{} {problem}", self.shown(key));
                let remedy = "write a duration such as 5m, or off for no limit";
                self.problem(key, problem, remedy);
                default
            }
        }
    }

    pub(super) fn health(
        &mut self,
        key: &str,
        file: Option<&HealthFile>,
        provider: &ProviderConfig,
    ) -> (ProbeConfig, HealthPolicy) {
        let (mut probe, policy) = (ProbeConfig::default(), HealthPolicy::default());
        if provider.provider.reports_its_health() {
            probe.kind = Probe::Health;
        }
        if !provider.has(ApiEndpoint::Models) {
            // A completion is billed: nobody is sent one without asking for it.
            probe.kind = Probe::Off;
        }
        let Some(file) = file else {
            return (probe, policy);
        };
        self.probe_is_possible(&format!("{key}.probe"), file.probe, provider);
        let at = |name: &str| format!("{key}.{name}");
        let range = Duration::from_millis(10)..=WAIT_MAX;
        let thresholds = 1..=THRESHOLD_MAX;
        let probe = ProbeConfig {
            kind: match file.probe {
                Some(ProbeWord::Chat) => Probe::Chat,
                Some(ProbeWord::Off) => Probe::Off,
                Some(ProbeWord::Models) => Probe::Models,
                Some(ProbeWord::Health) => Probe::Health,
                None => probe.kind,
            },
            interval: self.duration(
                &at("interval"),
                file.interval.as_ref(),
                probe.interval,
                range.clone(),
            ),
            timeout: self.duration(
                &at("timeout"),
                file.timeout.as_ref(),
                probe.timeout,
                range.clone(),
            ),
        };
        let failures = (
            at("failure_threshold"),
            file.failure_threshold,
            policy.failure_threshold,
        );
        let successes = (
            at("recovery_threshold"),
            file.recovery_threshold,
            policy.recovery_threshold,
        );
        let max = file.cooldown_max.as_ref();
        let policy = HealthPolicy {
            failure_threshold: self.count(&failures.0, failures.1, failures.2, thresholds.clone()),
            recovery_threshold: self.count(&successes.0, successes.1, successes.2, thresholds),
            cooldown: self.duration(
                &at("cooldown"),
                file.cooldown.as_ref(),
                policy.cooldown,
                range.clone(),
            ),
            cooldown_max: self.duration(&at("cooldown_max"), max, policy.cooldown_max, range),
        };
        self.health_agrees(key, &probe, &policy);
        (probe, policy)
    }

    /// Reports a probe of an endpoint that the provider does not have.
    fn probe_is_possible(
        &mut self,
        key: &str,
        probe: Option<ProbeWord>,
        provider: &ProviderConfig,
    ) {
        let (endpoint, what) = match probe {
            Some(ProbeWord::Models) => (ApiEndpoint::Models, "list of models"),
            Some(ProbeWord::Chat) => (ApiEndpoint::Chat, "chat completions"),
            Some(ProbeWord::Health) if !provider.provider.may_be_an_engine() => {
                let problem = format!(
                    "needs a page that {} does not have",
                    provider.provider.as_str()
                );
                self.problem(key, problem, "use models, chat or off");
                return;
            }
            Some(ProbeWord::Off | ProbeWord::Health) | None => return,
        };
        if !provider.has(endpoint) {
            let problem = format!(
                "needs what {} does not have: {what}",
                provider.provider.as_str()
            );
            let remedy = format!(
                "use another probe or off, or set paths.{}",
                endpoint.as_str()
            );
            self.problem(key, problem, remedy);
        }
    }

    fn health_agrees(&mut self, key: &str, probe: &ProbeConfig, policy: &HealthPolicy) {
        if probe.kind != Probe::Off && probe.interval <= probe.timeout {
            let (interval, timeout) = (
                format_duration(probe.interval),
                format_duration(probe.timeout),
            );
            let problem = format!("{interval} must be longer than the timeout ({timeout})");
            self.problem(
                &format!("{key}.interval"),
                problem,
                "raise the interval or lower the timeout",
            );
        }
        if policy.cooldown > policy.cooldown_max {
            let (cooldown, max) = (
                format_duration(policy.cooldown),
                format_duration(policy.cooldown_max),
            );
            let problem = format!("{cooldown} must not be longer than cooldown_max ({max})");
            self.problem(
                &format!("{key}.cooldown"),
                problem,
                "lower cooldown or raise cooldown_max",
            );
        }
    }
}
