//! A whole chat completion.

use serde_json::{Value, json};

use super::{DIALECT, turns, usage};
use crate::fields::{Fields, ReadError, element, put};
use crate::grammar::{AnswerTerms, Object, Toward};
use crate::hub::answer::{AnswerChoice, HubAnswer, Stop, StopReason};
use crate::hub::part::{Part, PartKind};
use crate::loss::LossList;
use crate::rest::Rest;

pub(super) fn read(body: Object) -> Result<HubAnswer, ReadError> {
    let mut fields = Fields::of(DIALECT, "", body);
    let mut answer = HubAnswer::new(Rest::new(DIALECT, ""));
    for (index, choice) in fields.need_list("choices")?.into_iter().enumerate() {
        let path = element("choices", index);
        answer
            .choices
            .push(read_choice(Fields::new(DIALECT, path, choice)?, index)?);
    }
    answer.id = fields.text("id");
    answer.model = fields.text("model");
    answer.created = fields.count("created");
    answer.service_tier = fields.text("service_tier");
    fields.blank("object");
    let spent = fields.enter("usage");
    answer.usage = spent.map(usage::read);
    answer.rest = fields.finish();
    Ok(answer)
}

fn read_choice(mut fields: Fields, position: usize) -> Result<AnswerChoice, ReadError> {
    let index = fields.count("index");
    if index.is_none() {
        fields.set_form("index", "absent");
    }
    let Some(mut message) = fields.enter("message") else {
        return Err(ReadError::new(fields.at("message"), "an object"));
    };
    // Not every server repeats whose message it is.
    if message.peek("role").is_none() {
        message.put_back("role", json!("assistant"));
        message.set_form("role", "absent");
    }
    let turn = turns::read(message)?;
    let is_call = |part: &Part| matches!(part.kind, PartKind::ToolCall(_));
    let has_calls = turn.parts.iter().any(is_call);
    let word = fields.text("finish_reason");
    Ok(AnswerChoice {
        index: index.unwrap_or(position as u64),
        turn,
        stop: word.map(|word| read_stop(word, has_calls)),
        logprobs: fields.take("logprobs"),
        rest: fields.finish(),
    })
}

/// The reason that `finish_reason` names. Some servers say `stop` of an answer that calls tools.
pub(super) fn read_stop(word: String, has_calls: bool) -> Stop {
    let reason = match word.as_str() {
        "stop" if has_calls => StopReason::ToolCalls,
        "stop" => StopReason::End,
        "length" => StopReason::MaxTokens,
        "tool_calls" | "function_call" => StopReason::ToolCalls,
        "content_filter" => StopReason::ContentFilter,
        _ => StopReason::Other,
    };
    Stop::new(reason, word, DIALECT)
}

/// `finish_reason` for a reason.
pub(super) fn write_stop(stop: &Stop) -> &str {
    if stop.from == DIALECT {
        return &stop.word;
    }
    match stop.reason {
        StopReason::End | StopReason::StopSequence | StopReason::Pause | StopReason::Other => {
            "stop"
        }
        StopReason::MaxTokens | StopReason::ContextFull => "length",
        StopReason::ToolCalls => "tool_calls",
        StopReason::Refusal | StopReason::ContentFilter => "content_filter",
    }
}

/// Names what `finish_reason` does not say of a reason.
pub(super) fn lose_stop(stop: &Stop, path: String, losses: &mut LossList) {
    if stop.from == DIALECT {
        return;
    }
    match stop.reason {
        StopReason::Pause => losses.add(path, "chat completions cannot pause a turn"),
        StopReason::Other => losses.add(path, "chat completions has no such reason to stop"),
        _ if stop.sequence.is_some() => losses.add(
            path,
            "chat completions does not say which stop sequence it was",
        ),
        _ => {}
    }
}

pub(super) fn write(answer: &HubAnswer, terms: &AnswerTerms, losses: &mut LossList) -> Object {
    let mut body = Object::new();
    put(&mut body, "id", answer.id.clone());
    put(&mut body, "model", answer.model.clone());
    put(&mut body, "created", answer.created);
    let choices = answer.choices.iter();
    let choices = choices.map(|choice| write_choice(choice, losses)).collect();
    body.insert("choices".to_string(), Value::Array(choices));
    put(&mut body, "service_tier", service_tier(answer, losses));
    let spent = answer
        .usage
        .as_ref()
        .map(|spent| usage::write(spent, losses));
    put(&mut body, "usage", spent);
    answer.rest.write(DIALECT, &mut body, losses);
    if !answer.rest.is_from(DIALECT) {
        body.insert("object".to_string(), json!("chat.completion"));
        body.entry("created")
            .or_insert_with(|| json!(terms.created));
    }
    body
}

/// The class of service in the words of chat completions.
pub(super) fn service_tier<'a>(answer: &'a HubAnswer, losses: &mut LossList) -> Option<&'a str> {
    match answer.service_tier.as_deref()? {
        tier if answer.rest.is_from(DIALECT) => Some(tier),
        "standard" => Some("default"),
        tier @ ("default" | "priority" | "flex" | "scale") => Some(tier),
        _ => {
            let at = answer.rest.at("service_tier");
            losses.add(at, "chat completions has no such tier");
            None
        }
    }
}

fn write_choice(choice: &AnswerChoice, losses: &mut LossList) -> Value {
    let mut object = Object::new();
    let is_home = choice.rest.is_from(DIALECT);
    if choice.rest.form(DIALECT, "index").is_none() {
        object.insert("index".to_string(), json!(choice.index));
    }
    let messages = turns::write(&choice.turn, Toward::Client, losses);
    if let Some(mut message) = messages.into_iter().next_back() {
        if choice.turn.rest.form(DIALECT, "role").is_some() {
            message.remove("role");
        }
        object.insert("message".to_string(), Value::Object(message));
    }
    if let Some(stop) = &choice.stop {
        lose_stop(stop, choice.rest.at("stop_reason"), losses);
        object.insert("finish_reason".to_string(), json!(write_stop(stop)));
    } else if !is_home {
        object.insert("finish_reason".to_string(), Value::Null);
    }
    put(&mut object, "logprobs", choice.logprobs.clone());
    choice.rest.write(DIALECT, &mut object, losses);
    if !is_home {
        object.entry("logprobs").or_insert(Value::Null);
    }
    Value::Object(object)
}
