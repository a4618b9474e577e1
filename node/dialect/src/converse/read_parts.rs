//! Reads content blocks: objects with one field, whose name says what they are.

use serde_json::{Value, json};

use super::{DIALECT, attachments, cache_point, thoughts};
use crate::fields::{Fields, element};
use crate::grammar::Object;
use crate::hub::part::{
    AttachmentKind, Part, PartKind, ToolCall, ToolInput, ToolResult, ToolStyle,
};
use crate::ids;
use crate::rest::Rest;

/// What kinds of blocks the hub models.
#[derive(Clone, Copy)]
enum Block {
    Text,
    Json,
    GuardedText,
    CitedText,
    ToolUse,
    ToolResult,
    Reasoning,
    Attachment(AttachmentKind, &'static str),
}

/// Takes the list of blocks under `field`.
pub(super) fn read_content(fields: &mut Fields, field: &'static str) -> Vec<Part> {
    let path = fields.at(field);
    match fields.take(field) {
        Some(Value::Array(list)) if !list.is_empty() => read_list(list, &path),
        Some(value @ Value::Array(_)) => {
            fields.keep_blank(field, value);
            Vec::new()
        }
        Some(value) => {
            fields.put_back(field, value);
            Vec::new()
        }
        None => Vec::new(),
    }
}

// A cache point marks the part before it. One without such a part stays a part of its own.
fn read_list(list: Vec<Value>, path: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (index, block) in list.into_iter().enumerate() {
        let path = element(path, index);
        let may_mark =
            |part: &&mut Part| part.cache.is_none() && !matches!(part.kind, PartKind::Unknown(_));
        match parts.last_mut().filter(may_mark) {
            Some(part) if cache_point::is_one(&block) => {
                part.cache = Some(cache_point::read(block, &path));
            }
            _ => parts.push(read(block, path)),
        }
    }
    parts
}

/// Reads one block.
pub(super) fn read(value: Value, path: String) -> Part {
    let map = match value {
        Value::Object(map) => map,
        value => return Part::new(PartKind::Unknown(value), Rest::new(DIALECT, path)),
    };
    let Some(block) = block_of(&map) else {
        let kind = PartKind::Unknown(Value::Object(map));
        return Part::new(kind, Rest::new(DIALECT, path));
    };
    let mut fields = Fields::of(DIALECT, path, map);
    let kind = match block {
        Block::Text => PartKind::Text(fields.text("text").unwrap_or_default()),
        Block::Json => read_json(&mut fields),
        Block::GuardedText => read_guarded(&mut fields),
        Block::CitedText => read_cited(&mut fields),
        Block::ToolUse => read_tool_call(&mut fields),
        Block::ToolResult => read_tool_result(&mut fields),
        Block::Reasoning => read_reasoning(&mut fields),
        Block::Attachment(kind, name) => attachments::read(&mut fields, kind, name, read_content),
    };
    Part::new(kind, fields.finish())
}

fn block_of(map: &Object) -> Option<Block> {
    let is_known = |name: &str, check: fn(&Value) -> bool| map.get(name).is_some_and(check);
    let attachment =
        |kind, name| is_known(name, attachments::is_known).then_some(Block::Attachment(kind, name));
    if is_known("text", Value::is_string) {
        return Some(Block::Text);
    }
    if is_known("toolUse", is_tool_use) {
        return Some(Block::ToolUse);
    }
    if is_known("toolResult", is_tool_result) {
        return Some(Block::ToolResult);
    }
    if is_known("reasoningContent", thoughts::is_known) {
        return Some(Block::Reasoning);
    }
    if is_known("guardContent", |value| value["text"]["text"].is_string()) {
        return Some(Block::GuardedText);
    }
    if is_known("citationsContent", |value| cited_text(value).is_some()) {
        return Some(Block::CitedText);
    }
    if is_known("json", |value| !value.is_null()) {
        return Some(Block::Json);
    }
    attachment(AttachmentKind::Image, "image")
        .or_else(|| attachment(AttachmentKind::Document, "document"))
        .or_else(|| attachment(AttachmentKind::Video, "video"))
        .or_else(|| attachment(AttachmentKind::Audio, "audio"))
}

// A tool that the provider runs itself has a type.
fn is_tool_use(value: &Value) -> bool {
    let is_clients = value["type"].is_null() || value["type"] == "tool_use";
    is_clients
        && value["toolUseId"].is_string()
        && value["name"].is_string()
        && value.get("input").is_some()
}

fn is_tool_result(value: &Value) -> bool {
    let is_clients = value["type"].is_null() || value["type"] == "tool_result";
    is_clients && value["toolUseId"].is_string() && value["content"].is_array()
}

fn cited_text(value: &Value) -> Option<String> {
    let list = value["content"].as_array()?;
    let texts: Option<Vec<&str>> = list.iter().map(|text| text["text"].as_str()).collect();
    Some(texts?.concat()).filter(|_| !list.is_empty())
}

// Elsewhere a tool's answer is words, and JSON is written in them.
fn read_json(fields: &mut Fields) -> PartKind {
    let value = fields.take("json").unwrap_or_default();
    let text = value.to_string();
    fields.keep_blank("json", value);
    fields.set_form("text", "json");
    PartKind::Text(text)
}

// That a guardrail assesses a text is nothing to an upstream without one.
fn read_guarded(fields: &mut Fields) -> PartKind {
    let mut text = String::new();
    if let Some(mut guard) = fields.enter("guardContent") {
        if let Some(mut inside) = guard.enter("text") {
            text = inside.text("text").unwrap_or_default();
            inside.blank("qualifiers");
            guard.leave("text", inside);
        }
        fields.leave("guardContent", guard);
    }
    fields.set_form("text", "guard");
    PartKind::Text(text)
}

fn read_cited(fields: &mut Fields) -> PartKind {
    let mut text = String::new();
    if let Some(mut inside) = fields.enter("citationsContent") {
        if let Some(content) = inside.take("content") {
            text = cited_text(&json!({"content": content})).unwrap_or_default();
            inside.keep_blank("content", content);
        }
        inside.blank_if("citations", &json!([]));
        fields.leave("citationsContent", inside);
    }
    fields.set_form("text", "citations");
    PartKind::Text(text)
}

fn read_tool_call(fields: &mut Fields) -> PartKind {
    let mut call = ToolCall {
        id: String::new(),
        name: String::new(),
        input: ToolInput::Json(Value::Null),
        style: ToolStyle::Function,
    };
    if let Some(mut inside) = fields.enter("toolUse") {
        inside.blank_if("type", &json!("tool_use"));
        call.id = read_id(&mut inside);
        call.name = inside.text("name").unwrap_or_default();
        call.input = ToolInput::Json(inside.take("input").unwrap_or_default());
        fields.leave("toolUse", inside);
    }
    fields.set_name("input", "toolUse.input");
    PartKind::ToolCall(call)
}

fn read_tool_result(fields: &mut Fields) -> PartKind {
    let mut result = ToolResult {
        call_id: String::new(),
        name: None,
        parts: Vec::new(),
        is_error: None,
        style: ToolStyle::Function,
    };
    if let Some(mut inside) = fields.enter("toolResult") {
        inside.blank_if("type", &json!("tool_result"));
        result.call_id = read_id(&mut inside);
        result.parts = read_content(&mut inside, "content");
        if let Some(status @ ("error" | "success")) = inside.peek_text("status") {
            result.is_error = Some(status == "error");
            inside.take("status");
        }
        fields.leave("toolResult", inside);
    }
    fields.set_name("is_error", "toolResult.status");
    PartKind::ToolResult(result)
}

/// Takes the id of a call, as its maker gave it.
pub(super) fn read_id(inside: &mut Fields) -> String {
    let id = inside.text("toolUseId").unwrap_or_default();
    let restored = ids::restored(&id).into_owned();
    if restored != id {
        inside.set_form("toolUseId", "encoded");
    }
    restored
}

fn read_reasoning(fields: &mut Fields) -> PartKind {
    let mut thinking = thoughts::worded();
    fields.set_name("thought", "reasoningContent");
    if let Some(mut inside) = fields.enter("reasoningContent") {
        thinking = thoughts::read(&mut inside);
        fields.leave("reasoningContent", inside);
    }
    PartKind::Thinking(thinking)
}
