//! What becomes of URLs: host and port stay, whatever they look like, and each change is shown.

use grapevine_config::address::BaseUrl;
use grapevine_config::checked::{AuthConfig, Provider};
use proptest::prelude::*;

use super::super::super::finding::Kind;
use super::super::providers::PROVIDERS;
use super::{Imported, config, finding, imported, one};

const PASSWORD: &str = "hunter2";
const QUERY_KEY: &str = "sig-9c1f";

/// The parts of a URL as somebody may write it.
#[derive(Clone, Debug)]
struct Parts {
    scheme: &'static str,
    user: &'static str,
    host: &'static str,
    port: &'static str,
    path: String,
    end: &'static str,
}

impl Parts {
    fn text(&self) -> String {
        let Self {
            scheme,
            user,
            host,
            port,
            path,
            end,
        } = self;
        format!("{scheme}://{user}{host}{port}{path}{end}")
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let segments = prop::sample::select(vec![
        "v1",
        "openai",
        "deployments",
        "my-deployment",
        "chat",
        "completions",
        "embeddings",
        "messages",
        "models",
        "responses",
        "api",
        "generate",
        "v1beta",
        "",
    ]);
    let path = prop::collection::vec(segments, 0..6).prop_map(|segments| {
        let segments = segments.iter().map(|segment| format!("/{segment}"));
        segments.collect::<String>()
    });
    let hosts = prop::sample::select(vec![
        "h",
        "openai",
        "openai-eu.openai.azure.com",
        "R.Services.AI.azure.com",
        "r.cognitiveservices.azure.com",
        "openai.azure.com.example.net",
        "v1",
        "chat",
        "completions.example",
        "messages",
        "api.openai.com",
        "generativelanguage.googleapis.com",
        "10.0.0.7",
        "[::1]",
        "[2001:db8::7]",
    ]);
    let users = prop::sample::select(vec!["", "", "", "user:hunter2@", "user@"]);
    let ends = prop::sample::select(vec![
        "",
        "",
        "/",
        "//",
        "?api-version=sig-9c1f",
        "/?sig-9c1f",
        "#sig-9c1f",
    ]);
    (
        prop::sample::select(vec!["http", "https", "HTTPS"]),
        users,
        hosts,
        prop::sample::select(vec!["", "", ":443", ":8080", ":65535"]),
        path,
        ends,
    )
        .prop_map(|(scheme, user, host, port, path, end)| Parts {
            scheme,
            user,
            host,
            port,
            path,
            end,
        })
}

fn with_base(provider: &str, base: &str) -> Imported {
    // Other names are of models that Vertex AI has by other protocols.
    one(&format!("model: {provider}/gemini-m, api_base: \"{base}\""))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn host_and_port_of_a_url_always_stay(parts in parts(), provider in prop::sample::select(PROVIDERS)) {
        let text = parts.text();
        let imported = with_base(provider.name, &text);
        let all = format!("{}{:?}", imported.config, imported.findings);
        prop_assert!(!all.contains(PASSWORD) && !all.contains(QUERY_KEY), "{all}");
        let about: Vec<_> = imported.findings.iter().filter(|one| one.key.ends_with("api_base")).collect();
        let config = config(&imported);
        let Some(upstream) = config.upstreams.first() else {
            // Nothing that a base URL can be: left out, and said so.
            prop_assert!(!parts.user.is_empty() || parts.end.starts_with('#'), "{text}");
            prop_assert!(about.iter().any(|one| one.kind == Kind::Lost), "{about:?}");
            return Ok(());
        };
        prop_assert!(parts.user.is_empty() && !parts.end.starts_with('#'), "{text}");
        let url = &upstream.base_url;
        let expected = format!("{}{}", parts.host, parts.port);
        prop_assert_eq!(url.authority().as_str(), expected.as_str());
        prop_assert_eq!(url.scheme().as_str(), parts.scheme.to_ascii_lowercase());
        let is_same = url.to_string() == text;
        let old = text.split('?').next().unwrap_or_default();
        let is_shown = about.iter().any(|one| one.problem.contains(&url.to_string()) && one.problem.contains(old));
        prop_assert!(is_same || is_shown, "{text} is {url} without a word: {about:?}");
        // What is no call of an API any more is not cut further.
        let again = with_base(provider.name, &url.to_string());
        let again = super::config(&again).upstreams[0].base_url.to_string();
        let is_call = |url: &BaseUrl| url.without_endpoint().is_some();
        prop_assert!(again == url.to_string() || is_call(url), "{url} becomes {again}");
    }
}

#[test]
fn resource_of_azure_keeps_its_host_and_is_noted() {
    let imported = one(
        "model: azure/gpt-4o, api_base: https://openai-eu.openai.azure.com/, api_key: os.environ/K, api_version: \"2024-10-21\"",
    );
    let config = config(&imported);
    let upstream = &config.upstreams[0];
    assert_eq!(
        upstream.base_url.to_string(),
        "https://openai-eu.openai.azure.com"
    );
    assert_eq!(upstream.headers, []);
    assert!(matches!(upstream.auth, AuthConfig::Key(_)));
    assert_eq!(upstream.provider.api_version.as_deref(), Some("2024-10-21"));
    let (kind, text) = finding(&imported, "api_base");
    for part in [
        "https://openai-eu.openai.azure.com/ is written as https://openai-eu.openai.azure.com:",
        "Azure's paths follow from the provider",
    ] {
        assert!(kind == Kind::Note && text.contains(part), "{text}");
    }
    assert_eq!(imported.findings.len(), 1, "{:?}", imported.findings);
}

#[test]
fn azure_at_an_unknown_host_needs_attention_for_each_deployment() {
    let imported = imported(
        "model_list:\n\
         - {model_name: a, litellm_params: {model: azure/a, api_base: \"https://openai.internal:8443/\"}}\n\
         - {model_name: b, litellm_params: {model: azure/b, api_base: os.environ/AZURE_BASE}}\n\
         - {model_name: c, litellm_params: {model: azure/c}}\n\
         - {model_name: d, litellm_params: {model: azure_ai/d}}\n",
    );
    let (kind, text) = finding(&imported, "model_list[0].litellm_params.api_base");
    for part in [
        "https://openai.internal:8443/ is written as https://openai.internal:8443, a guess",
        "let base_url be what is in front of /openai/",
    ] {
        assert!(kind == Kind::Changed && text.contains(part), "{text}");
    }
    for (key, url) in [
        ("[1].litellm_params.api_base", "${AZURE_BASE}"),
        ("model_list[2]", "${AZURE_API_BASE}"),
    ] {
        let (kind, text) = finding(&imported, key);
        assert!(kind == Kind::Step && text.contains(url), "{text}");
        assert!(imported.config.contains(url), "{}", imported.config);
    }
    assert!(
        imported
            .config
            .contains("base_url: ${AZURE_AI_API_BASE}/openai/v1"),
        "{}",
        imported.config
    );
    assert_eq!(config(&imported).upstreams.len(), 4);
}

#[test]
fn deployment_in_a_url_of_azure_is_the_model() {
    let base =
        "https://r.openai.azure.com/openai/deployments/my-own/chat/completions?api-version=1";
    let imported = one(&format!("model: azure/gpt-4o, api_base: \"{base}\""));
    assert!(
        imported.config.contains("upstream_name: my-own\n"),
        "{}",
        imported.config
    );
    let (kind, text) = finding(&imported, "model_list[0]");
    assert!(kind == Kind::Note && text.contains("my-own"), "{text}");
    let same = one(&format!("model: azure/my-own, api_base: \"{base}\""));
    assert!(same.config.contains("upstream_name: my-own\n"));
}

#[test]
fn name_of_an_azure_deployment_with_a_slash_needs_attention() {
    let base = "api_base: \"https://r.openai.azure.com\"";
    for (model, is_good) in [
        ("azure/eu/gpt-4o", false),
        ("azure/global/gpt-4o", false),
        ("azure/o_series/o3", true),
        ("azure/gpt-4o", true),
    ] {
        let imported = one(&format!("model: {model}, {base}"));
        let needs = |finding: &super::super::Finding| {
            finding.key.ends_with("params.model") && finding.kind.needs_attention()
        };
        assert_eq!(imported.findings.iter().any(needs), !is_good, "{model}");
    }
}

#[test]
fn header_of_a_key_is_that_of_litellm() {
    let header = |model: &str, base: &str| {
        let imported = one(&format!(
            "model: {model}, api_base: \"{base}\", api_key: os.environ/K"
        ));
        let config = config(&imported);
        (
            config.upstreams[0].provider.provider == Provider::Azure,
            matches!(config.upstreams[0].auth, AuthConfig::Key(_)),
        )
    };
    let resource = "https://r.services.ai.azure.com";
    assert_eq!(header("azure/d", resource), (true, true));
    assert_eq!(header("azure/d", "https://gateway.example"), (true, true));
    assert_eq!(header("azure_ai/d", resource), (true, true));
    assert_eq!(
        header("azure_ai/d", "https://d.eastus.models.ai.azure.com"),
        (false, true)
    );
    assert_eq!(header("openai/d", resource), (false, true));
    let token = one(&format!(
        "model: azure/d, api_base: \"{resource}\", azure_ad_token: os.environ/T"
    ));
    assert!(token.config.contains("api_key: ${T}"), "{}", token.config);
    assert!(token.config.contains("auth: bearer"), "{}", token.config);
}

#[test]
fn url_that_no_base_url_can_be_leaves_its_deployment_out() {
    for (base, part) in [
        ("h:8000/v1", "must begin with http"),
        ("https://u:hunter2@h/v1", "must not hold a user"),
        ("https://h/v1#top", "must not hold a query or a fragment"),
        ("https://h:99999/v1", "must have a port"),
        ("https://${HOST}/v1", "names a variable within a URL"),
        ("https://os.environ/HOST/v1", "names a variable within"),
        ("os.environ/HOST/v1", "other than letters"),
    ] {
        let imported = with_base("openai", base);
        let (kind, text) = finding(&imported, "api_base");
        assert!(
            kind == Kind::Lost && text.contains(part) && text.contains("is left out"),
            "{base}: {text}"
        );
        assert!(imported.config.contains("upstreams: []"));
    }
    let empty = with_base("openai", "");
    assert_eq!(empty.findings, []);
    assert!(empty.config.contains("https://api.openai.com/v1"));
    assert_eq!(
        finding(&one("model: openai/a, api_base: [a]"), "api_base").0,
        Kind::Lost
    );
}

#[test]
fn query_that_is_not_sent_and_other_protocols_need_attention() {
    for (provider, base) in [
        ("openai", "https://h/v1?tenant=a"),
        ("gemini", "https://gateway.example/v1beta"),
    ] {
        let imported = with_base(provider, base);
        let (kind, text) = finding(&imported, "api_base");
        assert!(kind == Kind::Changed, "{text}");
        assert!(!text.contains("tenant"), "{text}");
    }
}

#[test]
fn what_check_warns_of_is_left_to_do() {
    for base in ["https://api.openai.com", "https://h/v1/models"] {
        let imported = with_base("openai", base);
        let (kind, text) = finding(&imported, "upstreams[0].base_url of the new file");
        assert!(kind == Kind::Step && text.contains("set it to"), "{text}");
    }
}
