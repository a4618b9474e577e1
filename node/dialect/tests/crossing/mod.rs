//! What tests of streams have in common.

use grapevine_dialect::grammar::{AnswerTerms, Grammar, StreamEnding};
use grapevine_dialect::hub::fold::fold;
use grapevine_dialect::hub::stream::StreamFrame;
use grapevine_dialect::translate::grammar_of;
use grapevine_dialect::{Dialect, LossList};
use serde_json::Value;

/// Whether a stream of `dialect`, translated event by event, says what its whole answer says in every other dialect.
pub(crate) fn crossed(dialect: Dialect, events: &Value) -> Result<(), String> {
    let others = Dialect::ALL.into_iter().filter(|other| *other != dialect);
    for other in others {
        crossed_into(dialect, other, events).map_err(|problem| format!("{other}: {problem}"))?;
    }
    Ok(())
}

fn crossed_into(dialect: Dialect, other: Dialect, events: &Value) -> Result<(), String> {
    let here = grammar_of(dialect);
    let there = grammar_of(other);
    let terms = AnswerTerms {
        stream: true,
        usage: true,
        created: 1,
        ..AnswerTerms::default()
    };
    let mut losses = LossList::default();
    let whole = fold(dialect, frames(here, events)?);
    let whole = Value::Object(there.write_answer(&whole, &terms, &mut losses));

    let mut writer = there.stream_writer(&terms);
    let mut written = Vec::new();
    for frame in frames(here, events)? {
        writer.write(frame, &mut written, &mut losses);
    }
    let mut reader = there.stream_reader();
    let read = written
        .iter()
        .map(|event| reader.read(event.name.as_deref(), &event.data));
    let read: Vec<StreamFrame> = read
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if !matches!(
        reader.finish(),
        StreamEnding::Complete | StreamEnding::CompleteWith(_)
    ) {
        return Err(format!("the stream has no end: {:?}", written.last()));
    }
    let streamed = fold(other, read);
    let streamed = Value::Object(there.write_answer(&streamed, &terms, &mut losses));
    let (whole, streamed) = (comparable(whole), comparable(streamed));
    if whole == streamed {
        return Ok(());
    }
    Err(difference("", &whole, &streamed))
}

/// A body without what says nothing: a null, and `object` and `role`, which say what kind of body it is. `metrics` and
/// `serviceTier` stand beside the end of a Converse stream, where folding leaves them out.
pub(crate) fn comparable(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let is_kind = |key: &str, value: &Value| {
                matches!(key, "object" | "role" | "metrics" | "serviceTier")
                    || (key == "type" && value == "message")
            };
            // Not every dialect says which answer it is: a caller does.
            let is_name = |key: &str, value: &Value| matches!(key, "id" | "model") && value == "";
            let said = object.into_iter().filter(|(key, value)| {
                !value.is_null() && !is_kind(key, value) && !is_name(key, value)
            });
            Value::Object(said.map(|(key, value)| (key, comparable(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(comparable).collect()),
        value => value,
    }
}

/// The frames of a stream's events, with its end.
pub(crate) fn frames(grammar: &dyn Grammar, events: &Value) -> Result<Vec<StreamFrame>, String> {
    let mut reader = grammar.stream_reader();
    let mut frames = Vec::new();
    for event in events.as_array().ok_or("no list of events")? {
        let frame = reader.read(event["type"].as_str(), &event.to_string());
        frames.push(frame.map_err(|error| error.to_string())?);
    }
    // The collection leaves out `[DONE]`.
    if let StreamEnding::CompleteWith(frame) = reader.finish() {
        frames.push(frame);
    }
    Ok(frames)
}

/// The first place where two values differ.
pub(crate) fn difference(path: &str, left: &Value, right: &Value) -> String {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let keys = left.keys().chain(right.keys());
            for key in keys {
                let (one, other) = (left.get(key), right.get(key));
                if one != other {
                    let nothing = Value::String("(nothing)".to_string());
                    let path = format!("{path}.{key}");
                    return difference(&path, one.unwrap_or(&nothing), other.unwrap_or(&nothing));
                }
            }
            String::new()
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let pairs = left.iter().zip(right).enumerate();
            let mut different = pairs.filter(|(_, (one, other))| one != other);
            different
                .next()
                .map_or_else(String::new, |(index, (one, other))| {
                    difference(&format!("{path}[{index}]"), one, other)
                })
        }
        _ => {
            let short = |value: &Value| value.to_string().chars().take(300).collect::<String>();
            format!("{path}: {} became {}", short(left), short(right))
        }
    }
}
