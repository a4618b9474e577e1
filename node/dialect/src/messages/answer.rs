//! A whole message.

use serde_json::{Value, json};

use super::read_parts::read_content;
use super::write_parts::{write, write_content};
use super::{DIALECT, usage};
use crate::fields::{Fields, ReadError, inside, put};
use crate::grammar::{Object, Toward};
use crate::hub::answer::{AnswerChoice, HubAnswer, Stop, StopReason};
use crate::hub::part::{Part, PartKind};
use crate::ids;
use crate::loss::LossList;
use crate::rest::Rest;

/// Reads a message; that of a stream's start has no content yet.
pub(super) fn read(body: Object) -> Result<HubAnswer, ReadError> {
    let mut fields = Fields::of(DIALECT, "", body);
    if fields
        .peek("content")
        .is_none_or(|content| !content.is_array())
    {
        return Err(ReadError::new("content", "a list"));
    }
    let mut answer = HubAnswer::new(Rest::new(DIALECT, ""));
    let mut choice = AnswerChoice::new(0, DIALECT);
    choice.turn.parts = read_content(&mut fields, "content");
    choice.stop = read_stop(&mut fields);
    answer.choices.push(choice);
    answer.id = fields.text("id");
    answer.model = fields.text("model");
    fields.blank("type");
    fields.blank("role");
    if let Some(mut spent) = fields.enter("usage") {
        answer.service_tier = spent.text("service_tier");
        answer.usage = Some(usage::read(spent));
        fields.set_name("service_tier", "usage.service_tier");
    }
    answer.rest = fields.finish();
    Ok(answer)
}

/// Takes why a message ends.
pub(super) fn read_stop(fields: &mut Fields) -> Option<Stop> {
    let word = fields.text("stop_reason")?;
    let reason = match word.as_str() {
        "end_turn" => StopReason::End,
        "max_tokens" => StopReason::MaxTokens,
        "model_context_window_exceeded" => StopReason::ContextFull,
        "stop_sequence" => StopReason::StopSequence,
        "tool_use" => StopReason::ToolCalls,
        "refusal" => StopReason::Refusal,
        "pause_turn" => StopReason::Pause,
        _ => StopReason::Other,
    };
    let mut stop = Stop::new(reason, word, DIALECT);
    stop.sequence = fields.text("stop_sequence");
    Some(stop)
}

/// `stop_reason` for a reason. A refusal may be told by its words alone.
pub(super) fn write_stop(stop: &Stop, has_refusal: bool) -> String {
    if stop.from == DIALECT {
        return stop.word.clone();
    }
    let word = match stop.reason {
        StopReason::End if has_refusal => "refusal",
        StopReason::End => "end_turn",
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContextFull => "model_context_window_exceeded",
        StopReason::StopSequence => "stop_sequence",
        StopReason::ToolCalls => "tool_use",
        StopReason::Refusal | StopReason::ContentFilter => "refusal",
        StopReason::Pause => "pause_turn",
        StopReason::Other => "end_turn",
    };
    word.to_string()
}

/// Names a reason that messages has no word for.
pub(super) fn lose_stop(stop: &Stop, path: String, losses: &mut LossList) {
    if stop.from != DIALECT && stop.reason == StopReason::Other {
        losses.add(path, "messages has no such reason to stop");
    }
}

fn is_nameless_call(part: &Part) -> bool {
    matches!(&part.kind, PartKind::ToolCall(call) if call.id.is_empty())
}

/// Writes a message.
pub(super) fn write_answer(answer: &HubAnswer, losses: &mut LossList) -> Object {
    let is_home = answer.rest.is_from(DIALECT);
    let mut body = Object::new();
    put(&mut body, "id", answer.id.clone());
    put(&mut body, "model", answer.model.clone());
    for choice in answer.choices.iter().skip(1) {
        losses.add(choice.rest.path(), "messages gives one answer");
    }
    if let Some(choice) = answer.choices.first() {
        write_choice(answer, choice, &mut body, losses);
    }
    let spent = answer
        .usage
        .as_ref()
        .map(|spent| usage::write(spent, losses));
    let spent = spent.or_else(|| (!is_home).then(usage::nothing));
    put(&mut body, "usage", spent);
    if let Some(tier) = service_tier(answer, losses)
        && let Some(usage) = inside(&mut body, "usage")
    {
        usage.insert("service_tier".to_string(), json!(tier));
    }
    answer.rest.write(DIALECT, &mut body, losses);
    if !is_home {
        body.insert("type".to_string(), json!("message"));
        body.insert("role".to_string(), json!("assistant"));
        for field in ["stop_reason", "stop_sequence"] {
            body.entry(field).or_insert(Value::Null);
        }
    }
    body.entry("content").or_insert_with(|| json!([]));
    body
}

fn service_tier<'a>(answer: &'a HubAnswer, losses: &mut LossList) -> Option<&'a str> {
    match answer.service_tier.as_deref()? {
        tier if answer.rest.is_from(DIALECT) => Some(tier),
        "default" => Some("standard"),
        tier @ ("standard" | "priority" | "batch") => Some(tier),
        _ => {
            let at = answer.rest.at("service_tier");
            losses.add(at, "messages has no such tier");
            None
        }
    }
}

fn write_choice(
    answer: &HubAnswer,
    choice: &AnswerChoice,
    body: &mut Object,
    losses: &mut LossList,
) {
    let parts = &choice.turn.parts;
    let content = if answer.rest.is_from(DIALECT) {
        write_content(parts, &choice.turn.rest, "content", Toward::Client, losses)
    } else {
        let blocks = parts.iter().enumerate().filter_map(|(index, part)| {
            let mut block = write(part, Toward::Client, losses)?;
            if is_nameless_call(part) {
                let id = ids::made(index, answer.id.as_deref());
                block["id"] = json!(ids::plain(&id));
            }
            Some(block)
        });
        Some(blocks.collect())
    };
    put(body, "content", content);
    choice.turn.rest.lose_elsewhere(DIALECT, losses);
    choice.rest.lose_elsewhere(DIALECT, losses);
    let at_logprobs = choice.rest.at("logprobs");
    losses.add_some(
        choice.logprobs.as_ref(),
        at_logprobs,
        "messages has no log probabilities",
    );
    if let Some(stop) = &choice.stop {
        lose_stop(stop, choice.rest.at("finish_reason"), losses);
        let word = write_stop(stop, parts.iter().any(Part::is_refusal));
        body.insert("stop_reason".to_string(), json!(word));
        put(body, "stop_sequence", stop.sequence.clone());
    }
}
