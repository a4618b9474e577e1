//! `router_settings`, `litellm_settings` and `general_settings`: what holds for all deployments.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_config::hash::KeyHash;

use super::super::finding::{Kind, Variables};
use super::super::section::{At, Section};
use super::known::Part;
use super::reading::{NO_VARIABLE, Reading, Spelling};

/// The longest wait for a first byte that can be written: as long as `routing.deadline`.
pub(super) const FIRST_BYTE_MAX: Duration = Duration::from_secs(3_600);

/// The longest other wait that can be written.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// The variable that holds the hash of a master key which is a variable itself.
const MASTER_HASH: &str = "LITELLM_MASTER_KEY_HASH";

/// Where something was written: its key and line.
pub(super) type FilePosition = (String, usize);

/// Models to ask when another fails.
#[derive(Clone, Debug)]
pub(super) struct Fallback {
    /// The model that fails; `*` is any that has no fallbacks of its own.
    pub(super) model: String,
    /// What is asked instead, in order.
    pub(super) targets: Vec<(String, FilePosition)>,
    pub(super) position: FilePosition,
}

/// Another name for a model.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    pub(super) name: String,
    pub(super) model: String,
    pub(super) position: FilePosition,
}

/// What holds for all deployments.
#[derive(Clone, Debug, Default)]
pub(super) struct LitellmSettings {
    pub(super) timeout: Option<Duration>,
    pub(super) stream_timeout: Option<Duration>,
    pub(super) attempts: Option<u32>,
    pub(super) failure_threshold: Option<u32>,
    pub(super) cooldown: Option<Duration>,
    pub(super) in_flight: Option<u32>,
    /// The word of `routing.strategy`; `None` where none is written.
    pub(super) strategy: Option<&'static str>,
    pub(super) fallbacks: Vec<Fallback>,
    pub(super) aliases: Vec<Alias>,
    /// The hash of the master key, or the variable that holds it.
    pub(super) master: Option<String>,
    pub(super) requests_max: Option<u32>,
    /// In MiB.
    pub(super) body_max: Option<u32>,
    pub(super) logs_json: bool,
}

impl LitellmSettings {
    /// Whether weights, or limits instead of them, decide the shares: LiteLLM's default too.
    pub(super) fn is_weighted(&self) -> bool {
        matches!(self.strategy, None | Some("weighted"))
    }
}

/// Keys that are valid in both `litellm_settings` and `router_settings`.
const SHARED: [&str; 11] = [
    "allowed_fails",
    "cooldown_time",
    "default_fallbacks",
    "default_max_parallel_requests",
    "fallbacks",
    "model_group_alias",
    "num_retries",
    "request_timeout",
    "routing_strategy",
    "stream_timeout",
    "timeout",
];

impl Reading {
    /// Reads the three sections.
    pub(super) fn settings(&mut self, file: &mut Section<'_>) -> LitellmSettings {
        let mut settings = LitellmSettings::default();
        let mut shared: BTreeMap<&str, At<'_>> = BTreeMap::new();
        if let Some(mut section) = self.part(file, "litellm_settings") {
            shared.extend(
                SHARED
                    .into_iter()
                    .filter_map(|key| Some((key, section.take(key)?))),
            );
            settings.logs_json = section
                .take("json_logs")
                .and_then(|at| at.truth())
                .unwrap_or(false);
            self.callbacks(&mut section);
            self.leave(&mut section, Part::Litellm);
        }
        if let Some(mut section) = self.part(file, "router_settings") {
            for key in SHARED {
                let Some(at) = section.take(key) else {
                    continue;
                };
                if let Some(other) = shared.insert(key, at) {
                    let problem = format!("has lower priority than router_settings.{key}");
                    self.findings
                        .add(Kind::Note, &other, problem, "nothing to do");
                }
            }
            self.leave(&mut section, Part::Router);
        }
        self.shared(&mut settings, &shared);
        if let Some(mut section) = self.part(file, "general_settings") {
            self.general(&mut settings, &mut section);
            self.leave(&mut section, Part::General);
        }
        settings
    }

