//! Checks of the upstreams.

use std::collections::BTreeMap;

use grapevine_core::dialect::PermittedLoss;
use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::units::{Tier, Weight};
use http::{HeaderName, HeaderValue};

use super::super::address::BaseUrl;
use super::super::checked::{ModelConfig, UpstreamConfig, UpstreamModels};
use super::super::file::{Item, ModelFile, SecretText, UpstreamFile};
use super::node::NAME_FORM;
use super::{Checker, items};

/// Attempts at one upstream within one request.
const ATTEMPTS_MAX: u32 = 32;

/// More requests in flight than one connection pool can serve.
pub(super) const IN_FLIGHT_MAX: u32 = 1_000_000;

/// Headers that this node sets itself, or that belong to one connection.
pub(super) const HEADERS_OWN: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
];

/// The host of OpenAI's own API.
const OPENAI_HOST: &str = "api.openai.com";

/// Whether an upstream is OpenAI's own, and not one that is alike: few of those take WebSockets.
fn is_openais(base_url: Option<&BaseUrl>) -> bool {
    base_url.is_some_and(|url| url.host().eq_ignore_ascii_case(OPENAI_HOST))
}

impl Checker<'_> {
    /// Each upstream with its key, since one that was refused leaves a gap in the numbers.
    pub(super) fn upstreams(
        &mut self,
        list: &Option<Vec<Item<UpstreamFile>>>,
        lossy: &PermittedLoss,
        has_mesh: bool,
        is_observer: bool,
    ) -> Vec<(String, UpstreamConfig)> {
        let mut first_of_name = BTreeMap::new();
        let mut upstreams = Vec::new();
        for (key, file) in items("upstreams", list) {
            let Some(upstream) = self.upstream(&key, file, lossy) else {
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
            upstreams.push((key, upstream));
        }
        let is_empty = list.as_ref().is_none_or(Vec::is_empty);
        if is_empty && !is_observer && !self.source_map.was_refused("upstreams") {
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
        if has_mesh {
            self.gossip_fits(&upstreams);
        }
        upstreams
    }

    fn upstream(
        &mut self,
        key: &str,
        file: &UpstreamFile,
        lossy: &PermittedLoss,
    ) -> Option<UpstreamConfig> {
        let at = |name: &str| format!("{key}.{name}");
        let name: Option<UpstreamName> = self.parse(&at("name"), file.name.as_deref(), NAME_FORM);
        let (provider, base_url) = self.provider(key, file);
        let auth = self.auth(key, file, &provider);
        let websocket = file
            .websocket
            .unwrap_or_else(|| is_openais(base_url.as_ref()));
        let lossy = self.lossy(&at("lossy"), file.lossy.as_ref(), lossy);
        let models = self.models(&at("models"), &file.models);
        let tier = self.number(
            &at("priority"),
            file.priority,
            u64::from(Tier::default().0),
            0..=u64::from(u16::MAX),
        );
        let weight = self.weight(&at("weight"), file.weight);
        let attempts_max = self.count(
            &at("max_retries"),
            file.max_retries,
            super::super::checked::ATTEMPTS_PER_UPSTREAM,
            1..=ATTEMPTS_MAX,
        );
        let in_flight_max =
            self.count_where_given(&at("max_in_flight"), file.max_in_flight, 1..=IN_FLIGHT_MAX);
        let timeout = self.timeout(&at("timeout"), file.timeout.as_ref());
        let (probe, health) = self.health(&at("health"), file.health.as_ref(), &provider);
        let load = self.load(&at("load"), file.load.as_ref(), &provider);
        self.models_are_known(key, file, &provider);
        let headers = self.headers(&at("headers"), file.headers.as_ref());
        let account = self.parse(&at("account"), file.account.as_deref(), NAME_FORM);
        Some(UpstreamConfig {
            name: name?,
            provider,
            base_url: base_url?,
            auth,
            websocket,
            lossy,
            models,
            tier: Tier(u16::try_from(tier).unwrap_or(u16::MAX)),
            weight,
            attempts_max,
            in_flight_max,
            timeout,
            probe,
            health,
            load,
            headers,
            account,
        })
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
        UpstreamModels::Listed(models)
    }

    fn model(&mut self, key: &str, file: &ModelFile) -> Option<ModelConfig> {
        let form =
            "write at most 256 bytes, without control characters, and without blanks at the ends";
        match file {
            ModelFile::Same(name) => {
                let name = self.parse(key, Some(name), form)?;
                Some(ModelConfig {
                    name,
                    upstream_name: None,
                    context_length: None,
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
                let context_length = self.tokens(&format!("{key}.context_length"), file);
                Some(ModelConfig {
                    name: name?,
                    upstream_name,
                    context_length,
                })
            }
        }
    }

    pub(super) fn headers(
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
