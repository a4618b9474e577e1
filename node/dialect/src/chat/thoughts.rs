//! Thoughts of chat completions: fields of a message, of which it has one.

use serde_json::{Value, json};

use super::DIALECT;
use crate::fields::Fields;
use crate::grammar::{Object, Toward};
use crate::hub::part::{Part, PartKind, Thinking};
use crate::loss::LossList;
use crate::rest::Rest;
use crate::signature;

/// The names under which servers send thoughts.
const THOUGHT_FIELDS: [&str; 2] = ["reasoning_content", "reasoning"];

/// The field of a thought's signature.
pub(super) const THOUGHT_SIGNATURE: &str = "reasoning_signature";

/// What separates thoughts that become one; the signature of the first alone is kept.
pub(super) const THOUGHTS_BETWEEN: &str = "\n\n";

/// Takes the thought of a message or a delta.
pub(super) fn read(fields: &mut Fields) -> Vec<Part> {
    let mut said: Option<(&'static str, String)> = None;
    for field in THOUGHT_FIELDS {
        match (fields.peek_text(field), &said) {
            (Some(""), _) => fields.blank(field),
            (Some(text), Some((_, earlier))) if text == earlier => fields.blank(field),
            (Some(_), None) => said = fields.text(field).map(|text| (field, text)),
            _ => {}
        }
    }
    let signature = fields.text(THOUGHT_SIGNATURE);
    if said.is_none() && signature.is_none() {
        return Vec::new();
    }
    let field = said.as_ref().map_or(THOUGHT_SIGNATURE, |(field, _)| *field);
    let mut rest = Rest::new(DIALECT, fields.at(field));
    rest.set_form("field", field);
    let opened = signature.map(|signature| signature::opened(signature, DIALECT));
    let origin = opened.as_ref().map_or(DIALECT, |(_, origin)| *origin);
    let thinking = Thinking {
        text: said.map(|(_, text)| text),
        signature: opened.map(|(signature, _)| signature),
        encrypted: None,
        origin,
    };
    vec![Part::new(PartKind::Thinking(thinking), rest)]
}

/// Writes a thought into a message or a delta.
pub(super) fn write(
    thinking: &Thinking,
    rest: &Rest,
    toward: Toward,
    message: &mut Object,
    losses: &mut LossList,
) {
    if !rest.is_from(DIALECT) && thinking.is_silent() {
        rest.lose(losses);
        return;
    }
    let is_foreign = thinking.origin != DIALECT && !rest.is_from(DIALECT);
    let has_proof = thinking
        .signature
        .as_ref()
        .is_some_and(|proof| !proof.is_empty());
    if thinking.encrypted.is_some() {
        losses.add(
            rest.place("thought"),
            "chat completions has no encrypted thoughts",
        );
        return;
    }
    if is_foreign && toward == Toward::Upstream && has_proof {
        losses.add(
            rest.place("thought"),
            "the thought is signed by another provider",
        );
        return;
    }
    // Of a stream the signature may come first, and words after it.
    let has_text = thinking.text.as_ref().is_some_and(|text| !text.is_empty());
    let field = rest
        .form(DIALECT, "field")
        .filter(|field| *field != THOUGHT_SIGNATURE || !has_text)
        .unwrap_or(THOUGHT_FIELDS[0]);
    let is_second = message.contains_key(field) || message.contains_key(THOUGHT_SIGNATURE);
    if is_second {
        write_second(thinking, rest, field, message, losses);
        return;
    }
    let is_said = |text: &&String| rest.is_from(DIALECT) || !text.is_empty();
    if field != THOUGHT_SIGNATURE
        && let Some(text) = thinking.text.as_ref().filter(is_said)
    {
        message.insert(field.to_string(), json!(text));
    }
    if has_proof || rest.is_from(DIALECT) {
        let sealed = thinking
            .signature
            .as_ref()
            .map(|proof| signature::sealed(proof, thinking.origin, DIALECT));
        if let Some(sealed) = sealed {
            message.insert(THOUGHT_SIGNATURE.to_string(), json!(sealed));
        }
    }
    rest.lose_elsewhere(DIALECT, losses);
}

// Thoughts become one, with the first signature that one of them has. One that is no more than a signature loses
// nothing so.
fn write_second(
    thinking: &Thinking,
    rest: &Rest,
    field: &str,
    message: &mut Object,
    losses: &mut LossList,
) {
    let text = thinking.text.as_deref().unwrap_or_default();
    let proof = thinking
        .signature
        .as_deref()
        .filter(|proof| !proof.is_empty());
    let is_signed = message.contains_key(THOUGHT_SIGNATURE);
    if !text.is_empty() || (is_signed && proof.is_some()) {
        losses.add(
            rest.place("thought"),
            "chat completions has one thought in a message",
        );
    }
    if !text.is_empty() {
        let earlier = message.get(field).and_then(Value::as_str);
        let text = format!("{}{THOUGHTS_BETWEEN}{text}", earlier.unwrap_or_default());
        message.insert(field.to_string(), json!(text));
    }
    if let Some(proof) = proof.filter(|_| !is_signed) {
        let sealed = signature::sealed(proof, thinking.origin, DIALECT);
        message.insert(THOUGHT_SIGNATURE.to_string(), json!(sealed));
    }
}
