//! Tools and their selection.
//!
//! An entry of `tools` holds a list of functions, or a tool of Google's own, or both. The hub lists them one by one;
//! the paths of their rests tell which stood together.

use serde_json::{Value, json};

use super::names::{ALLOWED_NAMES, CALLING_CONFIG, DECLARATIONS, PARAMETERS_JSON, TOOL_CONFIG};
use super::{DIALECT, schema};
use crate::cache_mark;
use crate::fields::{Fields, element, put};
use crate::free_text;
use crate::grammar::Object;
use crate::hub::request::{HubRequest, ToolDefinition, ToolKind, ToolSelection, ToolSelectionKind};
use crate::loss::LossList;
use crate::rest::Rest;

/// The field of a function's schema in Google's subset.
const PARAMETERS: &str = "parameters";

/// Reads one entry of `tools`.
pub(super) fn read_tool(value: Value, path: String) -> Vec<ToolDefinition> {
    let Value::Object(map) = value else {
        return vec![provider(value, path)];
    };
    let mut fields = Fields::of(DIALECT, path.clone(), map);
    let field = DECLARATIONS.in_fields(&mut fields);
    let is_function =
        |declaration: &Value| declaration.is_object() && declaration["name"].is_string();
    let are_functions = fields
        .peek(field)
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty() && list.iter().all(is_function));
    let declarations = if are_functions {
        fields.list(field)
    } else {
        None
    };
    let at_declarations = fields.at(field);
    let mut tools = Vec::new();
    for (index, declaration) in declarations.into_iter().flatten().enumerate() {
        if let Value::Object(map) = declaration {
            let at = element(&at_declarations, index);
            tools.push(read_function(Fields::of(DIALECT, at, map)));
        }
    }
    let rest = fields.finish();
    let mut others = rest.fields;
    others.extend(rest.blanks);
    if !others.is_empty() || tools.is_empty() {
        tools.push(provider(Value::Object(others), path));
    }
    tools
}

fn provider(value: Value, path: String) -> ToolDefinition {
    ToolDefinition {
        kind: ToolKind::Provider(value),
        cache: None,
        rest: Rest::new(DIALECT, path),
    }
}

fn read_function(mut fields: Fields) -> ToolDefinition {
    let field = PARAMETERS_JSON.in_fields(&mut fields);
    let mut schema = fields.take(field);
    let is_json = schema.is_some();
    let mut ordering = None;
    if !is_json && let Some(parameters) = fields.object(PARAMETERS) {
        let subset = Value::Object(parameters);
        schema = Some(schema::to_json_schema(&subset));
        if let Some(field) = schema::ordering(&subset) {
            let mut rest = Rest::new(DIALECT, fields.at(PARAMETERS));
            rest.fields.insert(field.to_string(), subset[field].clone());
            ordering = Some(rest);
        }
        fields.keep_blank(PARAMETERS, subset);
    }
    if is_json {
        fields.set_form("schema", "json");
    }
    let kind = ToolKind::Function {
        name: fields.text("name").unwrap_or_default(),
        description: fields.text("description"),
        schema,
        strict: None,
    };
    let mut rest = fields.finish();
    if let Some(ordering) = ordering {
        rest.set_nested(PARAMETERS, ordering);
    }
    ToolDefinition {
        kind,
        cache: None,
        rest,
    }
}

/// Writes the tools of a request as they stood together.
pub(super) fn write_home(tools: &[ToolDefinition], losses: &mut LossList) -> Vec<Value> {
    let mut entries: Vec<(&str, Value)> = Vec::new();
    for tool in tools {
        let entry = entry_of(tool.rest.path());
        if entries.last().is_none_or(|(last, _)| *last != entry) {
            entries.push((entry, json!({})));
        }
        let Some((_, value)) = entries.last_mut() else {
            continue;
        };
        match &tool.kind {
            ToolKind::Provider(Value::Object(own)) => {
                if let Value::Object(object) = value {
                    object.extend(own.clone());
                }
            }
            ToolKind::Provider(own) => *value = own.clone(),
            _ => {
                let is_snake = tool.rest.path().contains(DECLARATIONS.snake());
                let field = if is_snake {
                    DECLARATIONS.snake()
                } else {
                    DECLARATIONS.camel()
                };
                let declaration = write_function(tool, losses);
                if let Some(object) = value.as_object_mut()
                    && let Some(list) = object
                        .entry(field)
                        .or_insert_with(|| json!([]))
                        .as_array_mut()
                {
                    list.extend(declaration);
                }
            }
        }
    }
    entries.into_iter().map(|(_, value)| value).collect()
}

// The path of the entry that a tool stood in.
fn entry_of(path: &str) -> &str {
    path.find(']').map_or(path, |end| &path[..=end])
}

/// Writes the tools of a request in another dialect: one entry with all functions.
pub(super) fn write_foreign(tools: &[ToolDefinition], losses: &mut LossList) -> Option<Value> {
    let declarations: Vec<Value> = tools
        .iter()
        .filter_map(|tool| {
            cache_mark::lose(tool.cache.as_ref(), losses);
            write_function(tool, losses)
        })
        .collect();
    let field = DECLARATIONS.camel();
    (!declarations.is_empty()).then(|| json!([{field: declarations}]))
}

