//! The base URL that an `api_base` of LiteLLM's becomes.
//!
//! A URL is taken apart by a parser and put together from its parts. Nothing is searched for in its text, where a
//! host such as `openai-eu.example` looks like a path. Scheme, host and port always stay; the path is that of the
//! provider's OpenAI-compatible API, and how certain that is comes with it.

use grapevine_config::address::{AddressError, BaseUrl};
use grapevine_config::checked;
use http::Uri;

use super::providers::{AZURE_PATH, Base, Provider};

/// The domains of Azure's resources: those answer as OpenAI does at [`AZURE_PATH`] (Microsoft, "Azure OpenAI in
/// Microsoft Foundry Models v1 API").
const AZURE_DOMAINS: [&str; 3] = [
    ".openai.azure.com",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
];

/// Paths of Ollama's own API, which some write behind its host.
const OLLAMA_PATHS: [&str; 4] = ["/api/generate", "/api/chat", "/api/embed", "/api"];

/// What an `api_base` becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MappedBase {
    /// For the new file.
    pub(super) url: BaseUrl,
    /// The URL of the old file as it may be shown: without its query, which may hold a key.
    pub(super) old: String,
    /// What is to be said about it.
    pub(super) fit: Fit,
    /// The deployment that a URL of Azure's names; LiteLLM asks that one, whatever the model is called.
    pub(super) deployment: Option<String>,
    /// Whether a URL of Azure's is that of its v1 API.
    pub(super) is_v1: bool,
    /// Whose API it is, where the new file names it.
    pub(super) provider: Option<checked::Provider>,
}

/// How well a base URL stands for an `api_base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The same API is called.
    Same,
    /// It had a query, which is not sent.
    QueryDropped,
    /// A resource of Azure's.
    Azure,
    /// Azure's API, at a host or below a path where that may not be.
    AzureGuessed,
    /// LiteLLM asks for other paths there than a node.
    OtherProtocol,
}

impl MappedBase {
    /// Whether the new URL differs from the old one, in as much as a slash.
    pub(super) fn is_changed(&self) -> bool {
        self.url.to_string() != self.old
    }
}

/// Maps `text`, the `api_base` of a deployment of `provider`.
///
/// # Errors
/// When it is no URL, or one with a part that no base URL can have: a user, a password or a fragment.
pub(super) fn map(provider: &Provider, text: &str) -> Result<MappedBase, AddressError> {
    // The HTTP library would drop a fragment.
    if text.contains('#') {
        return Err(AddressError::Query);
    }
    if !text.contains("://") {
        return Err(AddressError::Scheme);
    }
    let uri: Uri = text.parse().map_err(|_| AddressError::Url)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(AddressError::Scheme);
    };
    let written: BaseUrl = format!("{scheme}://{authority}{}", uri.path()).parse()?;
    let old = match uri.query().and_then(|query| text.strip_suffix(query)) {
        Some(before) => format!("{before}..."),
        None => text.to_owned(),
    };
    let plain = |(url, fit)| AzureBase {
        url,
        fit,
        deployment: None,
        is_v1: false,
    };
    let is_resource = provider.base == Base::Azure || is_azure(&written);
    let (mapped, named) = match provider.base {
        Base::At(_) | Base::Written => (plain((without_call(&written), Fit::Same)), None),
        Base::Below(_) => (plain((below(provider, &written)?, Fit::Same)), None),
        Base::Compatible(known) => (plain(compatible(known, &written)?), None),
        Base::Named(named, known) => (plain(host(named, known, &written)?), Some(named)),
        Base::Azure | Base::Foundry if is_resource => {
            (azure(&written)?, Some(checked::Provider::Azure))
        }
        Base::Azure | Base::Foundry => {
            let mut mapped = azure(&written)?;
            let path = format!("{}{AZURE_PATH}", mapped.url.path());
            mapped.url = mapped.url.with_path(&path)?;
            (mapped, None)
        }
    };
    let AzureBase {
        url,
        fit,
        deployment,
        is_v1,
    } = mapped;
    let fit = match fit {
        Fit::Same if uri.query().is_some() => Fit::QueryDropped,
        fit => fit,
    };
    Ok(MappedBase {
        url,
        old,
        fit,
        deployment,
        is_v1,
        provider: named,
    })
}

