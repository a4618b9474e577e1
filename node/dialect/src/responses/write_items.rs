//! Writes parts as the items that they become.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::read_items::ITEM;
use super::{DIALECT, content, reasoning_item};
use crate::cache_mark;
use crate::fields::put;
use crate::grammar::Object;
use crate::hub::part::{Part, PartKind, ToolCall, ToolInput, ToolResult, ToolStyle};
use crate::hub::request::{HubRequest, Role, Turn};
use crate::ids;
use crate::loss::LossList;
use crate::rest::Rest;
use crate::tool_answer;

/// The most characters of a call's id, by the error message of OpenAI's API.
const CALL_ID_MAX: usize = 64;

/// The status of every item of another dialect: what cuts an answer short is said of the response alone.
pub(super) const COMPLETED: &str = "completed";

/// Writes parts of home as the items that they were.
pub(super) fn write_home<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    for part in parts {
        let is_shared = part.rest.form(DIALECT, ITEM).is_some();
        let open = items.last_mut().filter(|_| is_shared);
        if let Some(Value::Array(content)) = open.and_then(|item| item.get_mut("content")) {
            content.push(content::write_home(part));
            continue;
        }
        items.push(match &part.kind {
            _ if part.rest.nested(ITEM).is_some() => json!(write_home_message(part)),
            PartKind::Thinking(thinking) => json!(reasoning_item::write_home(thinking, &part.rest)),
            PartKind::ToolCall(call) => json!(write_home_call(call, &part.rest)),
            PartKind::ToolResult(result) => json!(write_home_result(result, &part.rest)),
            _ => content::write_home(part),
        });
    }
    items
}

fn write_home_message(part: &Part) -> Object {
    let mut item = Object::new();
    let Some(shell) = part.rest.nested(ITEM) else {
        return item;
    };
    match (shell.form(DIALECT, "content"), &part.kind) {
        (Some("silent"), _) => {}
        (Some(_), PartKind::Text(text)) => put(&mut item, "content", Some(text.clone())),
        _ => {
            let content = vec![content::write_home(part)];
            item.insert("content".to_string(), Value::Array(content));
        }
    }
    content::write_own(shell, &mut item);
    write_late_status(shell, &mut item);
    item
}

// The status that came with the item's beginning was not its last.
fn write_late_status(rest: &Rest, item: &mut Object) {
    if rest.form(DIALECT, "status").is_some() {
        item.entry("status").or_insert_with(|| json!(COMPLETED));
    }
}

fn write_home_call(call: &ToolCall, rest: &Rest) -> Object {
    let input = match call.style {
        ToolStyle::Function => "arguments",
        ToolStyle::Custom => "input",
    };
    let mut item = Object::new();
    put(&mut item, "call_id", Some(call.id.clone()));
    put(&mut item, "name", Some(call.name.clone()));
    put(&mut item, input, Some(call.input.to_text()));
    content::write_own(rest, &mut item);
    write_late_status(rest, &mut item);
    item
}

fn write_home_result(result: &ToolResult, rest: &Rest) -> Object {
    let mut item = Object::new();
    put(&mut item, "call_id", Some(result.call_id.clone()));
    let output = match (rest.form(DIALECT, "output"), result.parts.as_slice()) {
        (Some("silent"), _) => None,
        (Some(_), [part]) => part.text().map(|text| json!(text)),
        (_, parts) => Some(parts.iter().map(content::write_home).collect()),
    };
    put(&mut item, "output", output);
    content::write_own(rest, &mut item);
    item
}

/// Writes the turns of a request of another dialect.
pub(super) fn write_turns(request: &HubRequest, losses: &mut LossList) -> Vec<Value> {
    let custom = custom_calls(&request.turns);
    let mut items = Vec::new();
    for turn in &request.turns {
        turn.rest.lose(losses);
        write_turn(turn, &custom, &mut items, losses);
    }
    items.into_iter().map(Value::Object).collect()
}

