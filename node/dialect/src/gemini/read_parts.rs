//! Reads the parts of a content.
//!
//! A signature stands on the part that follows the thought: a call, or the first words. The hub knows signatures on
//! thoughts alone, so one on another part becomes that of the thought before it, or a thought without words. Its form
//! `proof` tells that it stands on the `next` part, where it is written again.

use serde_json::{Map, Value, json};

use super::names::{
    DISPLAY_NAME, FILE_DATA, FILE_URI, FUNCTION_CALL, FUNCTION_RESPONSE, INLINE_DATA, MIME_TYPE,
    SpelledName, THOUGHT_SIGNATURE,
};
use super::{DIALECT, seal};
use crate::dialect::Dialect;
use crate::fields::{Fields, element};
use crate::grammar::Object;
use crate::hub::part::{
    Attachment, AttachmentKind, AttachmentSource, Part, PartKind, Thinking, ToolCall, ToolInput,
    ToolResult, ToolStyle,
};
use crate::rest::Rest;

/// What a part may be besides words.
const KINDS: [SpelledName; 4] = [INLINE_DATA, FILE_DATA, FUNCTION_CALL, FUNCTION_RESPONSE];

/// What a part may be that the hub does not model.
const FOREIGN_KINDS: [&str; 8] = [
    "executableCode",
    "executable_code",
    "codeExecutionResult",
    "code_execution_result",
    "toolCall",
    "tool_call",
    "toolResponse",
    "tool_response",
];

/// Reads a list of parts.
pub(super) fn read_list(list: Vec<Value>, path: &str) -> Vec<Part> {
    let mut parts = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        read(value, element(path, index), &mut parts);
    }
    parts
}

/// Reads one part, and puts it behind those before it.
pub(super) fn read(value: Value, path: String, parts: &mut Vec<Part>) {
    let Value::Object(map) = value else {
        parts.push(Part::new(
            PartKind::Unknown(value),
            Rest::new(DIALECT, path),
        ));
        return;
    };
    let Some(kind) = kind_of(&map) else {
        let kind = PartKind::Unknown(Value::Object(map));
        parts.push(Part::new(kind, Rest::new(DIALECT, path)));
        return;
    };
    let mut fields = Fields::of(DIALECT, path, map);
    let field = THOUGHT_SIGNATURE.in_fields(&mut fields);
    let proof = fields.text(field).map(seal::opened);
    let kind = match kind {
        KnownKind::Thought => {
            parts.push(read_thought(fields, proof));
            return;
        }
        KnownKind::Text => {
            fields.blank_if("thought", &Value::Bool(false));
            PartKind::Text(fields.text("text").unwrap_or_default())
        }
        KnownKind::Other(name) => {
            let field = name.in_fields(&mut fields);
            let Some(inside) = fields.enter(field) else {
                return;
            };
            match field {
                "inlineData" | "inline_data" => read_attachment(&mut fields, field, inside, false),
                "fileData" | "file_data" => read_attachment(&mut fields, field, inside, true),
                "functionCall" | "function_call" => read_call(&mut fields, field, inside),
                _ => read_response(&mut fields, field, inside),
            }
        }
    };
    if let Some((signature, origin)) = proof {
        attach(signature, origin, fields.at(field), parts);
    }
    parts.push(Part::new(kind, fields.finish()));
}

enum KnownKind {
    Thought,
    Text,
    Other(SpelledName),
}

// What a part is; nothing if it is nothing that the hub models, or several things at once.
fn kind_of(map: &Object) -> Option<KnownKind> {
    let is_foreign = FOREIGN_KINDS.iter().any(|field| map.contains_key(*field));
    let stands =
        |name: &&SpelledName| map.contains_key(name.camel()) || map.contains_key(name.snake());
    let mut kinds = KINDS.iter().filter(stands);
    let kind = kinds.next();
    if is_foreign || kinds.next().is_some() {
        return None;
    }
    let is_thought = map.get("thought") == Some(&Value::Bool(true));
    let has_proof = THOUGHT_SIGNATURE.value(map).is_some_and(Value::is_string);
    match (kind, map.get("text")) {
        (None, Some(Value::String(_))) if is_thought => Some(KnownKind::Thought),
        (None, Some(Value::String(_))) => Some(KnownKind::Text),
        (None, None) if has_proof => Some(KnownKind::Thought),
        (Some(name), None) => {
            is_whole(name.value(map)?, name.camel()).then_some(KnownKind::Other(*name))
        }
        _ => None,
    }
}

// Whether an object has the fields that its kind demands.
fn is_whole(value: &Value, kind: &str) -> bool {
    match kind {
        "inlineData" => value["data"].is_string(),
        "fileData" => value["fileUri"].is_string() || value["file_uri"].is_string(),
        "functionResponse" => value["name"].is_string() && value["response"].is_object(),
        _ => value["name"].is_string(),
    }
}