/// What a URL of Azure's becomes.
struct AzureBase {
    url: BaseUrl,
    fit: Fit,
    deployment: Option<String>,
    is_v1: bool,
}

/// The host of a named provider, below whose paths the base URL ends; `known` is its own.
fn host(
    provider: checked::Provider,
    known: Option<&str>,
    url: &BaseUrl,
) -> Result<(BaseUrl, Fit), AddressError> {
    let url = above_paths(provider, url)?;
    let known: Option<BaseUrl> = known.map(str::parse).transpose()?;
    let is_own = known.is_none_or(|known| url.host().eq_ignore_ascii_case(known.host()));
    // LiteLLM appends no more than the call to another host's URL.
    let fit = match provider == checked::Provider::Gemini && !is_own {
        true => Fit::OtherProtocol,
        false => Fit::Same,
    };
    Ok((url, fit))
}

/// The URL without what a provider's paths hold already, and without the call that it is of.
fn above_paths(provider: checked::Provider, url: &BaseUrl) -> Result<BaseUrl, AddressError> {
    let mut url = url.clone();
    loop {
        let path = url.path();
        let above = url
            .without_endpoint()
            .map(|(base, _)| base.path().to_owned());
        let above = above.or_else(|| Some(path.split_once("/deployments/")?.0.to_owned()));
        let above = above.or_else(|| {
            let mut prefixes = provider.prefixes().iter();
            let above = prefixes.find_map(|prefix| path.strip_suffix(prefix))?;
            Some(above.to_owned())
        });
        match above {
            Some(above) => url = url.with_path(&above)?,
            None => return Ok(url),
        }
    }
}

/// Whether `url` is at a resource of Azure's.
pub(super) fn is_azure(url: &BaseUrl) -> bool {
    let host = url.host().to_ascii_lowercase();
    AZURE_DOMAINS.iter().any(|domain| host.ends_with(domain))
}

/// Some write the whole URL of a call. `/models` is a part of some base URLs, and is no call of LiteLLM's.
fn without_call(url: &BaseUrl) -> BaseUrl {
    match url.without_endpoint() {
        Some((base, endpoint)) if endpoint != "/models" => base,
        _ => url.clone(),
    }
}

/// `/v1` below the URL, unless it is there.
fn below(provider: &Provider, url: &BaseUrl) -> Result<BaseUrl, AddressError> {
    let base = without_call(url);
    let path = base.path();
    let own = OLLAMA_PATHS.iter().find_map(|own| path.strip_suffix(own));
    let path = own
        .filter(|_| provider.name.starts_with("ollama"))
        .unwrap_or(path);
    match path.ends_with("/v1") {
        true => base.with_path(path),
        false => base.with_path(&format!("{path}/v1")),
    }
}

/// The OpenAI-compatible API of a provider that LiteLLM calls by another protocol; `known` is where it has it.
fn compatible(known: &str, url: &BaseUrl) -> Result<(BaseUrl, Fit), AddressError> {
    let known: BaseUrl = known.parse()?;
    if url.host().eq_ignore_ascii_case(known.host()) {
        return Ok((url.with_path(known.path())?, Fit::Same));
    }
    Ok((without_call(url), Fit::OtherProtocol))
}

