//! Tools, their selection and the answer's form in chat completions.

use serde_json::{Value, json};

use super::DIALECT;
use crate::cache_mark;
use crate::fields::{Fields, inside, put};
use crate::free_text;
use crate::grammar::Object;
use crate::hub::request::{
    OutputFormat, OutputKind, ToolDefinition, ToolKind, ToolSelection, ToolSelectionKind,
};
use crate::loss::LossList;
use crate::rest::Rest;

/// The name of a schema from a dialect that has none, since chat completions demands one.
const SCHEMA_NAME: &str = "answer";

pub(super) fn read_tool(value: Value, path: String) -> ToolDefinition {
    let kind = value["type"].as_str().unwrap_or_default();
    let has_name = |outer: &str| kind == outer && value[outer]["name"].is_string();
    let (is_function, is_custom) = (has_name("function"), has_name("custom"));
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
    let cache = cache_mark::read(&mut fields);
    let outer = if is_function { "function" } else { "custom" };
    let mut kind = ToolKind::Provider(Value::Null);
    if let Some(mut object) = fields.enter(outer) {
        let name = object.text("name").unwrap_or_default();
        let description = object.text("description");
        kind = if is_function {
            ToolKind::Function {
                name,
                description,
                schema: object.object("parameters").map(Value::Object),
                strict: object.flag("strict"),
            }
        } else {
            ToolKind::Custom {
                name,
                description,
                format: object.take("format"),
            }
        };
        fields.leave(outer, object);
    }
    let rest = fields.finish();
    ToolDefinition { kind, cache, rest }
}

pub(super) fn write_tool(tool: &ToolDefinition, losses: &mut LossList) -> Option<Value> {
    let is_home = tool.rest.is_from(DIALECT);
    let mut object = Object::new();
    let outer = match &tool.kind {
        ToolKind::Provider(value) if is_home => return Some(value.clone()),
        ToolKind::Provider(_) => {
            losses.add(
                tool.rest.path(),
                "the tool is one of another provider's own",
            );
            return None;
        }
        ToolKind::Custom { .. } if is_home => "custom",
        ToolKind::Function { .. } | ToolKind::Custom { .. } => "function",
    };
    object.insert("type".to_string(), json!(outer));
    if let Some(within) = inside(&mut object, outer) {
        match &tool.kind {
            ToolKind::Function {
                name,
                description,
                schema,
                strict,
            } => {
                put(within, "name", Some(name.clone()));
                put(within, "description", description.clone());
                put(within, "parameters", schema.clone());
                put(within, "strict", *strict);
            }
            ToolKind::Custom {
                name,
                description,
                format,
            } => {
                put(within, "name", Some(name.clone()));
                if is_home {
                    put(within, "description", description.clone());
                    put(within, "format", format.clone());
                } else {
                    // Few servers beside OpenAI's take free text.
                    write_free_text(description.as_deref(), format.as_ref(), within);
                    free_text::lose_grammar(format.as_ref(), tool.rest.at("format"), losses);
                }
            }
            ToolKind::Provider(_) => {}
        }
    }
    if is_home {
        cache_mark::write(tool.cache.as_ref(), DIALECT, &mut object, losses);
    } else {
        cache_mark::lose(tool.cache.as_ref(), losses);
    }
    tool.rest.write(DIALECT, &mut object, losses);
    Some(Value::Object(object))
}

fn write_free_text(description: Option<&str>, format: Option<&Value>, function: &mut Object) {
    put(
        function,
        "description",
        free_text::description(description, format),
    );
    put(function, "parameters", Some(free_text::schema()));
}

pub(super) fn read_selection(value: Value, path: String) -> ToolSelection {
    let plain = match value.as_str() {
        Some("auto") => Some(ToolSelectionKind::Auto),
        Some("none") => Some(ToolSelectionKind::None),
        Some("required") => Some(ToolSelectionKind::Required),
        _ => None,
    };
    if let Some(kind) = plain {
        return ToolSelection {
            kind,
            rest: Rest::new(DIALECT, path),
        };
    }
    let is_function = value["type"] == "function" && value["function"]["name"].is_string();
    let map = match value {
        Value::Object(map) if is_function => map,
        value => {
            return ToolSelection {
                kind: ToolSelectionKind::Other(value),
                rest: Rest::new(DIALECT, path),
            };
        }
    };
    let mut fields = Fields::of(DIALECT, path, map);
    fields.blank("type");
    let mut name = String::new();
    if let Some(mut object) = fields.enter("function") {
        name = object.text("name").unwrap_or_default();
        fields.leave("function", object);
    }
    ToolSelection {
        kind: ToolSelectionKind::Function(name),
        rest: fields.finish(),
    }
}

pub(super) fn write_selection(selection: &ToolSelection, losses: &mut LossList) -> Option<Value> {
    let word = match &selection.kind {
        ToolSelectionKind::Auto => "auto",
        ToolSelectionKind::None => "none",
        ToolSelectionKind::Required => "required",
        ToolSelectionKind::Function(name) => {
            let mut object = Object::new();
            object.insert("type".to_string(), json!("function"));
            object.insert("function".to_string(), json!({"name": name}));
            selection.rest.write(DIALECT, &mut object, losses);
            return Some(Value::Object(object));
        }
        ToolSelectionKind::Other(value) if selection.rest.is_from(DIALECT) => {
            return Some(value.clone());
        }
        ToolSelectionKind::Other(_) => {
            losses.add(
                selection.rest.path(),
                "chat completions has no such choice of tools",
            );
            return None;
        }
    };
    selection.rest.lose_elsewhere(DIALECT, losses);
    Some(json!(word))
}

/// Reads `response_format`; gives it back if it is none that the hub models.
pub(super) fn read_output(value: Value, path: String) -> Result<OutputFormat, Value> {
    let is_known = match value["type"].as_str() {
        Some("text" | "json_object") => true,
        Some("json_schema") => value["json_schema"]["schema"].is_object(),
        _ => false,
    };
    let map = match value {
        Value::Object(map) if is_known => map,
        value => return Err(value),
    };
    let mut fields = Fields::of(DIALECT, path, map);
    let kind = match fields.text("type").as_deref() {
        Some("json_object") => OutputKind::Json,
        Some("json_schema") => match fields.enter("json_schema") {
            Some(mut object) => {
                let kind = OutputKind::Schema {
                    name: object.text("name"),
                    description: object.text("description"),
                    schema: object.take("schema").unwrap_or_default(),
                    strict: object.flag("strict"),
                };
                fields.leave("json_schema", object);
                kind
            }
            None => OutputKind::Json,
        },
        _ => OutputKind::Text,
    };
    let rest = fields.finish();
    Ok(OutputFormat { kind, rest })
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
            let mut within = Object::new();
            let invented = (!is_home).then(|| SCHEMA_NAME.to_string());
            put(&mut within, "name", name.clone().or(invented));
            put(&mut within, "description", description.clone());
            put(&mut within, "schema", Some(schema.clone()));
            put(&mut within, "strict", strict.or((!is_home).then_some(true)));
            object.insert("json_schema".to_string(), Value::Object(within));
            "json_schema"
        }
    };
    object.insert("type".to_string(), json!(word));
    output.rest.write(DIALECT, &mut object, losses);
    Value::Object(object)
}
