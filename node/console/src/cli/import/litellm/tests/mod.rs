//! Each mapping by itself, URLs, patterns and callbacks, a file in the shape of LiteLLM's documentation, the words of
//! the findings, and files that nobody would write.

mod documented;
mod hostile;
mod named;
mod patterns;
mod urls;
mod words;

use grapevine_config::checked::AuthConfig;
use std::time::Duration;

use grapevine_config::checked::{Config, RoutingConfig};
use grapevine_config::{Environment, Sources};

use super::super::finding::Kind;
use super::{Imported, import};

fn imported(text: &str) -> Imported {
    match import(text, "config.yaml") {
        Ok(imported) => imported,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// Variables that tests use for parts of hosts and paths.
const PARAMETERS: [&str; 4] = ["AWS_REGION", "VERTEXAI_PROJECT", "MY_PROJECT", "MY_VERSION"];

/// The configuration that `imported` makes, where all its variables are set to their own names.
fn config(imported: &Imported) -> Config {
    let hash = format!("sha256:{}", "0".repeat(64));
    let value = |name: &str, is_hash: bool| match is_hash {
        true => hash.clone(),
        // A part of a host is no URL.
        false if PARAMETERS.contains(&name) => name.replace('_', "-"),
        false => format!("http://{name}"),
    };
    let variables = imported.variables.iter();
    let environment: Environment = variables
        .map(|variable| {
            (
                variable.name.clone(),
                value(&variable.name, variable.is_hash),
            )
        })
        .collect();
    let sources = Sources {
        environment,
        ..Sources::default()
    };
    match grapevine_config::load_text(&imported.config, &sources) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems}\n{}", imported.config),
    }
}

/// The only finding about a key that ends with `key`.
fn finding(imported: &Imported, key: &str) -> (Kind, String) {
    let mut found = imported
        .findings
        .iter()
        .filter(|finding| finding.key.ends_with(key));
    let first = found.next();
    let first = first.unwrap_or_else(|| panic!("nothing about {key}: {:#?}", imported.findings));
    assert!(
        found.next().is_none(),
        "more about {key}: {:#?}",
        imported.findings
    );
    (first.kind, first.to_string())
}

fn one(params: &str) -> Imported {
    imported(&format!(
        "model_list: [{{model_name: m, litellm_params: {{{params}}}}}]\n"
    ))
}

#[test]
fn plain_deployment_is_carried_over_without_a_word() {
    let imported = one("model: groq/llama-3, api_key: os.environ/MY_KEY");
    assert_eq!(imported.findings, []);
    let config = config(&imported);
    let upstream = &config.upstreams[0];
    assert_eq!(
        upstream.base_url.to_string(),
        "https://api.groq.com/openai/v1"
    );
    assert_eq!(key_of(&upstream.auth), Some("http://MY_KEY"));
    assert!(
        imported
            .config
            .contains("- name: m\n        upstream_name: llama-3\n"),
        "{}",
        imported.config
    );
}

#[test]
fn key_that_is_not_written_comes_from_the_providers_variable() {
    let imported = one("model: mistral/large");
    assert_eq!(imported.variables[0].name, "MISTRAL_API_KEY");
    assert_eq!(imported.findings, []);
    let imported = one("model: ollama/llama3");
    assert!(imported.variables.is_empty(), "{:?}", imported.variables);
}

#[test]
fn shorter_wait_of_a_node_is_noted_where_none_is_written() {
    let is_noted = |text: &str| imported(text).config.contains("a node waits 2 minutes");
    assert!(is_noted("model_list: []\n"));
    assert!(!is_noted(
        "model_list: []\nrouter_settings: {timeout: 60}\n"
    ));
}

#[test]
fn secret_in_the_file_is_in_nothing_that_is_written() {
    let text = "model: openai/a, api_key: sk-literal, extra_headers: {x-api-token: sk-header, x-team: blue}";
    let imported = one(text);
    let all = format!(
        "{}{:?}{:?}",
        imported.config, imported.findings, imported.variables
    );
    assert!(
        !all.contains("sk-literal") && !all.contains("sk-header"),
        "{all}"
    );
    assert_eq!(finding(&imported, "litellm_params.api_key").0, Kind::Step);
    assert!(
        imported.config.contains("api_key: ${OPENAI_KEY_1}"),
        "{}",
        imported.config
    );
    assert!(
        imported.config.contains("x-team: blue"),
        "{}",
        imported.config
    );
    assert_eq!(config(&imported).upstreams[0].headers.len(), 2);
}

