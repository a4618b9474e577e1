//! Checks the tree against the schema: unknown keys, wrong kinds and wrong words, all of them at once.
//!
//! What does not fit is left out of the result, so that the checks that follow see the rest. The
//! schema is the one that is printed for editors, made from [`super::file`]: what it accepts and what
//! is accepted here cannot drift apart.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::nearest::nearest;
use super::problem::ConfigReport;
use super::source_map::{SourceMap, kind};
use super::tree::{Kind, Scalar, TreeEntry, TreeNode};

/// What of `tree` fits `schema`, and where it was written. `refused` are keys reported already.
pub(super) fn fit(
    tree: &TreeNode,
    schema: &Value,
    refused: BTreeSet<String>,
    report: &mut ConfigReport,
) -> (Value, SourceMap) {
    let source_map = SourceMap::new(refused);
    let mut fitter = Fitter {
        root: schema,
        source_map,
        report,
    };
    let value = fitter
        .value("", tree, schema)
        .unwrap_or(Value::Object(Map::new()));
    (value, fitter.source_map)
}

struct Fitter<'a> {
    root: &'a Value,
    source_map: SourceMap,
    report: &'a mut ConfigReport,
}

impl<'a> Fitter<'a> {
    fn value(&mut self, key: &str, node: &TreeNode, schema: &'a Value) -> Option<Value> {
        let schema = self.resolve(schema, node);
        if matches!(node.kind, Kind::Null) {
            return None;
        }
        self.source_map.write(key, node, is_secret(schema));
        let words = words(schema);
        if !words.is_empty() {
            return self.word(key, node, &words);
        }
        if has_type(schema, "object") {
            return self.map(key, node, schema);
        }
        if has_type(schema, "array") {
            return self.list(key, node, &schema["items"]);
        }
        let Kind::Scalar(scalar) = &node.kind else {
            let wanted = if has_type(schema, "string") {
                "a text"
            } else if has_type(schema, "boolean") {
                "true or false"
            } else {
                "a number"
            };
            return self.refuse(
                key,
                node,
                format!("must be {wanted}, not {}", kind(node)),
                "write a single value",
            );
        };
        if has_type(schema, "string") {
            return Some(Value::String(scalar.text.clone()));
        }
        if has_type(schema, "boolean") {
            return self.flag(key, node, scalar);
        }
        self.number(key, node, scalar, has_type(schema, "integer"))
    }

