//! Thoughts: items with a summary or the thought itself, and a form that the provider alone can read.
//!
//! The encrypted form is the hub's signature of the thought, so that it travels through clients of other dialects. A
//! signature of another provider travels in its place, sealed. OpenAI ties the encrypted form to the item's id, so a
//! thought that comes back through another dialect is written without one.

use serde_json::{Value, json};

use super::{DIALECT, content};
use crate::fields::{Fields, put};
use crate::grammar::Object;
use crate::hub::part::{Part, PartKind, Thinking};
use crate::loss::LossList;
use crate::rest::Rest;
use crate::signature;

/// What separates the parts of a thought.
pub(super) const BETWEEN: &str = "\n\n";

/// Reads a thought.
pub(super) fn read(mut fields: Fields) -> Part {
    let text = said(fields.peek("summary")).or_else(|| said(fields.peek("content")));
    fields.blank("summary");
    fields.blank("content");
    for field in ["type", "id", "status"] {
        fields.blank(field);
    }
    let place = match fields.peek_text("encrypted_content") {
        Some(_) => "encrypted_content",
        None => "summary",
    };
    fields.set_name("thought", place);
    let opened = fields
        .text("encrypted_content")
        .map(|proof| signature::opened(proof, DIALECT));
    let origin = opened.as_ref().map_or(DIALECT, |(_, origin)| *origin);
    let proof = opened.map(|(proof, _)| proof);
    // Of another provider's thought, one without words is one that it hides.
    let is_hidden = origin != DIALECT && text.is_none();
    let (signature, encrypted) = if is_hidden {
        (None, proof)
    } else {
        (proof, None)
    };
    let thinking = Thinking {
        text,
        signature,
        encrypted,
        origin,
    };
    Part::new(PartKind::Thinking(thinking), fields.finish())
}

/// The words of a thought: its summary, or else the thought itself.
pub(super) fn text(item: &Value) -> Option<String> {
    said(item.get("summary")).or_else(|| said(item.get("content")))
}

fn said(list: Option<&Value>) -> Option<String> {
    let list = list?.as_array()?;
    let texts: Vec<&str> = list
        .iter()
        .filter_map(|part| part["text"].as_str())
        .collect();
    (!texts.is_empty()).then(|| texts.join(BETWEEN))
}

/// Writes a thought as it was.
pub(super) fn write_home(thinking: &Thinking, rest: &Rest) -> Object {
    let mut item = Object::new();
    let proof = thinking.signature.as_ref().or(thinking.encrypted.as_ref());
    let proof = proof.map(|proof| signature::sealed(proof, thinking.origin, DIALECT));
    put(&mut item, "encrypted_content", proof);
    if rest.form(DIALECT, "status").is_some() {
        item.insert(
            "summary".to_string(),
            Value::Array(summary(thinking.text.as_deref())),
        );
    }
    content::write_own(rest, &mut item);
    item
}

/// Writes a thought of another dialect for a client.
pub(super) fn write_answer(thinking: &Thinking, id: &str) -> Object {
    let mut item = write(thinking);
    item.insert("id".to_string(), json!(id));
    item
}

/// Writes a thought for an upstream; nothing if it is another provider's.
pub(super) fn write_request(
    thinking: &Thinking,
    rest: &Rest,
    losses: &mut LossList,
) -> Option<Object> {
    if thinking.is_silent() {
        return None;
    }
    if thinking.origin != DIALECT {
        losses.add(
            rest.place("thought"),
            "responses takes no thoughts of another provider",
        );
        return None;
    }
    Some(write(thinking))
}

fn write(thinking: &Thinking) -> Object {
    let mut item = Object::new();
    item.insert("type".to_string(), json!("reasoning"));
    item.insert(
        "summary".to_string(),
        Value::Array(summary(thinking.text.as_deref())),
    );
    let proof = thinking.signature.as_ref().or(thinking.encrypted.as_ref());
    let proof = proof.filter(|proof| !proof.is_empty());
    let proof = proof.map(|proof| signature::sealed(proof, thinking.origin, DIALECT));
    put(&mut item, "encrypted_content", proof);
    item
}

/// The summary of a thought in one part.
pub(super) fn summary(text: Option<&str>) -> Vec<Value> {
    let part = text.map(|text| json!({"type": "summary_text", "text": text}));
    part.into_iter().collect()
}
