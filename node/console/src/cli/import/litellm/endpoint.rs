//! Where a deployment is called, and with which credential and headers.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_base::table::printable;
use grapevine_config::checked;
use grapevine_core::ids::ModelName;
use http::{HeaderName, HeaderValue};

use super::super::finding::Kind;
use super::super::section::At;
use super::api_base::{self, Fit, MappedBase};
use super::called::Called;
use super::model::Serves;
use super::native::{Native, WrittenAuth};
use super::params::Params;
use super::providers::{Base, Provider};
use super::reading::{NO_VARIABLE, Reading, Spelling};

/// How an endpoint is called: this distinguishes upstreams of the new file. Texts are as written there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    /// The provider's name, which the upstream takes.
    pub(super) label: String,
    /// `None` is the provider's own.
    pub(super) base_url: Option<String>,
    pub(super) native: Native,
    /// Always a variable.
    pub(super) api_key: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    /// Until the first byte, and in all.
    pub(super) wait: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) attempts: Option<u32>,
    pub(super) in_flight: Option<u32>,
    pub(super) failure_threshold: Option<u32>,
    pub(super) cooldown: Option<Duration>,
    pub(super) is_probed: bool,
}

impl Reading {
    pub(super) fn base_url(
        &mut self,
        item: &At<'_>,
        provider: &Provider,
        params: &mut Params<'_>,
    ) -> Option<Called> {
        let mut at = params.take("base_url");
        at = params.take("api_base").or(at);
        if matches!(provider.base, Base::Named(checked::Provider::Bedrock, _)) {
            at = params.take("aws_bedrock_runtime_endpoint").or(at);
        }
        let at = at.filter(|at| at.text() != Some(""));
        let Some(at) = at else {
            return self.default_url(item, provider);
        };
        let Some(text) = at.text() else {
            let problem = "is no text: the deployment is left out";
            self.findings.add(Kind::Lost, &at, problem, URL_FORM);
            return None;
        };
        match Spelling::of(text) {
            Spelling::Variable(name) => self.url_of_variable(&at, provider, name),
            // The configuration would take it for a variable.
            Spelling::Plain if !text.contains("${") => self.url_as_written(&at, provider, text),
            Spelling::Plain | Spelling::Mixed => {
                let problem = "names a variable within a URL, which LiteLLM does not: the deployment is left out";
                self.findings.add(Kind::Lost, &at, problem, URL_FORM);
                None
            }
        }
    }

    /// Where a provider is called when nothing is written.
    fn default_url(&mut self, item: &At<'_>, provider: &Provider) -> Option<Called> {
        if matches!(provider.base, Base::Azure | Base::Foundry) {
            let name = match provider.name {
                "azure_ai" => "AZURE_AI_API_BASE",
                _ => "AZURE_API_BASE",
            };
            return self.url_of_variable(item, provider, name);
        }
        if let Base::Named(named, None) = provider.base {
            return Some(Called::new(provider, None, Some(named)));
        }
        let Some(url) = provider.base.default_url() else {
            let problem = format!(
                "has no api_base, and {} is wherever you run it",
                provider.name
            );
            self.findings
                .add(Kind::Lost, item, problem, "write it, /v1 included");
            return None;
        };
        let named = provider.base.named();
        Some(Called::new(provider, Some(url.to_owned()), named))
    }

    fn url_of_variable(&mut self, at: &At<'_>, provider: &Provider, name: &str) -> Option<Called> {
        let Some(variable) = self.variables.existing(name, &at.key) else {
            let problem = format!("{NO_VARIABLE}: the deployment is left out");
            self.findings
                .add(Kind::Lost, at, problem, "rename the variable");
            return None;
        };
        let below = provider.base.below_variable();
        let base_url = format!("{variable}{below}");
        let problem = format!("is written as {base_url}");
        match provider.base {
            Base::Azure | Base::Foundry => {
                let remedy = format!(
                    "let {name} be https://RESOURCE.openai.azure.com, without a slash at its end"
                );
                self.findings.add(Kind::Step, at, problem, remedy);
            }
            Base::Compatible(url) => {
                let problem = format!("{problem}: a node speaks OpenAI's protocol there");
                let remedy = format!("let {name} be the URL of that, such as {url}");
                self.findings.add(Kind::Step, at, problem, remedy);
            }
            Base::Below(_) => {
                let remedy = format!("let {name} end before /v1, without a slash");
                self.findings.add(Kind::Step, at, problem, remedy);
            }
            Base::At(_) | Base::Written | Base::Named(..) => {}
        }
        let named = provider.base.named();
        Some(Called::new(provider, Some(base_url), named))
    }

    fn url_as_written(&mut self, at: &At<'_>, provider: &Provider, text: &str) -> Option<Called> {
        let mapped = match api_base::map(provider, text) {
            Ok(mapped) => mapped,
            Err(error) => {
                let problem = format!("{error}: the deployment is left out");
                self.findings.add(Kind::Lost, at, problem, URL_FORM);
                return None;
            }
        };
        self.changed_url(at, provider, &mapped);
        Some(Called {
            deployment: mapped.deployment,
            is_v1: mapped.is_v1,
            ..Called::new(provider, Some(mapped.url.to_string()), mapped.provider)
        })
    }

