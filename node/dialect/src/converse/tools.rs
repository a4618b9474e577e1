//! `toolConfig`: tools and their selection.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{DIALECT, cache_point};
use crate::fields::{Fields, element, inside, put};
use crate::free_text;
use crate::grammar::Object;
use crate::hub::part::PartKind;
use crate::hub::request::{HubRequest, ToolDefinition, ToolKind, ToolSelection, ToolSelectionKind};
use crate::loss::LossList;
use crate::rest::Rest;

const CONFIG: &str = "toolConfig";

/// Takes the tools and their selection.
pub(super) fn read(fields: &mut Fields, request: &mut HubRequest) {
    let Some(mut config) = fields.enter(CONFIG) else {
        return;
    };
    let path = config.at("tools");
    match config.list("tools") {
        Some(list) if list.is_empty() => config.keep_blank("tools", Value::Array(list)),
        Some(list) => request.tools = read_list(list, &path),
        None => {}
    }
    request.tool_selection = read_selection(&mut config);
    fields.leave(CONFIG, config);
}

fn read_list(list: Vec<Value>, path: &str) -> Vec<ToolDefinition> {
    let mut tools: Vec<ToolDefinition> = Vec::new();
    for (index, value) in list.into_iter().enumerate() {
        let path = element(path, index);
        let may_mark = |tool: &&mut ToolDefinition| {
            tool.cache.is_none() && !matches!(tool.kind, ToolKind::Provider(_))
        };
        match tools.last_mut().filter(may_mark) {
            Some(tool) if cache_point::is_one(&value) => {
                tool.cache = Some(cache_point::read(value, &path));
            }
            _ => tools.push(read_tool(value, path)),
        }
    }
    tools
}

fn read_tool(value: Value, path: String) -> ToolDefinition {
    let spec = &value["toolSpec"];
    let schema = &spec["inputSchema"];
    let is_function = spec["name"].is_string() && (schema.is_null() || schema["json"].is_object());
    let map = match value {
        Value::Object(map) if is_function => map,
        value => {
            return ToolDefinition {
                kind: ToolKind::Provider(value),
                cache: None,
                rest: Rest::new(DIALECT, path),
            };
        }
    };
    let mut fields = Fields::of(DIALECT, path, map);
    let (mut name, mut description, mut schema, mut strict) = (String::new(), None, None, None);
    if let Some(mut spec) = fields.enter("toolSpec") {
        name = spec.text("name").unwrap_or_default();
        description = spec.text("description");
        strict = spec.flag("strict");
        if let Some(mut input) = spec.enter("inputSchema") {
            schema = input.take("json");
            spec.leave("inputSchema", input);
        }
        fields.leave("toolSpec", spec);
    }
    let kind = ToolKind::Function {
        name,
        description,
        schema,
        strict,
    };
    let rest = fields.finish();
    let cache = None;
    ToolDefinition { kind, cache, rest }
}

fn read_selection(config: &mut Fields) -> Option<ToolSelection> {
    let path = config.at("toolChoice");
    let kind = config.peek("toolChoice").and_then(selection_of);
    let Some((field, kind)) = kind else {
        let kind = ToolSelectionKind::Other(config.take("toolChoice")?);
        let rest = Rest::new(DIALECT, path);
        return Some(ToolSelection { kind, rest });
    };
    let mut choice = config.enter("toolChoice")?;
    let mut inside = choice.enter(field)?;
    if field == "tool" {
        inside.take("name");
    }
    choice.leave(field, inside);
    let rest = choice.finish();
    Some(ToolSelection { kind, rest })
}

fn selection_of(choice: &Value) -> Option<(&'static str, ToolSelectionKind)> {
    let choice = choice.as_object().filter(|choice| choice.len() == 1)?;
    let (field, inside) = choice.iter().next()?;
    let inside = inside.as_object()?;
    match field.as_str() {
        "auto" => Some(("auto", ToolSelectionKind::Auto)),
        "any" => Some(("any", ToolSelectionKind::Required)),
        "tool" => {
            let name = inside.get("name")?.as_str()?.to_string();
            Some(("tool", ToolSelectionKind::Function(name)))
        }
        _ => None,
    }
}

