//! Reads a request.

use serde_json::{Map, Value, json};

use super::read_parts::read_content;
use super::{DIALECT, answer, output, tools};
use crate::fields::{Fields, ReadError, element};
use crate::grammar::Object;
use crate::hub::request::{HubRequest, Reasoning, ReasoningMode, Role, Turn};
use crate::rest::Rest;

/// The field of what a model takes beyond the API's own.
pub(super) const MODEL_FIELDS: &str = "additionalModelRequestFields";

/// The field of what an answer repeats of the model's own.
pub(super) const RESPONSE_PATHS: &str = "additionalModelResponseFieldPaths";

/// Where an answer of Anthropic's models says which sequence stopped it.
pub(super) const STOP_SEQUENCE_PATH: &str = "/stop_sequence";

/// The names under which Anthropic's models take how they think; the second is the older.
const THINKING: [&str; 2] = ["thinking", "reasoning_config"];

pub(super) fn read(body: Object) -> Result<HubRequest, ReadError> {
    let mut fields = Fields::of(DIALECT, "", body);
    let mut request = HubRequest::new(Rest::new(DIALECT, ""));
    request.instructions = read_content(&mut fields, "system");
    read_turns(&mut fields, &mut request)?;
    // It stands in the URL; software kits show it beside the body.
    request.model = fields.text("modelId");
    if request.model.is_some() {
        fields.set_form("model", "body");
    }
    tools::read(&mut fields, &mut request);
    read_inference(&mut fields, &mut request);
    read_model_fields(&mut fields, &mut request);
    request.output = output::read(&mut fields);
    request.metadata = fields.object("requestMetadata");
    request.service_tier = answer::read_tier(&mut fields);
    // Other dialects say it without being asked, or never.
    fields.blank_if(RESPONSE_PATHS, &json!([STOP_SEQUENCE_PATH]));
    for (field, name) in [
        ("instructions", "system"),
        ("model", "modelId"),
        ("max_tokens", "inferenceConfig.maxTokens"),
        ("temperature", "inferenceConfig.temperature"),
        ("top_p", "inferenceConfig.topP"),
        ("stop", "inferenceConfig.stopSequences"),
        ("top_k", "additionalModelRequestFields.top_k"),
        ("budget", "additionalModelRequestFields.thinking"),
        ("summary", "additionalModelRequestFields.thinking"),
        ("metadata", "requestMetadata"),
        ("service_tier", "serviceTier.type"),
        ("tools", "toolConfig.tools"),
    ] {
        fields.set_name(field, name);
    }
    request.rest = fields.finish();
    Ok(request)
}

// A stored prompt brings its own messages.
fn read_turns(fields: &mut Fields, request: &mut HubRequest) -> Result<(), ReadError> {
    if fields.peek("messages").is_none() && fields.peek("promptVariables").is_some() {
        fields.set_form("messages", "absent");
        return Ok(());
    }
    for (index, message) in fields.need_list("messages")?.into_iter().enumerate() {
        let message = Fields::new(DIALECT, element("messages", index), message)?;
        request.turns.push(read_turn(message)?);
    }
    Ok(())
}

fn read_turn(mut fields: Fields) -> Result<Turn, ReadError> {
    let role = match fields.need_text("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => Role::Other(other.to_string()),
    };
    let parts = read_content(&mut fields, "content");
    let rest = fields.finish();
    Ok(Turn { role, parts, rest })
}

fn read_inference(fields: &mut Fields, request: &mut HubRequest) {
    let Some(mut config) = fields.enter("inferenceConfig") else {
        return;
    };
    request.max_tokens = config.count("maxTokens");
    request.sampling.temperature = config.number("temperature");
    request.sampling.top_p = config.number("topP");
    request.stop = match config.texts("stopSequences") {
        Some(list) if list.is_empty() => {
            config.keep_blank("stopSequences", Value::Array(Vec::new()));
            list
        }
        list => list.unwrap_or_default(),
    };
    fields.leave("inferenceConfig", config);
}

fn read_model_fields(fields: &mut Fields, request: &mut HubRequest) {
    let Some(mut more) = fields.enter(MODEL_FIELDS) else {
        return;
    };
    request.sampling.top_k = more.number("top_k");
    fields.set_name("effort", "additionalModelRequestFields.thinking");
    let found = THINKING.into_iter().find(|field| {
        let thinking = more.peek(field).and_then(Value::as_object);
        thinking.and_then(mode_of).is_some()
    });
    if let Some(field) = found {
        request.reasoning = read_thinking(&mut more, field);
        fields.set_form("thinking", field);
    }
    let has_effort = more
        .peek("output_config")
        .is_some_and(|config| config["effort"].is_string());
    if has_effort && let Some(mut config) = more.enter("output_config") {
        request.reasoning.effort = config.text("effort");
        more.leave("output_config", config);
        fields.set_form("effort", "output_config");
        fields.set_name(
            "effort",
            "additionalModelRequestFields.output_config.effort",
        );
    } else if let Some(effort) = more.text("reasoning_effort") {
        request.reasoning.effort = Some(effort);
        fields.set_form("effort", "reasoning_effort");
        fields.set_name("effort", "additionalModelRequestFields.reasoning_effort");
    }
    fields.leave(MODEL_FIELDS, more);
}

fn mode_of(thinking: &Map<String, Value>) -> Option<ReasoningMode> {
    match thinking.get("type")?.as_str()? {
        "enabled" => Some(ReasoningMode::Enabled),
        "disabled" => Some(ReasoningMode::Disabled),
        "adaptive" => Some(ReasoningMode::Adaptive),
        _ => None,
    }
}

fn read_thinking(more: &mut Fields, field: &'static str) -> Reasoning {
    let mut reasoning = Reasoning::default();
    let thinking = more.peek(field).and_then(Value::as_object);
    reasoning.mode = thinking.and_then(mode_of);
    if let Some(mut thinking) = more.enter(field) {
        thinking.take("type");
        reasoning.budget = thinking.count("budget_tokens");
        reasoning.summary = thinking.text("display");
        more.leave(field, thinking);
    }
    reasoning
}
