//! What is translated follows the rules of whoever receives it, as the provider's own SDK states them.
//!
//! `tests/clients/dialect_rules.py` makes JSON schemas of the types in the official SDKs. It also makes bodies of them
//! by chance, and one for each optional field, so that no field is left out in silence. It runs in the environment
//! that `tests/run` installs, or in that of the Python which `GRAPEVINE_PYTHON` names; without it nothing is checked,
//! and the test says so.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may say what it expects by unwrapping it, and how much it checked"
)]

#[path = "../collection/mod.rs"]
mod collection;
mod exceptions;
mod oracle;
#[path = "../said/mod.rs"]
mod said;

use std::collections::{BTreeMap, BTreeSet};

use collection::{Kind, payloads};
use grapevine_dialect::grammar::AnswerTerms;
use grapevine_dialect::{Dialect, Loss, Translation};
use oracle::{Body, Generated, Oracle};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// Bodies by chance of each dialect and kind.
const GENERATED: usize = 60;

/// Answers by chance, each streamed by every dialect.
const STREAMED: usize = 40;

/// Models of each dialect whose rules differ.
fn models(dialect: Dialect) -> [&'static str; 2] {
    match dialect {
        Dialect::Chat | Dialect::Responses => ["gpt-4o", "gpt-5.2"],
        Dialect::Messages => ["claude-sonnet-4-5", "claude-opus-4-8"],
        Dialect::Gemini => ["gemini-2.5-pro", "gemini-3-pro"],
        Dialect::Converse => ["anthropic.claude-sonnet-4-5", "amazon.nova-pro-v1:0"],
    }
}

fn others(dialect: Dialect) -> impl Iterator<Item = Dialect> {
    let others = Dialect::ALL.into_iter();
    others.filter(move |other| *other != dialect)
}

/// A request in another dialect, and what it lost.
fn translated(
    from: Dialect,
    to: Dialect,
    model: &str,
    body: &Value,
) -> Result<(Value, Vec<Loss>), String> {
    let translation = Translation::new(from, to);
    let stream = body["stream"].as_bool();
    let translated = translation.request_with(Some(model), stream, body.to_string().as_bytes());
    let translated = translated.map_err(|error| error.to_string())?;
    let mut written: Value = serde_json::from_slice(&translated.body).unwrap();
    // The URL says them.
    if matches!(to, Dialect::Gemini | Dialect::Converse) {
        let object = written.as_object_mut().unwrap();
        object.remove("model");
        object.remove("stream");
    }
    Ok((written, translated.losses))
}

/// Every request of `bodies` in every other dialect, and what could not be read.
fn requests(bodies: &[(String, Dialect, Value)]) -> (Vec<Body>, Vec<String>) {
    let (mut written, mut problems) = (Vec::new(), Vec::new());
    for (name, from, body) in bodies {
        for to in others(*from) {
            for model in models(to) {
                let name = format!("{name} as {to} for {model}");
                match translated(*from, to, model, body) {
                    Ok((body, _)) => written.push(Body::new(to, "request", name, body)),
                    Err(error) => problems.push(format!("{name}: {error}")),
                }
            }
        }
    }
    (written, problems)
}

#[test]
fn requests_of_the_collection_follow_the_rules_of_every_receiver() {
    let (Some(oracle), Some(payloads)) = (Oracle::find(), payloads()) else {
        return;
    };
    let apis: BTreeSet<&str> = payloads.iter().map(|one| one.api).collect();
    let of_requests = payloads.into_iter().filter(|one| one.kind == Kind::Request);
    let bodies: Vec<_> = of_requests
        .map(|one| (one.name, one.dialect, one.value))
        .collect();
    let (written, mut problems) = requests(&bodies);
    problems.extend(oracle.problems(&written));
    let what = format!("requests of {} APIs of the collection", apis.len());
    report(&what, written.len(), &problems);
}

