//! Base URLs that are likely to be a mistake: the exact words of each warning.

use super::*;

/// The warnings about the base URL of the only upstream.
fn about(url: &str) -> Vec<String> {
    warnings(&format!(
        "listen: 127.0.0.1:8080\nupstreams:\n  - name: a\n    base_url: {url}\n"
    ))
}

#[test]
fn url_of_a_call_is_warned_of_and_stays_as_written() {
    assert_eq!(
        about("http://10.0.0.7:8000/v1/chat/completions"),
        [
            "4:15: upstreams[0].base_url: http://10.0.0.7:8000/v1/chat/completions ends in /chat/completions, and \
             requests append their own path to it; set it to http://10.0.0.7:8000/v1"
        ]
    );
    let config = good("upstreams: [{name: a, base_url: 'http://h/v1/models'}]\n");
    assert_eq!(
        config.upstreams[0].base_url.to_string(),
        "http://h/v1/models"
    );
    for endpoint in [
        "completions",
        "embeddings",
        "responses",
        "messages",
        "models",
        "audio/speech",
        "rerank",
    ] {
        let warned = about(&format!("https://[::1]:8443/x/{endpoint}/"));
        let remedy = "; set it to https://[::1]:8443/x";
        assert!(
            warned.len() == 1 && warned[0].ends_with(remedy),
            "{warned:?}"
        );
    }
}

#[test]
fn known_provider_without_its_prefix_is_warned_of() {
    assert_eq!(
        about("https://api.openai.com"),
        [
            "4:15: upstreams[0].base_url: https://api.openai.com lacks the path of this provider's API, /v1; \
             set it to https://api.openai.com/v1"
        ]
    );
    for (url, meant) in [
        ("https://API.anthropic.com/", "https://API.anthropic.com/v1"),
        ("https://openrouter.ai/api", "https://openrouter.ai/api/v1"),
        ("https://openrouter.ai/v1", "https://openrouter.ai/api/v1"),
        ("https://api.groq.com", "https://api.groq.com/openai/v1"),
        (
            "https://api.groq.com/openai",
            "https://api.groq.com/openai/v1",
        ),
        (
            "https://api.mistral.ai:443",
            "https://api.mistral.ai:443/v1",
        ),
        (
            "https://generativelanguage.googleapis.com/v1beta",
            "https://generativelanguage.googleapis.com/v1beta/openai",
        ),
        (
            "https://r.openai.azure.com",
            "https://r.openai.azure.com/openai/v1",
        ),
        (
            "https://r.services.ai.azure.com/openai/deployments/d/chat/completions",
            "https://r.services.ai.azure.com/openai/v1",
        ),
        (
            "https://api.openai.com/chat/completions",
            "https://api.openai.com/v1",
        ),
    ] {
        let warned = about(url);
        let remedy = format!("; set it to {meant}");
        assert!(
            warned.len() == 1 && warned[0].ends_with(&remedy),
            "{url}: {warned:?}"
        );
    }
}

#[test]
fn url_that_may_be_meant_is_not_warned_of() {
    for url in [
        "https://api.openai.com/v1",
        "https://api.groq.com/openai/v1/",
        "https://api.deepseek.com",
        "https://api.perplexity.ai",
        "https://r.services.ai.azure.com/anthropic/v1",
        "https://api.openai.com.example.net",
        "https://api.fireworks.ai/inference/v1beta",
        "http://localhost:8000",
        "http://completions:8000",
        "http://h/my-models",
        "http://h/models/v1",
    ] {
        assert_eq!(about(url), [] as [&str; 0], "{url}");
    }
}

#[test]
fn what_a_variable_holds_is_in_no_warning() {
    let warned = |value: &str| {
        let sources = Sources {
            environment: [("HIDDEN", value)].into_iter().collect(),
            ..Sources::default()
        };
        let yaml =
            "listen: 127.0.0.1:8080\nupstreams: [{name: a, base_url: 'https://${HIDDEN}'}]\n";
        let loaded = load_text(yaml, &sources).expect("a good configuration");
        loaded.warnings.iter().map(ToString::to_string).collect()
    };
    let warnings: Vec<String> = warned("tenant-7.example/v1/messages");
    assert_eq!(
        warnings,
        [
            "2:33: upstreams[0].base_url: https://${HIDDEN} ends in /messages, and requests append their own path to \
             it; let it end before /messages"
        ]
    );
    let warnings: Vec<String> = warned("tenant-7.openai.azure.com");
    let remedy = "lacks the path of this provider's API, /openai/v1; let its path be /openai/v1";
    assert!(
        warnings.len() == 1 && warnings[0].ends_with(remedy),
        "{warnings:?}"
    );
    assert!(!warnings[0].contains("tenant-7"), "{warnings:?}");
}

#[test]
fn query_or_fragment_is_refused_and_its_value_is_not_shown() {
    let form = "write it as https://HOST/v1; a key goes to api_key";
    let refused = |url: &str| {
        problems(&format!(
            "listen: 127.0.0.1:8080\nupstreams: [{{name: a, base_url: '{url}'}}]\n"
        ))
    };
    assert_eq!(
        refused("https://h/v1?key=hidden"),
        [format!(
            "2:33: upstreams[0].base_url: https://h/v1?*** must not hold a query or a fragment; {form}"
        )]
    );
    assert_eq!(
        refused("https://h/v1#top"),
        [format!(
            "2:33: upstreams[0].base_url: https://h/v1#top must not hold a query or a fragment; {form}"
        )]
    );
}