    fn part<'a>(&mut self, file: &mut Section<'a>, key: &str) -> Option<Section<'a>> {
        let at = file.take(key)?;
        let section = at.section();
        if section.is_none() {
            self.findings.add(
                Kind::Lost,
                &at,
                "is no map, and left out",
                "fix it, and import again",
            );
        }
        section
    }

    fn shared(&mut self, settings: &mut LitellmSettings, shared: &BTreeMap<&str, At<'_>>) {
        let timeout = shared.get("timeout").or(shared.get("request_timeout"));
        settings.timeout = timeout.and_then(|at| self.seconds(at, FIRST_BYTE_MAX));
        if let Some(at) = shared.get("stream_timeout") {
            self.stream_timeout(at);
            settings.stream_timeout = self.seconds(at, WAIT_MAX);
        }
        let retries = shared
            .get("num_retries")
            .and_then(|at| self.count(at, 0, 31));
        settings.attempts = retries.map(|retries| retries + 1);
        if let Some(at) = shared.get("allowed_fails") {
            settings.failure_threshold = self.count(at, 0, 999).map(|fails| fails + 1);
            let problem = "counts failures in a row, not in a minute; half of twenty requests in 10 s eject too";
            self.findings.add(Kind::Note, at, problem, "nothing to do");
        }
        settings.cooldown = shared
            .get("cooldown_time")
            .and_then(|at| self.seconds(at, WAIT_MAX));
        let in_flight = shared.get("default_max_parallel_requests");
        settings.in_flight = in_flight.and_then(|at| self.count(at, 1, 1_000_000));
        settings.strategy = shared
            .get("routing_strategy")
            .and_then(|at| self.strategy(at));
        if let Some(at) = shared.get("fallbacks") {
            self.fallbacks(settings, at);
        }
        if let Some(at) = shared.get("default_fallbacks") {
            let targets = at
                .items()
                .iter()
                .filter_map(|item| self.target(item))
                .collect();
            let position = (at.key.clone(), at.line);
            settings.fallbacks.push(Fallback {
                model: "*".to_owned(),
                targets,
                position,
            });
        }
        if let Some(at) = shared.get("model_group_alias") {
            self.aliases(settings, at);
        }
    }

    /// Carries over a wait for streams.
    pub(super) fn stream_timeout(&mut self, at: &At<'_>) {
        let problem = "bounds the pauses within an answer, and not the wait for its beginning";
        let remedy = "set upstreams[].timeout.first_byte, the wait for the first byte of a stream";
        self.findings.add(Kind::Changed, at, problem, remedy);
    }

    fn strategy(&mut self, at: &At<'_>) -> Option<&'static str> {
        let (strategy, problem) = match at.text().unwrap_or_default() {
            "simple-shuffle" => return Some("weighted"),
            "least-busy" => return Some("least-busy"),
            "latency-based-routing" => return Some("latency"),
            "usage-based-routing" | "usage-based-routing-v2" => (
                Some("least-busy"),
                "is written as least-busy: tokens and requests per minute are not counted",
            ),
            "cost-based-routing" => (None, "is left out, since prices are not known here"),
            _ => (None, "is left out, since it is not known here"),
        };
        let kind = if strategy.is_some() {
            Kind::Changed
        } else {
            Kind::Lost
        };
        self.findings
            .add(kind, at, problem, "see routing.strategy for what there is");
        strategy
    }

    fn fallbacks(&mut self, settings: &mut LitellmSettings, at: &At<'_>) {
        for item in at.items() {
            let Some(mut section) = item.section() else {
                let remedy = "write them as {MODEL: [ANOTHER]}";
                self.findings.add(
                    Kind::Lost,
                    &item,
                    "is no map of models, and left out",
                    remedy,
                );
                continue;
            };
            for (model, targets) in section.rest() {
                let position = (targets.key.clone(), targets.line);
                let targets = targets
                    .items()
                    .iter()
                    .filter_map(|item| self.target(item))
                    .collect();
                let model = model.to_owned();
                settings.fallbacks.push(Fallback {
                    model,
                    targets,
                    position,
                });
            }
        }
    }

    fn target(&mut self, item: &At<'_>) -> Option<(String, FilePosition)> {
        let name = item.text();
        if name.is_none() {
            let problem = "changes the request too, which is not possible, and is left out";
            self.findings
                .add(Kind::Lost, item, problem, "name a model alone");
        }
        Some((name?.to_owned(), (item.key.clone(), item.line)))
    }

    fn aliases(&mut self, settings: &mut LitellmSettings, at: &At<'_>) {
        let Some(mut section) = at.section() else {
            self.findings.add(
                Kind::Lost,
                at,
                "is no map, and left out",
                "write {ALIAS: MODEL}",
            );
            return;
        };
        for (name, value) in section.rest() {
            let position = (value.key.clone(), value.line);
            let mut inner = value.section();
            let model = inner.as_mut().and_then(|inner| inner.take("model"));
            let model = model.as_ref().or(Some(&value)).and_then(At::text);
            if let Some(inner) = &mut inner {
                if let Some(hidden) = inner.take("hidden").filter(|at| at.truth() != Some(false)) {
                    let problem = "is listed in /v1/models as any other name";
                    self.findings
                        .add(Kind::Changed, &hidden, problem, "nothing to do");
                }
                self.leave(inner, Part::Other);
            }
            let Some(model) = model else {
                self.findings.add(
                    Kind::Lost,
                    &value,
                    "names no model, and is left out",
                    "write {ALIAS: MODEL}",
                );
                continue;
            };
            let (name, model) = (name.to_owned(), model.to_owned());
            settings.aliases.push(Alias {
                name,
                model,
                position,
            });
        }
    }

    fn general(&mut self, settings: &mut LitellmSettings, section: &mut Section<'_>) {
        if let Some(at) = section.take("master_key") {
            settings.master = self.master(&at);
        }
        let in_all = section.take("global_max_parallel_requests");
        settings.requests_max = in_all.and_then(|at| self.count(&at, 1, 1_000_000));
        let body = section.take("max_request_size_mb");
        settings.body_max = body.and_then(|at| self.count(&at, 1, 1_024));
    }

    fn master(&mut self, at: &At<'_>) -> Option<String> {
        let Some(text) = at.text().filter(|text| !text.is_empty()) else {
            self.findings.add(
                Kind::Lost,
                at,
                "is no key, and left out",
                "make one: grapevine key hash --generate",
            );
            return None;
        };
        let name = match Spelling::of(text) {
            Spelling::Variable(name) if Variables::is_name(name) => name,
            Spelling::Plain => {
                let problem = "is written as its hash, under the name of `master`; it opens the API, and nothing else";
                self.findings
                    .add(Kind::Note, at, problem, "give each client a key of its own");
                return Some(KeyHash::of(text).to_string());
            }
            Spelling::Variable(_) | Spelling::Mixed => {
                let remedy = "write its hash into keys: grapevine key hash";
                self.findings.add(Kind::Lost, at, NO_VARIABLE, remedy);
                return None;
            }
        };
        let hash = self.variables.hash(MASTER_HASH, &at.key);
        let remedy =
            format!("export {MASTER_HASH}=\"$(printf %s \"${name}\" | grapevine key hash)\"");
        self.findings.add(
            Kind::Step,
            at,
            "is kept as a hash, which has to be made",
            remedy,
        );
        Some(hash)
    }
}