    /// Shows what became of a URL: the old one and the new one.
    fn changed_url(&mut self, at: &At<'_>, provider: &Provider, mapped: &MappedBase) {
        let new = &mapped.url;
        let written = match mapped.is_changed() {
            true => format!("{} is written as {new}", printable(&mapped.old)),
            false => format!("{new} stays"),
        };
        let (kind, problem, remedy) = match mapped.fit {
            Fit::Same | Fit::Azure if !mapped.is_changed() => return,
            Fit::Same => (Kind::Note, written, "nothing to do".to_owned()),
            Fit::QueryDropped => (
                Kind::Changed,
                format!("{written}: a node sends no query of its own"),
                "see whether the upstream answers without it".to_owned(),
            ),
            Fit::Azure => (
                Kind::Note,
                format!("{written}: Azure's paths follow from the provider"),
                "nothing to do".to_owned(),
            ),
            Fit::AzureGuessed => (
                Kind::Changed,
                format!("{written}, a guess at what Azure's paths are below"),
                AZURE_FORM.to_owned(),
            ),
            Fit::OtherProtocol => (
                Kind::Changed,
                format!(
                    "{written}: LiteLLM asks for other paths of {} there than a node",
                    provider.name
                ),
                "write the URL below which its paths are, or paths".to_owned(),
            ),
        };
        self.findings.add(kind, at, problem, remedy);
    }

    /// What a deployment serves when its URL names a deployment of Azure's.
    pub(super) fn by_url(&mut self, item: &At<'_>, called: &Called, serves: Serves) -> Serves {
        let Some(deployment) = &called.deployment else {
            return serves;
        };
        match serves {
            Serves::Model(own) if own != *deployment && ModelName::new(deployment).is_ok() => {
                let problem = format!(
                    "asks for {}, the deployment in its URL, as LiteLLM does, and not for {}",
                    printable(deployment),
                    printable(&own)
                );
                self.findings
                    .add(Kind::Note, item, problem, "nothing to do");
                Serves::Model(deployment.clone())
            }
            serves => serves,
        }
    }

    /// What is different about some providers.
    pub(super) fn about(&mut self, item: &At<'_>, provider: &Provider) {
        let (problem, remedy) = match provider.name {
            "cohere" | "cohere_chat" => (
                "is asked at the provider's own OpenAI-compatible endpoint, without LiteLLM's translation",
                "try the parameters that you use",
            ),
            "azure_ai" => (
                "is asked at /openai/v1 of its host, where not every model of other makers answers",
                "try it; keep LiteLLM for a model that does not answer",
            ),
            "huggingface" => (
                "is asked at /v1 of its host",
                "try it; text-generation-inference answers there",
            ),
            _ => return,
        };
        self.findings.add(Kind::Changed, item, problem, remedy);
    }

    /// The key and the headers, and how the node authenticates otherwise.
    pub(super) fn credential(
        &mut self,
        item: &At<'_>,
        provider: &Provider,
        params: &mut Params<'_>,
        named: Option<checked::Provider>,
    ) -> (
        Option<String>,
        BTreeMap<String, String>,
        Option<WrittenAuth>,
    ) {
        let token = params.take("azure_ad_token");
        let written = params.take("api_key");
        let is_token = written.is_none() && token.is_some();
        let key = match (written, token) {
            (Some(at), _) => self.secret(&at, &format!("{}_KEY", provider.name)),
            (None, Some(at)) => {
                let problem = "is sent as it is until it expires";
                self.findings
                    .add(Kind::Changed, &at, problem, "use the resource's key");
                self.secret(&at, &format!("{}_TOKEN", provider.name))
            }
            (None, None) => {
                let auth = named.and_then(|named| self.keyless(named, params));
                if auth.is_some() {
                    return (None, self.headers(provider, params), auth);
                }
                provider
                    .key
                    .and_then(|name| self.variables.existing(name, &item.key))
            }
        };
        let headers = self.headers(provider, params);
        let is_bearer = is_token && named.is_some() && key.is_some();
        (key, headers, is_bearer.then_some(WrittenAuth::Bearer))
    }

    fn headers(
        &mut self,
        provider: &Provider,
        params: &mut Params<'_>,
    ) -> BTreeMap<String, String> {
        let mut headers = BTreeMap::new();
        for key in ["headers", "extra_headers"] {
            let Some(at) = params.take(key) else { continue };
            let Some(mut section) = at.section() else {
                self.findings.add(
                    Kind::Lost,
                    &at,
                    "is no map, and left out",
                    "write names and values",
                );
                continue;
            };
            for (name, value) in section.rest() {
                let is_fit = HeaderName::from_bytes(name.as_bytes()).is_ok()
                    && value
                        .text()
                        .is_some_and(|text| HeaderValue::from_str(text).is_ok());
                if !is_fit || OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                    let problem = "is no header that can be added, and left out";
                    self.findings
                        .add(Kind::Lost, &value, problem, "see whether you need it");
                    continue;
                }
                let written = match is_secret(name) {
                    true => self.secret(&value, &format!("{}_{name}", provider.name)),
                    false => self.text(&value),
                };
                headers.extend(written.map(|written| (name.to_ascii_lowercase(), written)));
            }
        }
        headers
    }
}

/// The remedy for a URL that cannot be carried over.
const URL_FORM: &str = "write https://HOST/v1; a key goes to api_key";

/// The remedy for a deployment of Azure's at an unknown host.
const AZURE_FORM: &str =
    "let base_url be what is in front of /openai/, and write paths where they differ";

/// Headers that a node sets itself, so that its configuration refuses them.
const OWN_HEADERS: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
];

/// Whether a header of that name is likely to hold a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "auth",
        "key",
        "token",
        "secret",
        "cookie",
        "password",
        "credential",
    ]
    .iter()
    .any(|part| name.contains(part))
}
