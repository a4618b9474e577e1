//! Checks of an upstream's base URL.
//!
//! A request's path below `/v1` is appended to it, so a URL that was copied from a call, or one of a known provider
//! without its prefix, is answered with 404 for every request. That is a warning and no problem: an API of that
//! shape may exist, and somebody may run one.

use super::super::address::BaseUrl;
use super::Checker;

/// Where the APIs of providers are, by their hosts. Only paths without which nothing is answered: DeepSeek's and
/// Perplexity's answer without a prefix too.
const KNOWN: [(&str, &str); 23] = [
    ("api.openai.com", "/v1"),
    ("eu.api.openai.com", "/v1"),
    ("us.api.openai.com", "/v1"),
    ("api.anthropic.com", "/v1"),
    ("api.mistral.ai", "/v1"),
    ("codestral.mistral.ai", "/v1"),
    ("openrouter.ai", "/api/v1"),
    ("api.groq.com", "/openai/v1"),
    ("api.together.xyz", "/v1"),
    ("api.together.ai", "/v1"),
    ("api.fireworks.ai", "/inference/v1"),
    ("api.x.ai", "/v1"),
    ("api.cerebras.ai", "/v1"),
    ("integrate.api.nvidia.com", "/v1"),
    ("api.sambanova.ai", "/v1"),
    ("api.deepinfra.com", "/v1/openai"),
    ("generativelanguage.googleapis.com", "/v1beta/openai"),
    ("api.moonshot.ai", "/v1"),
    ("api.moonshot.cn", "/v1"),
    ("dashscope.aliyuncs.com", "/compatible-mode/v1"),
    ("dashscope-intl.aliyuncs.com", "/compatible-mode/v1"),
    ("api.cohere.ai", "/compatibility/v1"),
    ("api.cohere.com", "/compatibility/v1"),
];

/// The domains of Azure's resources.
const AZURE: [&str; 3] = [
    ".openai.azure.com",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
];

/// Where an Azure resource answers as OpenAI does: the deployment is the model, and no `api-version` is needed.
const AZURE_PATH: &str = "/openai/v1";

impl Checker<'_> {
    /// `None` when nothing was written, or it was refused.
    pub(super) fn base_url(&mut self, key: &str, text: Option<&str>) -> Option<BaseUrl> {
        let url: BaseUrl = self.parse(
            key,
            text,
            "write it as https://HOST/v1; a key goes to api_key",
        )?;
        let (base, endpoint) = match url.without_endpoint() {
            Some((base, endpoint)) => (base, Some(endpoint)),
            None => (url.clone(), None),
        };
        let prefix = missing_prefix(&base);
        let shown = self.shown(key);
        // What a variable holds is not shown.
        let is_hidden = shown.contains("${");
        let (problem, hint) = match (endpoint, prefix) {
            (Some(endpoint), _) => (
                format!("{shown} ends in {endpoint}, and requests append their own path to it"),
                format!("let it end before {endpoint}"),
            ),
            (None, Some(prefix)) => (
                format!("{shown} lacks the path of this provider's API, {prefix}"),
                format!("let its path be {prefix}"),
            ),
            (None, None) => return Some(url),
        };
        let meant = match prefix {
            Some(prefix) => base.with_path(prefix).ok(),
            None => Some(base),
        };
        let remedy = meant
            .filter(|_| !is_hidden)
            .map_or(hint, |meant| format!("set it to {meant}"));
        self.warning(key, problem, remedy);
        Some(url)
    }
}

/// The path that a known host answers at, when the URL has less of it, or another common one.
fn missing_prefix(url: &BaseUrl) -> Option<&'static str> {
    let host = url.host().to_ascii_lowercase();
    let path = url.path();
    if AZURE.iter().any(|domain| host.ends_with(domain)) {
        let is_former = path == "/openai" || path.starts_with("/openai/deployments/");
        return (is_former || path.is_empty() || path == "/v1").then_some(AZURE_PATH);
    }
    let (_, known) = KNOWN.iter().find(|(name, _)| *name == host)?;
    let is_less = known
        .strip_prefix(path)
        .is_some_and(|rest| rest.starts_with('/'));
    let is_other = path == "/v1" && path != *known;
    (is_less || is_other).then_some(known)
}
