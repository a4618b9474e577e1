//! A whole response.

use serde_json::{Value, json};

use super::write_items::{COMPLETED, said_input, write_call, write_home};
use super::{DIALECT, content, error, read_items, reasoning_item, usage};
use crate::fields::{Fields, ReadError, element, put};
use crate::grammar::{AnswerTerms, Object};
use crate::hub::answer::{AnswerChoice, HubAnswer, Stop, StopReason};
use crate::hub::error::ReportedError;
use crate::hub::part::{Part, PartKind, ToolCall, ToolInput, ToolStyle};
use crate::hub::request::Role;
use crate::loss::LossList;
use crate::rest::Rest;

/// Fields that repeat the request, or sum up what stands elsewhere in the response.
const ECHOES: [&str; 30] = [
    "background",
    "billing",
    "completed_at",
    "conversation",
    "frequency_penalty",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "moderation",
    "object",
    "output_text",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tool_usage",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// Why a response is incomplete.
const MAX_TOKENS: &str = "max_output_tokens";
const CONTENT_FILTER: &str = "content_filter";

/// Reads a response; that of a stream's start has no output yet.
pub(super) fn read(body: Object) -> Result<HubAnswer, ReadError> {
    let mut fields = Fields::of(DIALECT, "", body);
    let output = fields.need_list("output")?;
    let mut answer = HubAnswer::new(Rest::new(DIALECT, ""));
    let mut choice = AnswerChoice::new(0, DIALECT);
    let mut logprobs = Vec::new();
    for (index, item) in output.into_iter().enumerate() {
        if let Value::Object(item) = &item {
            logprobs.extend(read_items::logprobs(item));
        }
        let item = read_items::read(item, element("output", index));
        choice.turn.parts.extend(item.parts);
    }
    choice.logprobs = hub_logprobs(logprobs);
    answer.failure = read_failure(&fields);
    choice.stop = read_stop(&mut fields, &choice.turn.parts);
    answer.choices.push(choice);
    read_head(&mut fields, &mut answer);
    let spent = fields.enter("usage");
    answer.usage = spent.map(usage::read);
    answer.rest = fields.finish();
    Ok(answer)
}

fn read_failure(fields: &Fields) -> Option<Box<ReportedError>> {
    if fields.peek_text("status") != Some("failed") {
        return None;
    }
    let report = fields.peek("error").and_then(Value::as_object).cloned();
    Some(Box::new(error::read_report(report.unwrap_or_default())))
}

fn read_head(fields: &mut Fields, answer: &mut HubAnswer) {
    answer.id = fields.text("id");
    answer.model = fields.text("model");
    answer.created = fields.count("created_at");
    // Not the tier that answers, but the wish for any.
    if fields.peek_text("service_tier") == Some("auto") {
        fields.blank("service_tier");
    }
    answer.service_tier = fields.text("service_tier");
    for field in ECHOES {
        fields.blank(field);
    }
}

/// Log probabilities in the form of the hub, which is that of chat completions.
pub(super) fn hub_logprobs(tokens: Vec<Value>) -> Option<Value> {
    (!tokens.is_empty()).then(|| json!({"content": tokens, "refusal": null}))
}

/// Takes why a response ends; nothing of one that has not ended.
pub(super) fn read_stop(fields: &mut Fields, parts: &[Part]) -> Option<Stop> {
    let is_call = |part: &Part| matches!(part.kind, PartKind::ToolCall(_));
    let reason = match (
        fields.peek_text("status")?,
        fields.peek("incomplete_details"),
    ) {
        ("completed", _) if parts.iter().any(is_call) => StopReason::ToolCalls,
        ("completed", _) => StopReason::End,
        ("incomplete", Some(details)) if details["reason"] == MAX_TOKENS => StopReason::MaxTokens,
        ("incomplete", Some(details)) if details["reason"] == CONTENT_FILTER => {
            StopReason::ContentFilter
        }
        ("in_progress" | "queued", _) => return None,
        _ => StopReason::Other,
    };
    let word = fields.peek_text("status").unwrap_or_default().to_string();
    fields.blank("status");
    fields.blank("incomplete_details");
    Some(Stop::new(reason, word, DIALECT))
}

/// Writes a response.
pub(super) fn write(answer: &HubAnswer, terms: &AnswerTerms, losses: &mut LossList) -> Object {
    let is_home = answer.rest.is_from(DIALECT);
    let mut body = Object::new();
    put(&mut body, "id", answer.id.clone());
    put(&mut body, "model", answer.model.clone());
    put(&mut body, "created_at", answer.created);
    for choice in answer.choices.iter().skip(1) {
        losses.add(choice.rest.path(), "responses gives one answer");
    }
    let choice = answer.choices.first();
    let stop = choice.and_then(|choice| choice.stop.as_ref());
    let (status, details) = status(stop);
    let parts = choice.map_or(&[][..], |choice| &choice.turn.parts);
    let output = if is_home {
        let mut output = write_home(parts);
        fill_logprobs(
            parts,
            choice.and_then(|choice| choice.logprobs.as_ref()),
            &mut output,
        );
        output
    } else {
        let output = choice.map(|choice| write_output(answer, choice, terms, losses));
        output.unwrap_or_default()
    };
    body.insert("output".to_string(), Value::Array(output));
    put(&mut body, "service_tier", service_tier(answer, losses));
    let spent = answer.usage.as_ref();
    let spent = spent.map(|spent| usage::write(spent, losses));
    put(&mut body, "usage", spent);
    answer.rest.write(DIALECT, &mut body, losses);
    if answer.rest.form(DIALECT, "status").is_some() {
        body.insert("status".to_string(), json!(status));
        body.insert("incomplete_details".to_string(), details.clone());
    }
    if !is_home {
        body.entry("id").or_insert_with(|| json!(made_id(terms)));
        body.entry("created_at")
            .or_insert_with(|| json!(terms.created));
        body.entry("model").or_insert_with(|| json!(""));
        body.insert("status".to_string(), json!(status));
        body.insert("incomplete_details".to_string(), details);
        if let Some(stop) = stop {
            lose_stop(stop, answer.rest.at("stop"), losses);
        }
        write_echoes(&mut body);
    }
    body
}

// Those of a stream come beside the parts that they belong to.
fn fill_logprobs(parts: &[Part], logprobs: Option<&Value>, output: &mut [Value]) {
    if !parts
        .iter()
        .any(|part| part.rest.form(DIALECT, "logprobs").is_some())
    {
        return;
    }
    let mut tokens = logprobs.and_then(|all| all["content"].as_array());
    let contents = output.iter_mut().filter_map(|item| item.get_mut("content"));
    for part in contents.filter_map(Value::as_array_mut).flatten() {
        if part["type"] == "output_text"
            && let Some(part) = part.as_object_mut()
        {
            part.entry("logprobs")
                .or_insert_with(|| json!(tokens.take().cloned().unwrap_or_default()));
        }
    }
}

/// The id of a response whose upstream gives none.
pub(super) fn made_id(terms: &AnswerTerms) -> String {
    format!("resp_{}", terms.created)
}

/// Writes what clients expect in every response: what repeats the request says nothing.
pub(super) fn write_echoes(body: &mut Object) {
    for (field, value) in [
        ("object", json!("response")),
        ("background", json!(false)),
        ("error", Value::Null),
        ("instructions", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", json!(true)),
        ("previous_response_id", Value::Null),
        ("store", json!(false)),
        ("temperature", Value::Null),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_p", Value::Null),
        ("truncation", json!("disabled")),
        ("usage", Value::Null),
    ] {
        body.entry(field).or_insert(value);
    }
}

/// The status of a response that ends so, and its `incomplete_details`.
pub(super) fn status(stop: Option<&Stop>) -> (&'static str, Value) {
    let reason = match stop.map(|stop| stop.reason) {
        Some(StopReason::MaxTokens | StopReason::ContextFull) => MAX_TOKENS,
        Some(StopReason::Refusal | StopReason::ContentFilter) => CONTENT_FILTER,
        _ => return ("completed", Value::Null),
    };
    ("incomplete", json!({"reason": reason}))
}

/// Names what a status does not say of a reason.
pub(super) fn lose_stop(stop: &Stop, path: String, losses: &mut LossList) {
    match stop.reason {
        StopReason::Pause => losses.add(path, "responses cannot pause a turn"),
        StopReason::Other => losses.add(path, "responses has no such reason to stop"),
        _ if stop.sequence.is_some() => {
            losses.add(path, "responses does not say which stop sequence it was");
        }
        _ => {}
    }
}

/// The class of service in the words of responses.
pub(super) fn service_tier<'a>(answer: &'a HubAnswer, losses: &mut LossList) -> Option<&'a str> {
    match answer.service_tier.as_deref()? {
        tier if answer.rest.is_from(DIALECT) => Some(tier),
        "standard" => Some("default"),
        tier @ ("default" | "priority" | "flex" | "scale") => Some(tier),
        _ => {
            let at = answer.rest.at("service_tier");
            losses.add(at, "responses has no such tier");
            None
        }
    }
}

