//! Content parts of messages and of tools' answers.

use serde_json::{Value, json};

use super::DIALECT;
use crate::cache_mark;
use crate::data_url;
use crate::dialect::Dialect;
use crate::fields::{Fields, put};
use crate::grammar::Object;
use crate::hub::part::{Attachment, AttachmentKind, AttachmentSource, Part, PartKind};
use crate::hub::request::Role;
use crate::loss::LossList;
use crate::rest::Rest;

/// Reads one part.
pub(super) fn read(value: Value, path: String) -> Part {
    let map = match value {
        Value::Object(map) if is_known(&map) => map,
        value => return Part::new(PartKind::Unknown(value), Rest::new(DIALECT, path)),
    };
    let mut fields = Fields::of(DIALECT, path, map);
    let kind = match fields.peek_text("type") {
        Some("refusal") => PartKind::Refusal(fields.text("refusal").unwrap_or_default()),
        Some("input_image") => PartKind::Attachment(read_image(&mut fields)),
        Some("input_file") => PartKind::Attachment(read_file(&mut fields)),
        _ => {
            fields.blank_if("annotations", &json!([]));
            // What they say is the choice's.
            fields.blank("logprobs");
            PartKind::Text(fields.text("text").unwrap_or_default())
        }
    };
    fields.blank("type");
    Part::new(kind, fields.finish())
}

// Whether a part has the fields that its type demands.
fn is_known(map: &Object) -> bool {
    let has = |field: &&str| map.get(*field).is_some_and(Value::is_string);
    let has_one = |fields: &[&str]| fields.iter().filter(|field| has(field)).count() == 1;
    match map.get("type").and_then(Value::as_str) {
        Some("input_text" | "output_text") => has(&"text"),
        Some("refusal") => has(&"refusal"),
        Some("input_image") => has_one(&["image_url", "file_id"]),
        Some("input_file") => has_one(&["file_data", "file_url", "file_id"]),
        _ => false,
    }
}

fn read_image(fields: &mut Fields) -> Attachment {
    let source = match fields.text("image_url") {
        Some(url) => data_url::source(url),
        None => AttachmentSource::File(fields.text("file_id").unwrap_or_default()),
    };
    Attachment {
        kind: AttachmentKind::Image,
        source,
        name: None,
        detail: fields.text("detail"),
    }
}

fn read_file(fields: &mut Fields) -> Attachment {
    let url = fields.text("file_url");
    let data = fields.text("file_data");
    let source = match (url, data) {
        (Some(url), _) => AttachmentSource::Url {
            url,
            media_type: None,
        },
        (None, Some(data)) => match data_url::source(data) {
            // Not everybody writes a `data:` URL.
            AttachmentSource::Url { url, .. } => {
                fields.set_form("file_data", "plain");
                AttachmentSource::Data {
                    media_type: None,
                    data: url,
                }
            }
            source => source,
        },
        (None, None) => AttachmentSource::File(fields.text("file_id").unwrap_or_default()),
    };
    Attachment {
        kind: AttachmentKind::Document,
        source,
        name: fields.text("filename"),
        detail: None,
    }
}

/// Writes one part as it was.
pub(super) fn write_home(part: &Part) -> Value {
    let mut object = match &part.kind {
        PartKind::Unknown(value) => return value.clone(),
        PartKind::Refusal(text) => one("refusal", text),
        PartKind::Attachment(attachment) => write_attachment(attachment, &part.rest),
        kind => match kind {
            PartKind::Text(text) => one("text", text),
            _ => Object::new(),
        },
    };
    write_own(&part.rest, &mut object);
    Value::Object(object)
}

/// Writes what a part of home keeps, without the item around it.
pub(super) fn write_own(rest: &Rest, object: &mut Object) {
    for (key, value) in rest.fields.iter().chain(&rest.blanks) {
        object.entry(key).or_insert_with(|| value.clone());
    }
}

fn one(field: &str, text: &str) -> Object {
    let mut object = Object::new();
    object.insert(field.to_string(), json!(text));
    object
}

fn write_attachment(attachment: &Attachment, rest: &Rest) -> Object {
    let mut object = Object::new();
    let is_image = attachment.kind == AttachmentKind::Image;
    let (field, text) = match &attachment.source {
        AttachmentSource::File(id) => ("file_id", id.clone()),
        AttachmentSource::Url { url, .. } if is_image => ("image_url", url.clone()),
        AttachmentSource::Url { url, .. } => ("file_url", url.clone()),
        AttachmentSource::Data { data, .. } if rest.form(DIALECT, "file_data").is_some() => {
            ("file_data", data.clone())
        }
        AttachmentSource::Data { media_type, data } => {
            let url = data_url::url(media_type.as_deref(), data);
            (if is_image { "image_url" } else { "file_data" }, url)
        }
        AttachmentSource::Text(_) | AttachmentSource::Parts(_) => return object,
    };
    object.insert(field.to_string(), json!(text));
    put(&mut object, "filename", attachment.name.clone());
    put(&mut object, "detail", attachment.detail.clone());
    object
}

/// Writes a part of another dialect into a turn of `role`; nothing if responses cannot say it.
pub(super) fn write(part: &Part, role: &Role, losses: &mut LossList) -> Option<Value> {
    let is_model = *role == Role::Assistant;
    let (kind, mut object) = match &part.kind {
        PartKind::Text(text) if is_model => {
            let mut object = one("text", text);
            object.insert("annotations".to_string(), json!([]));
            ("output_text", object)
        }
        PartKind::Text(text) => ("input_text", one("text", text)),
        PartKind::Refusal(text) if is_model => ("refusal", one("refusal", text)),
        PartKind::Refusal(text) => ("input_text", one("text", text)),
        PartKind::Attachment(attachment) if !is_model => {
            write_foreign_attachment(attachment, &part.rest, losses)?
        }
        _ => {
            losses.add(part.rest.path(), "responses has no such part");
            return None;
        }
    };
    object.insert("type".to_string(), json!(kind));
    cache_mark::lose(part.cache.as_ref(), losses);
    part.rest.lose(losses);
    Some(Value::Object(object))
}

fn write_foreign_attachment(
    attachment: &Attachment,
    rest: &Rest,
    losses: &mut LossList,
) -> Option<(&'static str, Object)> {
    let kind = match (attachment.kind, &attachment.source) {
        (_, AttachmentSource::Text(text)) => {
            losses.add(
                rest.path(),
                "responses takes no document as plain text: it becomes words of the message",
            );
            return Some(("input_text", one("text", text)));
        }
        (_, AttachmentSource::Parts(_)) => {
            losses.add(rest.path(), "responses takes no document in parts");
            return None;
        }
        (AttachmentKind::Audio | AttachmentKind::Video, _) => {
            losses.add(rest.path(), "responses takes neither sound nor film");
            return None;
        }
        // Chat completions and responses share one store.
        (_, AttachmentSource::File(_)) if !rest.is_from(Dialect::Chat) => {
            losses.add(rest.path(), "the file is in another provider's store");
            return None;
        }
        (AttachmentKind::Image, _) => "input_image",
        (AttachmentKind::Document, _) => "input_file",
    };
    let mut object = write_attachment(attachment, rest);
    let is_data = matches!(attachment.source, AttachmentSource::Data { .. });
    if kind == "input_image" {
        object.remove("filename");
        object.entry("detail").or_insert_with(|| json!("auto"));
    } else if is_data {
        // OpenAI refuses bytes without a name.
        object
            .entry("filename")
            .or_insert_with(|| json!("document.pdf"));
    } else {
        object.remove("filename");
    }
    Some((kind, object))
}
