//! A file in the shape of LiteLLM's documentation.

use super::super::super::finding::Kind;
use super::{config, imported};
use grapevine_config::checked::AuthConfig;

const FILE: &str = include_str!("documented.yaml");

#[test]
fn documented_file_makes_a_good_configuration_without_its_secrets() {
    let imported = imported(FILE);
    let config = config(&imported);
    let all = format!(
        "{}{:?}{:?}",
        imported.config, imported.findings, imported.variables
    );
    for secret in ["sk-literal-7f3a", "hunter2-redis", "sk-1234"] {
        assert!(!all.contains(secret), "{secret} is in\n{all}");
    }
    assert_eq!(config.routing.strategy.as_str(), "weighted");
    assert_eq!(config.keys.len(), 1);
    let upstream = |name: &str| {
        let mut all = config.upstreams.iter();
        all.find(|one| one.name.as_str() == name)
            .unwrap_or_else(|| panic!("no {name} in\n{}", imported.config))
    };
    assert_eq!(
        upstream("azure").base_url.to_string(),
        "https://team-europe.openai.azure.com"
    );
    assert_eq!(
        upstream("azure").provider.api_version.as_deref(),
        Some("2024-10-21")
    );
    let bedrock = &upstream("bedrock").provider;
    assert_eq!(bedrock.aws_region.as_deref(), Some("us-east-1"));
    assert_eq!(
        (
            upstream("azure").attempts_max,
            upstream("azure").timeout.total.map(|total| total.as_secs())
        ),
        (3, Some(30))
    );
    assert_eq!(upstream("azure").health.failure_threshold, 4);
    assert_eq!(
        upstream("huggingface").base_url.to_string(),
        "http://10.0.0.1:8001/v1"
    );
    assert!(upstream("hosted_vllm").auth == AuthConfig::None);
    // Zephyr's two servers, then the two of gpt-4o, then the last resort.
    assert_eq!(
        imported.config.matches("name: zephyr-beta").count(),
        5,
        "{}",
        imported.config
    );
    let tiers: Vec<u16> = config.upstreams.iter().map(|one| one.tier.0).collect();
    assert_eq!(tiers.iter().max(), Some(&3));
    // gpt-4 is gpt-4o by another name.
    assert_eq!(
        imported.config.matches("name: gpt-4\n").count(),
        2,
        "{}",
        imported.config
    );
}

#[test]
fn documented_file_loses_nothing_in_silence() {
    let imported = imported(FILE);
    let lost = |key: &str| {
        let found = imported
            .findings
            .iter()
            .find(|finding| finding.key.ends_with(key));
        found.map(|finding| finding.kind)
    };
    for key in [
        "drop_params",
        "success_callback[0]",
        "context_window_fallbacks",
        "temperature",
    ] {
        assert_eq!(lost(key), Some(Kind::Lost), "{key}");
    }
    for key in ["redis_host", "redis_password", "redis_port", "version"] {
        assert_eq!(lost(key), Some(Kind::Note), "{key}");
    }
    assert_eq!(lost("model_list[4].litellm_params.model"), None);
    assert_eq!(
        lost("model_list[0].litellm_params.rpm"),
        Some(Kind::Changed)
    );
    assert_eq!(lost("alerting"), Some(Kind::Step));
    for finding in &imported.findings {
        assert!(
            imported.config.contains(&finding.to_string()),
            "not in the heading: {finding}"
        );
    }
}
