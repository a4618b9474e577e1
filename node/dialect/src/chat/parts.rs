//! Content parts and tool calls of chat completions.

use serde_json::{Value, json};

use super::DIALECT;
use crate::cache_mark;
use crate::data_url;
use crate::fields::{Fields, element, inside, put};
use crate::grammar::Object;
use crate::hub::part::{
    Attachment, AttachmentKind, AttachmentSource, Part, PartKind, ToolCall, ToolInput, ToolStyle,
};
use crate::loss::LossList;
use crate::rest::Rest;

/// OpenAI's own cache mark, beside the `cache_control` of others.
const BREAKPOINT: &str = "prompt_cache_breakpoint";

/// Takes the content of a turn: a text, or a list of parts.
pub(super) fn read_content(fields: &mut Fields) -> Vec<Part> {
    let path = fields.at("content");
    match fields.take("content") {
        Some(Value::String(text)) if !text.is_empty() => {
            let rest = Rest::new(DIALECT, path);
            vec![Part::new(PartKind::Text(text), rest)]
        }
        Some(Value::Array(list)) if !list.is_empty() => {
            fields.set_form("content", "list");
            let parts = list.into_iter().enumerate();
            parts
                .map(|(index, part)| read_part(part, element(&path, index)))
                .collect()
        }
        Some(value @ (Value::String(_) | Value::Array(_))) => {
            fields.keep_blank("content", value);
            Vec::new()
        }
        Some(value) => {
            fields.put_back("content", value);
            Vec::new()
        }
        None => Vec::new(),
    }
}

fn read_part(value: Value, path: String) -> Part {
    let Value::Object(map) = value else {
        return Part::new(PartKind::Unknown(value), Rest::new(DIALECT, path));
    };
    if !is_known(&map) {
        let kind = PartKind::Unknown(Value::Object(map));
        return Part::new(kind, Rest::new(DIALECT, path));
    }
    let mut fields = Fields::of(DIALECT, path, map);
    let kind = match fields.text("type").unwrap_or_default().as_str() {
        "refusal" => PartKind::Refusal(fields.text("refusal").unwrap_or_default()),
        "image_url" => {
            PartKind::Attachment(read_url(&mut fields, "image_url", AttachmentKind::Image))
        }
        "video_url" => {
            PartKind::Attachment(read_url(&mut fields, "video_url", AttachmentKind::Video))
        }
        "input_audio" => PartKind::Attachment(read_audio(&mut fields)),
        "file" => PartKind::Attachment(read_file(&mut fields)),
        _ => PartKind::Text(fields.text("text").unwrap_or_default()),
    };
    let mut cache = cache_mark::read(&mut fields);
    if cache.is_some() {
        fields.blank(BREAKPOINT);
    } else if fields.peek(BREAKPOINT) == Some(&json!({"mode": "explicit"})) {
        cache = Some(cache_mark::plain(DIALECT, fields.at(BREAKPOINT)));
        fields.blank(BREAKPOINT);
        fields.set_form("cache", "breakpoint");
    }
    let rest = fields.finish();
    Part { kind, cache, rest }
}

// Whether a part has the fields that its type demands.
fn is_known(map: &Object) -> bool {
    let has =
        |outer: &str, inner: &str| map.get(outer).is_some_and(|value| value[inner].is_string());
    match map.get("type").and_then(Value::as_str) {
        Some(kind @ ("text" | "refusal")) => map.get(kind).is_some_and(Value::is_string),
        Some(kind @ ("image_url" | "video_url")) => has(kind, "url"),
        Some("input_audio") => has("input_audio", "data") && has("input_audio", "format"),
        Some("file") => has("file", "file_data") != has("file", "file_id"),
        _ => false,
    }
}