// A result does not say in every dialect how its tool was called.
fn custom_calls(turns: &[Turn]) -> BTreeSet<&str> {
    let parts = turns.iter().flat_map(|turn| &turn.parts);
    let ids = parts.filter_map(|part| match &part.kind {
        PartKind::ToolCall(call) if call.style == ToolStyle::Custom => Some(call.id.as_str()),
        _ => None,
    });
    ids.collect()
}

fn write_turn(
    turn: &Turn,
    custom: &BTreeSet<&str>,
    items: &mut Vec<Object>,
    losses: &mut LossList,
) {
    let role = match &turn.role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
        Role::Other(_) => {
            losses.add(turn.rest.at("role"), "responses has no such role");
            return;
        }
    };
    let mut open = false;
    for part in &turn.parts {
        let item = match &part.kind {
            PartKind::Text(text) if text.is_empty() => continue,
            // As a list, the model's words would be those of a stored item, with its id and status.
            PartKind::Text(text) if turn.role == Role::Assistant => {
                Some(message(role, json!(text)))
            }
            PartKind::ToolCall(call) => Some(write_call(call, &fitting(&call.id))),
            PartKind::ToolResult(result) => Some(write_result(result, part, custom, losses)),
            PartKind::Thinking(thinking) => {
                reasoning_item::write_request(thinking, &part.rest, losses)
            }
            _ => {
                let Some(written) = content::write(part, &turn.role, losses) else {
                    continue;
                };
                let last = items.last_mut().filter(|_| open);
                if let Some(Value::Array(content)) = last.and_then(|item| item.get_mut("content")) {
                    content.push(written);
                } else {
                    items.push(message(role, json!([written])));
                    open = true;
                }
                continue;
            }
        };
        open = false;
        cache_mark::lose(part.cache.as_ref(), losses);
        part.rest.lose(losses);
        items.extend(item);
    }
}

fn message(role: &str, content: Value) -> Object {
    let mut item = Object::new();
    item.insert("type".to_string(), json!("message"));
    item.insert("role".to_string(), json!(role));
    item.insert("content".to_string(), content);
    item
}

fn fitting(id: &str) -> String {
    ids::shortened(id, CALL_ID_MAX).into_owned()
}

/// Writes a call of another dialect, without an id of its own.
pub(super) fn write_call(call: &ToolCall, call_id: &str) -> Object {
    let (kind, field) = match call.style {
        ToolStyle::Function => ("function_call", "arguments"),
        ToolStyle::Custom => ("custom_tool_call", "input"),
    };
    let mut item = Object::new();
    item.insert("type".to_string(), json!(kind));
    item.insert("call_id".to_string(), json!(call_id));
    item.insert("name".to_string(), json!(call.name));
    item.insert(
        field.to_string(),
        json!(said_input(&call.input, call.style)),
    );
    item
}

/// The input of a call: one that a function is given none of is an empty object.
pub(super) fn said_input(input: &ToolInput, style: ToolStyle) -> String {
    let text = input.to_text();
    if text.is_empty() && style == ToolStyle::Function {
        return "{}".to_string();
    }
    text
}

// A text where the tool answers in words alone.
fn write_result(
    result: &ToolResult,
    part: &Part,
    custom: &BTreeSet<&str>,
    losses: &mut LossList,
) -> Object {
    let is_custom = result.style == ToolStyle::Custom || custom.contains(result.call_id.as_str());
    let kind = match is_custom {
        true => "custom_tool_call_output",
        false => "function_call_output",
    };
    let parts = tool_answer::with_failure(result, &part.rest);
    let is_text = |part: &Part| part.text().is_some();
    let output = if parts.iter().all(is_text) {
        for part in parts.iter() {
            cache_mark::lose(part.cache.as_ref(), losses);
            part.rest.lose(losses);
        }
        json!(parts.iter().filter_map(Part::text).collect::<String>())
    } else {
        let parts = parts.iter();
        parts
            .filter_map(|part| content::write(part, &Role::User, losses))
            .collect()
    };
    let mut item = Object::new();
    item.insert("type".to_string(), json!(kind));
    item.insert("call_id".to_string(), json!(fitting(&result.call_id)));
    item.insert("output".to_string(), output);
    item
}
