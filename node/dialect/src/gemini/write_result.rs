//! Writes what a function of another dialect answered: an object, where others have words.

use serde_json::{Value, json};

use super::names::FUNCTION_RESPONSE;
use super::{DIALECT, call_ids, write_parts};
use crate::cache_mark;
use crate::grammar::Object;
use crate::hub::part::{Part, PartKind, ToolResult};
use crate::loss::LossList;
use crate::tool_answer;

/// Writes the response to the function `name`, and the parts that stand beside it, since a former model takes words
/// alone from functions.
pub(super) fn write_foreign(
    result: &ToolResult,
    name: &str,
    is_former: bool,
    losses: &mut LossList,
) -> Vec<Object> {
    let mut response = Object::new();
    if !call_ids::is_made(&result.call_id) {
        response.insert("id".to_string(), json!(result.call_id));
    }
    response.insert("name".to_string(), json!(name));
    response.insert("response".to_string(), response_object(result));
    let mut inside = Vec::new();
    let mut beside = Vec::new();
    for part in &result.parts {
        match &part.kind {
            PartKind::Attachment(_) if is_former => {
                if beside.is_empty() {
                    let heading = tool_answer::heading(name, part);
                    beside.extend(write_parts::write_foreign(&heading, losses));
                }
                beside.extend(write_parts::write_foreign(part, losses));
            }
            PartKind::Text(_) => {
                cache_mark::lose(part.cache.as_ref(), losses);
                part.rest.lose_elsewhere(DIALECT, losses);
            }
            _ => inside.extend(write_parts::write_foreign(part, losses).map(Value::Object)),
        }
    }
    if !inside.is_empty() {
        response.insert("parts".to_string(), Value::Array(inside));
    }
    let mut object = Object::new();
    let field = FUNCTION_RESPONSE.camel().to_string();
    object.insert(field, Value::Object(response));
    let mut written = vec![object];
    written.append(&mut beside);
    written
}

// Words that are a JSON object stand for themselves, unless they would be taken for what a failure says.
fn response_object(result: &ToolResult) -> Value {
    let texts = result.parts.iter().filter_map(Part::text);
    let text = texts.collect::<Vec<&str>>().join("\n");
    if result.is_error == Some(true) {
        return json!({"error": text});
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) if !has_meaning(&object) => Value::Object(object),
        Ok(value @ (Value::Array(_) | Value::Object(_))) => json!({"output": value}),
        _ => json!({"output": text}),
    }
}

fn has_meaning(object: &Object) -> bool {
    object.contains_key("output") || object.contains_key("error")
}
