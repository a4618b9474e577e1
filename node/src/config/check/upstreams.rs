//! Checks of the upstreams.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_core::engine::Probe;
use grapevine_core::health::Policy;
use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::units::{Tier, Weight};
use http::{HeaderName, HeaderValue};

use super::super::address::BaseUrl;
use super::super::checked::{
    MODELS_BYTES_MAX, ModelConfig, ProbeConfig, TimeoutConfig, UpstreamConfig, UpstreamModels,
};
use super::super::file::{
    HealthFile, Item, ModelFile, ProbeWord, SecretText, TimeoutFile, UpstreamFile,
};
use super::super::secret::Secret;
use super::super::text::format_duration;
use super::node::NAME_FORM;
use super::{Checker, items};

/// Attempts at one upstream within one request.
const ATTEMPTS_MAX: u32 = 32;

/// More requests under way than one connection pool can serve.
const IN_FLIGHT_MAX: u32 = 1_000_000;

/// Thresholds above this never come true.
const THRESHOLD_MAX: u32 = 1_000;

/// The longest wait that may be written.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// Headers that this node sets itself, or that belong to one connection.
const HEADERS_OWN: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
];

impl Checker<'_> {
    pub(super) fn upstreams(
        &mut self,
        list: &Option<Vec<Item<UpstreamFile>>>,
        has_mesh: bool,
    ) -> Vec<UpstreamConfig> {
        let mut first_of_name = BTreeMap::new();
        let mut upstreams = Vec::new();
        for (key, file) in items("upstreams", list) {
            let Some(upstream) = self.upstream(&key, file) else {
                continue;
            };
            if let Some(first) = first_of_name.insert(upstream.name.clone(), key.clone()) {
                let problem = format!("{} is the name of {first} too", upstream.name);
                self.problem(
                    &format!("{key}.name"),
                    problem,
                    "give each upstream a name of its own",
                );
                first_of_name.insert(upstream.name.clone(), first);
            }
            upstreams.push(upstream);
        }
        if list.as_ref().is_none_or(Vec::is_empty) && !self.places.was_refused("upstreams") {
            let (problem, remedy) = if has_mesh {
                (
                    "is empty: this node answers through other nodes alone",
                    "add upstreams, unless a relay is meant",
                )
            } else {
                (
                    "is empty and there is no mesh: nothing can be answered",
                    "add an upstream, or join a mesh",
                )
            };
            self.warning("upstreams", problem, remedy);
        }
        upstreams
    }

    fn upstream(&mut self, key: &str, file: &UpstreamFile) -> Option<UpstreamConfig> {
        let at = |name: &str| format!("{key}.{name}");
        let name: Option<UpstreamName> = self.parse(&at("name"), file.name.as_deref(), NAME_FORM);
        let url_form =
            "write http:// or https://, a host, and a path such as /v1; the key goes to api_key";
        let base_url: Option<BaseUrl> =
            self.parse(&at("base_url"), file.base_url.as_deref(), url_form);
        let api_key = self.api_key(&at("api_key"), file.api_key.as_ref());
        let models = self.models(&at("models"), &file.models);
        let tier = self.number(
            &at("priority"),
            file.priority,
            u64::from(Tier::default().0),
            0..=u64::from(u16::MAX),
        );
        let weight = self.weight(&at("weight"), file.weight);
        let defaults = (
            super::checked::ATTEMPTS_PER_UPSTREAM,
            super::checked::IN_FLIGHT_PER_UPSTREAM,
        );
        let attempts_max = self.count(
            &at("max_retries"),
            file.max_retries,
            defaults.0,
            1..=ATTEMPTS_MAX,
        );
        let in_flight_max = self.count(
            &at("max_in_flight"),
            file.max_in_flight,
            defaults.1,
            1..=IN_FLIGHT_MAX,
        );
        let timeout = self.timeout(&at("timeout"), file.timeout.as_ref());
        let (probe, health) = self.health(&at("health"), file.health.as_ref());
        let headers = self.headers(&at("headers"), file.headers.as_ref());
        Some(UpstreamConfig {
            name: name?,
            base_url: base_url?,
            api_key,
            models,
            tier: Tier(u16::try_from(tier).unwrap_or(u16::MAX)),
            weight,
            attempts_max,
            in_flight_max,
            timeout,
            probe,
            health,
            headers,
        })
    }

    fn api_key(&mut self, key: &str, text: Option<&SecretText>) -> Option<Secret> {
        let text = text?;
        if HeaderValue::from_str(&text.0).is_err() || text.0.trim() != text.0 || text.0.is_empty() {
            let problem = "is empty, or has blanks around it or characters that no header may hold";
            self.problem(
                key,
                problem,
                "check for a line break at its end, or remove it to send none",
            );
        }
        Some(Secret::new(&text.0))
    }

    fn weight(&mut self, key: &str, weight: Option<f64>) -> Weight {
        let Some(written) = weight else {
            return Weight::default();
        };
        Weight::new(written).unwrap_or_else(|| {
            let problem = format!(
                "{} must be above 0 and at most {}",
                self.shown(key),
                Weight::MAX
            );
            self.problem(
                key,
                problem,
                "write a weight in that range, or remove the upstream",
            );
            Weight::default()
        })
    }

    fn models(&mut self, key: &str, list: &Option<Vec<Item<ModelFile>>>) -> UpstreamModels {
        if list.is_none() {
            return UpstreamModels::Discovered;
        }
        let mut models: Vec<ModelConfig> = Vec::new();
        for (key, file) in items(key, list) {
            let Some(model) = self.model(&key, file) else {
                continue;
            };
            if models.iter().any(|other| other.name == model.name) {
                self.problem(
                    &key,
                    format!("{} is listed twice", model.name),
                    "remove one of them",
                );
            }
            models.push(model);
        }
        if list.as_ref().is_some_and(Vec::is_empty) {
            self.problem(
                key,
                "is empty",
                "list models, write [\"*\"] for any, or remove the key to discover them",
            );
        }
        let bytes: usize = models.iter().map(|model| model.name.as_str().len()).sum();
        if bytes > MODELS_BYTES_MAX {
            let problem =
                format!("has {bytes} bytes of names; gossip carries at most {MODELS_BYTES_MAX}");
            self.problem(
                key,
                problem,
                "split the upstream in two with half of the models each, or write [\"*\"]",
            );
        }
        UpstreamModels::Listed(models)
    }

    fn model(&mut self, key: &str, file: &ModelFile) -> Option<ModelConfig> {
        let form = "write visible ASCII characters, at most 128 bytes";
        match file {
            ModelFile::Same(name) => {
                let name = self.parse(key, Some(name), form)?;
                Some(ModelConfig {
                    name,
                    upstream_name: None,
                })
            }
            ModelFile::Renamed(file) => {
                let name: Option<ModelName> =
                    self.parse(&format!("{key}.name"), file.name.as_deref(), form);
                let other_key = format!("{key}.upstream_name");
                let upstream_name: Option<ModelName> =
                    self.parse(&other_key, file.upstream_name.as_deref(), form);
                let is_any = [&name, &upstream_name]
                    .into_iter()
                    .flatten()
                    .any(ModelName::is_any);
                if is_any && upstream_name.is_some() {
                    self.problem(
                        key,
                        "renames *, which stands for any model",
                        "write \"*\" alone, or name a model",
                    );
                }
                Some(ModelConfig {
                    name: name?,
                    upstream_name,
                })
            }
        }
    }

    fn timeout(&mut self, key: &str, file: Option<&TimeoutFile>) -> TimeoutConfig {
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
            let is_written = self.places.has(&at(name));
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

    fn health(&mut self, key: &str, file: Option<&HealthFile>) -> (ProbeConfig, Policy) {
        let (probe, policy) = (ProbeConfig::default(), Policy::default());
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
        let policy = Policy {
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

    fn health_agrees(&mut self, key: &str, probe: &ProbeConfig, policy: &Policy) {
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

    fn headers(
        &mut self,
        key: &str,
        map: Option<&BTreeMap<String, SecretText>>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        for (name, text) in map.into_iter().flatten() {
            let key = format!("{key}.{name}");
            match (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_str(&text.0),
            ) {
                (Ok(name), _) if HEADERS_OWN.contains(&name.as_str()) => {
                    self.problem(&key, "is set by the node itself", "remove it");
                }
                (Ok(name), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.push((name, value));
                }
                (Err(_), _) => self.problem(
                    &key,
                    "is not a header's name",
                    "write letters, digits and '-'",
                ),
                (_, Err(_)) => self.problem(
                    &key,
                    "has characters that no header may hold",
                    "remove line breaks",
                ),
            }
        }
        headers
    }
}
