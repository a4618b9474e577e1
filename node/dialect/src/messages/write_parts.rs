//! Writes content blocks of messages.

use serde_json::{Value, json};

use super::DIALECT;
use crate::cache_mark;
use crate::fields::put;
use crate::free_text;
use crate::grammar::{Object, Toward};
use crate::hub::part::{
    Attachment, AttachmentKind, AttachmentSource, Part, PartKind, Thinking, ToolCall, ToolInput,
    ToolResult,
};
use crate::ids;
use crate::loss::LossList;
use crate::rest::Rest;
use crate::signature;

/// Writes one block; nothing if there is nothing to say, or messages cannot say it.
pub(super) fn write(part: &Part, toward: Toward, losses: &mut LossList) -> Option<Value> {
    let is_home = part.rest.is_from(DIALECT);
    let mut block = match &part.kind {
        // Anthropic refuses texts without a character.
        PartKind::Text(text) | PartKind::Refusal(text) if text.is_empty() && !is_home => {
            part.rest.lose(losses);
            return None;
        }
        PartKind::Text(text) | PartKind::Refusal(text) => typed("text", "text", json!(text)),
        PartKind::Attachment(_) | PartKind::ToolResult(_)
            if !is_home && toward == Toward::Client =>
        {
            losses.add(part.rest.path(), "an answer of messages has no such part");
            return None;
        }
        PartKind::Attachment(attachment) => {
            write_attachment(attachment, &part.rest, toward, losses)?
        }
        PartKind::ToolCall(call) => write_tool_call(call, &part.rest, losses),
        PartKind::ToolResult(result) => write_tool_result(result, &part.rest, toward, losses),
        PartKind::Thinking(thinking) => write_thinking(thinking, &part.rest, toward, losses)?,
        PartKind::Unknown(value) if is_home => return Some(value.clone()),
        PartKind::Unknown(_) => {
            losses.add(part.rest.path(), "messages has no such part");
            return None;
        }
    };
    cache_mark::write(part.cache.as_ref(), DIALECT, &mut block, losses);
    part.rest.write(DIALECT, &mut block, losses);
    Some(Value::Object(block))
}

/// Writes content: the form that it had at home, else a list.
pub(super) fn write_content(
    parts: &[Part],
    rest: &Rest,
    field: &'static str,
    toward: Toward,
    losses: &mut LossList,
) -> Option<Value> {
    if let ([part], Some(form)) = (parts, rest.form(DIALECT, field)) {
        return match (form, &part.kind) {
            ("string", PartKind::Text(text)) => Some(json!(text)),
            _ => write(part, toward, losses),
        };
    }
    let written = parts.iter().filter_map(|part| write(part, toward, losses));
    let written: Vec<Value> = written.collect();
    (!written.is_empty()).then_some(Value::Array(written))
}

fn typed(kind: &str, field: &str, value: Value) -> Object {
    let mut block = Object::new();
    block.insert("type".to_string(), json!(kind));
    block.insert(field.to_string(), value);
    block
}

fn write_attachment(
    attachment: &Attachment,
    rest: &Rest,
    toward: Toward,
    losses: &mut LossList,
) -> Option<Object> {
    let is_home = rest.is_from(DIALECT);
    let detail = attachment
        .detail
        .as_ref()
        .filter(|detail| *detail != "auto");
    losses.add_some(
        detail,
        rest.at("detail"),
        "messages always looks at images closely",
    );
    let kind = match (is_home, attachment.kind) {
        (true, AttachmentKind::Image) => Some("image"),
        (true, _) => Some("document"),
        (false, _) => block_kind(attachment),
    };
    let Some(kind) = kind else {
        losses.add(
            rest.path(),
            "messages takes images, PDF and plain text alone",
        );
        return None;
    };
    let source = match &attachment.source {
        AttachmentSource::Url { url, .. } => json!({"type": "url", "url": url}),
        AttachmentSource::Data { media_type, data } => {
            let mut source = typed("base64", "data", json!(data));
            let guessed = (!is_home).then(|| default_media_type(kind).to_string());
            put(&mut source, "media_type", media_type.clone().or(guessed));
            Value::Object(source)
        }
        AttachmentSource::File(id) if is_home => json!({"type": "file", "file_id": id}),
        AttachmentSource::File(_) => {
            losses.add(rest.path(), "the file is in another provider's store");
            return None;
        }
        AttachmentSource::Text(text) => {
            let mut source = typed("text", "data", json!(text));
            if !is_home {
                source.insert("media_type".to_string(), json!("text/plain"));
            }
            Value::Object(source)
        }
        AttachmentSource::Parts(parts) => {
            let within = rest.nested("source").unwrap_or(rest);
            let content = write_content(parts, within, "content", toward, losses);
            let mut source = Object::new();
            source.insert("type".to_string(), json!("content"));
            put(&mut source, "content", content);
            Value::Object(source)
        }
    };
    let mut block = typed(kind, "source", source);
    if kind == "document" {
        put(&mut block, "title", attachment.name.clone());
    }
    Some(block)
}

