//! `worker_mode`: its sources, and what is refused with which message.

use super::*;
use crate::env::WORKER_MODE_VARIABLE;

fn from_variable(text: &str) -> Sources {
    Sources {
        environment: [(WORKER_MODE_VARIABLE, text)].into_iter().collect(),
        ..Sources::default()
    }
}

fn mode(yaml: &str, sources: &Sources) -> String {
    let loaded = load_text(yaml, sources).unwrap_or_else(|problems| panic!("{problems}"));
    loaded.config.worker_mode.to_string()
}

#[test]
fn flag_goes_before_the_variable_and_the_variable_before_the_file() {
    let yaml = "worker_mode: 'a:x'\n";
    assert_eq!(mode("", &Sources::default()), "");
    assert_eq!(mode(yaml, &Sources::default()), "a:x");
    let mut sources = from_variable("!");
    assert_eq!(mode(yaml, &sources), "!");
    sources.flags = Flags::default().with("--worker-mode", &["worker_mode"], Some("*".to_owned()));
    assert_eq!(mode(yaml, &sources), "*");
}

#[test]
fn empty_variable_is_unset_and_a_blank_one_is_the_default() {
    assert_eq!(mode("worker_mode: '!'\n", &from_variable("")), "!");
    assert_eq!(mode("worker_mode: '!'\n", &from_variable("  ")), "");
}

#[test]
fn surprising_values_are_refused_with_the_remedy() {
    let words = |text: &str| {
        let problems = load_text("", &from_variable(text)).expect_err("no mode");
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        problems.concat()
    };
    assert_eq!(
        words("!,*"),
        "WORKER_MODE: worker_mode: !,* '*' must stand alone; leave the value empty for requests and all \
         services, or name the services"
    );
    assert_eq!(
        words("a,,b"),
        "WORKER_MODE: worker_mode: a,,b has an empty item; remove the comma that has nothing beside it"
    );
    assert!(words("-,a").contains("'-' must stand alone"));
    assert!(words("workflow:*").ends_with("name each service in full"));
    assert!(words("a b").contains("is no service key"));
}

#[test]
fn unquoted_sign_in_the_file_is_refused_and_not_taken_for_the_default() {
    for text in ["!", "*", "-", "! a:x", "!,a:x"] {
        assert!(
            !problems(&format!("worker_mode: {text}\n")).is_empty(),
            "{text}"
        );
    }
    assert_eq!(
        problems("worker_mode: !\n"),
        ["1:15: is a YAML tag, which has no meaning here; put a text that begins with ! in quotes"]
    );
}

#[test]
fn closed_public_address_is_not_warned_of() {
    let yaml = "listen: 0.0.0.0:9090\nadmin: {listen: '0.0.0.0:9090', token: sixteen-letters-}\nupstreams: [{name: a, base_url: 'http://a'}]\n";
    assert!(load_text(yaml, &Sources::default()).is_err());
    let loaded = load_text(yaml, &from_variable("*")).expect("a good configuration");
    assert_eq!(loaded.warnings.len(), 0, "{:?}", loaded.warnings);
}