#[test]
fn waits_and_limits_of_a_deployment_are_written() {
    let text = "model: openai/a, timeout: 300, stream_timeout: 5.5, max_retries: 0, max_parallel_requests: 7, \
                cooldown_time: 90, allowed_fails: 0, organization: org-1";
    let imported = one(text);
    let config = config(&imported);
    let upstream = &config.upstreams[0];
    let wait = Duration::from_secs(300);
    assert_eq!(
        (upstream.timeout.first_byte, upstream.timeout.answer),
        (wait, wait)
    );
    assert_eq!(
        (upstream.timeout.idle, upstream.timeout.total),
        (Some(Duration::from_millis(5_500)), Some(wait))
    );
    assert_eq!(
        (upstream.attempts_max, upstream.in_flight_max),
        (1, Some(7))
    );
    assert_eq!(
        (
            upstream.health.failure_threshold,
            upstream.health.cooldown_max.as_secs()
        ),
        (1, 90)
    );
    assert_eq!(upstream.headers[0].0, "openai-organization");
    assert_eq!(
        config.routing.deadline,
        RoutingConfig::default().deadline,
        "which is longer"
    );
    let longer = one("model: openai/a, timeout: 900");
    assert!(longer.config.contains("deadline: 15m"), "{}", longer.config);
    assert_eq!(finding(&imported, "stream_timeout").0, Kind::Changed);
}

#[test]
fn impossible_values_are_reported_and_left_out() {
    let text = "model: openai/a, timeout: soon, max_retries: -1, order: 1.5, weight: x, max_parallel_requests: 9e9";
    let imported = one(text);
    for key in ["timeout", "max_retries", "order", "weight"] {
        assert_eq!(finding(&imported, key).0, Kind::Lost, "{key}");
    }
    assert_eq!(finding(&imported, "max_parallel_requests").0, Kind::Changed);
    assert_eq!(
        config(&imported).upstreams[0].in_flight_max,
        Some(1_000_000)
    );
}

#[test]
fn each_organization_is_an_upstream() {
    let imported = one("model: openai/a, organization: [org-1, org-2]");
    assert_eq!(config(&imported).upstreams.len(), 2);
}

#[test]
fn deployments_of_one_endpoint_are_one_upstream() {
    let imported = imported(
        "model_list:\n\
         - {model_name: a, litellm_params: {model: openai/a}}\n\
         - {model_name: b, litellm_params: {model: openai/b}}\n\
         - {model_name: a, litellm_params: {model: openai/a-2}}\n",
    );
    let config = config(&imported);
    let names: Vec<&str> = config
        .upstreams
        .iter()
        .map(|upstream| upstream.name.as_str())
        .collect();
    assert_eq!(names, ["openai", "openai-2"]);
}

#[test]
fn order_becomes_tiers_and_what_has_none_comes_last() {
    let imported = imported(
        "model_list:\n\
         - {model_name: a, litellm_params: {model: groq/a}}\n\
         - {model_name: a, litellm_params: {model: openai/a, order: 20}}\n\
         - {model_name: a, litellm_params: {model: mistral/a, order: 10}}\n",
    );
    let config = config(&imported);
    let tiers: Vec<(&str, u16)> = config
        .upstreams
        .iter()
        .map(|one| (one.name.as_str(), one.tier.0))
        .collect();
    assert_eq!(tiers, [("groq", 3), ("openai", 2), ("mistral", 1)]);
}

