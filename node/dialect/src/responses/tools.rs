//! Tools, their selection and the answer's form in responses.

use serde_json::{Value, json};

use super::DIALECT;
use crate::cache_mark;
use crate::fields::{Fields, put};
use crate::grammar::Object;
use crate::hub::request::{
    OutputFormat, OutputKind, ToolDefinition, ToolKind, ToolSelection, ToolSelectionKind,
};
use crate::loss::LossList;
use crate::rest::Rest;

/// The name of a schema from a dialect that has none, since responses demands one.
const SCHEMA_NAME: &str = "answer";

pub(super) fn read_tool(value: Value, path: String) -> ToolDefinition {
    let has_name = value["name"].is_string();
    let is_function = value["type"] == "function" && has_name;
    let is_custom = value["type"] == "custom" && has_name;
    let map = match value {
        Value::Object(map) if is_function || is_custom => map,
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
    let name = fields.text("name").unwrap_or_default();
    let description = fields.text("description");
    let kind = if is_function {
        ToolKind::Function {
            name,
            description,
            schema: fields.object("parameters").map(Value::Object),
            strict: fields.flag("strict"),
        }
    } else {
        ToolKind::Custom {
            name,
            description,
            format: fields.take("format"),
        }
    };
    ToolDefinition {
        kind,
        cache: None,
        rest: fields.finish(),
    }
}

pub(super) fn write_tool(tool: &ToolDefinition, losses: &mut LossList) -> Option<Value> {
    let is_home = tool.rest.is_from(DIALECT);
    let mut object = Object::new();
    match &tool.kind {
        ToolKind::Provider(value) if is_home => return Some(value.clone()),
        ToolKind::Provider(_) => {
            losses.add(
                tool.rest.path(),
                "the tool is one of another provider's own",
            );
            return None;
        }
        ToolKind::Function {
            name,
            description,
            schema,
            strict,
        } => {
            put(&mut object, "type", Some("function"));
            put(&mut object, "name", Some(name.clone()));
            put(&mut object, "description", description.clone());
            put(&mut object, "parameters", schema.clone());
            put(&mut object, "strict", *strict);
            if !is_home {
                // Both must be there, and a tool is strict unless it says otherwise.
                let nothing = || json!({"type": "object", "properties": {}});
                object.entry("parameters").or_insert_with(nothing);
                object.entry("strict").or_insert(Value::Bool(false));
            }
        }
        ToolKind::Custom {
            name,
            description,
            format,
        } => {
            put(&mut object, "type", Some("custom"));
            put(&mut object, "name", Some(name.clone()));
            put(&mut object, "description", description.clone());
            let format = format.clone();
            put(
                &mut object,
                "format",
                if is_home { format } else { format.map(flat) },
            );
        }
    }
    cache_mark::lose(tool.cache.as_ref(), losses);
    tool.rest.write(DIALECT, &mut object, losses);
    Some(Value::Object(object))
}

// Chat completions puts the grammar into an object of its own.
fn flat(format: Value) -> Value {
    let Value::Object(mut object) = format else {
        return format;
    };
    if let Some(Value::Object(grammar)) = object.remove("grammar") {
        object.extend(grammar);
    }
    Value::Object(object)
}

pub(super) fn read_selection(value: Value, path: String) -> ToolSelection {
    let is_named =
        (value["type"] == "function" || value["type"] == "custom") && value["name"].is_string();
    let kind = match value.as_str() {
        Some("auto") => ToolSelectionKind::Auto,
        Some("none") => ToolSelectionKind::None,
        Some("required") => ToolSelectionKind::Required,
        _ if is_named => ToolSelectionKind::Function(String::new()),
        _ => ToolSelectionKind::Other(Value::Null),
    };
    match (kind, value) {
        (ToolSelectionKind::Function(_), Value::Object(map)) => {
            let mut fields = Fields::of(DIALECT, path, map);
            fields.blank("type");
            let name = fields.text("name").unwrap_or_default();
            ToolSelection {
                kind: ToolSelectionKind::Function(name),
                rest: fields.finish(),
            }
        }
        (ToolSelectionKind::Other(_), value) => ToolSelection {
            kind: ToolSelectionKind::Other(value),
            rest: Rest::new(DIALECT, path),
        },
        (kind, _) => ToolSelection {
            kind,
            rest: Rest::new(DIALECT, path),
        },
    }
}

pub(super) fn write_selection(
    selection: &ToolSelection,
    tools: &[ToolDefinition],
    losses: &mut LossList,
) -> Option<Value> {
    let word = match &selection.kind {
        ToolSelectionKind::Auto => "auto",
        ToolSelectionKind::None => "none",
        ToolSelectionKind::Required => "required",
        ToolSelectionKind::Function(name) => {
            let mut object = Object::new();
            object.insert("name".to_string(), json!(name));
            selection.rest.write(DIALECT, &mut object, losses);
            let is_custom = tools.iter().any(
                |tool| matches!(&tool.kind, ToolKind::Custom { name: custom, .. } if custom == name),
            );
            let kind = if is_custom { "custom" } else { "function" };
            object.entry("type").or_insert_with(|| json!(kind));
            return Some(Value::Object(object));
        }
        ToolSelectionKind::Other(value) if selection.rest.is_from(DIALECT) => {
            return Some(value.clone());
        }
        ToolSelectionKind::Other(_) => {
            losses.add(
                selection.rest.path(),
                "responses has no such choice of tools",
            );
            return None;
        }
    };
    selection.rest.lose_elsewhere(DIALECT, losses);
    Some(json!(word))
}

/// Takes `format` of `text`, if it is one that the hub models.
pub(super) fn read_output(text: &mut Fields) -> Option<OutputFormat> {
    let format = text.peek("format")?;
    let is_known = match format["type"].as_str() {
        Some("text" | "json_object") => true,
        Some("json_schema") => format["schema"].is_object(),
        _ => false,
    };
    if !is_known {
        return None;
    }
    let mut format = text.enter("format")?;
    let kind = match format.text("type").as_deref() {
        Some("json_object") => OutputKind::Json,
        Some("json_schema") => OutputKind::Schema {
            name: format.text("name"),
            description: format.text("description"),
            schema: format.take("schema").unwrap_or_default(),
            strict: format.flag("strict"),
        },
        _ => OutputKind::Text,
    };
    let rest = format.finish();
    Some(OutputFormat { kind, rest })
}

pub(super) fn write_output(output: &OutputFormat, losses: &mut LossList) -> Value {
    let is_home = output.rest.is_from(DIALECT);
    let mut object = Object::new();
    let word = match &output.kind {
        OutputKind::Text => "text",
        OutputKind::Json => "json_object",
        OutputKind::Schema {
            name,
            description,
            schema,
            strict,
        } => {
            let invented = (!is_home).then(|| SCHEMA_NAME.to_string());
            put(&mut object, "name", name.clone().or(invented));
            put(&mut object, "description", description.clone());
            put(&mut object, "schema", Some(schema.clone()));
            put(&mut object, "strict", *strict);
            "json_schema"
        }
    };
    object.insert("type".to_string(), json!(word));
    output.rest.write(DIALECT, &mut object, losses);
    Value::Object(object)
}
