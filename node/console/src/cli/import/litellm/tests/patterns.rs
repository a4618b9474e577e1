//! Patterns of names, and callbacks.

use grapevine_config::checked::UpstreamModels;

use super::super::super::finding::Kind;
use super::{Imported, config, finding, imported};

fn wild(entries: &[(&str, &str)]) -> Imported {
    let entries = entries.iter().map(|(name, model)| {
        format!("- {{model_name: \"{name}\", litellm_params: {{model: \"{model}\"}}}}\n")
    });
    imported(&format!("model_list:\n{}", entries.collect::<String>()))
}

/// The upstreams: name, whether each takes any name, and priority.
fn upstreams(imported: &Imported) -> Vec<(String, bool, u16)> {
    let all = config(imported).upstreams.into_iter();
    all.map(|one| {
        let is_any = match &one.models {
            UpstreamModels::Discovered => false,
            UpstreamModels::Listed(models) => models.iter().any(|model| model.name.is_any()),
        };
        (one.name.to_string(), is_any, one.tier.0)
    })
    .collect()
}

#[test]
fn any_name_is_sent_as_it_is_and_noted() {
    let any = wild(&[("*", "openai/*")]);
    assert_eq!(upstreams(&any), [("openai".to_owned(), true, 1)]);
    let (kind, text) = finding(&any, "params.model");
    assert!(
        kind == Kind::Note && text.contains("any name is sent there as clients write it"),
        "{text}"
    );
}

#[test]
fn any_provider_becomes_openai_and_needs_attention() {
    let any = wild(&[("*", "*")]);
    assert_eq!(upstreams(&any), [("openai".to_owned(), true, 1)]);
    let kinds: Vec<Kind> = any.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::Changed, Kind::Note]);
    assert!(any.findings[0].problem.contains("OpenAI alone"));
}

#[test]
fn prefix_that_is_not_taken_off_needs_attention() {
    for (name, model, provider, is_any) in [
        ("anthropic/*", "anthropic/*", "anthropic", false),
        ("anthropic/*", "*", "anthropic", false),
        ("claude/*", "anthropic/*", "anthropic", false),
        ("gemini/*", "gemini/*", "gemini", false),
        ("perplexity/*", "perplexity/*", "perplexity", true),
        ("azure/*", "azure/*", "azure", true),
        ("bedrock/*", "bedrock/*", "bedrock", true),
        ("openai/*", "openai/*", "openai", false),
        ("openrouter/*", "openrouter/*", "openrouter", false),
    ] {
        let imported = wild(&[(name, model)]);
        let expected = [(provider.to_owned(), is_any, 1)];
        assert_eq!(upstreams(&imported), expected, "{name}");
        let (kind, text) = finding(&imported, "params.model");
        let prefix = name.trim_end_matches('*');
        let names = format!("clients ask for MODEL, not for {prefix}MODEL");
        let rename = format!("{{name: {prefix}MODEL, upstream_name: MODEL}}");
        assert!(
            kind == Kind::Changed && text.contains(&names) && text.contains(&rename),
            "{text}"
        );
        assert_eq!(text.contains("models: [\"*\"]"), is_any, "{text}");
    }
}

#[test]
fn listed_names_go_before_discovered_ones_and_any_name_comes_last() {
    let imported = wild(&[
        ("perplexity/*", "perplexity/*"),
        ("openai/*", "openai/*"),
        ("gpt-4o", "groq/llama"),
    ]);
    assert_eq!(
        upstreams(&imported),
        [
            ("perplexity".to_owned(), true, 3),
            ("openai".to_owned(), false, 2),
            ("groq".to_owned(), false, 1),
        ]
    );
}

#[test]
fn two_providers_that_take_any_name_need_attention() {
    let two = wild(&[("azure/*", "azure/*"), ("perplexity/*", "perplexity/*")]);
    let (kind, text) = finding(&two, "model_list[1]");
    assert!(
        kind == Kind::Changed && text.contains("takes any name, as azure does"),
        "{text}"
    );
    let one = wild(&[("*", "openai/*"), ("*", "openai/*")]);
    let is_note = |imported: &Imported| {
        let mut findings = imported.findings.iter();
        findings.all(|finding| finding.kind == Kind::Note)
    };
    assert!(is_note(&one), "{:?}", one.findings);
}

#[test]
fn pattern_that_is_no_whole_name_is_lost() {
    for (name, model) in [
        ("gpt-*", "openai/gpt-*"),
        ("a", "openai/*"),
        ("*", "openai/gpt-4o"),
        ("a/*/*", "openai/*"),
        ("*/a", "openai/*"),
        ("a*", "openai/*"),
    ] {
        let lost = wild(&[(name, model)]);
        assert_eq!(finding(&lost, "params.model").0, Kind::Lost, "{name}");
        assert!(lost.config.contains("upstreams: []"), "{}", lost.config);
    }
}

#[test]
fn order_and_weight_of_a_pattern_are_reported() {
    for params in ["order: 1", "weight: 2", "rpm: 3"] {
        let text = format!(
            "model_list: [{{model_name: \"*\", litellm_params: {{model: openai/*, {params}}}}}]\n"
        );
        let (kind, text) = finding(&imported(&text), "model_list[0]");
        assert!(kind == Kind::Lost && text.contains("left out"), "{text}");
    }
}

fn settings(text: &str) -> Imported {
    imported(&format!("model_list: []\n{text}\n"))
}

#[test]
fn callback_that_is_built_in_is_a_note_with_its_page() {
    let pages = [
        ("prometheus", "METRICS.md"),
        ("prometheus_system", "Metrics in"),
        ("otel", "tracing.otlp.endpoint"),
        ("opentelemetry", "Traces in"),
    ];
    for key in [
        "callbacks",
        "success_callback",
        "failure_callback",
        "service_callback",
    ] {
        for (name, page) in pages {
            let list = settings(&format!("litellm_settings: {{{key}: [{name}]}}"));
            let (kind, text) = finding(&list, &format!("{key}[0]"));
            assert!(
                kind == Kind::Note && text.contains(name) && text.contains(page),
                "{text}"
            );
            let single = settings(&format!("litellm_settings: {{{key}: {name}}}"));
            assert_eq!(finding(&single, key).0, Kind::Note);
        }
    }
    let own = settings("callback_settings: {otel: {message_logging: false}}");
    assert_eq!(finding(&own, "callback_settings.otel").0, Kind::Note);
}

#[test]
fn other_callback_needs_attention_each_by_its_name() {
    let text =
        "litellm_settings: {callbacks: [prometheus, langfuse, my.own.handler, otel, {a: b}]}";
    let imported = settings(text);
    for (index, kind, part) in [
        (0, Kind::Note, "prometheus"),
        (1, Kind::Lost, "langfuse"),
        (2, Kind::Lost, "my.own.handler"),
        (3, Kind::Note, "otel"),
        (4, Kind::Lost, "it: no code"),
    ] {
        let (found, text) = finding(&imported, &format!("callbacks[{index}]"));
        assert!(found == kind && text.contains(part), "{text}");
    }
    let own = settings("callback_settings: {my_own: {a: b}}");
    assert_eq!(finding(&own, "callback_settings.my_own").0, Kind::Lost);
}