fn write_function(tool: &ToolDefinition, losses: &mut LossList) -> Option<Value> {
    let mut object = Object::new();
    match &tool.kind {
        ToolKind::Function {
            name,
            description,
            schema,
            ..
        } => {
            object.insert("name".to_string(), json!(name));
            put(&mut object, "description", description.clone());
            let is_subset = tool.rest.blank(DIALECT, PARAMETERS).is_some();
            if !is_subset {
                let field = PARAMETERS_JSON.in_rest(&tool.rest);
                put(&mut object, field, schema.clone());
            }
        }
        ToolKind::Custom {
            name,
            description,
            format,
        } => {
            let description = free_text::description(description.as_deref(), format.as_ref());
            object.insert("name".to_string(), json!(name));
            put(&mut object, "description", description);
            put(
                &mut object,
                PARAMETERS_JSON.camel(),
                Some(free_text::schema()),
            );
            free_text::lose_grammar(format.as_ref(), tool.rest.at("format"), losses);
        }
        ToolKind::Provider(_) => {
            losses.add(
                tool.rest.path(),
                "the tool is one of another provider's own",
            );
            return None;
        }
    }
    tool.rest.write(DIALECT, &mut object, losses);
    Some(Value::Object(object))
}

/// Takes the selection.
pub(super) fn read_selection(fields: &mut Fields, request: &mut HubRequest) {
    let field = TOOL_CONFIG.in_fields(fields);
    let Some(mut config) = fields.enter(field) else {
        return;
    };
    let inner = CALLING_CONFIG.in_fields(&mut config);
    if let Some(mut calling) = config.enter(inner) {
        match read_mode(&mut calling) {
            Some(kind) => {
                let rest = calling.finish();
                request.tool_selection = Some(ToolSelection { kind, rest });
            }
            None => config.leave(inner, calling),
        }
    }
    fields.leave(field, config);
}

// `VALIDATED` is the model's choice too, with calls that follow their schemas for certain: that remains in the rest,
// as do several names.
fn read_mode(calling: &mut Fields) -> Option<ToolSelectionKind> {
    let kind = match calling.peek_text("mode")? {
        "AUTO" => ToolSelectionKind::Auto,
        "VALIDATED" => return Some(ToolSelectionKind::Auto),
        "NONE" => ToolSelectionKind::None,
        "ANY" => ToolSelectionKind::Required,
        _ => return None,
    };
    calling.take("mode");
    let field = ALLOWED_NAMES.in_fields(calling);
    calling.blank_if(field, &json!([]));
    let is_one = |names: &Value| names.as_array().is_some_and(|names| names.len() == 1);
    let is_required = kind == ToolSelectionKind::Required;
    if is_required
        && calling.peek(field).is_some_and(is_one)
        && let Some(mut names) = calling.texts(field)
        && let Some(name) = names.pop()
    {
        return Some(ToolSelectionKind::Function(name));
    }
    Some(kind)
}

/// Writes the selection.
pub(super) fn write_selection(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let is_home = request.rest.is_from(DIALECT);
    let is_strict = !is_home && request.tools.iter().any(is_strict);
    let Some(selection) = &request.tool_selection else {
        if is_strict {
            let calling = json!({CALLING_CONFIG.camel(): {"mode": "VALIDATED"}});
            body.insert(TOOL_CONFIG.camel().to_string(), calling);
        }
        return;
    };
    let mut calling = Object::new();
    let mode = match &selection.kind {
        ToolSelectionKind::Auto if is_strict => "VALIDATED",
        ToolSelectionKind::Auto => "AUTO",
        ToolSelectionKind::None => "NONE",
        ToolSelectionKind::Required => "ANY",
        ToolSelectionKind::Function(name) => {
            let field = ALLOWED_NAMES.in_rest(&selection.rest);
            calling.insert(field.to_string(), json!([name]));
            "ANY"
        }
        ToolSelectionKind::Other(_) => {
            losses.add(
                selection.rest.path(),
                "gemini has no such choice of functions",
            );
            return;
        }
    };
    if selection.rest.field(DIALECT, "mode").is_none() {
        calling.insert("mode".to_string(), json!(mode));
    }
    selection.rest.write(DIALECT, &mut calling, losses);
    let outer = TOOL_CONFIG.in_rest(&request.rest);
    let config = request.rest.nested(outer).filter(|_| is_home);
    let inner = config.map_or(CALLING_CONFIG.camel(), |rest| CALLING_CONFIG.in_rest(rest));
    body.insert(outer.to_string(), json!({inner: calling}));
}

// Calls that follow their schemas for certain are a mode of all functions here.
fn is_strict(tool: &ToolDefinition) -> bool {
    matches!(
        &tool.kind,
        ToolKind::Function {
            strict: Some(true),
            ..
        }
    )
}