#[test]
fn answers_of_the_collection_follow_the_rules_of_every_receiver() {
    let (Some(oracle), Some(payloads)) = (Oracle::find(), payloads()) else {
        return;
    };
    let (mut written, mut problems) = (Vec::new(), Vec::new());
    for payload in payloads.iter().filter(|one| one.kind != Kind::Request) {
        for client in others(payload.dialect) {
            let name = format!("{} as {client}", payload.name);
            let made = match payload.kind {
                Kind::Stream => events(payload.dialect, client, &payload.value),
                _ => answer(payload.dialect, client, &payload.value).map(|body| vec![body]),
            };
            let kind = match payload.kind {
                Kind::Stream => "event",
                _ => "answer",
            };
            match made {
                Ok(bodies) => written.extend(
                    bodies
                        .into_iter()
                        .map(|body| Body::new(client, kind, name.clone(), body)),
                ),
                Err(problem) => problems.push(format!("{name}: {problem}")),
            }
        }
    }
    problems.extend(oracle.problems(&written));
    report(
        "answers and events of the collection",
        written.len(),
        &problems,
    );
}

fn terms() -> AnswerTerms {
    AnswerTerms {
        stream: true,
        usage: true,
        created: 1_700_000_000,
        model: Some("some-model".to_string()),
        id: Some("some-id".to_string()),
        ..AnswerTerms::default()
    }
}

fn answer(upstream: Dialect, client: Dialect, body: &Value) -> Result<Value, String> {
    let translation = Translation::new(client, upstream);
    let translated = translation.response(body.to_string().as_bytes(), &terms());
    let translated = translated.map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&translated.body).unwrap())
}

/// What a client receives of a stream, event by event.
fn events(upstream: Dialect, client: Dialect, events: &Value) -> Result<Vec<Value>, String> {
    let mut stream = Translation::new(client, upstream).stream(&terms());
    let mut out = Vec::new();
    for event in events.as_array().unwrap() {
        let pushed = stream.push_event(event["type"].as_str(), &event.to_string(), &mut out);
        pushed.map_err(|error| error.to_string())?;
    }
    stream.finish(&mut out);
    Ok(oracle::received(client, &out))
}

#[test]
fn generated_bodies_follow_the_rules_of_every_receiver() {
    let Some(oracle) = Oracle::find() else { return };
    let generated = oracle.generated(GENERATED);
    let (asked, answered): (Vec<Generated>, Vec<Generated>) =
        generated.into_iter().partition(|one| one.kind == "request");
    let bodies: Vec<_> = asked
        .into_iter()
        .map(|one| (one.name, one.dialect, one.body))
        .collect();
    let (mut written, mut problems) = requests(&bodies);
    for one in &answered {
        for client in others(one.dialect) {
            let name = format!("{} as {client}", one.name);
            match answer(one.dialect, client, &one.body) {
                Ok(body) => written.push(Body::new(client, "answer", name, body)),
                Err(problem) => problems.push(format!("{name}: {problem}")),
            }
        }
    }
    problems.extend(oracle.problems(&written));
    report("generated bodies", written.len(), &problems);
}

#[test]
fn generated_streams_follow_the_rules_of_every_receiver() {
    let Some(oracle) = Oracle::find() else { return };
    let mut runner = TestRunner::deterministic();
    let (mut written, mut problems) = (Vec::new(), Vec::new());
    for number in 0..STREAMED {
        let (parts, is_cut_short) = said::answers().new_tree(&mut runner).unwrap().current();
        for upstream in Dialect::ALL {
            let streamed = Value::Array(said::events(upstream, &parts, is_cut_short));
            for client in others(upstream) {
                let name = format!("{upstream} stream {number} as {client}");
                match events(upstream, client, &streamed) {
                    Ok(bodies) => written.extend(
                        bodies
                            .into_iter()
                            .map(|body| Body::new(client, "event", name.clone(), body)),
                    ),
                    Err(problem) => problems.push(format!("{name}: {problem}")),
                }
            }
        }
    }
    problems.extend(oracle.problems(&written));
    report("events of generated streams", written.len(), &problems);
}

