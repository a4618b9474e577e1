//! A valid instance of a JSON schema, for structured output: the smallest that its keywords allow.

use serde_json::{Map, Value, json};

/// How deep an instance goes; below, everything is null.
const DEPTH_MAX: usize = 16;

/// The most values of an instance.
const VALUES_MAX: usize = 1_024;

/// The most items of an array and characters of a text, whatever the schema demands.
const LENGTH_MAX: u64 = 64;

/// An instance of `schema`, in JSON Schema or in Google's form with types in capitals.
pub(super) fn instance(schema: &Value) -> Value {
    let mut left = VALUES_MAX;
    build(schema, schema, DEPTH_MAX, &mut left)
}

fn build(schema: &Value, root: &Value, depth: usize, left: &mut usize) -> Value {
    if depth == 0 || *left == 0 {
        return Value::Null;
    }
    *left -= 1;
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let pointer = target.strip_prefix('#').unwrap_or(target);
        let target = root.pointer(pointer).unwrap_or(&Value::Null);
        return build(target, root, depth - 1, left);
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(value) = schema["enum"].get(0) {
        return value.clone();
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[key].get(0) {
            return build(first, root, depth - 1, left);
        }
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.to_ascii_lowercase(),
        Value::Array(kinds) => kinds
            .first()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        _ if schema.get("properties").is_some() => "object".to_owned(),
        _ => "string".to_owned(),
    };
    match kind.as_str() {
        "object" => {
            let mut object = Map::new();
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                object.insert(name.clone(), build(property, root, depth - 1, left));
            }
            Value::Object(object)
        }
        "array" => {
            let length = schema["minItems"].as_u64().unwrap_or(1).min(LENGTH_MAX);
            let items = (0..length).map(|_| build(&schema["items"], root, depth - 1, left));
            Value::Array(items.collect())
        }
        "boolean" => json!(true),
        "null" => Value::Null,
        "integer" => number(schema).map_or(json!(1), |least| json!(least.ceil() as i64)),
        "number" => number(schema).map_or(json!(1.5), |least| json!(least)),
        _ => json!(text(schema)),
    }
}

/// A number at the edge of what is allowed, when an edge is given.
fn number(schema: &Value) -> Option<f64> {
    let edge = |key: &str| schema[key].as_f64();
    edge("minimum")
        .or_else(|| edge("exclusiveMinimum").map(|edge| edge.floor() + 1.0))
        .or_else(|| edge("maximum"))
        .or_else(|| edge("exclusiveMaximum").map(|edge| edge.ceil() - 1.0))
}

fn text(schema: &Value) -> String {
    match schema["format"].as_str() {
        Some("date") => return "2025-01-01".to_owned(),
        Some("date-time") => return "2025-01-01T00:00:00Z".to_owned(),
        Some("uuid") => return "00000000-0000-4000-8000-000000000000".to_owned(),
        Some("email") => return "mock@example.com".to_owned(),
        _ => {}
    }
    let least = schema["minLength"].as_u64().unwrap_or(0).min(LENGTH_MAX) as usize;
    let most = schema["maxLength"].as_u64().unwrap_or(LENGTH_MAX) as usize;
    format!("{:x<least$}", "text").chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_what_each_keyword_demands() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 6},
                "colour": {"enum": ["red", "blue"]},
                "size": {"type": "integer", "minimum": 3},
                "tags": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": 2},
                "inner": {"$ref": "#/$defs/inner"},
            },
            "$defs": {"inner": {"type": "object", "properties": {"ok": {"type": "boolean"}}}},
        });
        assert_eq!(
            instance(&schema),
            json!({"name": "textxx", "colour": "red", "size": 3, "tags": ["text", "text"], "inner": {"ok": true}})
        );
    }

    #[test]
    fn a_schema_that_never_ends_or_demands_too_much_is_bounded() {
        let endless = json!({"$ref": "#"});
        assert_eq!(instance(&endless), Value::Null);
        let wide = json!({"type": "array", "minItems": 4_000_000_000_u64, "items": {"type": "array", "minItems": 9_999_u64}});
        assert!(instance(&wide).to_string().len() < 100_000);
    }
}
