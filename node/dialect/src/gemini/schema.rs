//! Google's subset of OpenAPI schemas, read as JSON Schema.
//!
//! The subset has types in capitals, `nullable` in place of a type, numbers as text, and an order of properties. Toward
//! Gemini no schema is converted: it takes JSON Schema in fields of its own.

use serde_json::{Value, json};

use crate::grammar::Object;

const ORDERINGS: [&str; 2] = ["propertyOrdering", "property_ordering"];

/// A schema of the subset as JSON Schema.
pub(super) fn to_json_schema(schema: &Value) -> Value {
    let Value::Object(schema) = schema else {
        return schema.clone();
    };
    let mut written = Object::new();
    for (key, value) in schema {
        match key.as_str() {
            "type" => {
                if let Some(value) = type_of(value) {
                    written.insert(key.clone(), value);
                }
            }
            "properties" => {
                written.insert(key.clone(), each(value));
            }
            "items" => {
                written.insert(key.clone(), to_json_schema(value));
            }
            "anyOf" | "any_of" => {
                let list = value.as_array().into_iter().flatten();
                let list = list.map(to_json_schema).collect();
                written.insert("anyOf".to_string(), Value::Array(list));
            }
            "example" => {
                written.insert("examples".to_string(), json!([value]));
            }
            "nullable" | "propertyOrdering" | "property_ordering" => {}
            _ => {
                let (key, value) = limit(key, value);
                written.insert(key.to_string(), value);
            }
        }
    }
    if schema.get("nullable") == Some(&Value::Bool(true)) {
        allow_null(&mut written);
    }
    Value::Object(written)
}

/// The field in which a schema says in which order its properties are written: JSON Schema has no word for it.
pub(super) fn ordering(schema: &Value) -> Option<&'static str> {
    ORDERINGS
        .into_iter()
        .find(|field| schema.get(field).is_some())
}

/// Whether every object of a JSON schema names all its properties as required and takes no others, which is what
/// others mean by a strict one.
pub(super) fn is_closed(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => {
            let is_named = match object.get("properties").and_then(Value::as_object) {
                Some(properties) => {
                    let required = object.get("required").and_then(Value::as_array);
                    let is_required = |name: &String| {
                        required.is_some_and(|list| list.iter().any(|field| field == name))
                    };
                    object.get("additionalProperties") == Some(&Value::Bool(false))
                        && properties.keys().all(is_required)
                }
                None => object.get("type") != Some(&json!("object")),
            };
            is_named && object.values().all(is_closed)
        }
        Value::Array(list) => list.iter().all(is_closed),
        _ => true,
    }
}

fn each(properties: &Value) -> Value {
    let Value::Object(properties) = properties else {
        return properties.clone();
    };
    let properties = properties.iter();
    let converted = properties.map(|(name, schema)| (name.clone(), to_json_schema(schema)));
    Value::Object(converted.collect())
}

fn type_of(value: &Value) -> Option<Value> {
    match value.as_str() {
        Some("TYPE_UNSPECIFIED") => None,
        Some(word) => Some(json!(word.to_ascii_lowercase())),
        None => Some(value.clone()),
    }
}

// Whole numbers of 64 bits stand as text in Google's JSON.
fn limit<'a>(key: &'a str, value: &Value) -> (&'a str, Value) {
    let key = match key {
        "max_items" => "maxItems",
        "min_items" => "minItems",
        "max_length" => "maxLength",
        "min_length" => "minLength",
        "max_properties" => "maxProperties",
        "min_properties" => "minProperties",
        key => key,
    };
    let is_count = matches!(
        key,
        "maxItems" | "minItems" | "maxLength" | "minLength" | "maxProperties" | "minProperties"
    );
    let count = value.as_str().and_then(|text| text.parse::<u64>().ok());
    match count.filter(|_| is_count) {
        Some(count) => (key, json!(count)),
        None => (key, value.clone()),
    }
}

fn allow_null(schema: &mut Object) {
    if let Some(Value::String(word)) = schema.get("type") {
        let types = json!([word, "null"]);
        schema.insert("type".to_string(), types);
    }
    let null = match schema.contains_key("anyOf") {
        true => ("anyOf", json!({"type": "null"})),
        false => ("enum", Value::Null),
    };
    if let Some(Value::Array(list)) = schema.get_mut(null.0) {
        list.push(null.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_in_lower_case_at_every_depth() {
        let subset = json!({
            "type": "OBJECT", "propertyOrdering": ["type"], "required": ["type"],
            "properties": {"type": {"type": "ARRAY", "maxItems": "3", "items": {"type": "STRING", "format": "enum"}}},
        });
        let expected = json!({
            "type": "object", "required": ["type"],
            "properties": {"type": {"type": "array", "maxItems": 3, "items": {"type": "string", "format": "enum"}}},
        });
        assert_eq!(to_json_schema(&subset), expected);
        assert_eq!(ordering(&subset), Some("propertyOrdering"));
    }

    #[test]
    fn nullable_becomes_a_type() {
        let subset = json!({"type": "STRING", "nullable": true, "enum": ["a"]});
        let expected = json!({"type": ["string", "null"], "enum": ["a", null]});
        assert_eq!(to_json_schema(&subset), expected);
        let subset = json!({"any_of": [{"type": "NUMBER"}], "nullable": true});
        let expected = json!({"anyOf": [{"type": "number"}, {"type": "null"}]});
        assert_eq!(to_json_schema(&subset), expected);
    }

    #[test]
    fn closed_schema_requires_everything_and_takes_nothing_else() {
        let mut schema =
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
        assert!(!is_closed(&schema));
        schema["additionalProperties"] = json!(false);
        assert!(is_closed(&schema));
        schema["properties"]["b"] = json!({"type": "string"});
        assert!(!is_closed(&schema));
    }
}
