//! Writes parts.

use serde_json::{Value, json};

use super::names::{
    DISPLAY_NAME, FILE_DATA, FILE_URI, FUNCTION_CALL, FUNCTION_RESPONSE, INLINE_DATA, MIME_TYPE,
    SpelledName, THOUGHT_SIGNATURE,
};
use super::{DIALECT, call_ids, seal};
use crate::cache_mark;
use crate::dialect::Dialect;
use crate::fields::put;
use crate::free_text;
use crate::grammar::Object;
use crate::hub::part::{
    Attachment, AttachmentKind, AttachmentSource, Part, PartKind, Thinking, ToolCall, ToolInput,
    ToolResult,
};
use crate::loss::LossList;
use crate::rest::Rest;

/// Writes parts as they were: a signature stands where it stood.
pub(super) fn write_home(parts: &[Part], losses: &mut LossList) -> Vec<Value> {
    let mut written = Vec::new();
    let mut held: Option<(&str, Dialect)> = None;
    for part in parts {
        if let PartKind::Unknown(value) = &part.kind {
            written.push(value.clone());
            continue;
        }
        let mut object = Object::new();
        let mut proof = held.take();
        match &part.kind {
            PartKind::Thinking(thinking) => {
                let signature = thinking.signature.as_deref();
                let signature = signature.map(|signature| (signature, thinking.origin));
                if part.rest.form(DIALECT, "proof") == Some("next") {
                    held = signature;
                    if thinking.text.is_none() {
                        continue;
                    }
                } else {
                    proof = signature;
                }
                put(&mut object, "text", thinking.text.clone());
                if part.rest.form(DIALECT, "thought").is_none() {
                    object.insert("thought".to_string(), json!(true));
                }
            }
            PartKind::Text(text) | PartKind::Refusal(text) => {
                object.insert("text".to_string(), json!(text));
            }
            PartKind::Attachment(attachment) => {
                if let Some((name, value)) = write_attachment(attachment, &part.rest, losses) {
                    object.insert(name.in_rest(&part.rest).to_string(), value);
                }
            }
            PartKind::ToolCall(call) => {
                let field = FUNCTION_CALL.in_rest(&part.rest);
                object.insert(field.to_string(), write_call(call, &part.rest, losses));
            }
            PartKind::ToolResult(result) => {
                write_home_response(result, &part.rest, &mut object, losses);
            }
            PartKind::Unknown(_) => {}
        }
        if let Some((signature, origin)) = proof {
            let field = THOUGHT_SIGNATURE.in_rest(&part.rest);
            object.insert(field.to_string(), json!(seal::sealed(signature, origin)));
        }
        part.rest.write(DIALECT, &mut object, losses);
        written.push(Value::Object(object));
    }
    written
}

// A response as it was.
fn write_home_response(
    result: &ToolResult,
    rest: &Rest,
    object: &mut Object,
    losses: &mut LossList,
) {
    let field = FUNCTION_RESPONSE.in_rest(rest);
    let mut response = Object::new();
    if rest.form(DIALECT, "id").is_none() {
        response.insert("id".to_string(), json!(result.call_id));
    }
    response.insert("name".to_string(), json!(result.name));
    // The object itself is one of the blanks: its words are what others read of it.
    let is_shown = |part: &&Part| part.rest.form(DIALECT, "place").is_none();
    let shown: Vec<Part> = result.parts.iter().filter(is_shown).cloned().collect();
    if !shown.is_empty() {
        let parts = write_home(&shown, losses);
        response.insert("parts".to_string(), Value::Array(parts));
    }
    object.insert(field.to_string(), Value::Object(response));
}

/// Writes a part of another dialect; nothing if there is nothing to say, or Gemini cannot say it. Thoughts and tools'
/// answers depend on what stands around them, and are written elsewhere.
pub(super) fn write_foreign(part: &Part, losses: &mut LossList) -> Option<Object> {
    cache_mark::lose(part.cache.as_ref(), losses);
    part.rest.lose_elsewhere(DIALECT, losses);
    let mut object = Object::new();
    match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) if text.is_empty() => return None,
        PartKind::Text(text) | PartKind::Refusal(text) => {
            object.insert("text".to_string(), json!(text));
        }
        PartKind::Attachment(attachment) => {
            let (name, value) = write_attachment(attachment, &part.rest, losses)?;
            object.insert(name.camel().to_string(), value);
        }
        PartKind::ToolCall(call) => {
            let call = write_call(call, &part.rest, losses);
            object.insert(FUNCTION_CALL.camel().to_string(), call);
        }
        PartKind::Thinking(_) | PartKind::ToolResult(_) | PartKind::Unknown(_) => {
            losses.add(part.rest.path(), "gemini has no such part");
            return None;
        }
    }
    Some(object)
}

/// A thought as a client gets it: with its signature, sealed for its way back.
pub(super) fn write_thought(
    thinking: &Thinking,
    rest: &Rest,
    losses: &mut LossList,
) -> Option<Object> {
    rest.lose_elsewhere(DIALECT, losses);
    if thinking.encrypted.is_some() {
        losses.add(rest.path(), "gemini has no encrypted thoughts");
        return None;
    }
    let text = thinking.text.clone().unwrap_or_default();
    let proof = thinking
        .signature
        .as_deref()
        .filter(|proof| !proof.is_empty());
    if text.is_empty() && proof.is_none() {
        return None;
    }
    let sealed = proof.map(|proof| seal::sealed(proof, thinking.origin));
    Some(thought(text, sealed))
}

