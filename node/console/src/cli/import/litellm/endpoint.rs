//! Where a deployment is called, and with which credential and headers.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_config::address::BaseUrl;
use http::{HeaderName, HeaderValue};

use super::super::finding::Kind;
use super::super::section::At;
use super::params::Params;
use super::providers::{Base, Provider};
use super::reading::{Reading, named_variable};

/// How an endpoint is called: this distinguishes upstreams of the new file. Texts are as written there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    /// The provider's name, which the upstream takes.
    pub(super) label: String,
    pub(super) base_url: String,
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
    ) -> Option<String> {
        let others = params.take("base_url");
        let at = params.take("api_base").or(others);
        let azure = || (provider.base == Base::Azure).then_some("os.environ/AZURE_API_BASE");
        let Some(written) = at
            .as_ref()
            .map_or_else(azure, |at| Some(at.text().unwrap_or_default()))
        else {
            let Some(url) = provider.base_url(None) else {
                let problem = format!(
                    "has no api_base, and {} is wherever you run it",
                    provider.name
                );
                self.findings
                    .add(Kind::Lost, item, problem, "write it, /v1 included");
                return None;
            };
            return Some(url);
        };
        let at = at.as_ref().unwrap_or(item);
        if let Some(name) = named_variable(written) {
            let Some(variable) = self.variables.existing(name, &at.key) else {
                self.findings.add(
                    Kind::Lost,
                    at,
                    "names a variable that cannot be written here",
                    "rename it",
                );
                return None;
            };
            let url = provider.base_url(Some(&variable))?;
            if url != variable {
                let problem = format!("is written as {url}");
                self.findings.add(
                    Kind::Step,
                    at,
                    problem,
                    format!("let {name} end with the host, without a slash"),
                );
            }
            return Some(url);
        }
        let url = provider
            .base_url(Some(written))
            .filter(|url| !url.contains("${"));
        let url = url.filter(|url| url.parse::<BaseUrl>().is_ok());
        if url.is_none() {
            let remedy = "write https://HOST/v1; the key goes to api_key";
            self.findings.add(
                Kind::Lost,
                at,
                "is no URL: the deployment is left out",
                remedy,
            );
        }
        url
    }

    /// What is different about some providers.
    pub(super) fn about(&mut self, item: &At<'_>, provider: &Provider, params: &mut Params<'_>) {
        if let Some(at) = params.take("api_version") {
            let problem =
                "is not sent: Azure's v1 API takes none, and the deployment's name as the model";
            self.findings.add(Kind::Note, &at, problem, "nothing to do");
        }
        let (problem, remedy) = match provider.name {
            "anthropic" => (
                "requests are not translated: /v1/messages is Anthropic's, /v1/chat/completions its compatibility layer",
                "let clients of Claude ask /v1/messages",
            ),
            "gemini" | "cohere" | "cohere_chat" => (
                "is asked at the provider's own OpenAI-compatible endpoint, without LiteLLM's translation",
                "try the parameters that you use",
            ),
            "azure_ai" => (
                "is asked at /openai/v1 of its host",
                "try it; some hosts serve one model at another path",
            ),
            "huggingface" => (
                "is asked at /v1 of its host",
                "try it; text-generation-inference answers there",
            ),
            _ => return,
        };
        self.findings.add(Kind::Changed, item, problem, remedy);
    }

    pub(super) fn api_key(
        &mut self,
        item: &At<'_>,
        provider: &Provider,
        params: &mut Params<'_>,
    ) -> Option<String> {
        let token = params.take("azure_ad_token");
        if let Some(at) = params.take("api_key") {
            return self.secret(&at, &format!("{}_KEY", provider.name));
        }
        if let Some(at) = token {
            self.findings.add(
                Kind::Changed,
                &at,
                "is sent as it is until it expires",
                "use the resource's key",
            );
            return self.secret(&at, &format!("{}_TOKEN", provider.name));
        }
        self.variables.existing(provider.key?, &item.key)
    }

    pub(super) fn headers(
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
