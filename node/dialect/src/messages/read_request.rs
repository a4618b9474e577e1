//! Reads a request for a message.

use serde_json::Value;

use super::read_parts::read_content;
use super::{DIALECT, tools};
use crate::cache_mark;
use crate::fields::{Fields, ReadError, element};
use crate::grammar::Object;
use crate::hub::request::{
    HubRequest, OutputFormat, OutputKind, Reasoning, ReasoningMode, Role, Sampling, Turn,
};
use crate::rest::Rest;

pub(super) fn read(body: Object) -> Result<HubRequest, ReadError> {
    let mut fields = Fields::of(DIALECT, "", body);
    let mut request = HubRequest::new(Rest::new(DIALECT, ""));
    request.instructions = read_content(&mut fields, "system");
    for (index, message) in fields.need_list("messages")?.into_iter().enumerate() {
        let message = Fields::new(DIALECT, element("messages", index), message)?;
        request.turns.push(read_turn(message)?);
    }
    request.model = fields.text("model");
    read_tools(&mut fields, &mut request);
    request.max_tokens = fields.count("max_tokens");
    request.stop = match fields.texts("stop_sequences") {
        Some(list) if list.is_empty() => {
            fields.keep_blank("stop_sequences", Value::Array(Vec::new()));
            list
        }
        list => list.unwrap_or_default(),
    };
    request.sampling = Sampling {
        temperature: fields.number("temperature"),
        top_p: fields.number("top_p"),
        top_k: fields.number("top_k"),
        ..Sampling::default()
    };
    request.reasoning = read_reasoning(&mut fields);
    read_output_config(&mut fields, &mut request);
    if let Some(mut metadata) = fields.enter("metadata") {
        request.user = metadata.text("user_id");
        fields.leave("metadata", metadata);
    }
    request.cache = cache_mark::read(&mut fields);
    request.service_tier = fields.text("service_tier");
    request.stream = fields.flag("stream");
    for (field, name) in [
        ("instructions", "system"),
        ("user", "metadata.user_id"),
        ("stop", "stop_sequences"),
        ("effort", "output_config.effort"),
        ("budget", "thinking.budget_tokens"),
        ("output", "output_config.format"),
        ("summary", "thinking.display"),
    ] {
        fields.set_name(field, name);
    }
    request.rest = fields.finish();
    Ok(request)
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

fn read_tools(fields: &mut Fields, request: &mut HubRequest) {
    match fields.list("tools") {
        Some(list) if list.is_empty() => fields.keep_blank("tools", Value::Array(list)),
        Some(list) => {
            let tools = list.into_iter().enumerate();
            request.tools = tools
                .map(|(index, tool)| tools::read_tool(tool, element("tools", index)))
                .collect();
        }
        None => {}
    }
    tools::read_selection(fields, request);
}

fn read_reasoning(fields: &mut Fields) -> Reasoning {
    let mut reasoning = Reasoning::default();
    let kind = fields
        .peek("thinking")
        .and_then(|thinking| thinking["type"].as_str());
    let mode = match kind {
        Some("enabled") => ReasoningMode::Enabled,
        Some("disabled") => ReasoningMode::Disabled,
        Some("adaptive") => ReasoningMode::Adaptive,
        _ => return reasoning,
    };
    if let Some(mut thinking) = fields.enter("thinking") {
        thinking.take("type");
        reasoning.mode = Some(mode);
        reasoning.budget = thinking.count("budget_tokens");
        reasoning.summary = thinking.text("display");
        fields.leave("thinking", thinking);
    }
    reasoning
}

fn read_output_config(fields: &mut Fields, request: &mut HubRequest) {
    let Some(mut config) = fields.enter("output_config") else {
        return;
    };
    request.reasoning.effort = config.text("effort");
    let is_schema =
        |format: &Value| format["type"] == "json_schema" && format["schema"].is_object();
    if config.peek("format").is_some_and(is_schema)
        && let Some(mut format) = config.enter("format")
    {
        format.take("type");
        let kind = OutputKind::Schema {
            name: None,
            description: None,
            schema: format.take("schema").unwrap_or_default(),
            strict: None,
        };
        let rest = format.finish();
        request.output = Some(OutputFormat { kind, rest });
    }
    fields.leave("output_config", config);
}
