//! A whole answer, and each chunk of a stream, which has the same form.

use serde_json::{Value, json};

use super::names::THOUGHT_SIGNATURE;
use super::{DIALECT, call_ids, content, logprobs, stop, usage, write_parts};
use crate::fields::{Fields, ReadError, element, put};
use crate::grammar::Object;
use crate::hub::answer::{AnswerChoice, HubAnswer};
use crate::hub::part::{Part, PartKind};
use crate::hub::request::{Role, Turn};
use crate::loss::LossList;
use crate::rest::Rest;

pub(super) fn read(body: Object) -> Result<HubAnswer, ReadError> {
    let mut fields = Fields::of(DIALECT, "", body);
    let mut answer = HubAnswer::new(Rest::new(DIALECT, ""));
    let says_something = ["promptFeedback", "usageMetadata", "responseId"]
        .iter()
        .any(|field| fields.peek(field).is_some());
    let candidates = fields.list("candidates");
    if candidates.is_none() && !says_something {
        return Err(ReadError::new(fields.at("candidates"), "a list"));
    }
    answer.id = fields.text("responseId");
    answer.model = fields.text("modelVersion");
    if candidates.as_ref().is_some_and(Vec::is_empty) {
        fields.keep_blank("candidates", json!([]));
    }
    for (index, value) in candidates.into_iter().flatten().enumerate() {
        let candidate = Fields::new(DIALECT, element("candidates", index), value)?;
        answer
            .choices
            .push(read_candidate(candidate, index, answer.id.as_deref()));
    }
    if let Some(choice) = read_feedback(&mut fields).filter(|_| answer.choices.is_empty()) {
        answer.choices.push(choice);
    }
    if let Some(spent) = fields.enter("usageMetadata") {
        let tier = spent.peek_text("serviceTier").map(ToString::to_string);
        answer.service_tier = tier;
        answer.usage = Some(usage::read(spent));
        fields.set_name("service_tier", "usageMetadata.serviceTier");
    }
    answer.rest = fields.finish();
    Ok(answer)
}

fn read_candidate(mut fields: Fields, position: usize, answer_id: Option<&str>) -> AnswerChoice {
    let index = fields.count("index");
    if index.is_none() {
        fields.set_form("index", "absent");
    }
    let index = index.unwrap_or(position as u64);
    let mut turn = match fields.enter("content") {
        Some(content) => content::read_fields(content),
        None => {
            fields.set_form("content", "absent");
            let role = Role::Assistant;
            let rest = Rest::new(DIALECT, fields.at("content"));
            let parts = Vec::new();
            Turn { role, parts, rest }
        }
    };
    // Google leaves it out where there is nothing to say.
    if turn.rest.form(DIALECT, "role").is_some() {
        turn.role = Role::Assistant;
    }
    let calls = complete_ids(index, &mut turn.parts, 0, answer_id);
    let word = fields.text("finishReason");
    let result = fields
        .peek("logprobsResult")
        .filter(|value| value.is_object());
    let logprobs = result.map(logprobs::read);
    if logprobs.is_some() {
        fields.blank("logprobsResult");
    }
    fields.blank_if("groundingMetadata", &json!({}));
    AnswerChoice {
        index,
        turn,
        stop: word.map(|word| stop::read(word, calls > 0)),
        logprobs,
        rest: fields.finish(),
    }
}

/// Gives ids to calls that have none, and counts those of the choice; `before` are the earlier ones of a stream.
pub(super) fn complete_ids(
    choice: u64,
    parts: &mut [Part],
    before: usize,
    answer_id: Option<&str>,
) -> usize {
    let mut calls = before;
    for part in parts {
        if let PartKind::ToolCall(call) = &mut part.kind {
            if part.rest.form(DIALECT, "id").is_some() {
                call.id = call_ids::of_answer(choice, calls, answer_id);
            }
            calls += 1;
        }
    }
    calls
}

// A prompt that is blocked has no answer, which others say with one that refuses.
fn read_feedback(fields: &mut Fields) -> Option<AnswerChoice> {
    let mut feedback = fields.enter("promptFeedback")?;
    let at_message = feedback.at("blockReasonMessage");
    let word = feedback.peek_text("blockReason").map(ToString::to_string);
    let message = feedback
        .peek_text("blockReasonMessage")
        .map(ToString::to_string);
    let choice =
        word.map(|word| {
            feedback.blank("blockReason");
            feedback.blank("blockReasonMessage");
            let mut choice = AnswerChoice::new(0, DIALECT);
            let message = message.filter(|message| !message.is_empty());
            choice.turn.parts.extend(message.map(|message| {
                Part::new(PartKind::Refusal(message), Rest::new(DIALECT, at_message))
            }));
            choice.stop = Some(stop::blocked(word));
            choice.rest.set_form("place", "prompt");
            choice
        });
    fields.leave("promptFeedback", feedback);
    choice
}