/// A thought's part.
pub(super) fn thought(text: String, sealed: Option<String>) -> Object {
    let mut object = Object::new();
    object.insert("text".to_string(), json!(text));
    object.insert("thought".to_string(), json!(true));
    put(&mut object, THOUGHT_SIGNATURE.camel(), sealed);
    object
}

fn write_call(call: &ToolCall, rest: &Rest, losses: &mut LossList) -> Value {
    let is_home = rest.is_from(DIALECT);
    let mut object = Object::new();
    let has_id = if is_home {
        rest.form(DIALECT, "id").is_none()
    } else {
        !call_ids::is_made(&call.id)
    };
    put(&mut object, "id", has_id.then(|| call.id.clone()));
    object.insert("name".to_string(), json!(call.name));
    if rest.form(DIALECT, "input").is_some() {
        return Value::Object(object);
    }
    let input = match &call.input {
        ToolInput::Json(value) if is_home => value.clone(),
        _ => free_text::json_input(call, rest, losses),
    };
    object.insert("args".to_string(), input);
    Value::Object(object)
}

/// What an attachment is called, and its value.
pub(super) fn write_attachment(
    attachment: &Attachment,
    rest: &Rest,
    losses: &mut LossList,
) -> Option<(SpelledName, Value)> {
    let is_home = rest.is_from(DIALECT);
    let (name, (field, value), media_type) = match &attachment.source {
        AttachmentSource::Url { url, media_type } => {
            (FILE_DATA, (FILE_URI, json!(url)), media_type.clone())
        }
        AttachmentSource::Data { media_type, data } => {
            let data = seal::as_it_came(data, rest.form(DIALECT, "data"));
            let field = (INLINE_DATA, json!(data));
            (INLINE_DATA, field, media_type.clone())
        }
        AttachmentSource::Text(text) => {
            let data = json!(seal::encoded(text.as_bytes()));
            let media_type = Some("text/plain".to_string());
            (INLINE_DATA, (INLINE_DATA, data), media_type)
        }
        AttachmentSource::File(_) => {
            losses.add(rest.path(), "the file is in another provider's store");
            return None;
        }
        AttachmentSource::Parts(_) => {
            losses.add(rest.path(), "gemini takes no document in parts");
            return None;
        }
    };
    let field_of = |name: SpelledName, kept: Option<&Rest>| {
        kept.map_or(name.camel(), |kept| name.in_rest(kept))
    };
    let kept = rest.nested(name.in_rest(rest)).filter(|_| is_home);
    let mut object = Object::new();
    let field = match attachment.source {
        AttachmentSource::Url { .. } => field_of(field, kept),
        _ => "data",
    };
    object.insert(field.to_string(), value);
    let guessed = (!is_home).then(|| guessed_media_type(attachment).to_string());
    put(
        &mut object,
        field_of(MIME_TYPE, kept),
        media_type.or(guessed),
    );
    if is_home {
        put(
            &mut object,
            field_of(DISPLAY_NAME, kept),
            attachment.name.clone(),
        );
    } else {
        lose_names(attachment, rest, losses);
    }
    Some((name, Value::Object(object)))
}

fn lose_names(attachment: &Attachment, rest: &Rest, losses: &mut LossList) {
    let detail = attachment
        .detail
        .as_ref()
        .filter(|detail| *detail != "auto");
    losses.add_some(
        detail,
        rest.at("detail"),
        "gemini looks at all images of a request alike",
    );
    losses.add_some(
        attachment.name.as_ref(),
        rest.at("name"),
        "gemini takes no names of files",
    );
}

/// The media types of names that end so.
const ENDINGS: [(&str, &str); 22] = [
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("mp3", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("ogg", "audio/ogg"),
    ("flac", "audio/flac"),
    ("aac", "audio/aac"),
    ("mp4", "video/mp4"),
    ("mpeg", "video/mpeg"),
    ("mov", "video/mov"),
    ("webm", "video/webm"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("csv", "text/csv"),
    ("md", "text/md"),
    ("html", "text/html"),
    ("xml", "text/xml"),
];

// Google demands a media type. The name of a file often ends with what it is.
fn guessed_media_type(attachment: &Attachment) -> &'static str {
    let address = match &attachment.source {
        AttachmentSource::Url { url, .. } => url.split(['?', '#']).next(),
        _ => None,
    };
    let known = [attachment.name.as_deref(), address]
        .into_iter()
        .flatten()
        .filter_map(|name| name.rsplit_once('.'))
        .find_map(|(_, ending)| {
            let is_it = |(known, _): &&(&str, &str)| known.eq_ignore_ascii_case(ending);
            ENDINGS.iter().find(is_it)
        });
    match (known, attachment.kind) {
        (Some((_, media_type)), _) => media_type,
        (None, AttachmentKind::Image) => "image/jpeg",
        (None, AttachmentKind::Audio) => "audio/mpeg",
        (None, AttachmentKind::Video) => "video/mp4",
        (None, AttachmentKind::Document) => "application/pdf",
    }
}