#[test]
fn no_field_of_a_request_is_left_out_in_silence() {
    let Some(oracle) = Oracle::find() else { return };
    let generated = oracle.generated(0);
    // By what a field may say at all: a default says nothing.
    let mut said: BTreeMap<(Dialect, Dialect, String), bool> = BTreeMap::new();
    for one in generated.iter().filter(|one| one.kind == "request") {
        let (Some(field), Some(without)) = (&one.field, &one.without) else {
            continue;
        };
        for to in others(one.dialect) {
            let model = models(to)[1];
            let with = translated(one.dialect, to, model, &one.body);
            let without = translated(one.dialect, to, model, without);
            let key = (one.dialect, to, field.clone());
            let is_named = with
                .as_ref()
                .is_ok_and(|(_, losses)| is_named(field, losses));
            *said.entry(key).or_default() |= is_named || with != without;
        }
    }
    let all = said.len();
    let silent = said.into_iter().filter(|(_, is_said)| !is_said);
    let problems: BTreeSet<String> = silent
        .filter(|((from, _, field), _)| !exceptions::says_nothing(*from, field))
        .map(|((from, to, field), _)| format!("{from}: {field}: is left out for {to} in silence"))
        .collect();
    let problems: Vec<String> = problems.into_iter().collect();
    report("fields of requests", all, &problems);
}

/// Whether a loss names the field, or something that it is in.
fn is_named(field: &str, losses: &[Loss]) -> bool {
    losses.iter().any(|loss| {
        let pieces = loss.path.split(['[', ']']);
        let named: String = pieces
            .map(|piece| match piece.parse::<usize>() {
                Ok(_) => "[]",
                Err(_) => piece,
            })
            .collect();
        let rest = field.strip_prefix(&named);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// Fails with the problems that are no exceptions.
fn report(what: &str, count: usize, problems: &[String]) {
    let (excused, problems): (Vec<&String>, Vec<&String>) = problems
        .iter()
        .partition(|problem| exceptions::reason(problem).is_some());
    eprintln!(
        "{what}: {count} checked, {} exceptions, {} problems",
        excused.len(),
        problems.len()
    );
    assert!(count > 0, "{what}: nothing was checked");
    let shown: Vec<&str> = problems.iter().map(|problem| problem.as_str()).collect();
    assert!(problems.is_empty(), "{}", shown.join("\n"));
}

#[test]
fn the_rules_refuse_what_breaks_them() {
    let Some(oracle) = Oracle::find() else { return };
    let body = |dialect, kind, body| Body::new(dialect, kind, format!("{dialect} {kind}"), body);
    let broken = [
        body(
            Dialect::Chat,
            "request",
            json!({"model": "m", "messages": [{"role": "user"}]}),
        ),
        body(
            Dialect::Responses,
            "request",
            json!({"model": "m", "input": [{"type": "mist"}]}),
        ),
        body(
            Dialect::Messages,
            "request",
            json!({"model": "m", "messages": []}),
        ),
        body(
            Dialect::Gemini,
            "request",
            json!({"contents": [{"parts": [{"txt": "a"}]}]}),
        ),
        body(
            Dialect::Converse,
            "request",
            json!({"messages": [{"role": "mist", "content": []}]}),
        ),
        body(Dialect::Chat, "answer", json!({"id": "a"})),
        body(
            Dialect::Responses,
            "event",
            json!({"type": "response.created"}),
        ),
        body(
            Dialect::Messages,
            "event",
            json!({"type": "content_block_stop"}),
        ),
        body(Dialect::Gemini, "answer", json!({"candidates": {}})),
        body(Dialect::Converse, "event", json!({"contentBlockStop": {}})),
    ];
    let problems = oracle.problems(&broken);
    for body in &broken {
        let is_named = problems
            .iter()
            .any(|problem| problem.starts_with(&body.name));
        assert!(is_named, "{}: {problems:?}", body.name);
    }
}
