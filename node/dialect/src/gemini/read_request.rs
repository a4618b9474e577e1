//! Reads a request for content.

use serde_json::Value;

use super::names::{SERVICE_TIER, SYSTEM};
use super::{DIALECT, call_ids, content, read_config, read_parts, tools};
use crate::fields::{Fields, ReadError, element};
use crate::grammar::Object;
use crate::hub::part::{Part, PartKind};
use crate::hub::request::{HubRequest, Turn};
use crate::rest::Rest;

pub(super) fn read(body: Object) -> Result<HubRequest, ReadError> {
    let mut fields = Fields::of(DIALECT, "", body);
    let mut request = HubRequest::new(Rest::new(DIALECT, ""));
    request.turns = read_contents(&mut fields)?;
    call_ids::complete(&mut request.turns);
    request.instructions = read_instructions(&mut fields);
    read_tools(&mut fields, &mut request);
    read_config::read(&mut fields, &mut request);
    // The path names both; some clients repeat the model.
    request.model = fields.text("model");
    if request.model.is_some() {
        fields.set_form("model", "body");
    }
    request.metadata = fields.object("labels");
    let tier = SERVICE_TIER.in_fields(&mut fields);
    request.service_tier = fields.text(tier);
    fields.set_name("metadata", "labels");
    fields.set_name("service_tier", tier);
    request.rest = fields.finish();
    Ok(request)
}

fn read_contents(fields: &mut Fields) -> Result<Vec<Turn>, ReadError> {
    let path = fields.at("contents");
    match fields.take("contents") {
        Some(Value::Array(list)) => {
            let contents = list.into_iter().enumerate();
            contents
                .map(|(index, value)| content::read(value, element(&path, index)))
                .collect()
        }
        // A single one need not stand in a list.
        Some(value @ (Value::Object(_) | Value::String(_))) => {
            fields.set_form("contents", "single");
            Ok(vec![content::read(value, path)?])
        }
        _ => Err(ReadError::new(path, "a list")),
    }
}

fn read_instructions(fields: &mut Fields) -> Vec<Part> {
    let field = SYSTEM.in_fields(fields);
    fields.set_name("instructions", field);
    let path = fields.at(field);
    if let Some(text) = fields.text(field) {
        fields.set_form("instructions", "string");
        return vec![Part::new(PartKind::Text(text), Rest::new(DIALECT, path))];
    }
    let is_content = |value: &Value| value["parts"].is_array() || value["parts"].is_object();
    let is_part = |value: &Value| value["text"].is_string();
    match fields.peek(field) {
        Some(Value::Array(list)) if !list.is_empty() => {
            fields.set_form("instructions", "list");
            let list = fields.list(field).unwrap_or_default();
            read_parts::read_list(list, &path)
        }
        Some(value) if is_content(value) => {
            let Some(mut content) = fields.enter(field) else {
                return Vec::new();
            };
            let parts = content::read_parts(&mut content);
            // Whose turn instructions are says nothing.
            content.blank("role");
            fields.leave(field, content);
            parts
        }
        Some(value) if is_part(value) => {
            fields.set_form("instructions", "part");
            let mut parts = Vec::new();
            if let Some(value) = fields.take(field) {
                read_parts::read(value, path, &mut parts);
            }
            parts
        }
        _ => Vec::new(),
    }
}

fn read_tools(fields: &mut Fields, request: &mut HubRequest) {
    match fields.list("tools") {
        Some(list) if list.is_empty() => fields.keep_blank("tools", Value::Array(list)),
        Some(list) => {
            let tools = list.into_iter().enumerate();
            request.tools = tools
                .flat_map(|(index, tool)| tools::read_tool(tool, element("tools", index)))
                .collect();
        }
        None => {}
    }
    tools::read_selection(fields, request);
}