/// What is above Azure's paths, for any URL of a resource, a deployment or a call.
fn azure(url: &BaseUrl) -> Result<AzureBase, AddressError> {
    let segments: Vec<&str> = url.path().split('/').filter(|it| !it.is_empty()).collect();
    let openai = segments.iter().position(|segment| *segment == "openai");
    let (before, after) = match openai {
        Some(index) => (&segments[..index], &segments[index + 1..]),
        None => (&segments[..], &[][..]),
    };
    let (is_v1, deployment, call) = match after {
        ["v1", call @ ..] => (true, None, call),
        ["deployments", deployment, call @ ..] => (false, Some((*deployment).to_owned()), call),
        call => (false, None, call),
    };
    let rest = |segments: &[&str]| {
        let mut rest = url.with_path(&format!("/{}", segments.join("/")))?;
        while let Some((base, _)) = rest.without_endpoint() {
            rest = base;
        }
        Ok(rest.path().to_owned())
    };
    // Without `openai` in it, a path is that of the model catalogue's calls, or one that is not known.
    let before = url.with_path(&format!("/{}", before.join("/")))?;
    let before = above_paths(checked::Provider::Azure, &before)?;
    let is_known = is_v1 || is_azure(url) && before.path().is_empty();
    let fit = match is_known && rest(call)?.is_empty() {
        true => Fit::Azure,
        false => Fit::AzureGuessed,
    };
    Ok(AzureBase {
        url: before,
        fit,
        deployment,
        is_v1,
    })
}

#[cfg(test)]
mod tests {
    use super::super::providers::{Found, PROVIDERS, find};
    use super::*;

    fn mapped(model: &str, text: &str) -> MappedBase {
        let Found::Provider(provider, _) = find(model, None) else {
            panic!("{model} has a provider")
        };
        map(&provider, text).unwrap_or_else(|error| panic!("{text} {error}"))
    }

    fn url(model: &str, text: &str) -> (String, Fit) {
        let mapped = mapped(model, text);
        (mapped.url.to_string(), mapped.fit)
    }

    #[test]
    fn own_url_of_a_provider_stays() {
        for provider in PROVIDERS {
            let Some(url) = provider.base.default_url() else {
                continue;
            };
            let mapped = map(provider, url).expect("a good URL");
            assert!(!mapped.is_changed() && mapped.fit == Fit::Same, "{url}");
        }
    }

    #[test]
    fn base_urls_are_made_as_litellm_makes_them() {
        for (model, text, expected) in [
            ("openai/m", "http://h:8000/v1/", "http://h:8000/v1"),
            ("openai/m", "http://h/v1/chat/completions", "http://h/v1"),
            ("openai/m", "http://chat/completions", "http://chat"),
            ("hosted_vllm/m", "http://h/v1/embeddings", "http://h/v1"),
            ("openai/m", "http://h/models", "http://h/models"),
            ("ollama_chat/m", "http://h:1/v1", "http://h:1/v1"),
            ("ollama/m", "http://api/generate/", "http://api/generate/v1"),
            ("ollama/m", "http://h:1/api/generate", "http://h:1/v1"),
            ("ollama/m", "http://[::1]:1/x/api/", "http://[::1]:1/x/v1"),
            ("anthropic/m", "http://h", "http://h"),
            ("anthropic/m", "http://h/v1/messages", "http://h"),
            ("anthropic/m", "https://messages", "https://messages"),
            ("bedrock/m", "https://vpce.example/", "https://vpce.example"),
            (
                "mistral/m",
                "https://api.mistral.ai",
                "https://api.mistral.ai/v1",
            ),
            ("mistral/m", "https://v1", "https://v1/v1"),
        ] {
            assert_eq!(url(model, text), (expected.to_owned(), Fit::Same), "{text}");
        }
    }

    #[test]
    fn resource_of_azure_is_its_host() {
        let expected = ("https://openai-eu.openai.azure.com", Fit::Azure);
        for path in [
            "",
            "/",
            "/openai",
            "/openai/",
            "/openai/v1",
            "/openai/v1/chat/completions",
            "/openai/responses",
            "/openai/deployments/d",
            "/openai/deployments/d/chat/completions?api-version=1",
            "/models",
            "/models/chat/completions?api-version=2024-05-01-preview",
        ] {
            let text = format!("https://openai-eu.openai.azure.com{path}");
            let (url, fit) = url("azure/d", &text);
            assert_eq!((url.as_str(), fit), expected, "{path}");
        }
        for host in [
            "r.cognitiveservices.azure.com",
            "R.services.AI.azure.com:443",
        ] {
            let expected = (format!("https://{host}"), Fit::Azure);
            assert_eq!(url("azure_ai/d", &format!("https://{host}")), expected);
        }
    }

