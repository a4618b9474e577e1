//! `outputConfig`: the form of the answer, a JSON schema written as text.

use serde_json::{Map, Value, json};

use crate::fields::{Fields, inside};
use crate::grammar::Object;
use crate::hub::request::{OutputFormat, OutputKind};
use crate::loss::LossList;

use super::DIALECT;

const CONFIG: &str = "outputConfig";

/// Takes the form of the answer.
pub(super) fn read(fields: &mut Fields) -> Option<OutputFormat> {
    let schema = schema_of(fields.peek(CONFIG)?)?;
    let mut config = fields.enter(CONFIG)?;
    let mut format = config.enter("textFormat")?;
    format.take("type");
    let mut structure = format.enter("structure")?;
    let mut definition = structure.enter("jsonSchema")?;
    // The text may be written in other ways than ours.
    definition.blank("schema");
    let kind = OutputKind::Schema {
        name: definition.text("name"),
        description: definition.text("description"),
        schema,
        strict: None,
    };
    let rest = definition.finish();
    format.leave("structure", structure);
    config.leave("textFormat", format);
    fields.leave(CONFIG, config);
    Some(OutputFormat { kind, rest })
}

fn schema_of(config: &Value) -> Option<Value> {
    let format = &config["textFormat"];
    let text = format["structure"]["jsonSchema"]["schema"].as_str()?;
    let schema: Value = serde_json::from_str(text).ok()?;
    let is_schema = format["type"] == "json_schema" && schema.is_object();
    is_schema.then_some(schema)
}

/// Writes the form of the answer. What Converse takes is strict, and says nothing of it.
pub(super) fn write(output: &OutputFormat, body: &mut Object, losses: &mut LossList) {
    match &output.kind {
        OutputKind::Text => output.rest.lose_elsewhere(DIALECT, losses),
        OutputKind::Json => {
            losses.add(
                output.rest.path(),
                "Converse answers in JSON by a schema alone",
            );
        }
        OutputKind::Schema {
            name,
            description,
            schema,
            ..
        } => {
            let mut definition = Map::new();
            for (field, text) in [("name", name), ("description", description)] {
                if let Some(text) = text {
                    definition.insert(field.to_string(), json!(text));
                }
            }
            if !output.rest.is_from(DIALECT) {
                definition.insert("schema".to_string(), json!(schema.to_string()));
            }
            output.rest.write(DIALECT, &mut definition, losses);
            if let Some(config) = inside(body, CONFIG)
                && let Some(format) = inside(config, "textFormat")
            {
                format.insert("type".to_string(), json!("json_schema"));
                format.insert("structure".to_string(), json!({"jsonSchema": definition}));
            }
        }
    }
}
