//! Checks of an upstream's timeouts and of its health checking.

use std::time::Duration;

use grapevine_core::engine::Probe;
use grapevine_core::health::HealthPolicy;

use super::super::checked::{ProbeConfig, TimeoutConfig};
use super::super::file::{HealthFile, ProbeWord, TimeoutFile};
use super::super::text::format_duration;
use super::Checker;

/// Thresholds above this are never reached.
const THRESHOLD_MAX: u32 = 1_000;

/// The longest timeout that may be written.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

impl Checker<'_> {
    pub(super) fn timeout(&mut self, key: &str, file: Option<&TimeoutFile>) -> TimeoutConfig {
        let default = TimeoutConfig::default();
        let Some(file) = file else { return default };
        let at = |name: &str| format!("{key}.{name}");
        let range = Duration::from_millis(1)..=WAIT_MAX;
        let timeout = TimeoutConfig {
            connect: self.duration(
                &at("connect"),
                file.connect.as_ref(),
                default.connect,
                range.clone(),
            ),
            first_byte: self.duration(
                &at("first_byte"),
                file.first_byte.as_ref(),
                default.first_byte,
                range.clone(),
            ),
            idle: self.duration(&at("idle"), file.idle.as_ref(), default.idle, range.clone()),
            total: self.duration(&at("total"), file.total.as_ref(), default.total, range),
        };
        let total = format_duration(timeout.total);
        let parts = [
            ("connect", timeout.connect),
            ("first_byte", timeout.first_byte),
            ("idle", timeout.idle),
        ];
        for (name, part) in parts {
            let is_written = self.source_map.has(&at(name));
            if is_written && part > timeout.total {
                let problem = format!(
                    "{} must not be longer than the total ({total})",
                    format_duration(part)
                );
                self.problem(&at(name), problem, format!("lower {name} or raise total"));
            }
        }
        timeout
    }

    pub(super) fn health(
        &mut self,
        key: &str,
        file: Option<&HealthFile>,
    ) -> (ProbeConfig, HealthPolicy) {
        let (probe, policy) = (ProbeConfig::default(), HealthPolicy::default());
        let Some(file) = file else {
            return (probe, policy);
        };
        let at = |name: &str| format!("{key}.{name}");
        let range = Duration::from_millis(10)..=WAIT_MAX;
        let thresholds = 1..=THRESHOLD_MAX;
        let probe = ProbeConfig {
            kind: match file.probe {
                Some(ProbeWord::Chat) => Probe::Chat,
                Some(ProbeWord::Off) => Probe::Off,
                Some(ProbeWord::Models) | None => probe.kind,
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
