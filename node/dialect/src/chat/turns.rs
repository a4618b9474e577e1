//! Turns of chat completions: one message each, a tool's answer among them.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::parts::{read_content, read_tool_call, write_part, write_tool_call};
use super::{DIALECT, thoughts};
use crate::cache_mark;
use crate::fields::{Fields, ReadError, element};
use crate::free_text;
use crate::grammar::{Object, Toward};
use crate::hub::part::{Part, PartKind, ToolCall, ToolResult, ToolStyle};
use crate::hub::request::{Role, Turn};
use crate::ids;
use crate::loss::LossList;
use crate::rest::Rest;
use crate::tool_answer;

/// Reads one message.
pub(super) fn read(mut fields: Fields) -> Result<Turn, ReadError> {
    let role = match fields.need_text("role")?.as_str() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => Role::Other(other.to_string()),
    };
    if role == Role::Tool {
        return read_tool_turn(fields);
    }
    let mut parts = thoughts::read(&mut fields);
    parts.extend(read_content(&mut fields));
    let at_refusal = fields.at("refusal");
    if let Some(refusal) = fields.text("refusal") {
        let mut rest = Rest::new(DIALECT, at_refusal);
        rest.set_form("place", "refusal");
        parts.push(Part::new(PartKind::Refusal(refusal), rest));
    }
    fields.blank_if("annotations", &json!([]));
    parts.extend(read_tool_calls(&mut fields));
    let rest = fields.finish();
    Ok(Turn { role, parts, rest })
}

fn read_tool_turn(mut fields: Fields) -> Result<Turn, ReadError> {
    let path = fields.path().to_string();
    let result = ToolResult {
        call_id: fields.need_text("tool_call_id")?,
        name: None,
        parts: read_content(&mut fields),
        is_error: None,
        style: ToolStyle::Function,
    };
    let part = Part::new(PartKind::ToolResult(result), Rest::new(DIALECT, path));
    Ok(Turn {
        role: Role::Tool,
        parts: vec![part],
        rest: fields.finish(),
    })
}

fn read_tool_calls(fields: &mut Fields) -> Vec<Part> {
    let path = fields.at("tool_calls");
    let Some(list) = fields.list("tool_calls") else {
        return Vec::new();
    };
    if list.is_empty() {
        fields.keep_blank("tool_calls", Value::Array(list));
        return Vec::new();
    }
    let calls = list.into_iter().enumerate();
    calls
        .map(|(index, call)| read_tool_call(call, element(&path, index)))
        .collect()
}

/// Writes a turn as the messages that it becomes: tools' answers first, then what else it says.
pub(super) fn write(turn: &Turn, toward: Toward, losses: &mut LossList) -> Vec<Object> {
    let mut messages = Vec::new();
    let mut said = Vec::new();
    let mut others = Vec::new();
    for part in &turn.parts {
        match &part.kind {
            PartKind::ToolResult(_) if toward == Toward::Client && !part.rest.is_from(DIALECT) => {
                losses.add(
                    part.rest.path(),
                    "an answer of chat completions holds no tool's answer",
                );
            }
            PartKind::ToolResult(result) => {
                messages.push(write_result(turn, part, result, &mut said, losses));
            }
            _ => others.push(Cow::Borrowed(part)),
        }
    }
    said.append(&mut others);
    if !said.is_empty() || messages.is_empty() {
        let said: Vec<&Part> = said.iter().map(Cow::as_ref).collect();
        messages.extend(write_message(turn, &said, toward, losses));
    }
    messages
}

// What a tool's answer shows beside words goes into the message after it, since chat completions takes words alone.
fn write_result<'a>(
    turn: &Turn,
    part: &Part,
    result: &'a ToolResult,
    moved: &mut Vec<Cow<'a, Part>>,
    losses: &mut LossList,
) -> Object {
    let mut message = Object::new();
    message.insert("role".to_string(), json!("tool"));
    let is_home = turn.rest.is_from(DIALECT);
    let id = fitting(&result.call_id, is_home);
    message.insert("tool_call_id".to_string(), json!(id));
    let is_shown = |part: &&Part| !is_home && matches!(part.kind, PartKind::Attachment(_));
    let mut shown = result.parts.iter().filter(is_shown).peekable();
    if let Some(first) = shown.peek() {
        moved.push(Cow::Owned(tool_answer::heading(&id, first)));
    }
    moved.extend(shown.map(Cow::Borrowed));
    let parts = tool_answer::with_failure(result, &part.rest);
    let said: Vec<&Part> = parts.iter().filter(|part| !is_shown(part)).collect();
    write_content(&turn.rest, &said, Toward::Upstream, &mut message, losses);
    if is_home {
        turn.rest.write(DIALECT, &mut message, losses);
    } else {
        message.entry("content").or_insert_with(|| json!(""));
        cache_mark::lose(part.cache.as_ref(), losses);
        part.rest.lose(losses);
    }
    message
}

