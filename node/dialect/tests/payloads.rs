//! Real payloads of providers come back as they were, and streams say the same as whole answers in another dialect.
//!
//! The collection stands beside the workspace, or where `GRAPEVINE_PAYLOADS` says. Without it nothing is checked, and
//! the test says so.

mod collection;
mod crossing;

use std::collections::BTreeMap;

use collection::{Kind, Payload, payloads};
use crossing::{comparable, crossed, difference, frames};
use grapevine_dialect::grammar::AnswerTerms;
use grapevine_dialect::hub::fold::fold;
use grapevine_dialect::hub::part::PartKind;
use grapevine_dialect::translate::grammar_of;
use grapevine_dialect::{Dialect, LossList};
use serde_json::{Map, Value};

/// APIs under whose streams the collection has whole answers.
const APIS_WITHOUT_STREAMS: [&str; 1] = ["vertex-anthropic"];

/// Payloads that do not come back as they were, each with the reason.
const EXCEPTIONS: [(&str, &str); 0] = [];

#[test]
fn every_payload_comes_back_as_it_was() {
    let Some(payloads) = payloads() else { return };
    let mut counts: BTreeMap<(&str, Kind), (usize, usize)> = BTreeMap::new();
    let mut problems = Vec::new();
    for payload in &payloads {
        let (whole, all) = counts.entry((payload.api, payload.kind)).or_default();
        *all += 1;
        let result = round_trip(payload);
        *whole += usize::from(result.is_ok());
        let excuse = EXCEPTIONS.iter().find(|(name, _)| *name == payload.name);
        match (result, excuse) {
            (Err(problem), None) => problems.push(format!("{}: {problem}", payload.name)),
            (Ok(()), Some(_)) => problems.push(format!("{}: no exception any more", payload.name)),
            (Err(problem), Some((_, reason))) => {
                eprintln!("exception: {}: {reason} ({problem})", payload.name);
            }
            (Ok(()), None) => {}
        }
    }
    for ((api, kind), (whole, all)) in counts {
        eprintln!("{api} {kind:?}: {whole} of {all} come back as they were");
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn stream_in_another_dialect_says_what_the_whole_answer_says() {
    let Some(payloads) = payloads() else { return };
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut problems = Vec::new();
    let is_stream = |payload: &&Payload| {
        payload.kind == Kind::Stream && !APIS_WITHOUT_STREAMS.contains(&payload.api)
    };
    for payload in payloads.iter().filter(is_stream) {
        let (equal, all) = counts.entry(payload.api).or_default();
        *all += 1;
        match crossed(payload.dialect, &payload.value) {
            Ok(()) => *equal += 1,
            Err(problem) => problems.push(format!("{}: {problem}", payload.name)),
        }
    }
    for (api, (equal, all)) in counts {
        eprintln!("{api}: {equal} of {all} streams say what their answers say");
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn stream_of_responses_says_what_its_last_event_says() {
    let Some(payloads) = payloads() else { return };
    let is_stream =
        |payload: &&Payload| payload.kind == Kind::Stream && payload.dialect == Dialect::Responses;
    let (mut equal, mut problems) = (0, Vec::new());
    for payload in payloads.iter().filter(is_stream) {
        match summed_up(&payload.value) {
            Ok(()) => equal += 1,
            Err(problem) => problems.push(format!("{}: {problem}", payload.name)),
        }
    }
    eprintln!("responses: {equal} streams say what their last events say");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Whether a stream of responses says in other dialects what the response in its last event says, but for the class of
/// service, which is not known before, and the encryption of thoughts, which is another each time.
fn summed_up(events: &Value) -> Result<(), String> {
    let here = grammar_of(Dialect::Responses);
    let last = events.as_array().and_then(|events| events.last());
    let last = last.ok_or("no event")?["response"].as_object().cloned();
    let mut whole = here
        .read_answer(last.ok_or("no response at the end")?)
        .map_err(|error| error.to_string())?;
    let mut streamed = fold(Dialect::Responses, frames(here, events)?);
    for answer in [&mut whole, &mut streamed] {
        answer.service_tier = None;
        for part in answer
            .choices
            .iter_mut()
            .flat_map(|choice| &mut choice.turn.parts)
        {
            if let PartKind::Thinking(thinking) = &mut part.kind {
                thinking.signature = None;
            }
        }
    }
    for other in [Dialect::Chat, Dialect::Messages] {
        let there = grammar_of(other);
        let write = |answer| {
            let mut losses = LossList::default();
            comparable(Value::Object(there.write_answer(
                answer,
                &AnswerTerms::default(),
                &mut losses,
            )))
        };
        let (whole, streamed) = (write(&whole), write(&streamed));
        if whole != streamed {
            return Err(format!("in {other}: {}", difference("", &whole, &streamed)));
        }
    }
    Ok(())
}

fn round_trip(payload: &Payload) -> Result<(), String> {
    let grammar = grammar_of(payload.dialect);
    let mut losses = LossList::default();
    let written = match payload.kind {
        Kind::Request => {
            let request = grammar
                .read_request(object(&payload.value))
                .map_err(|error| error.to_string())?;
            Value::Object(grammar.write_request(&request, &mut losses))
        }
        Kind::Answer => {
            let answer = grammar
                .read_answer(object(&payload.value))
                .map_err(|error| error.to_string())?;
            Value::Object(grammar.write_answer(&answer, &AnswerTerms::default(), &mut losses))
        }
        Kind::Stream => {
            let mut writer = grammar.stream_writer(&AnswerTerms::default());
            let mut events = Vec::new();
            for frame in frames(grammar, &payload.value)? {
                writer.write(frame, &mut events, &mut losses);
            }
            let events = events.iter().filter(|event| event.data != "[DONE]");
            let events = events.map(|event| serde_json::from_str(&event.data));
            Value::Array(
                events
                    .collect::<Result<_, _>>()
                    .map_err(|error| error.to_string())?,
            )
        }
    };
    if written != payload.value {
        return Err(difference("", &payload.value, &written));
    }
    match losses.as_slice() {
        [] => Ok(()),
        losses => Err(format!("{losses:?}")),
    }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
