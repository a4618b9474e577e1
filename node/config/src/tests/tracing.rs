//! `tracing` and the log's level: what is accepted, what is refused with which message, what may change.

use super::*;
use crate::watch::reload;

/// A configuration of which there is nothing to warn.
const GOOD: &str = "listen: 127.0.0.1:8080\nupstreams: [{name: a, base_url: 'http://a'}]\n";

const TOKEN: &str = "token-never-to-be-seen";

#[test]
fn collector_is_taken_and_its_token_is_never_shown() {
    let config = good(&format!(
        "tracing: {{otlp: {{endpoint: 'http://c:4318/', headers: {{x-token: {TOKEN}}}}}, sample: 0.25}}\n"
    ));
    let otlp = config.tracing.otlp.as_ref().expect("a collector");
    assert_eq!(otlp.endpoint.to_string(), "http://c:4318");
    assert_eq!((otlp.headers.len(), config.tracing.sample), (1, 0.25));
    let shown = format!("{} {config:?}", config.dump_yaml());
    assert!(
        shown.contains("x-token") && !shown.contains(TOKEN),
        "{shown}"
    );
}

#[test]
fn without_a_collector_nothing_is_traced_and_a_share_is_warned_of() {
    assert_eq!(good("").tracing.otlp, None);
    let warned = warnings(&format!("{GOOD}tracing: {{sample: 0.5}}\n"));
    assert_eq!(
        warned,
        [
            "3:19: tracing.sample: has no effect, since tracing.otlp.endpoint is missing; write the base URL of \
             its OTLP/HTTP receiver, such as http://127.0.0.1:4318"
        ]
    );
}

#[test]
fn whole_url_of_a_collector_is_warned_of() {
    let endpoint =
        |url: &str| warnings(&format!("{GOOD}tracing: {{otlp: {{endpoint: '{url}'}}}}\n"));
    assert_eq!(
        endpoint("http://c:4318/v1/traces"),
        [
            "3:28: tracing.otlp.endpoint: http://c:4318/v1/traces ends in /v1/traces, which is appended to it; \
             write the base URL of its OTLP/HTTP receiver, such as http://127.0.0.1:4318"
        ]
    );
    assert!(endpoint("http://c:4318/my/v1").is_empty());
}

#[test]
fn bad_values_are_named_with_a_remedy() {
    let yaml = "tracing:\n  otlp: {endpoint: 'c:4318'}\n  sample: 1.5\n";
    let found = problems(yaml);
    assert_eq!(found.len(), 2, "{found:?}");
    for (key, part) in [
        (
            "2:20: tracing.otlp.endpoint: c:4318",
            "such as http://127.0.0.1:4318",
        ),
        ("3:11: tracing.sample: 1.5", "must be from 0 to 1"),
    ] {
        let is_found = |text: &String| text.starts_with(key) && text.contains(part);
        assert!(found.iter().any(is_found), "{key} in {found:?}");
    }
    assert!(problems("tracing: {otlp: {}}\n")[0].contains("tracing.otlp.endpoint"));
}

#[test]
fn open_telemetrys_own_variable_names_the_collector() {
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318"),
        ("GRAPEVINE_TRACING_SAMPLE", "0.1"),
    ];
    let sources = Sources {
        environment: environment.into_iter().collect(),
        ..Sources::default()
    };
    let loaded = load_text(
        "tracing: {otlp: {endpoint: 'http://file:4318'}}\n",
        &sources,
    );
    let tracing = loaded.expect("a good configuration").config.tracing;
    let endpoint = tracing.otlp.map(|otlp| otlp.endpoint.to_string());
    assert_eq!(
        (endpoint.as_deref(), tracing.sample),
        (Some("http://env:4318"), 0.1)
    );
}

#[test]
fn share_and_level_may_change_while_the_node_runs_but_not_the_collector() {
    let folder = Folder::new("tracing");
    let text = |port: u16, sample: f64, level: &str, format: &str| {
        format!(
            "{GOOD}tracing: {{otlp: {{endpoint: 'http://c:{port}'}}, sample: {sample}}}\n\
             log: {{level: {level}, format: {format}}}\n"
        )
    };
    let path = folder.write("grapevine.yaml", text(4318, 1.0, "info", "text"));
    let sources = Sources {
        file: Some(path),
        ..Sources::default()
    };
    let config = load(&sources).expect("a good configuration").config;
    folder.write("grapevine.yaml", text(4319, 0.5, "debug", "json"));
    let Loaded {
        config: new,
        warnings,
        pending_restart,
    } = reload(&config, &sources).expect("a good file");
    let kept: Vec<_> = warnings
        .iter()
        .map(|warning| warning.key.as_str())
        .collect();
    assert_eq!(kept, ["log.format", "tracing.otlp"]);
    assert_eq!(pending_restart, kept);
    assert_eq!(
        (new.log.level.as_str(), new.log.format),
        ("debug", config.log.format)
    );
    assert_eq!(
        (new.tracing.sample, new.tracing.otlp),
        (0.5, config.tracing.otlp)
    );
}