fn write_message(
    turn: &Turn,
    parts: &[&Part],
    toward: Toward,
    losses: &mut LossList,
) -> Option<Object> {
    let is_answer = toward == Toward::Client && !turn.rest.is_from(DIALECT);
    let role = match &turn.role {
        // Whatever the upstream calls it.
        _ if is_answer => "assistant",
        Role::System => "system",
        // Few servers beside OpenAI's know developers, and OpenAI's takes both for one.
        Role::Developer if turn.rest.is_from(DIALECT) => "developer",
        Role::Developer => "system",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
        Role::Other(role) if turn.rest.is_from(DIALECT) => role,
        Role::Other(_) => {
            losses.add(turn.rest.at("role"), "chat completions has no such role");
            return None;
        }
    };
    let mut message = Object::new();
    message.insert("role".to_string(), json!(role));
    let mut content = Vec::new();
    let mut calls = Vec::new();
    for part in parts {
        match &part.kind {
            kind if !part.rest.is_from(DIALECT) && !is_sayable(kind, role) => losses.add(
                part.rest.path(),
                "chat completions has no such part in a turn of this role",
            ),
            PartKind::Thinking(thinking) => {
                thoughts::write(thinking, &part.rest, toward, &mut message, losses);
            }
            PartKind::ToolCall(call) => calls.push(write_call(call, part, toward, losses)),
            PartKind::Refusal(text)
                if part.rest.form(DIALECT, "place").is_some() || toward == Toward::Client =>
            {
                message.insert("refusal".to_string(), json!(text));
            }
            PartKind::Unknown(value) if part.rest.form(DIALECT, "place").is_some() => {
                calls.push(value.clone());
            }
            _ => content.push(*part),
        }
    }
    write_content(&turn.rest, &content, toward, &mut message, losses);
    if !calls.is_empty() {
        message.insert("tool_calls".to_string(), Value::Array(calls));
    }
    turn.rest.write(DIALECT, &mut message, losses);
    if !turn.rest.is_from(DIALECT) {
        // All that it said is lost.
        if toward == Toward::Upstream && message.len() == 1 && !parts.iter().all(is_empty_text) {
            return None;
        }
        let is_silent = message.contains_key("tool_calls") || toward == Toward::Client;
        let silence = if is_silent { Value::Null } else { json!("") };
        message.entry("content").or_insert(silence);
        if toward == Toward::Client {
            message.entry("refusal").or_insert(Value::Null);
        }
    }
    Some(message)
}

// Whether such a part stands in turns of the role.
fn is_sayable(kind: &PartKind, role: &str) -> bool {
    match kind {
        PartKind::Attachment(_) => role == "user",
        PartKind::ToolCall(_) | PartKind::Thinking(_) => role == "assistant",
        _ => true,
    }
}

fn is_empty_text(part: &&Part) -> bool {
    part.text() == Some("")
}

fn write_call(call: &ToolCall, part: &Part, toward: Toward, losses: &mut LossList) -> Value {
    let id = fitting(
        &call.id,
        toward == Toward::Client || part.rest.is_from(DIALECT),
    );
    cache_mark::lose(part.cache.as_ref(), losses);
    let is_function = toward == Toward::Upstream && !part.rest.is_from(DIALECT);
    let call = match is_function {
        true => free_text::as_function(call),
        false => Cow::Borrowed(call),
    };
    let mut object = write_tool_call(&call, &id, &part.rest, losses);
    if part.rest.form(DIALECT, "piece").is_some() {
        object.remove("index");
    }
    Value::Object(object)
}

// A client takes any id, and so does the dialect that it came from.
fn fitting(id: &str, is_free: bool) -> Cow<'_, str> {
    if is_free {
        Cow::Borrowed(id)
    } else {
        ids::shortened(id, ids::CHAT_ID_MAX)
    }
}

// At home a text is a text unless it came as a list. From elsewhere a client gets one text, whose pieces belong
// together, and an upstream gets a list where there is more than one.
fn write_content(
    rest: &Rest,
    parts: &[&Part],
    toward: Toward,
    message: &mut Object,
    losses: &mut LossList,
) {
    let is_home = rest.is_from(DIALECT);
    let is_list = rest.form(DIALECT, "content") == Some("list");
    let is_joined = toward == Toward::Client && !is_home;
    let texts: Vec<&Part> = parts
        .iter()
        .copied()
        .filter(|part| part.text().is_some())
        .collect();
    let is_text = !is_list && (is_joined || (parts.len() == 1 && texts.len() == 1));
    if !is_text {
        let is_said = |part: &&&Part| is_home || part.text() != Some("");
        let parts = parts.iter().filter(is_said);
        let written: Vec<Value> = parts.filter_map(|part| write_part(part, losses)).collect();
        if !written.is_empty() {
            message.insert("content".to_string(), Value::Array(written));
        }
        return;
    }
    for part in parts {
        if part.text().is_none() {
            losses.add(
                part.rest.path(),
                "an answer of chat completions has no such part",
            );
        }
        if !part.rest.is_from(DIALECT) {
            cache_mark::lose(part.cache.as_ref(), losses);
            part.rest.lose(losses);
        }
    }
    let text: String = texts.iter().filter_map(|part| part.text()).collect();
    if !texts.is_empty() && (is_home || !text.is_empty()) {
        message.insert("content".to_string(), json!(text));
    }
}