// A dialect may call everything a file; what it holds then decides.
fn block_kind(attachment: &Attachment) -> Option<&'static str> {
    let media_type = match &attachment.source {
        AttachmentSource::Data { media_type, .. } | AttachmentSource::Url { media_type, .. } => {
            media_type.as_deref()
        }
        _ => None,
    };
    let is_pdf_name = attachment
        .name
        .as_deref()
        .is_none_or(|name| name.ends_with(".pdf"));
    match (attachment.kind, media_type, &attachment.source) {
        (AttachmentKind::Image, ..) => Some("image"),
        (AttachmentKind::Audio | AttachmentKind::Video, ..) => None,
        (AttachmentKind::Document, Some(media_type), _) if media_type.starts_with("image/") => {
            Some("image")
        }
        (AttachmentKind::Document, Some("application/pdf"), _) => Some("document"),
        (AttachmentKind::Document, Some(_), _) => None,
        (
            AttachmentKind::Document,
            None,
            AttachmentSource::Url { .. } | AttachmentSource::Data { .. },
        ) => is_pdf_name.then_some("document"),
        (AttachmentKind::Document, None, _) => Some("document"),
    }
}

fn default_media_type(kind: &str) -> &'static str {
    match kind {
        "image" => "image/png",
        _ => "application/pdf",
    }
}

fn write_tool_call(call: &ToolCall, rest: &Rest, losses: &mut LossList) -> Object {
    let input = match &call.input {
        ToolInput::Json(value) if rest.is_from(DIALECT) => value.clone(),
        _ => free_text::json_input(call, rest, losses),
    };
    let mut block = typed("tool_use", "input", input);
    block.insert("id".to_string(), json!(fitting(&call.id, rest, "id")));
    block.insert("name".to_string(), json!(call.name));
    block
}

/// The id as messages takes it.
pub(super) fn fitting(id: &str, rest: &Rest, field: &'static str) -> String {
    let is_as_it_was = rest.is_from(DIALECT) && rest.form(DIALECT, field).is_none();
    if is_as_it_was {
        id.to_string()
    } else {
        ids::plain(id).into_owned()
    }
}

fn write_tool_result(
    result: &ToolResult,
    rest: &Rest,
    toward: Toward,
    losses: &mut LossList,
) -> Object {
    let id = fitting(&result.call_id, rest, "tool_use_id");
    let mut block = typed("tool_result", "tool_use_id", json!(id));
    let content = write_content(&result.parts, rest, "content", toward, losses);
    put(&mut block, "content", content);
    put(&mut block, "is_error", result.is_error);
    block
}

// An upstream takes thoughts that it signed. A client gets those of others too, sealed for their way back.
fn write_thinking(
    thinking: &Thinking,
    rest: &Rest,
    toward: Toward,
    losses: &mut LossList,
) -> Option<Object> {
    let is_home = rest.is_from(DIALECT);
    let is_own = thinking.origin == DIALECT;
    if !is_own && !is_home && toward == Toward::Upstream {
        losses.add(
            rest.place("thought"),
            "messages takes no thoughts of another provider",
        );
        return None;
    }
    // Some providers only say that the model thinks.
    if !is_home && thinking.is_silent() {
        return None;
    }
    let seal = |text: &str| signature::sealed(text, thinking.origin, DIALECT);
    if let Some(data) = &thinking.encrypted {
        return Some(typed("redacted_thinking", "data", json!(seal(data))));
    }
    let text = match (&thinking.text, is_home) {
        (None, false) => Some(String::new()),
        (text, _) => text.clone(),
    };
    let mut block = typed("thinking", "thinking", json!(text.unwrap_or_default()));
    let proof = match (&thinking.signature, is_home) {
        (None, false) => Some(seal("")),
        (proof, _) => proof.as_deref().map(seal),
    };
    put(&mut block, "signature", proof);
    Some(block)
}