/// Writes an answer.
pub(super) fn write(answer: &HubAnswer, losses: &mut LossList) -> Object {
    let is_home = answer.rest.is_from(DIALECT);
    let mut body = Object::new();
    let is_candidate = |choice: &&AnswerChoice| choice.rest.form(DIALECT, "place").is_none();
    let candidates = answer.choices.iter().filter(is_candidate);
    let candidates: Vec<Value> = candidates
        .map(|choice| write_candidate(choice, losses))
        .collect();
    if !candidates.is_empty() || !is_home {
        body.insert("candidates".to_string(), Value::Array(candidates));
    }
    let spent = answer
        .usage
        .as_ref()
        .map(|spent| usage::write(spent, losses));
    put(&mut body, "usageMetadata", spent);
    put(&mut body, "modelVersion", answer.model.clone());
    put(&mut body, "responseId", answer.id.clone());
    if !is_home {
        write_tier(answer, &mut body, losses);
    }
    answer.rest.write(DIALECT, &mut body, losses);
    body
}

/// Writes the class of service, which stands with the usage.
pub(super) fn write_tier(answer: &HubAnswer, body: &mut Object, losses: &mut LossList) {
    let tier = match answer.service_tier.as_deref() {
        Some("default" | "standard") => "standard",
        Some(tier @ ("flex" | "priority")) => tier,
        Some(_) => {
            let at = answer.rest.at("service_tier");
            losses.add(at, "gemini has no such tier");
            return;
        }
        None => return,
    };
    if let Some(usage) = body.get_mut("usageMetadata").and_then(Value::as_object_mut) {
        usage.insert("serviceTier".to_string(), json!(tier));
    }
}

fn write_candidate(choice: &AnswerChoice, losses: &mut LossList) -> Value {
    let is_home = choice.rest.is_from(DIALECT);
    let mut object = Object::new();
    if choice.rest.form(DIALECT, "index").is_none() {
        object.insert("index".to_string(), json!(choice.index));
    }
    if !is_home {
        let parts = write_foreign_parts(&choice.turn.parts, losses);
        choice.turn.rest.lose(losses);
        let mut content = Object::new();
        content.insert("role".to_string(), json!("model"));
        let parts = Some(parts).filter(|parts| !parts.is_empty());
        put(&mut content, "parts", parts);
        object.insert("content".to_string(), Value::Object(content));
    } else if choice.rest.form(DIALECT, "content").is_none() {
        let content = content::write(&choice.turn, losses);
        object.insert("content".to_string(), content);
    }
    if let Some(stop) = &choice.stop {
        stop::lose(stop, choice.rest.at("stop_reason"), losses);
        object.insert("finishReason".to_string(), json!(stop::write(stop)));
    }
    let has_result = choice.rest.blank(DIALECT, "logprobsResult").is_some();
    if let Some(logprobs) = choice.logprobs.as_ref().filter(|_| !has_result) {
        let result = logprobs::write(logprobs);
        put(&mut object, "logprobsResult", result);
    }
    choice.rest.write(DIALECT, &mut object, losses);
    Value::Object(object)
}

// Words that follow words are one part to Gemini's clients, who get them in pieces without a border.
fn write_foreign_parts(parts: &[Part], losses: &mut LossList) -> Vec<Value> {
    let mut written: Vec<Object> = Vec::new();
    for part in parts {
        let object = match &part.kind {
            PartKind::Thinking(thinking) => {
                write_parts::write_thought(thinking, &part.rest, losses)
            }
            _ => write_parts::write_foreign(part, losses),
        };
        let Some(mut object) = object else { continue };
        match written.last_mut() {
            Some(last) if goes_on(last, &object) => {
                let words = |object: &Object| match object.get("text") {
                    Some(Value::String(text)) => text.clone(),
                    _ => String::new(),
                };
                let text = words(last) + &words(&object);
                object.insert("text".to_string(), Value::String(text));
                *last = object;
            }
            _ => written.push(object),
        }
    }
    written.into_iter().map(Value::Object).collect()
}

fn goes_on(last: &Object, next: &Object) -> bool {
    let is_unsigned = !last.contains_key(THOUGHT_SIGNATURE.camel());
    let are_words = last.contains_key("text") && next.contains_key("text");
    are_words && is_unsigned && last.get("thought") == next.get("thought")
}