fn read_url(fields: &mut Fields, field: &'static str, kind: AttachmentKind) -> Attachment {
    let mut url = String::new();
    let mut detail = None;
    if let Some(mut object) = fields.enter(field) {
        url = object.text("url").unwrap_or_default();
        detail = object.text("detail");
        fields.leave(field, object);
        fields.set_name(
            "detail",
            if field == "image_url" {
                "image_url.detail"
            } else {
                "video_url.detail"
            },
        );
    }
    Attachment {
        kind,
        source: data_url::source(url),
        name: None,
        detail,
    }
}

fn read_audio(fields: &mut Fields) -> Attachment {
    let mut source = AttachmentSource::Text(String::new());
    if let Some(mut object) = fields.enter("input_audio") {
        source = AttachmentSource::Data {
            media_type: object
                .text("format")
                .map(|format| format!("audio/{format}")),
            data: object.text("data").unwrap_or_default(),
        };
        fields.leave("input_audio", object);
    }
    Attachment {
        kind: AttachmentKind::Audio,
        source,
        name: None,
        detail: None,
    }
}

fn read_file(fields: &mut Fields) -> Attachment {
    let mut source = AttachmentSource::File(String::new());
    let mut name = None;
    if let Some(mut object) = fields.enter("file") {
        name = object.text("filename");
        if let Some(id) = object.text("file_id") {
            source = AttachmentSource::File(id);
        } else if let Some(data) = object.text("file_data") {
            source = match data_url::source(data) {
                // Not every server demands a `data:` URL: bytes may stand for themselves.
                AttachmentSource::Url { url, .. } if !url.contains(':') => {
                    fields.set_form("file_data", "plain");
                    AttachmentSource::Data {
                        media_type: None,
                        data: url,
                    }
                }
                source => source,
            };
        }
        fields.leave("file", object);
    }
    Attachment {
        kind: AttachmentKind::Document,
        source,
        name,
        detail: None,
    }
}

/// Writes one part of a list; nothing if chat completions cannot say it.
pub(super) fn write_part(part: &Part, losses: &mut LossList) -> Option<Value> {
    let mut object = match &part.kind {
        PartKind::Text(text) => typed("text", text),
        PartKind::Refusal(text) => typed("refusal", text),
        PartKind::Attachment(attachment) => write_attachment(attachment, &part.rest, losses)?,
        PartKind::Unknown(value) if part.rest.is_from(DIALECT) => return Some(value.clone()),
        _ => {
            losses.add(part.rest.path(), "chat completions has no such part");
            return None;
        }
    };
    if !part.rest.is_from(DIALECT) {
        cache_mark::lose(part.cache.as_ref(), losses);
    } else if part.rest.form(DIALECT, "cache").is_none() {
        cache_mark::write(part.cache.as_ref(), DIALECT, &mut object, losses);
    }
    part.rest.write(DIALECT, &mut object, losses);
    Some(Value::Object(object))
}

fn typed(kind: &str, text: &str) -> Object {
    let mut object = Object::new();
    object.insert("type".to_string(), json!(kind));
    object.insert(kind.to_string(), json!(text));
    object
}

fn write_attachment(attachment: &Attachment, rest: &Rest, losses: &mut LossList) -> Option<Object> {
    let mut object = Object::new();
    let mut within = Object::new();
    let field = match (&attachment.source, attachment.kind) {
        (AttachmentSource::Text(_) | AttachmentSource::Parts(_), _) => {
            losses.add(
                rest.path(),
                "chat completions takes no document as plain text",
            );
            return None;
        }
        (AttachmentSource::Data { media_type, data }, AttachmentKind::Audio) => {
            let format = media_type.as_deref().unwrap_or("audio/wav");
            within.insert(
                "format".to_string(),
                json!(format.trim_start_matches("audio/")),
            );
            within.insert("data".to_string(), json!(data));
            "input_audio"
        }
        (AttachmentSource::File(id), _) => {
            within.insert("file_id".to_string(), json!(id));
            "file"
        }
        (source, AttachmentKind::Image | AttachmentKind::Video) => {
            within.insert("url".to_string(), json!(url_of(source)));
            put(&mut within, "detail", attachment.detail.clone());
            if attachment.kind == AttachmentKind::Image {
                "image_url"
            } else {
                "video_url"
            }
        }
        (AttachmentSource::Data { data, .. }, _)
            if rest.form(DIALECT, "file_data") == Some("plain") =>
        {
            within.insert("file_data".to_string(), json!(data));
            "file"
        }
        (source, _) => {
            if matches!(source, AttachmentSource::Url { .. }) && !rest.is_from(DIALECT) {
                losses.add(rest.path(), "chat completions takes no document by address");
                return None;
            }
            within.insert("file_data".to_string(), json!(url_of(source)));
            "file"
        }
    };
    if field == "file" {
        put(&mut within, "filename", attachment.name.clone());
    }
    object.insert("type".to_string(), json!(field));
    object.insert(field.to_string(), Value::Object(within));
    Some(object)
}