#[test]
fn shares_become_weights_within_what_can_be_written() {
    let shares = |strategy: &str, params: [&str; 3]| {
        let models = params.map(|params| {
            format!("- {{model_name: a, litellm_params: {{model: openai/a, {params}}}}}\n")
        });
        let imported = imported(&format!("model_list:\n{}{strategy}", models.concat()));
        let config = config(&imported);
        let weights: Vec<f64> = config
            .upstreams
            .iter()
            .map(|one| one.weight.get())
            .collect();
        (weights, config.routing.strategy.as_str())
    };
    let shuffle = "router_settings: {routing_strategy: simple-shuffle}\n";
    assert_eq!(
        shares(shuffle, ["rpm: 60", "rpm: 600", "rpm: 60000"]),
        (vec![1.0, 10.0, 1_000.0], "weighted")
    );
    assert_eq!(
        shares("", ["weight: 9", "weight: 1", "tpm: 5"]),
        (vec![9.0, 1.0, 0.001], "weighted")
    );
    assert_eq!(
        shares("", ["rpm: 1", "rpm: 1000000", "rpm: 1"]),
        (vec![0.001, 1_000.0, 0.001], "weighted")
    );
    let busy = "router_settings: {routing_strategy: least-busy}\n";
    assert_eq!(
        shares(busy, ["rpm: 1", "rpm: 2", "rpm: 3"]),
        (vec![1.0; 3], "least-busy")
    );
    assert_eq!(
        shares("", ["tpm: 5", "tpm: 5", "tpm: 5"]),
        (vec![1.0; 3], "latency")
    );
}

#[test]
fn strategies_have_a_counterpart_or_are_reported() {
    let strategy = |word: &str| {
        let text = format!("model_list: []\nrouter_settings: {{routing_strategy: {word}}}\n");
        let imported = imported(&text);
        let kind = imported.findings.first().map(|finding| finding.kind);
        (config(&imported).routing.strategy.as_str(), kind)
    };
    assert_eq!(strategy("simple-shuffle"), ("weighted", None));
    assert_eq!(strategy("least-busy"), ("least-busy", None));
    assert_eq!(strategy("latency-based-routing"), ("latency", None));
    assert_eq!(
        strategy("usage-based-routing-v2"),
        ("least-busy", Some(Kind::Changed))
    );
    assert_eq!(
        strategy("cost-based-routing"),
        ("latency", Some(Kind::Lost))
    );
    assert_eq!(strategy("by-the-moon"), ("latency", Some(Kind::Lost)));
}

#[test]
fn fallback_is_the_other_deployment_under_the_same_name_in_a_later_tier() {
    let models = "model_list:\n\
         - {model_name: a, litellm_params: {model: openai/a1}}\n\
         - {model_name: b, litellm_params: {model: groq/b1}, model_info: {id: b-id}}\n\
         - {model_name: c, litellm_params: {model: mistral/c1}}\n";
    for written in [
        "litellm_settings: {fallbacks: [{a: [b, c]}]}\n",
        "router_settings: {fallbacks: [{a: [b-id, c]}]}\n",
        "router_settings: {fallbacks: [{a: [b, c]}, {b: [b]}, {c: [c]}], default_fallbacks: [a]}\n",
    ] {
        let imported = imported(&format!("{models}{written}"));
        let text = &imported.config;
        let config = config(&imported);
        let of = |name: &str, tier: u16| {
            let mut all = config.upstreams.iter();
            all.find(|one| one.name.as_str() == name && one.tier.0 == tier)
                .is_some()
        };
        assert!(
            of("openai", 1) && of("groq", 1) && of("groq-2", 2),
            "{text}"
        );
        assert!(of("mistral", 1) && of("mistral-2", 3), "{text}");
        assert_eq!(
            text.matches("name: a\n        upstream_name: b1").count(),
            1,
            "{text}"
        );
        assert_eq!(
            text.matches("name: a\n        upstream_name: c1").count(),
            1,
            "{text}"
        );
    }
}

#[test]
fn default_fallbacks_are_for_every_name_but_their_own() {
    let imported = imported(
        "model_list:\n\
         - {model_name: a, litellm_params: {model: openai/a1}}\n\
         - {model_name: b, litellm_params: {model: groq/b1}}\n\
         litellm_settings: {default_fallbacks: [b]}\n",
    );
    assert_eq!(config(&imported).upstreams.len(), 3);
    assert_eq!(imported.findings, []);
}

#[test]
fn fallback_to_nobody_and_what_changes_the_request_are_reported() {
    let imported = imported(
        "model_list: [{model_name: a, litellm_params: {model: openai/a}}]\n\
         litellm_settings:\n  fallbacks: [{a: [gone, {model: a, messages: []}]}, {nowhere: [a]}, word]\n",
    );
    assert_eq!(finding(&imported, "fallbacks[0].a[0]").0, Kind::Lost);
    assert_eq!(finding(&imported, "fallbacks[0].a[1]").0, Kind::Lost);
    assert_eq!(finding(&imported, "fallbacks[1].nowhere").0, Kind::Lost);
    assert_eq!(finding(&imported, "fallbacks[2]").0, Kind::Lost);
}