    fn flag(&mut self, key: &str, node: &TreeNode, scalar: &Scalar) -> Option<Value> {
        match scalar.text.as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => {
                let problem = format!("{} is neither true nor false", self.source_map.shown(key));
                self.refuse(key, node, problem, "write true or false")
            }
        }
    }

    /// Follows references, and picks among alternatives the one of the node's kind.
    fn resolve(&self, schema: &'a Value, node: &TreeNode) -> &'a Value {
        let mut schema = schema;
        loop {
            if let Some(name) = schema["$ref"].as_str() {
                schema = self
                    .root
                    .pointer(name.trim_start_matches('#'))
                    .unwrap_or(&Value::Null);
            } else if let Some(alternatives) = schema["anyOf"].as_array() {
                let wanted = match node.kind {
                    Kind::Map(_) => "object",
                    Kind::List(_) => "array",
                    Kind::Null | Kind::Scalar(_) => "string",
                };
                let mut real = alternatives
                    .iter()
                    .filter(|alternative| alternative["type"] != "null");
                let first = real.clone().next().unwrap_or(&Value::Null);
                schema = real
                    .find(|alternative| has_type(self.target(alternative), wanted))
                    .unwrap_or(first);
            } else {
                return schema;
            }
        }
    }

    fn target(&self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(name) => self
                .root
                .pointer(name.trim_start_matches('#'))
                .unwrap_or(&Value::Null),
            None => schema,
        }
    }

    fn map(&mut self, key: &str, node: &TreeNode, schema: &'a Value) -> Option<Value> {
        let Kind::Map(entries) = &node.kind else {
            let problem = format!("must be a map of keys and values, not {}", kind(node));
            return self.refuse(
                key,
                node,
                problem,
                "write the keys on lines of their own, indented",
            );
        };
        let known = schema["properties"].as_object();
        let mut map = Map::new();
        for entry in entries {
            let path = join(key, &entry.key);
            let inner = match known.and_then(|known| known.get(&entry.key)) {
                Some(inner) => inner,
                None if schema["additionalProperties"].is_object() => {
                    &schema["additionalProperties"]
                }
                None => {
                    self.unknown(&path, entry, known);
                    continue;
                }
            };
            if let Some(value) = self.value(&path, &entry.value, inner) {
                map.insert(entry.key.clone(), value);
            }
        }
        for required in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            let path = join(key, required);
            if !map.contains_key(required) && !self.source_map.was_refused(&path) {
                self.report.problem(
                    &node.origin,
                    &path,
                    "is missing",
                    format!("write {required}: and its value"),
                );
                self.source_map.refuse(&path);
            }
        }
        Some(Value::Object(map))
    }

    fn unknown(&mut self, path: &str, entry: &TreeEntry, known: Option<&'a Map<String, Value>>) {
        let words = || known.into_iter().flat_map(Map::keys).map(String::as_str);
        let remedy = match nearest(&entry.key, words()) {
            Some(near) => format!("did you mean {near}?"),
            None => {
                let all = words().collect::<Vec<_>>().join(", ");
                format!("remove it; known here are {all}")
            }
        };
        self.report
            .problem(&entry.key_origin, path, "is not a known key", remedy);
    }

    fn list(&mut self, key: &str, node: &TreeNode, items: &'a Value) -> Option<Value> {
        let Kind::List(nodes) = &node.kind else {
            let problem = format!("must be a list, not {}", kind(node));
            return self.refuse(
                key,
                node,
                problem,
                "write [a, b], or one line with a dash for each",
            );
        };
        let mut values = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let path = format!("{key}[{index}]");
            if matches!(node.kind, Kind::Null) && !self.source_map.was_refused(&path) {
                self.refuse(
                    &path,
                    node,
                    "is empty".to_owned(),
                    "write a value, or remove the item",
                );
            }
            // What is refused keeps its position, so that later items keep their numbers.
            values.push(self.value(&path, node, items).unwrap_or(Value::Null));
        }
        Some(Value::Array(values))
    }

    fn word(&mut self, key: &str, node: &TreeNode, words: &[&str]) -> Option<Value> {
        let Kind::Scalar(scalar) = &node.kind else {
            let problem = format!("must be a word, not {}", kind(node));
            return self.refuse(key, node, problem, &format!("use {}", words.join(", ")));
        };
        if words.contains(&scalar.text.as_str()) {
            return Some(Value::String(scalar.text.clone()));
        }
        let problem = format!("{} is not known here", self.source_map.shown(key));
        let remedy = match nearest(&scalar.text, words.iter().copied()) {
            Some(near) if words.len() > 1 => {
                format!("did you mean {near}? Known are {}", words.join(", "))
            }
            _ => format!("use {}", words.join(", ")),
        };
        self.refuse(key, node, problem, &remedy)
    }

    fn number(
        &mut self,
        key: &str,
        node: &TreeNode,
        scalar: &Scalar,
        is_whole: bool,
    ) -> Option<Value> {
        let quoted_by_hand = scalar.quoted && scalar.written.is_none();
        let parsed = match is_whole {
            true => scalar.text.parse::<u64>().ok().map(Value::from),
            false => scalar
                .text
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .map(Value::from),
        };
        match parsed {
            Some(number) if !quoted_by_hand => Some(number),
            Some(_) => self.refuse(
                key,
                node,
                "must be a number, not a text".to_owned(),
                "remove the quotes",
            ),
            None => {
                let (wanted, example) = if is_whole {
                    ("a whole number", "8")
                } else {
                    ("a number", "1.5")
                };
                let problem = format!("{} is not {wanted}", self.source_map.shown(key));
                self.refuse(
                    key,
                    node,
                    problem,
                    &format!("write digits, such as {example}"),
                )
            }
        }
    }

    fn refuse(
        &mut self,
        key: &str,
        node: &TreeNode,
        problem: String,
        remedy: &str,
    ) -> Option<Value> {
        self.report.problem(&node.origin, key, problem, remedy);
        self.source_map.refuse(key);
        None
    }
}

fn join(key: &str, inner: &str) -> String {
    if key.is_empty() {
        inner.to_owned()
    } else {
        format!("{key}.{inner}")
    }
}

fn has_type(schema: &Value, name: &str) -> bool {
    match &schema["type"] {
        Value::String(one) => one == name,
        Value::Array(several) => several.iter().any(|one| one == name),
        _ => false,
    }
}

/// The words of an enumeration, whichever way the schema lists them.
fn words(schema: &Value) -> Vec<&str> {
    let listed =
        |schema: &'_ Value| schema["enum"].as_array().is_some() || schema["const"].is_string();
    let own = std::iter::once(schema).filter(|schema| listed(schema));
    let alternatives = schema["oneOf"].as_array().into_iter().flatten();
    own.chain(alternatives)
        .flat_map(|schema| {
            let several = schema["enum"].as_array().into_iter().flatten();
            several
                .chain(std::iter::once(&schema["const"]))
                .filter_map(Value::as_str)
        })
        .collect()
}

fn is_secret(schema: &Value) -> bool {
    schema["writeOnly"] == true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_every_form_of_enumeration() {
        let schema = serde_json::json!({"oneOf": [{"const": "a"}, {"enum": ["b", "c"]}]});
        assert_eq!(words(&schema), ["a", "b", "c"]);
        assert_eq!(words(&serde_json::json!({"enum": ["a"]})), ["a"]);
        assert!(words(&serde_json::json!({"type": "string"})).is_empty());
    }
}