fn url_of(source: &AttachmentSource) -> String {
    match source {
        AttachmentSource::Url { url, .. } | AttachmentSource::File(url) => url.clone(),
        AttachmentSource::Data { media_type, data } => data_url::url(media_type.as_deref(), data),
        AttachmentSource::Text(_) | AttachmentSource::Parts(_) => String::new(),
    }
}

/// Reads one entry of `tool_calls`, whole or as far as it has come.
pub(super) fn read_tool_call(value: Value, path: String) -> Part {
    let is_custom = value["custom"].is_object();
    if !is_custom && !value["function"].is_object() {
        let mut rest = Rest::new(DIALECT, path);
        rest.set_form("place", "tool_calls");
        return Part::new(PartKind::Unknown(value), rest);
    }
    let map = match value {
        Value::Object(map) => map,
        _ => Object::new(),
    };
    let mut fields = Fields::of(DIALECT, path, map);
    fields.blank("type");
    fields.blank("index");
    let id = fields.text("id");
    if id.is_none() {
        fields.set_form("id", "absent");
    }
    let (outer, inner, style) = match is_custom {
        true => ("custom", "input", ToolStyle::Custom),
        false => ("function", "arguments", ToolStyle::Function),
    };
    let mut name = None;
    let mut input = None;
    if let Some(mut object) = fields.enter(outer) {
        name = object.text("name");
        input = object.take(inner);
        fields.leave(outer, object);
    }
    if name.is_none() {
        fields.set_form("name", "absent");
    }
    if input.is_none() {
        fields.set_form("input", "absent");
    }
    let at_input = if is_custom {
        "custom.input"
    } else {
        "function.arguments"
    };
    fields.set_name("input", at_input);
    let input = match input {
        Some(Value::String(text)) => ToolInput::Text(text),
        Some(value) => ToolInput::Json(value),
        None => ToolInput::Text(String::new()),
    };
    let call = ToolCall {
        id: id.unwrap_or_default(),
        name: name.unwrap_or_default(),
        input,
        style,
    };
    Part::new(PartKind::ToolCall(call), fields.finish())
}

/// Writes one entry of `tool_calls`, with the id as it is.
pub(super) fn write_tool_call(
    call: &ToolCall,
    id: &str,
    rest: &Rest,
    losses: &mut LossList,
) -> Object {
    let (outer, inner) = match call.style {
        ToolStyle::Custom => ("custom", "input"),
        ToolStyle::Function => ("function", "arguments"),
    };
    let is_home = rest.is_from(DIALECT);
    let is_said = |field| rest.form(DIALECT, field) != Some("absent");
    let mut object = Object::new();
    if is_said("id") {
        object.insert("id".to_string(), json!(id));
    }
    if !is_home {
        object.insert("type".to_string(), json!(outer));
    }
    if is_said("function")
        && let Some(within) = inside(&mut object, outer)
    {
        if is_said("name") {
            within.insert("name".to_string(), json!(call.name));
        }
        if is_said("input") {
            let input = match &call.input {
                ToolInput::Json(value) if is_home => value.clone(),
                input => Value::String(input.to_text()),
            };
            within.insert(inner.to_string(), input);
        }
    }
    rest.write(DIALECT, &mut object, losses);
    object
}