    #[test]
    fn host_that_is_not_azures_is_a_guess() {
        for (text, expected) in [
            ("https://openai", "https://openai"),
            (
                "https://openai.example:8443/",
                "https://openai.example:8443",
            ),
            ("https://openai.azure.com", "https://openai.azure.com"),
            (
                "https://gateway.example/eu/openai/deployments/d",
                "https://gateway.example/eu",
            ),
            (
                "https://r.openai.azure.com/other",
                "https://r.openai.azure.com/other",
            ),
            (
                "https://r.openai.azure.com/openai/other",
                "https://r.openai.azure.com",
            ),
        ] {
            let expected = (expected.to_owned(), Fit::AzureGuessed);
            assert_eq!(url("azure/d", text), expected, "{text}");
        }
        let explicit = "https://gateway.example/eu/openai/v1";
        let above = "https://gateway.example/eu".to_owned();
        assert_eq!(url("azure/d", explicit), (above, Fit::Azure));
        assert!(mapped("azure/d", explicit).is_v1);
        let own_host = "https://d.eastus.models.ai.azure.com";
        let expected = (format!("{own_host}/openai/v1"), Fit::AzureGuessed);
        assert_eq!(url("azure_ai/d", own_host), expected);
    }

    #[test]
    fn deployment_in_a_url_is_known() {
        let text = "https://openai.example/openai/deployments/my-own/chat/completions";
        let mapped = mapped("azure/d", text);
        assert_eq!(mapped.deployment.as_deref(), Some("my-own"));
    }

    #[test]
    fn host_of_a_provider_is_asked_where_its_own_api_is() {
        let known = "https://generativelanguage.googleapis.com";
        for path in ["", "/v1beta", "/v1beta/openai/"] {
            let text = format!("https://generativelanguage.googleapis.com{path}");
            assert_eq!(url("gemini/m", &text), (known.to_owned(), Fit::Same));
        }
        let cohere = "https://api.cohere.ai/compatibility/v1".to_owned();
        assert_eq!(
            url("cohere/m", "https://api.cohere.ai/v1/chat"),
            (cohere, Fit::Same)
        );
        let gateway = "https://gateway.example/gemini".to_owned();
        assert_eq!(
            url("gemini/m", "https://gateway.example/gemini/"),
            (gateway, Fit::OtherProtocol)
        );
    }

    #[test]
    fn query_is_dropped_and_not_shown() {
        let mapped = mapped("openai/m", "https://h/v1/?key=hidden");
        assert_eq!(mapped.url.to_string(), "https://h/v1");
        assert_eq!(
            (mapped.old.as_str(), mapped.fit, mapped.is_changed()),
            ("https://h/v1/?...", Fit::QueryDropped, true)
        );
    }

    #[test]
    fn what_no_base_url_can_have_is_refused() {
        let Found::Provider(provider, _) = find("openai/m", None) else {
            panic!("openai is a provider")
        };
        for (text, error) in [
            ("h:8000/v1", AddressError::Scheme),
            ("/v1", AddressError::Scheme),
            ("ftp://h/v1", AddressError::Scheme),
            ("https://u:p@h/v1", AddressError::Credentials),
            ("https://h/v1#top", AddressError::Query),
            ("https://h:0/v1", AddressError::Port),
            ("https://a b/v1", AddressError::Url),
            ("https:///v1", AddressError::Url),
        ] {
            assert_eq!(map(&provider, text), Err(error), "{text}");
        }
    }
}
