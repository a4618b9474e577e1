//! A whole answer. Converse repeats neither its id nor the model: both stand in headers and the URL.

use serde_json::{Value, json};

use super::read_parts::read_content;
use super::write_parts::PartWriter;
use super::{DIALECT, usage};
use crate::fields::{Fields, ReadError, inside, put};
use crate::grammar::Object;
use crate::hub::answer::{AnswerChoice, HubAnswer, Stop, StopReason};
use crate::hub::part::{Part, PartKind};
use crate::ids;
use crate::loss::LossList;
use crate::rest::Rest;

/// The field of what else the model said of its answer.
const MODEL_FIELDS: &str = "additionalModelResponseFields";

/// Reads an answer.
pub(super) fn read(body: Object) -> Result<HubAnswer, ReadError> {
    let mut fields = Fields::of(DIALECT, "", body);
    let mut answer = HubAnswer::new(Rest::new(DIALECT, ""));
    let mut choice = AnswerChoice::new(0, DIALECT);
    let Some(mut output) = fields.enter("output") else {
        return Err(ReadError::new("output", "an object"));
    };
    if let Some(mut message) = output.enter("message") {
        choice.turn.parts = read_content(&mut message, "content");
        message.blank("role");
        output.leave("message", message);
    }
    fields.leave("output", output);
    choice.stop = read_stop(&mut fields);
    answer.choices.push(choice);
    answer.usage = fields.enter("usage").map(usage::read);
    answer.service_tier = read_tier(&mut fields);
    fields.set_name("service_tier", "serviceTier.type");
    answer.rest = fields.finish();
    Ok(answer)
}

/// Takes the class of service.
pub(super) fn read_tier(fields: &mut Fields) -> Option<String> {
    let mut tier = fields.enter("serviceTier")?;
    let word = tier.text("type");
    fields.leave("serviceTier", tier);
    word
}

/// Writes the class of service that an answer or a request of this dialect has.
pub(super) fn write_tier(tier: Option<&str>, object: &mut Object) {
    if let Some(tier) = tier
        && let Some(inside) = inside(object, "serviceTier")
    {
        inside.insert("type".to_string(), json!(tier));
    }
}

/// The class of service as Converse names it.
pub(super) fn tier_of<'a>(
    tier: Option<&'a str>,
    rest: &Rest,
    losses: &mut LossList,
) -> Option<&'a str> {
    match tier? {
        tier if rest.is_from(DIALECT) => Some(tier),
        "auto" => None,
        "standard" | "standard_only" => Some("default"),
        tier @ ("default" | "priority" | "flex" | "reserved") => Some(tier),
        _ => {
            losses.add(rest.at("service_tier"), "Converse has no such tier");
            None
        }
    }
}

/// Takes why an answer ends. The sequence that ended it is there if the request asked for it.
pub(super) fn read_stop(fields: &mut Fields) -> Option<Stop> {
    let word = fields.text("stopReason")?;
    let reason = match word.as_str() {
        "end_turn" => StopReason::End,
        "tool_use" => StopReason::ToolCalls,
        "max_tokens" => StopReason::MaxTokens,
        "model_context_window_exceeded" => StopReason::ContextFull,
        "stop_sequence" => StopReason::StopSequence,
        "guardrail_intervened" | "content_filtered" => StopReason::ContentFilter,
        "refusal" => StopReason::Refusal,
        "pause_turn" => StopReason::Pause,
        _ => StopReason::Other,
    };
    let mut stop = Stop::new(reason, word, DIALECT);
    if let Some(mut more) = fields.enter(MODEL_FIELDS) {
        stop.sequence = more.text("stop_sequence");
        fields.leave(MODEL_FIELDS, more);
    }
    Some(stop)
}

