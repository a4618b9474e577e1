//! A content: whose it is, and its parts.

use serde_json::{Value, json};

use super::{DIALECT, read_parts, write_parts};
use crate::fields::{Fields, ReadError};
use crate::grammar::Object;
use crate::hub::part::{Part, PartKind};
use crate::hub::request::{Role, Turn};
use crate::loss::LossList;
use crate::rest::Rest;

/// Reads one entry of `contents`, which may be no more than its words.
pub(super) fn read(value: Value, path: String) -> Result<Turn, ReadError> {
    if let Value::String(text) = value {
        let mut rest = Rest::new(DIALECT, path);
        rest.set_form("content", "string");
        let part = Part::new(PartKind::Text(text), Rest::new(DIALECT, rest.path()));
        return Ok(Turn {
            role: Role::User,
            parts: vec![part],
            rest,
        });
    }
    Ok(read_fields(Fields::new(DIALECT, path, value)?))
}

/// Reads a content.
pub(super) fn read_fields(mut fields: Fields) -> Turn {
    let role = match fields.text("role") {
        Some(role) => read_role(role),
        None => {
            fields.set_form("role", "absent");
            Role::User
        }
    };
    let parts = read_parts(&mut fields);
    let rest = fields.finish();
    Turn { role, parts, rest }
}

fn read_role(role: String) -> Role {
    match role.as_str() {
        "user" => Role::User,
        "model" => Role::Assistant,
        "function" => Role::Tool,
        _ => Role::Other(role),
    }
}

/// Takes the parts of a content. A single one need not stand in a list.
pub(super) fn read_parts(fields: &mut Fields) -> Vec<Part> {
    let path = fields.at("parts");
    match fields.take("parts") {
        Some(Value::Array(list)) if list.is_empty() => {
            fields.keep_blank("parts", Value::Array(list));
            Vec::new()
        }
        Some(Value::Array(list)) => read_parts::read_list(list, &path),
        Some(value @ Value::Object(_)) => {
            fields.set_form("parts", "single");
            let mut parts = Vec::new();
            read_parts::read(value, path, &mut parts);
            parts
        }
        Some(value) => {
            fields.put_back("parts", value);
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// Writes a content as it was.
pub(super) fn write(turn: &Turn, losses: &mut LossList) -> Value {
    if let (Some(_), [part]) = (turn.rest.form(DIALECT, "content"), turn.parts.as_slice()) {
        return json!(part.text());
    }
    let mut content = Object::new();
    if turn.rest.form(DIALECT, "role").is_none() {
        let role = match &turn.role {
            Role::User => "user",
            Role::Assistant => "model",
            Role::Tool => "function",
            Role::System | Role::Developer => "system",
            Role::Other(role) => role,
        };
        content.insert("role".to_string(), json!(role));
    }
    write_parts(&turn.parts, &turn.rest, &mut content, losses);
    turn.rest.write(DIALECT, &mut content, losses);
    Value::Object(content)
}

/// Writes the parts of a content as they were.
pub(super) fn write_parts(
    parts: &[Part],
    rest: &Rest,
    content: &mut Object,
    losses: &mut LossList,
) {
    let mut written = write_parts::write_home(parts, losses);
    let is_single = rest.form(DIALECT, "parts") == Some("single") && written.len() == 1;
    let value = match written.pop() {
        Some(part) if is_single => part,
        Some(part) => {
            written.push(part);
            Value::Array(written)
        }
        None => return,
    };
    content.insert("parts".to_string(), value);
}
