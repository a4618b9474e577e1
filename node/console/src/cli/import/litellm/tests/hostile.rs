//! Files that nobody would write: whatever they hold, the import ends with a good configuration or an error.

use proptest::prelude::*;

use super::super::{ImportError, import};
use super::config;

/// Keys that the import looks at, and one that it does not know.
const KEYS: &[&str] = &[
    "model_list",
    "model_name",
    "litellm_params",
    "model_info",
    "model",
    "api_base",
    "api_key",
    "base_url",
    "extra_headers",
    "organization",
    "timeout",
    "stream_timeout",
    "max_retries",
    "order",
    "weight",
    "rpm",
    "custom_llm_provider",
    "litellm_credential_name",
    "credential_list",
    "credential_name",
    "credential_values",
    "router_settings",
    "litellm_settings",
    "general_settings",
    "fallbacks",
    "default_fallbacks",
    "id",
    "model_group_alias",
    "hidden",
    "routing_strategy",
    "num_retries",
    "allowed_fails",
    "cooldown_time",
    "master_key",
    "environment_variables",
    "max_request_size_mb",
    "json_logs",
    "a",
    "b",
    "*",
    "x y",
    "ключ",
    "<<",
];

/// Values with a meaning, and without.
const TEXTS: &[&str] = &[
    "a",
    "b",
    "*",
    "openai/a",
    "openai/*",
    "azure/b",
    "anthropic/a",
    "ollama/x",
    "bedrock/x",
    "groq/a b",
    "http://h",
    "https://h:1/v1/",
    "http://",
    "os.environ/A",
    "os.environ/",
    "os.environ/A B",
    "${A}",
    "$${",
    "${",
    "-1",
    "0",
    "1",
    "1.5",
    "1e400",
    "nan",
    "99999999999",
    "true",
    "no",
    "~",
    "sk-secret",
    "latency-based-routing",
    "line\nbreak",
    "\u{0}",
    "\u{2028}",
    "'",
    "\"",
    "#",
    ": ",
    "- ",
];

fn value() -> impl Strategy<Value = String> {
    let text =
        prop::sample::select(TEXTS).prop_map(|text| serde_json::Value::from(text).to_string());
    text.prop_recursive(5, 60, 5, |inner| {
        let entry = (prop::sample::select(KEYS), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::btree_map(
                entry.clone().prop_map(|(key, _)| key),
                entry.prop_map(|(_, it)| it),
                0..5
            )
            .prop_map(|map| {
                let entries = map.iter().map(|(key, value)| format!("{key:?}: {value}"));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }),
        ]
    })
}

/// A list of deployments that are mostly well formed, with settings beside them.
fn file() -> impl Strategy<Value = String> {
    let text =
        || prop::sample::select(TEXTS).prop_map(|text| serde_json::Value::from(text).to_string());
    let deployment = (
        text(),
        text(),
        prop::collection::btree_map(prop::sample::select(KEYS), value(), 0..4),
    );
    let deployment = deployment.prop_map(|(name, model, mut params)| {
        params.insert("model", model);
        let params = params
            .iter()
            .map(|(key, value)| format!("{key:?}: {value}"));
        format!(
            "{{model_name: {name}, litellm_params: {{{}}}}}",
            params.collect::<Vec<_>>().join(", ")
        )
    });
    let models = prop::collection::vec(deployment, 0..6);
    (models, value(), value(), value()).prop_map(|(models, router, litellm, general)| {
        format!(
            "model_list: [{}]\nrouter_settings: {router}\nlitellm_settings: {litellm}\ngeneral_settings: {general}\n",
            models.join(", ")
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_well_formed_becomes_a_good_configuration(text in file()) {
        if let Ok(imported) = import(&text, "config.yaml") {
            config(&imported);
            let is_good = |finding: &&super::super::Finding| !finding.problem.contains("report");
            prop_assert!(imported.findings.iter().all(|finding| is_good(&finding)));
            let mut keys = imported.config.lines().filter_map(|line| line.strip_prefix("    api_key: "));
            prop_assert!(keys.all(|key| key.starts_with("${")), "{}", imported.config);
        }
    }

    #[test]
    fn any_tree_ends_without_a_panic(text in value()) {
        let _ = import(&text, "config.yaml");
    }

    #[test]
    fn any_text_ends_without_a_panic(text in ".{0,400}") {
        let _ = import(&text, "config.yaml");
        let _ = import(&format!("model_list: {text}"), "config.yaml");
    }
}

#[test]
fn what_is_no_configuration_of_litellm_is_refused() {
    for text in ["", "[]", "word", "a: 1", "model_list:\n"] {
        assert!(
            matches!(import(text, "f"), Err(ImportError::NoModels(_))),
            "{text}"
        );
    }
    for text in [
        "a: [",
        "a: 1\na: 2",
        "a: !!python/object x",
        "model_list: *x",
    ] {
        assert!(
            matches!(import(text, "f"), Err(ImportError::Yaml(_))),
            "{text}"
        );
    }
    let deep = format!("model_list: {}", "[".repeat(100_000));
    assert!(matches!(import(&deep, "f"), Err(ImportError::Yaml(_))));
}

#[test]
fn file_that_multiplies_itself_ends_with_an_error() {
    let names: Vec<String> = (0..400).map(|number| format!("n{number}")).collect();
    let models = names.iter().map(|name| {
        format!("- {{model_name: {name}, litellm_params: {{model: openai/{name}}}}}\n")
    });
    let text = format!(
        "model_list:\n{}litellm_settings: {{default_fallbacks: [{}]}}\n",
        models.collect::<String>(),
        names.join(", ")
    );
    assert!(matches!(
        import(&text, "f"),
        Err(ImportError::TooMany { .. })
    ));
}
