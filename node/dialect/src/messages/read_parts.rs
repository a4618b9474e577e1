//! Reads content blocks of messages.

use serde_json::{Value, json};

use super::DIALECT;
use crate::cache_mark;
use crate::fields::{Fields, element};
use crate::grammar::Object;
use crate::hub::part::{
    Attachment, AttachmentKind, AttachmentSource, Part, PartKind, Thinking, ToolCall, ToolInput,
    ToolResult, ToolStyle,
};
use crate::ids;
use crate::rest::Rest;
use crate::signature;

/// Takes the content under `field`: a text, or a list of blocks.
pub(super) fn read_content(fields: &mut Fields, field: &'static str) -> Vec<Part> {
    let path = fields.at(field);
    match fields.take(field) {
        Some(Value::String(text)) if !text.is_empty() => {
            fields.set_form(field, "string");
            vec![Part::new(PartKind::Text(text), Rest::new(DIALECT, path))]
        }
        Some(Value::Array(list)) if !list.is_empty() => {
            let blocks = list.into_iter().enumerate();
            blocks
                .map(|(index, block)| read(block, element(&path, index)))
                .collect()
        }
        Some(value @ (Value::String(_) | Value::Array(_))) => {
            fields.keep_blank(field, value);
            Vec::new()
        }
        // A tool's answer may be a single block.
        Some(value @ Value::Object(_)) => {
            fields.set_form(field, "block");
            vec![read(value, path)]
        }
        Some(value) => {
            fields.put_back(field, value);
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// Reads one block.
pub(super) fn read(value: Value, path: String) -> Part {
    let Value::Object(map) = value else {
        return Part::new(PartKind::Unknown(value), Rest::new(DIALECT, path));
    };
    if !is_known(&map) {
        let kind = PartKind::Unknown(Value::Object(map));
        return Part::new(kind, Rest::new(DIALECT, path));
    }
    let mut fields = Fields::of(DIALECT, path, map);
    let cache = cache_mark::read(&mut fields);
    let kind = fields.text("type").unwrap_or_default();
    let kind = match kind.as_str() {
        "image" => read_attachment(&mut fields, AttachmentKind::Image),
        "document" => read_attachment(&mut fields, AttachmentKind::Document),
        "tool_use" => read_tool_call(&mut fields),
        "tool_result" => read_tool_result(&mut fields),
        "thinking" => read_thinking(&mut fields),
        "redacted_thinking" => read_redacted(&mut fields),
        _ => {
            fields.blank_if("citations", &json!([]));
            PartKind::Text(fields.text("text").unwrap_or_default())
        }
    };
    // A null says nothing either.
    fields.blank_if("citations", &Value::Null);
    let rest = fields.finish();
    Part { kind, cache, rest }
}

// Whether a block has the fields that its type demands.
fn is_known(map: &Object) -> bool {
    let has = |field: &str| map.get(field).is_some_and(Value::is_string);
    match map.get("type").and_then(Value::as_str) {
        Some("text") => has("text"),
        Some("image" | "document") => map.get("source").is_some_and(is_known_source),
        Some("tool_use") => has("id") && has("name") && map.contains_key("input"),
        Some("tool_result") => has("tool_use_id"),
        Some("thinking") => has("thinking"),
        Some("redacted_thinking") => has("data"),
        _ => false,
    }
}

fn is_known_source(source: &Value) -> bool {
    match source["type"].as_str() {
        Some("base64" | "text") => source["data"].is_string(),
        Some("url") => source["url"].is_string(),
        Some("file") => source["file_id"].is_string(),
        Some("content") => source["content"].is_string() || source["content"].is_array(),
        _ => false,
    }
}

fn read_attachment(fields: &mut Fields, kind: AttachmentKind) -> PartKind {
    let mut source = AttachmentSource::Text(String::new());
    if let Some(mut object) = fields.enter("source") {
        source = read_source(&mut object);
        fields.leave("source", object);
    }
    let mut name = None;
    // An image has none: it stays what nobody knows.
    if kind == AttachmentKind::Document {
        name = fields.text("title");
        fields.set_name("name", "title");
    }
    PartKind::Attachment(Attachment {
        kind,
        source,
        name,
        detail: None,
    })
}

fn read_source(object: &mut Fields) -> AttachmentSource {
    match object.text("type").as_deref() {
        Some("base64") => AttachmentSource::Data {
            media_type: object.text("media_type"),
            data: object.text("data").unwrap_or_default(),
        },
        Some("url") => AttachmentSource::Url {
            url: object.text("url").unwrap_or_default(),
            media_type: None,
        },
        Some("file") => AttachmentSource::File(object.text("file_id").unwrap_or_default()),
        Some("content") => AttachmentSource::Parts(read_content(object, "content")),
        _ => {
            object.blank_if("media_type", &json!("text/plain"));
            AttachmentSource::Text(object.text("data").unwrap_or_default())
        }
    }
}

fn read_tool_call(fields: &mut Fields) -> PartKind {
    fields.blank_if("caller", &json!({"type": "direct"}));
    let id = read_id(fields, "id");
    PartKind::ToolCall(ToolCall {
        id,
        name: fields.text("name").unwrap_or_default(),
        input: ToolInput::Json(fields.take("input").unwrap_or_default()),
        style: ToolStyle::Function,
    })
}

fn read_tool_result(fields: &mut Fields) -> PartKind {
    PartKind::ToolResult(ToolResult {
        call_id: read_id(fields, "tool_use_id"),
        name: None,
        parts: read_content(fields, "content"),
        is_error: fields.flag("is_error"),
        style: ToolStyle::Function,
    })
}

fn read_id(fields: &mut Fields, field: &'static str) -> String {
    let id = fields.text(field).unwrap_or_default();
    let restored = ids::restored(&id).into_owned();
    if restored != id {
        fields.set_form(field, "encoded");
    }
    restored
}

fn read_thinking(fields: &mut Fields) -> PartKind {
    fields.set_name("thought", "thinking");
    let text = fields.text("thinking");
    let opened = fields
        .text("signature")
        .map(|text| signature::opened(text, DIALECT));
    let origin = opened.as_ref().map_or(DIALECT, |(_, origin)| *origin);
    PartKind::Thinking(Thinking {
        text,
        signature: opened.map(|(signature, _)| signature),
        encrypted: None,
        origin,
    })
}

fn read_redacted(fields: &mut Fields) -> PartKind {
    fields.set_name("thought", "thinking");
    let data = fields.text("data").unwrap_or_default();
    let (data, origin) = signature::opened(data, DIALECT);
    PartKind::Thinking(Thinking {
        text: None,
        signature: None,
        encrypted: Some(data),
        origin,
    })
}