/// Writes the tools and their selection.
///
/// Converse cannot forbid tools: they are left out, unless the conversation has calls, which Converse takes with
/// tools alone. Where the client has sent none with such a conversation, those that it called are defined again.
pub(super) fn write(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let is_home = request.rest.is_from(DIALECT);
    let called = if is_home {
        BTreeSet::new()
    } else {
        called(request)
    };
    let selection = request.tool_selection.as_ref();
    let is_forbidden = selection.is_some_and(|selection| selection.kind == ToolSelectionKind::None);
    let mut tools = Vec::new();
    if is_home || !is_forbidden || !called.is_empty() {
        for tool in &request.tools {
            tools.extend(write_tool(tool, losses));
            if let Some(mark) = tool.cache.as_ref().filter(|_| !tools.is_empty()) {
                tools.push(cache_point::write(mark, losses));
            }
        }
    }
    if tools.is_empty() && !called.is_empty() {
        losses.add(
            request.rest.at("tools"),
            "Converse takes calls with their tools alone, so those that were called are defined",
        );
        tools.extend(called.into_iter().map(bare_tool));
    }
    let has_tools = !tools.is_empty();
    if has_tools && let Some(config) = inside(body, CONFIG) {
        config.insert("tools".to_string(), Value::Array(tools));
    }
    // A choice among no tools is refused.
    if (has_tools || is_home)
        && let Some(selection) = selection
        && let Some(choice) = write_selection(selection, losses)
        && let Some(config) = inside(body, CONFIG)
    {
        config.insert("toolChoice".to_string(), choice);
    }
    let one_by_one = request.parallel_tool_calls.filter(|parallel| !parallel);
    losses.add_some(
        one_by_one.as_ref().filter(|_| has_tools),
        request.rest.at("parallel_tool_calls"),
        "Converse cannot forbid several calls at once",
    );
}

fn called(request: &HubRequest) -> BTreeSet<&str> {
    let parts = request.turns.iter().flat_map(|turn| &turn.parts);
    let names = parts.filter_map(|part| match &part.kind {
        PartKind::ToolCall(call) => Some(call.name.as_str()),
        _ => None,
    });
    names.collect()
}

fn nothing() -> Value {
    json!({"type": "object", "properties": {}})
}

fn bare_tool(name: &str) -> Value {
    json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}})
}

fn write_tool(tool: &ToolDefinition, losses: &mut LossList) -> Option<Value> {
    let is_home = tool.rest.is_from(DIALECT);
    let mut spec = Object::new();
    match &tool.kind {
        ToolKind::Function {
            name,
            description,
            schema,
            strict,
        } => {
            put(&mut spec, "name", Some(name.clone()));
            // An empty description is refused.
            let description = description.as_ref();
            let said = description.filter(|text| is_home || !text.is_empty());
            put(&mut spec, "description", said.cloned());
            put(&mut spec, "strict", *strict);
            let schema = schema.clone().or_else(|| (!is_home).then(nothing));
            if let Some(schema) = schema {
                spec.insert("inputSchema".to_string(), json!({"json": schema}));
            }
        }
        ToolKind::Custom {
            name,
            description,
            format,
        } => {
            let description = free_text::description(description.as_deref(), format.as_ref());
            put(&mut spec, "name", Some(name.clone()));
            put(
                &mut spec,
                "description",
                description.filter(|text| !text.is_empty()),
            );
            spec.insert(
                "inputSchema".to_string(),
                json!({"json": free_text::schema()}),
            );
            free_text::lose_grammar(format.as_ref(), tool.rest.at("format"), losses);
        }
        ToolKind::Provider(value) if is_home => return Some(value.clone()),
        ToolKind::Provider(_) => {
            losses.add(
                tool.rest.path(),
                "the tool is one of another provider's own",
            );
            return None;
        }
    }
    let mut object = Object::new();
    object.insert("toolSpec".to_string(), Value::Object(spec));
    tool.rest.write(DIALECT, &mut object, losses);
    Some(Value::Object(object))
}

fn write_selection(selection: &ToolSelection, losses: &mut LossList) -> Option<Value> {
    let path = selection.rest.path();
    let mut choice = match &selection.kind {
        ToolSelectionKind::Auto => json!({"auto": {}}),
        ToolSelectionKind::Required => json!({"any": {}}),
        ToolSelectionKind::Function(name) => json!({"tool": {"name": name}}),
        ToolSelectionKind::Other(value) if selection.rest.is_from(DIALECT) => {
            return Some(value.clone());
        }
        ToolSelectionKind::None => {
            losses.add(path, "Converse cannot forbid tools that were called before");
            return None;
        }
        ToolSelectionKind::Other(_) => {
            losses.add(path, "Converse has no such choice of tools");
            return None;
        }
    };
    if let Some(choice) = choice.as_object_mut() {
        selection.rest.write(DIALECT, choice, losses);
    }
    Some(choice)
}
