//! Models that stand in for others.

use grapevine_core::ids::ModelName;
use grapevine_core::request::{FallbackCause, FallbackModels};

use super::*;

/// A node without a mesh whose upstream serves three models.
const HEAD: &str = "listen: 127.0.0.1:8080\nupstreams:\n  - name: a\n    base_url: http://127.0.0.1:1/v1\n    \
                    models: [big, long, wide]\nrouting:\n";

fn with_head(section: &str) -> String {
    format!("{HEAD}  fallback_models: {section}\n")
}

fn fallback(models: &[&str], on: &[FallbackCause]) -> FallbackModels {
    let name = |name: &&str| ModelName::new(name).expect("a name");
    FallbackModels {
        models: models.iter().map(name).collect(),
        on: on.iter().copied().collect(),
    }
}

#[test]
fn list_stands_in_for_every_cause_and_the_long_form_for_its_own() {
    let text = with_head("{big: [long, wide], long: {models: [big], on: [unavailable]}}");
    let config = good(&text);
    let found = |name: &str| {
        let name = ModelName::new(name).expect("a name");
        config.routing.fallback_models.get(&name).cloned()
    };
    assert_eq!(
        found("big"),
        Some(fallback(&["long", "wide"], &FallbackCause::ALL))
    );
    let unavailable = [FallbackCause::Unavailable];
    assert_eq!(found("long"), Some(fallback(&["big"], &unavailable)));
    assert_eq!(
        config.dump()["routing"]["fallback_models"]["long"],
        serde_json::json!({"models": ["big"], "on": ["unavailable"]})
    );
    assert!(warnings(&text).is_empty());
}

#[test]
fn what_cannot_stand_in_is_a_problem_with_a_remedy() {
    let rows = [
        (
            "{big: [big]}",
            "routing.fallback_models.big[0]: big cannot stand in for itself; remove it: its other upstreams are tried \
             without being named here",
        ),
        (
            "{big: [long, long]}",
            "routing.fallback_models.big[1]: long is listed twice; remove one of them",
        ),
        (
            "{big: []}",
            "routing.fallback_models.big: is empty; name the models that stand in, or remove the key",
        ),
        (
            "{big: {on: [unavailable]}}",
            "routing.fallback_models.big.models: is missing; write models: and its value",
        ),
        (
            "{big: {models: [long], on: []}}",
            "routing.fallback_models.big.on: is empty: nothing would lead to the models; name context_too_long, \
             content_policy or unavailable, or remove the key for all three",
        ),
        (
            "{big: {models: [long], on: [context_to_long]}}",
            "routing.fallback_models.big.on[0]: context_to_long is not known here; did you mean context_too_long? Known are context_too_long, \
             content_policy, unavailable",
        ),
        (
            "{\"*\": [long]}",
            "routing.fallback_models.*: is any model, and a model cannot stand in for itself; name the models one by one",
        ),
        (
            "{big: [\"*\"]}",
            "routing.fallback_models.big[0]: is any model, and one must be asked for; name a model",
        ),
        (
            "{big: [a, b, c, d, e, f, g, h, i]}",
            "routing.fallback_models.big: has 9 models, and may have 8; leave out the last of them",
        ),
    ];
    for (section, problem) in rows {
        let found = problems(&with_head(section));
        assert_eq!(found.len(), 1, "{section}: {found:?}");
        assert!(found[0].ends_with(problem), "{section}: {}", found[0]);
    }
}

#[test]
fn model_that_no_upstream_serves_is_a_warning_where_that_is_known() {
    let text = with_head("{big: [lnog]}");
    let found = warnings(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].ends_with(
            "routing.fallback_models.big: names lnog, which no upstream of this node serves; add it to the models of an \
             upstream, or name one that is there"
        ),
        "{}",
        found[0]
    );
    let discovers = text.replace("    models: [big, long, wide]\n", "");
    assert!(warnings(&discovers).is_empty());
}

#[test]
fn key_that_may_use_none_of_the_models_is_a_warning() {
    let hash = "0".repeat(64);
    let text = |models: &str| {
        let section = with_head("{big: [long, wide]}");
        format!("{section}keys:\n  - {{name: app, hash: \"sha256:{hash}\", models: [{models}]}}\n")
    };
    assert!(warnings(&text("big, wide")).is_empty());
    assert!(
        warnings(&text("wide")).is_empty(),
        "it may not use big either"
    );
    let found = warnings(&text("big"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("does nothing for the key app"),
        "{}",
        found[0]
    );
}