#[test]
fn alias_is_another_name_with_the_same_fallbacks() {
    let imported = imported(
        "model_list:\n\
         - {model_name: a, litellm_params: {model: openai/a1}}\n\
         - {model_name: b, litellm_params: {model: groq/b1}}\n\
         router_settings:\n  fallbacks: [{a: [b]}]\n\
         \x20 model_group_alias: {x: a, other: {model: b, hidden: true}, z: gone, a: b}\n",
    );
    let text = &imported.config;
    assert_eq!(text.matches("name: x\n").count(), 2, "{text}");
    assert_eq!(text.matches("name: other\n").count(), 1, "{text}");
    assert_eq!(finding(&imported, "other.hidden").0, Kind::Changed);
    assert_eq!(finding(&imported, "model_group_alias.z").0, Kind::Lost);
    assert_eq!(finding(&imported, "model_group_alias.a").0, Kind::Lost);
}

#[test]
fn unreachable_providers_are_reported_by_name() {
    for model in ["sagemaker/x", "replicate/x", "unknown/one", "nameless"] {
        let imported = one(&format!("model: {model}"));
        let (kind, text) = finding(&imported, "litellm_params.model");
        assert!(
            kind == Kind::Lost && text.contains("m is not served"),
            "{text}"
        );
    }
}

#[test]
fn credentials_that_are_named_count_where_nothing_is_written() {
    let imported = imported(
        "model_list:\n\
         - {model_name: a, litellm_params: {model: azure/d, litellm_credential_name: eu}}\n\
         - {model_name: b, litellm_params: {model: azure/d, litellm_credential_name: gone}}\n\
         credential_list:\n\
         - {credential_name: eu, credential_values: {api_key: os.environ/EU_KEY, api_base: https://eu.openai.azure.com}}\n",
    );
    assert!(
        imported
            .config
            .contains("base_url: https://eu.openai.azure.com\n"),
        "{}",
        imported.config
    );
    assert!(
        imported.config.contains("    api_key: ${EU_KEY}\n"),
        "{}",
        imported.config
    );
    assert_eq!(finding(&imported, "litellm_credential_name").0, Kind::Lost);
}

#[test]
fn master_key_is_a_hash_or_the_variable_of_one() {
    let master = |key: &str| {
        imported(&format!(
            "model_list: []\ngeneral_settings: {{master_key: {key}, max_request_size_mb: 5}}\n"
        ))
    };
    let literal = master("sk-1234");
    assert!(
        !literal.config.contains("sk-1234") && literal.config.contains("hash: \"sha256:"),
        "{}",
        literal.config
    );
    assert_eq!(config(&literal).keys[0].name, "master");
    assert_eq!(config(&literal).limits.body.get(), 5 * 1_024 * 1_024);
    let named = master("os.environ/LITELLM_MASTER_KEY");
    assert!(
        named.config.contains("hash: ${LITELLM_MASTER_KEY_HASH}"),
        "{}",
        named.config
    );
    let (kind, text) = finding(&named, "master_key");
    assert!(
        kind == Kind::Step && text.contains("grapevine key hash"),
        "{text}"
    );
    assert_eq!(config(&named).keys.len(), 1);
}

#[test]
fn variable_that_cannot_be_named_is_in_no_command() {
    for name in ["A-B", "A\\\"; true", "A/v1", ""] {
        let text =
            format!("model_list: []\ngeneral_settings: {{master_key: \"os.environ/{name}\"}}\n");
        let imported = imported(&text);
        let (kind, text) = finding(&imported, "master_key");
        assert!(kind == Kind::Lost && !text.contains("printf"), "{text}");
        assert!(!imported.config.contains("hash:"), "{}", imported.config);
    }
}

