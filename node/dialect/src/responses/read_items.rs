//! Reads the items of a request or an answer.
//!
//! The item around a message's parts is kept in the first of them under [`ITEM`]; the others say that they share it.

use serde_json::Value;

use super::{DIALECT, content, reasoning_item};
use crate::fields::{Fields, element};
use crate::grammar::Object;
use crate::hub::part::{Part, PartKind, ToolCall, ToolInput, ToolResult, ToolStyle};
use crate::hub::request::{Role, Turn};
use crate::rest::Rest;

/// Under which name a message's first part keeps the message.
pub(super) const ITEM: &str = "item";

/// What an item becomes: parts of a turn.
pub(super) struct ReadItem {
    /// Whose turn.
    pub(super) role: Role,
    /// The parts; never none.
    pub(super) parts: Vec<Part>,
}

/// Reads items as turns: what the model says in a row is one, and so is what tools answer.
pub(super) fn read_turns(items: Vec<Value>, path: &str) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let path = element(path, index);
        let item = read(item, path.clone());
        match turns.last_mut() {
            Some(turn)
                if turn.role == item.role && matches!(turn.role, Role::Assistant | Role::Tool) =>
            {
                turn.parts.extend(item.parts);
            }
            _ => turns.push(Turn {
                role: item.role,
                parts: item.parts,
                rest: Rest::new(DIALECT, path),
            }),
        }
    }
    turns
}

/// Reads one item.
pub(super) fn read(value: Value, path: String) -> ReadItem {
    let kind = kind_of(&value);
    let map = match (value, kind) {
        (Value::Object(map), Some(_)) => map,
        (value, _) => {
            let part = Part::new(PartKind::Unknown(value), Rest::new(DIALECT, path));
            return ReadItem {
                role: Role::Assistant,
                parts: vec![part],
            };
        }
    };
    let fields = Fields::of(DIALECT, path, map);
    match kind {
        Some(ItemKind::Call(style)) => ReadItem {
            role: Role::Assistant,
            parts: vec![read_call(fields, style)],
        },
        Some(ItemKind::Result(style)) => ReadItem {
            role: Role::Tool,
            parts: vec![read_result(fields, style)],
        },
        Some(ItemKind::Reasoning) => ReadItem {
            role: Role::Assistant,
            parts: vec![reasoning_item::read(fields)],
        },
        Some(ItemKind::Message) | None => read_message(fields),
    }
}

#[derive(Clone, Copy)]
enum ItemKind {
    Message,
    Reasoning,
    Call(ToolStyle),
    Result(ToolStyle),
}

// What an item is, if it has the fields that its type demands.
fn kind_of(item: &Value) -> Option<ItemKind> {
    let is_text = |field: &str| item[field].is_string();
    let is_answer = || is_text("call_id") && (is_text("output") || item["output"].is_array());
    let is_call = |input: &str| is_text("call_id") && is_text("name") && is_text(input);
    match item["type"].as_str() {
        Some("message") => is_text("role").then_some(ItemKind::Message),
        None => (item["type"].is_null() && is_text("role")).then_some(ItemKind::Message),
        Some("reasoning") => Some(ItemKind::Reasoning),
        Some("function_call") => {
            is_call("arguments").then_some(ItemKind::Call(ToolStyle::Function))
        }
        Some("custom_tool_call") => is_call("input").then_some(ItemKind::Call(ToolStyle::Custom)),
        Some("function_call_output") => {
            is_answer().then_some(ItemKind::Result(ToolStyle::Function))
        }
        Some("custom_tool_call_output") => {
            is_answer().then_some(ItemKind::Result(ToolStyle::Custom))
        }
        Some(_) => None,
    }
}

fn read_message(mut fields: Fields) -> ReadItem {
    let role = match fields.peek_text("role").unwrap_or_default() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => Role::Other(other.to_string()),
    };
    keep_shell(&mut fields);
    let path = fields.at("content");
    let mut parts = read_content(&mut fields, "content");
    if parts.is_empty() {
        let silence = PartKind::Text(String::new());
        parts.push(Part::new(silence, Rest::new(DIALECT, path)));
    }
    let shell = fields.finish();
    for part in parts.iter_mut().skip(1) {
        part.rest.set_form(ITEM, "shared");
    }
    if let Some(first) = parts.first_mut() {
        first.rest.set_nested(ITEM, shell);
    }
    ReadItem { role, parts }
}

// Takes a text or a list of parts. Anything else stays what it is.
fn read_content(fields: &mut Fields, field: &'static str) -> Vec<Part> {
    let path = fields.at(field);
    match fields.take(field) {
        Some(Value::String(text)) if !text.is_empty() => {
            fields.set_form(field, "string");
            vec![Part::new(PartKind::Text(text), Rest::new(DIALECT, path))]
        }
        Some(Value::Array(list)) if !list.is_empty() => {
            let parts = list.into_iter().enumerate();
            parts
                .map(|(index, part)| content::read(part, element(&path, index)))
                .collect()
        }
        Some(value @ (Value::String(_) | Value::Array(_))) => {
            fields.set_form(field, "silent");
            fields.keep_blank(field, value);
            Vec::new()
        }
        other => {
            fields.set_form(field, "silent");
            if let Some(other) = other {
                fields.put_back(field, other);
            }
            Vec::new()
        }
    }
}

fn read_call(mut fields: Fields, style: ToolStyle) -> Part {
    let input = match style {
        ToolStyle::Function => "arguments",
        ToolStyle::Custom => "input",
    };
    fields.set_name("input", input);
    let call = ToolCall {
        id: fields.text("call_id").unwrap_or_default(),
        name: fields.text("name").unwrap_or_default(),
        input: ToolInput::Text(fields.text(input).unwrap_or_default()),
        style,
    };
    for field in ["type", "id", "status"] {
        fields.blank(field);
    }
    Part::new(PartKind::ToolCall(call), fields.finish())
}

fn read_result(mut fields: Fields, style: ToolStyle) -> Part {
    let result = ToolResult {
        call_id: fields.text("call_id").unwrap_or_default(),
        name: None,
        parts: read_content(&mut fields, "output"),
        is_error: None,
        style,
    };
    for field in ["type", "id", "status"] {
        fields.blank(field);
    }
    Part::new(PartKind::ToolResult(result), fields.finish())
}

/// What is kept of a message that begins: its parts are still to come.
pub(super) fn begun_message(mut item: Object, path: String) -> Rest {
    item.remove("content");
    let mut fields = Fields::of(DIALECT, path, item);
    keep_shell(&mut fields);
    let mut shell = fields.finish();
    leave_end(&mut shell);
    shell
}

/// Forgets of an item that begins what only its end says.
pub(super) fn leave_end(rest: &mut Rest) {
    for field in ["status", "summary", "content"] {
        rest.blanks.remove(field);
    }
    rest.set_form("status", "late");
}

fn keep_shell(fields: &mut Fields) {
    for field in ["role", "type", "id", "status"] {
        fields.blank(field);
    }
}

/// The log probabilities in a message's part, in the form of the hub.
pub(super) fn logprobs(item: &Object) -> Vec<Value> {
    let parts = item.get("content").and_then(Value::as_array);
    let lists = parts
        .into_iter()
        .flatten()
        .filter_map(|part| part["logprobs"].as_array());
    lists.flatten().cloned().collect()
}