/// Writes why an answer ends. A refusal may be reported by its words alone.
pub(super) fn write_stop(
    stop: &Stop,
    has_refusal: bool,
    at: String,
    body: &mut Object,
    losses: &mut LossList,
) {
    let is_home = stop.from == DIALECT;
    let word = match stop.reason {
        _ if is_home => &stop.word,
        StopReason::End if has_refusal => "content_filtered",
        StopReason::End => "end_turn",
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContextFull => "model_context_window_exceeded",
        StopReason::StopSequence => "stop_sequence",
        StopReason::ToolCalls => "tool_use",
        StopReason::Refusal | StopReason::ContentFilter => "content_filtered",
        StopReason::Pause | StopReason::Other => {
            losses.add(at, "Converse has no such reason to stop");
            "end_turn"
        }
    };
    body.insert("stopReason".to_string(), json!(word));
    if let Some(sequence) = &stop.sequence
        && let Some(more) = inside(body, MODEL_FIELDS)
    {
        more.insert("stop_sequence".to_string(), json!(sequence));
    }
}

/// Measurements that Converse demands and nobody made here.
pub(super) fn no_metrics() -> Value {
    json!({"latencyMs": 0})
}

/// Writes an answer.
pub(super) fn write_answer(answer: &HubAnswer, losses: &mut LossList) -> Object {
    let is_home = answer.rest.is_from(DIALECT);
    let mut body = Object::new();
    for choice in answer.choices.iter().skip(1) {
        losses.add(choice.rest.path(), "Converse gives one answer");
    }
    if let Some(choice) = answer.choices.first() {
        write_choice(answer, choice, &mut body, losses);
    } else if !is_home {
        let nothing = json!({"message": {"role": "assistant", "content": []}});
        body.insert("output".to_string(), nothing);
    }
    let spent = answer.usage.as_ref();
    let spent = spent.map(|spent| usage::write(spent, losses));
    let spent = spent.or_else(|| (!is_home).then(usage::nothing));
    put(&mut body, "usage", spent);
    let tier = tier_of(answer.service_tier.as_deref(), &answer.rest, losses);
    write_tier(tier, &mut body);
    answer.rest.write(DIALECT, &mut body, losses);
    if !is_home {
        body.entry("stopReason")
            .or_insert_with(|| json!("end_turn"));
        body.insert("metrics".to_string(), no_metrics());
    }
    body
}

fn write_choice(
    answer: &HubAnswer,
    choice: &AnswerChoice,
    body: &mut Object,
    losses: &mut LossList,
) {
    let is_home = answer.rest.is_from(DIALECT);
    let parts = &choice.turn.parts;
    let mut writer = PartWriter::to_client();
    let content = if is_home {
        writer.write_list(parts, losses)
    } else {
        let written = parts.iter().enumerate().filter_map(|(index, part)| {
            let mut block = writer.write(part, losses)?;
            if is_nameless_call(part) {
                let id = ids::made(index, answer.id.as_deref());
                block["toolUse"]["toolUseId"] = json!(ids::plain(&id));
            }
            Some(block)
        });
        written.collect()
    };
    // One that was put together from a stream has kept nothing of its message.
    let is_whole = is_home && answer.rest.nested("output").is_some();
    if (!content.is_empty() || !is_whole)
        && let Some(output) = inside(body, "output")
        && let Some(message) = inside(output, "message")
    {
        message.insert("content".to_string(), Value::Array(content));
        if !is_whole {
            message.insert("role".to_string(), json!("assistant"));
        }
    }
    choice.turn.rest.lose_elsewhere(DIALECT, losses);
    choice.rest.lose_elsewhere(DIALECT, losses);
    losses.add_some(
        choice.logprobs.as_ref(),
        choice.rest.at("logprobs"),
        "Converse has no log probabilities",
    );
    if let Some(stop) = &choice.stop {
        let has_refusal = parts.iter().any(Part::is_refusal);
        let at = choice.rest.at("finish_reason");
        write_stop(stop, has_refusal, at, body, losses);
    }
}

fn is_nameless_call(part: &Part) -> bool {
    matches!(&part.kind, PartKind::ToolCall(call) if call.id.is_empty())
}