#[test]
fn variable_within_a_text_is_reported() {
    for (key, params) in [
        ("api_key", "api_key: \"key-os.environ/A\""),
        (
            "authorization",
            "extra_headers: {authorization: \"Bearer os.environ/A\"}",
        ),
        ("x-team", "extra_headers: {x-team: \"blue-os.environ/A\"}"),
        ("organization", "organization: \"org-os.environ/A\""),
    ] {
        let imported = one(&format!("model: openai/a, {params}"));
        let (kind, text) = finding(&imported, key);
        assert!(
            kind == Kind::Lost && text.contains("within a text"),
            "{text}"
        );
        assert!(!imported.config.contains("${A}"), "{}", imported.config);
    }
    for model in ["os.environ/MODEL", "openai-os.environ/MODEL"] {
        let (kind, text) = finding(&one(&format!("model: {model}")), "params.model");
        assert!(kind == Kind::Lost && text.contains("a variable"), "{text}");
    }
}

#[test]
fn name_with_slashes_loses_its_provider_alone() {
    let models = |params: &str| {
        let config = config(&one(params));
        let upstream = config.upstreams.into_iter().next().expect("an upstream");
        let grapevine_config::checked::UpstreamModels::Listed(models) = upstream.models else {
            panic!("a list of models")
        };
        models[0].upstream_name.as_ref().map(ToString::to_string)
    };
    for (params, own) in [
        ("model: openai/org/model", "org/model"),
        ("model: openrouter/org/model:free", "org/model:free"),
        (
            "model: hosted_vllm/org/model, api_base: http://h/v1",
            "org/model",
        ),
        ("model: org/model, custom_llm_provider: openai", "org/model"),
        (
            "model: openai/openai/gpt-oss, custom_llm_provider: openai",
            "openai/gpt-oss",
        ),
        ("model: openai/chat/model", "chat/model"),
        ("model: openai/global/model", "global/model"),
        ("model: openai/responses/o3", "o3"),
    ] {
        assert_eq!(models(params).as_deref(), Some(own), "{params}");
    }
    assert_eq!(
        finding(&one("model: openai/responses/o3"), "params.model").0,
        Kind::Changed
    );
}

#[test]
fn router_settings_go_before_litellm_settings() {
    let imported = imported(
        "model_list: [{model_name: a, litellm_params: {model: openai/a}}]\n\
         litellm_settings: {num_retries: 9, json_logs: true}\nrouter_settings: {num_retries: 1}\n",
    );
    assert_eq!(config(&imported).upstreams[0].attempts_max, 2);
    assert_eq!(
        finding(&imported, "litellm_settings.num_retries").0,
        Kind::Note
    );
    assert!(imported.config.contains("log: {format: json}"));
}

#[test]
fn every_unknown_key_is_reported_with_its_line() {
    let imported = imported(
        "model_list:\n- model_name: a\n  shiny: 1\n  litellm_params: {model: openai/a, new_param: 2}\n\
         \x20 model_info: {id: i, colour: red}\nrouter_settings: {quantum: 1}\nlitellm_settings: {q: 1}\n\
         general_settings: {r: 1}\nsparkles: {s: 1}\nenvironment_variables: {SECRET: hunter2}\ninclude: [b.yaml]\n",
    );
    for (key, line) in [
        ("shiny", 3),
        ("new_param", 4),
        ("colour", 5),
        ("quantum", 6),
        ("litellm_settings.q", 7),
        ("general_settings.r", 8),
        ("sparkles", 9),
    ] {
        let found = imported
            .findings
            .iter()
            .find(|finding| finding.key.ends_with(key));
        assert_eq!(
            found.map(|finding| (finding.line, finding.kind)),
            Some((line, Kind::Lost)),
            "{key}"
        );
    }
    assert_eq!(
        finding(&imported, "environment_variables.SECRET").0,
        Kind::Step
    );
    assert_eq!(finding(&imported, "include").0, Kind::Step);
    assert!(!imported.config.contains("hunter2"), "{}", imported.config);
}

#[test]
fn headers_whose_names_mean_something_in_yaml_are_carried_over() {
    for name in ["*", "&", "!", "~", "-", "null", "1e3"] {
        let imported = one(&format!(
            "model: openai/a, extra_headers: {{\"{name}\": blue}}"
        ));
        let config = config(&imported);
        let headers = &config.upstreams[0].headers;
        assert_eq!(headers.len(), 1, "{name}: {}", imported.config);
    }
}

/// The written key, where that is how it authenticates.
fn key_of(auth: &AuthConfig) -> Option<&str> {
    match auth {
        AuthConfig::Key(key) | AuthConfig::Bearer(key) => Some(key.secret.expose()),
        _ => None,
    }
}