fn read_thought(mut fields: Fields, proof: Option<(String, Dialect)>) -> Part {
    fields.set_name("thought", "thought");
    if fields.peek("thought") == Some(&Value::Bool(true)) {
        fields.take("thought");
    } else {
        fields.set_form("thought", "absent");
    }
    if proof.is_some() {
        fields.set_form("proof", "own");
    }
    let origin = proof.as_ref().map_or(DIALECT, |(_, origin)| *origin);
    let thinking = Thinking {
        text: fields.text("text"),
        signature: proof.map(|(signature, _)| signature),
        encrypted: None,
        origin,
    };
    Part::new(PartKind::Thinking(thinking), fields.finish())
}

// Gives the signature of the part that comes next to the thought before it.
fn attach(signature: String, origin: Dialect, path: String, parts: &mut Vec<Part>) {
    if let Some(last) = parts.last_mut()
        && let PartKind::Thinking(thinking) = &mut last.kind
        && thinking.signature.is_none()
    {
        thinking.signature = Some(signature);
        thinking.origin = origin;
        last.rest.set_form("proof", "next");
        return;
    }
    let thinking = Thinking {
        text: None,
        signature: Some(signature),
        encrypted: None,
        origin,
    };
    let mut rest = Rest::new(DIALECT, path);
    rest.set_form("proof", "next");
    parts.push(Part::new(PartKind::Thinking(thinking), rest));
}

fn read_attachment(
    fields: &mut Fields,
    field: &'static str,
    mut inside: Fields,
    is_file: bool,
) -> PartKind {
    let media_type = MIME_TYPE.in_fields(&mut inside);
    let media_type = inside.text(media_type);
    let name = DISPLAY_NAME.in_fields(&mut inside);
    let name = inside.text(name);
    let kind = match media_type
        .as_deref()
        .and_then(|kind| kind.split('/').next())
    {
        Some("image") => AttachmentKind::Image,
        Some("audio") => AttachmentKind::Audio,
        Some("video") => AttachmentKind::Video,
        _ => AttachmentKind::Document,
    };
    let source = if is_file {
        let url = FILE_URI.in_fields(&mut inside);
        let url = inside.text(url).unwrap_or_default();
        AttachmentSource::Url { url, media_type }
    } else {
        let (data, form) = seal::standard(inside.text("data").unwrap_or_default());
        if let Some(form) = form {
            fields.set_form("data", form);
        }
        AttachmentSource::Data { media_type, data }
    };
    fields.leave(field, inside);
    PartKind::Attachment(Attachment {
        kind,
        source,
        name,
        detail: None,
    })
}

// An empty id is none.
fn read_id(fields: &mut Fields, inside: &mut Fields) -> Option<String> {
    inside.blank_if("id", &json!(""));
    let id = inside.text("id");
    if id.is_none() {
        fields.set_form("id", "absent");
    }
    id
}

fn read_call(fields: &mut Fields, field: &'static str, mut inside: Fields) -> PartKind {
    let id = read_id(fields, &mut inside);
    let input = inside.take("args");
    if input.is_none() {
        fields.set_form("input", "absent");
    }
    let name = inside.text("name").unwrap_or_default();
    fields.leave(field, inside);
    PartKind::ToolCall(ToolCall {
        id: id.unwrap_or_default(),
        name,
        input: ToolInput::Json(input.unwrap_or_else(|| Value::Object(Map::new()))),
        style: ToolStyle::Function,
    })
}

fn read_response(fields: &mut Fields, field: &'static str, mut inside: Fields) -> PartKind {
    let id = read_id(fields, &mut inside);
    let name = inside.text("name");
    let response = inside.object("response").unwrap_or_default();
    let (text, is_error) = response_text(&response);
    let mut rest = Rest::new(DIALECT, inside.at("response"));
    rest.set_form("place", "response");
    inside.keep_blank("response", Value::Object(response));
    let mut parts = vec![Part::new(PartKind::Text(text), rest)];
    let path = inside.at("parts");
    match inside.list("parts") {
        Some(list) if list.is_empty() => inside.keep_blank("parts", Value::Array(list)),
        Some(list) => parts.extend(read_list(list, &path)),
        None => {}
    }
    fields.leave(field, inside);
    PartKind::ToolResult(ToolResult {
        call_id: id.unwrap_or_default(),
        name,
        parts,
        is_error,
        style: ToolStyle::Function,
    })
}

// `output` and `error` have a meaning by Google's reference; anything else is the function's own object.
fn response_text(response: &Object) -> (String, Option<bool>) {
    let only = response.iter().next().filter(|_| response.len() == 1);
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    match only {
        Some((key, value)) if key == "output" => (text(value), None),
        Some((key, value)) if key == "error" => (text(value), Some(true)),
        _ => (Value::Object(response.clone()).to_string(), None),
    }
}