/// The id of an item that comes from another dialect.
pub(super) fn item_id(prefix: &str, answer_id: &str, index: usize) -> String {
    format!("{prefix}_{answer_id}_{index}")
}

/// The id of a call that its upstream gave none.
pub(super) fn made_call_id(answer_id: &str, part: usize) -> String {
    format!("call_{part}_{answer_id}")
}

/// An item of the model's words.
pub(super) fn message(id: &str, status: &str, content: Vec<Value>) -> Object {
    let mut item = Object::new();
    item.insert("id".to_string(), json!(id));
    item.insert("type".to_string(), json!("message"));
    item.insert("status".to_string(), json!(status));
    item.insert("role".to_string(), json!("assistant"));
    item.insert("content".to_string(), Value::Array(content));
    item
}

/// An item of a call.
pub(super) fn call(id: &str, status: &str, call: &ToolCall, call_id: &str) -> Object {
    let mut item = write_call(call, call_id);
    item.insert("id".to_string(), json!(id));
    item.insert("status".to_string(), json!(status));
    item
}

/// What begins the id of a call's item.
pub(super) const fn call_prefix(style: ToolStyle) -> &'static str {
    match style {
        ToolStyle::Function => "fc",
        ToolStyle::Custom => "ctc",
    }
}

// Words in a row are one message.
fn write_output(
    answer: &HubAnswer,
    choice: &AnswerChoice,
    terms: &AnswerTerms,
    losses: &mut LossList,
) -> Vec<Value> {
    let made = made_id(terms);
    let answer_id = answer.id.as_deref().unwrap_or(&made);
    choice.turn.rest.lose_elsewhere(DIALECT, losses);
    choice.rest.lose_elsewhere(DIALECT, losses);
    let mut logprobs = choice
        .logprobs
        .as_ref()
        .and_then(|all| all["content"].as_array());
    let mut items: Vec<Object> = Vec::new();
    let mut is_open = false;
    for (position, part) in choice.turn.parts.iter().enumerate() {
        let index = items.len();
        let item = match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) if text.is_empty() => continue,
            PartKind::Thinking(thinking) if thinking.is_silent() => continue,
            PartKind::Thinking(thinking) => {
                reasoning_item::write_answer(thinking, &item_id("rs", answer_id, index))
            }
            PartKind::ToolCall(said) => {
                let mut said = said.clone();
                said.input = ToolInput::Text(said_input(&said.input, said.style));
                let call_id = match said.id.as_str() {
                    "" => made_call_id(answer_id, position),
                    id => id.to_string(),
                };
                let id = item_id(call_prefix(said.style), answer_id, index);
                call(&id, COMPLETED, &said, &call_id)
            }
            _ => {
                let Some(mut written) = content::write(part, &Role::Assistant, losses) else {
                    continue;
                };
                if written["type"] == "output_text" {
                    written["logprobs"] = json!(logprobs.take().cloned().unwrap_or_default());
                }
                let last = items.last_mut().filter(|_| is_open);
                if let Some(Value::Array(content)) = last.and_then(|item| item.get_mut("content")) {
                    content.push(written);
                } else {
                    let id = item_id("msg", answer_id, index);
                    items.push(message(&id, COMPLETED, vec![written]));
                    is_open = true;
                }
                continue;
            }
        };
        is_open = false;
        part.rest.lose(losses);
        items.push(item);
    }
    items.into_iter().map(Value::Object).collect()
}
