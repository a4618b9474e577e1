//! Tools and their selection in messages.

use serde_json::{Value, json};

use super::DIALECT;
use crate::cache_mark;
use crate::fields::{Fields, put};
use crate::free_text;
use crate::grammar::Object;
use crate::hub::request::{HubRequest, ToolDefinition, ToolKind, ToolSelection, ToolSelectionKind};
use crate::loss::LossList;
use crate::rest::Rest;

pub(super) fn read_tool(value: Value, path: String) -> ToolDefinition {
    let is_function = value["name"].is_string()
        && value["input_schema"].is_object()
        && (value["type"].is_null() || value["type"] == "custom");
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
    fields.blank("type");
    let cache = cache_mark::read(&mut fields);
    let kind = ToolKind::Function {
        name: fields.text("name").unwrap_or_default(),
        description: fields.text("description"),
        schema: fields.take("input_schema"),
        strict: fields.flag("strict"),
    };
    let rest = fields.finish();
    ToolDefinition { kind, cache, rest }
}

pub(super) fn write_tool(tool: &ToolDefinition, losses: &mut LossList) -> Option<Value> {
    let mut object = Object::new();
    match &tool.kind {
        ToolKind::Function {
            name,
            description,
            schema,
            strict,
        } => {
            put(&mut object, "name", Some(name.clone()));
            put(&mut object, "description", description.clone());
            let nothing = || json!({"type": "object", "properties": {}});
            put(
                &mut object,
                "input_schema",
                Some(schema.clone().unwrap_or_else(nothing)),
            );
            put(&mut object, "strict", *strict);
        }
        ToolKind::Custom {
            name,
            description,
            format,
        } => {
            let description = free_text::description(description.as_deref(), format.as_ref());
            put(&mut object, "name", Some(name.clone()));
            put(&mut object, "description", description);
            put(&mut object, "input_schema", Some(free_text::schema()));
            free_text::lose_grammar(format.as_ref(), tool.rest.at("format"), losses);
        }
        ToolKind::Provider(value) if tool.rest.is_from(DIALECT) => return Some(value.clone()),
        ToolKind::Provider(_) => {
            losses.add(
                tool.rest.path(),
                "the tool is one of another provider's own",
            );
            return None;
        }
    }
    cache_mark::write(tool.cache.as_ref(), DIALECT, &mut object, losses);
    tool.rest.write(DIALECT, &mut object, losses);
    Some(Value::Object(object))
}

/// Takes the selection, and whether calls may be parallel, which messages says with it.
pub(super) fn read_selection(fields: &mut Fields, request: &mut HubRequest) {
    let kind = fields
        .peek("tool_choice")
        .and_then(|choice| choice["type"].as_str());
    let is_known = matches!(kind, Some("auto" | "any" | "none" | "tool"));
    if !is_known {
        let path = fields.at("tool_choice");
        request.tool_selection = fields.take("tool_choice").map(|value| ToolSelection {
            kind: ToolSelectionKind::Other(value),
            rest: Rest::new(DIALECT, path),
        });
        return;
    }
    let Some(mut choice) = fields.enter("tool_choice") else {
        return;
    };
    let kind = match choice.text("type").as_deref() {
        Some("any") => ToolSelectionKind::Required,
        Some("none") => ToolSelectionKind::None,
        Some("tool") => ToolSelectionKind::Function(choice.text("name").unwrap_or_default()),
        _ => ToolSelectionKind::Auto,
    };
    let disabled = choice.flag("disable_parallel_tool_use");
    request.parallel_tool_calls = disabled.map(|disabled| !disabled);
    fields.set_name(
        "parallel_tool_calls",
        "tool_choice.disable_parallel_tool_use",
    );
    let rest = choice.finish();
    request.tool_selection = Some(ToolSelection { kind, rest });
}

/// Writes the selection, with whether calls may be parallel.
pub(super) fn write_selection(request: &HubRequest, losses: &mut LossList) -> Option<Value> {
    let is_home = request.rest.is_from(DIALECT);
    let disabled = request.parallel_tool_calls.map(|parallel| !parallel);
    // What is the default elsewhere needs no saying.
    let disabled = disabled.filter(|disabled| *disabled || is_home);
    let Some(selection) = &request.tool_selection else {
        let says_auto = disabled.is_some() && !request.tools.is_empty();
        return says_auto.then(|| json!({"type": "auto", "disable_parallel_tool_use": true}));
    };
    let mut object = Object::new();
    let word = match &selection.kind {
        ToolSelectionKind::Auto => "auto",
        ToolSelectionKind::None => "none",
        ToolSelectionKind::Required => "any",
        ToolSelectionKind::Function(name) => {
            object.insert("name".to_string(), json!(name));
            "tool"
        }
        ToolSelectionKind::Other(value) if selection.rest.is_from(DIALECT) => {
            return Some(value.clone());
        }
        ToolSelectionKind::Other(_) => {
            losses.add(
                selection.rest.path(),
                "messages has no such choice of tools",
            );
            return None;
        }
    };
    object.insert("type".to_string(), json!(word));
    let may_disable = is_home || selection.kind != ToolSelectionKind::None;
    put(
        &mut object,
        "disable_parallel_tool_use",
        disabled.filter(|_| may_disable),
    );
    selection.rest.write(DIALECT, &mut object, losses);
    Some(Value::Object(object))
}
