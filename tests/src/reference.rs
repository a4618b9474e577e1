//! The configuration reference of the manual, made from the JSON Schema and the list of environment variables.
//!
//! The page is a function of what the program itself reads, so a test can compare it with the file. Defaults are
//! in the descriptions, as `Default: X.`, since the schema's own would be those of the file and not of the node.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};

const HEAD: &str = "<!-- Generated: cargo run -p grapevine-tests --example reference -->

# Configuration reference

All keys of the configuration file, by section. `[]` stands for each item of a list. [Configuration](configuration.md)
describes where values come from. Durations have a unit (`250ms`, `2s`, `10m`, `30d`), and so do sizes (`64KiB`, `32MiB`).
";

const VARIABLES: &str = "
## Environment variables

A variable overrides the key of the file. Lists are separated by commas. `GRAPEVINE_CONFIG` names the file.

| variable | key |
| --- | --- |
";

/// The whole page.
#[must_use]
pub fn page() -> String {
    let schema = grapevine_node::config::schema();
    let mut page = HEAD.to_owned();
    let mut sections = Sections {
        definitions: schema["$defs"].as_object().cloned().unwrap_or_default(),
        texts: BTreeMap::new(),
    };
    sections.visit("", &schema);
    for (path, text) in &sections.texts {
        let title = match path.as_str() {
            "" => "Top level".to_owned(),
            path => format!("`{path}`"),
        };
        let _ = write!(page, "\n## {title}\n\n{text}");
    }
    page += VARIABLES;
    for (variable, key) in grapevine_node::config::env::overrides() {
        let _ = writeln!(page, "| `{variable}` | `{key}` |");
    }
    page
}

/// The text of each section, by the path of its keys.
struct Sections {
    definitions: Map<String, Value>,
    texts: BTreeMap<String, String>,
}

impl Sections {
    /// Writes the section of the object `schema` at `path`, and those below it.
    fn visit(&mut self, path: &str, schema: &Value) {
        let mut text = String::new();
        if !path.is_empty() {
            let _ = writeln!(text, "{}\n", line(&schema["description"]));
        }
        text += "| key | type | default | description |\n| --- | --- | --- | --- |\n";
        let properties = schema["properties"].as_object();
        let required = schema["required"].as_array();
        let is_required =
            |key: &str| required.is_some_and(|keys| keys.iter().any(|one| one == key));
        let mut below = Vec::new();
        for (key, property) in properties.into_iter().flatten() {
            let (description, default) = split(&line(&property["description"]));
            let default = match default {
                Some(default) => default,
                None if is_required(key) => "required".to_owned(),
                None => String::new(),
            };
            let (kind, words) = self.kind(property, &join(path, key), &mut below);
            let description = [description, words].concat();
            let _ = writeln!(text, "| `{key}` | {kind} | {default} | {description} |");
        }
        self.texts.insert(path.to_owned(), text);
        for (path, schema) in below {
            self.visit(&path, &schema);
        }
    }

    /// The type of a value, and the words that it may be, with their meaning; objects are added to `below`.
    fn kind(
        &self,
        schema: &Value,
        path: &str,
        below: &mut Vec<(String, Value)>,
    ) -> (String, String) {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap_or(name);
            let definition = self.definitions.get(name).unwrap_or(&Value::Null);
            return self.kind(definition, path, below);
        }
        if let Some(words) = schema["oneOf"].as_array() {
            let word = |one: &Value| format!("`{}`", one["const"].as_str().unwrap_or_default());
            let meant = |one: &Value| format!("<br>{}: {}", word(one), line(&one["description"]));
            let kinds: Vec<String> = words.iter().map(word).collect();
            return (kinds.join(", "), words.iter().map(meant).collect());
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let choices = choices.iter().filter(|one| one["type"] != "null");
            let kinds: Vec<(String, String)> =
                choices.map(|one| self.kind(one, path, below)).collect();
            let (kinds, words): (Vec<String>, Vec<String>) = kinds.into_iter().unzip();
            return (kinds.join(" or "), words.concat());
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let types: Vec<&str> = types.into_iter().filter(|one| *one != "null").collect();
        let kind = match types.as_slice() {
            ["array"] => {
                let (kind, words) = self.kind(&schema["items"], &format!("{path}[]"), below);
                return (format!("list of {kind}"), words);
            }
            ["object"] if schema["properties"].is_object() => {
                below.push((path.to_owned(), schema.clone()));
                format!("[section](#{})", anchor(path))
            }
            ["object"] => {
                let (kind, words) = self.kind(&schema["additionalProperties"], path, below);
                return (format!("map to {kind}"), words);
            }
            ["string"] => of_text(schema).to_owned(),
            types => types.join(" or "),
        };
        (kind, String::new())
    }
}

/// What a text holds, by the examples of its schema.
fn of_text(schema: &Value) -> &'static str {
    let mut examples = schema["examples"].as_array().into_iter().flatten();
    let example = examples.next().and_then(Value::as_str).unwrap_or_default();
    match example {
        _ if schema["writeOnly"] == true => "secret string",
        "" => "string",
        size if size.ends_with('B') => "size",
        _ if examples.any(|example| example == "off") => "duration or `off`",
        _ => "duration",
    }
}

/// The anchor of the heading of a section.
fn anchor(path: &str) -> String {
    path.chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-'))
        .collect()
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

/// A description as one line of a table.
fn line(description: &Value) -> String {
    let text = description.as_str().unwrap_or_default();
    text.replace('\n', " ")
        .replace('|', "\\|")
        .replace('*', "\\*")
}

/// A description without its default, and the default.
fn split(description: &str) -> (String, Option<String>) {
    match description.split_once(" Default: ") {
        Some((text, default)) => (
            text.to_owned(),
            Some(default.trim_end_matches('.').to_owned()),
        ),
        None => (description.to_owned(), None),
    }
}
