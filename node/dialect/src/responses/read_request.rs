//! Reads a request for a response.

use serde_json::{Value, json};

use super::{DIALECT, read_items, tools};
use crate::fields::{Fields, ReadError, element};
use crate::grammar::Object;
use crate::hub::part::{Part, PartKind};
use crate::hub::request::{HubRequest, Reasoning, ReasoningMode, Role, Sampling, Turn};
use crate::reasoning::NO_EFFORT;
use crate::rest::Rest;

/// What stands in place of an input, each kept by the provider.
const INPUTS_ELSEWHERE: [&str; 3] = ["prompt", "previous_response_id", "conversation"];

/// What a client may ask for beside the answer that it gets in any case, sealed or in the answer's own field.
const INCLUDED: [&str; 2] = [ENCRYPTED_THOUGHTS, LOGPROBS];

/// Asks for thoughts in a form that the provider alone can read.
pub(super) const ENCRYPTED_THOUGHTS: &str = "reasoning.encrypted_content";

/// Asks for log probabilities.
pub(super) const LOGPROBS: &str = "message.output_text.logprobs";

pub(super) fn read(body: Object) -> Result<HubRequest, ReadError> {
    let mut fields = Fields::of(DIALECT, "", body);
    let mut request = HubRequest::new(Rest::new(DIALECT, ""));
    request.turns = read_input(&mut fields)?;
    request.instructions = read_instructions(&mut fields);
    request.model = fields.text("model");
    read_tools(&mut fields, &mut request);
    request.max_tokens = fields.count("max_output_tokens");
    request.sampling = Sampling {
        temperature: fields.number("temperature"),
        top_p: fields.number("top_p"),
        frequency_penalty: fields.number("frequency_penalty"),
        presence_penalty: fields.number("presence_penalty"),
        ..Sampling::default()
    };
    request.reasoning = read_reasoning(&mut fields);
    if let Some(mut text) = fields.enter("text") {
        request.output = tools::read_output(&mut text);
        request.verbosity = text.text("verbosity");
        fields.leave("text", text);
    }
    request.user = fields.text("user");
    request.safety_identifier = fields.text("safety_identifier");
    request.metadata = fields.object("metadata");
    request.prompt_cache_key = fields.text("prompt_cache_key");
    request.service_tier = fields.text("service_tier");
    request.stream = fields.flag("stream");
    if let Some(mut options) = fields.enter("stream_options") {
        options.blank("include_obfuscation");
        fields.leave("stream_options", options);
    }
    read_logprobs(&mut fields, &mut request);
    keep_defaults(&mut fields);
    name_fields(&mut fields);
    request.rest = fields.finish();
    Ok(request)
}

// What the hub calls otherwise.
fn name_fields(fields: &mut Fields) {
    fields.set_name("max_tokens", "max_output_tokens");
    fields.set_name("effort", "reasoning.effort");
    fields.set_name("summary", "reasoning.summary");
    fields.set_name("output", "text.format");
    fields.set_name("verbosity", "text.verbosity");
    fields.set_name("logprobs", "include");
}

// What is so anyway where there is no such field. `store` is among them: who refers back loses that by name.
fn keep_defaults(fields: &mut Fields) {
    fields.blank("store");
    fields.blank_if("background", &json!(false));
    fields.blank_if("truncation", &json!("disabled"));
}

fn read_input(fields: &mut Fields) -> Result<Vec<Turn>, ReadError> {
    let path = fields.at("input");
    match fields.take("input") {
        Some(Value::String(text)) => {
            fields.set_form("input", "string");
            let part = Part::new(PartKind::Text(text), Rest::new(DIALECT, path.clone()));
            Ok(vec![Turn {
                role: Role::User,
                parts: vec![part],
                rest: Rest::new(DIALECT, path),
            }])
        }
        Some(Value::Array(items)) => {
            fields.set_form("input", "list");
            Ok(read_items::read_turns(items, &path))
        }
        None if INPUTS_ELSEWHERE
            .iter()
            .any(|field| fields.peek(field).is_some()) =>
        {
            Ok(Vec::new())
        }
        _ => Err(ReadError::new(path, "a string or a list")),
    }
}

fn read_instructions(fields: &mut Fields) -> Vec<Part> {
    let path = fields.at("instructions");
    match fields.text("instructions") {
        Some(text) if text.is_empty() => {
            fields.keep_blank("instructions", json!(""));
            Vec::new()
        }
        Some(text) => vec![Part::new(PartKind::Text(text), Rest::new(DIALECT, path))],
        None => Vec::new(),
    }
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
    let selection = fields.take("tool_choice");
    request.tool_selection =
        selection.map(|selection| tools::read_selection(selection, fields.at("tool_choice")));
    request.parallel_tool_calls = fields.flag("parallel_tool_calls");
}

fn read_reasoning(fields: &mut Fields) -> Reasoning {
    let mut reasoning = Reasoning::default();
    if let Some(mut inside) = fields.enter("reasoning") {
        reasoning.effort = inside.text("effort");
        reasoning.summary = inside.text("summary");
        fields.leave("reasoning", inside);
    }
    reasoning.mode = reasoning.effort.as_deref().map(|effort| match effort {
        NO_EFFORT => ReasoningMode::Disabled,
        _ => ReasoningMode::Enabled,
    });
    reasoning
}

// The list of what to include stays as it is, and is lost where it asks for anything that only home has. Other
// dialects refuse a number of alternatives without log probabilities, and so it asks for them.
fn read_logprobs(fields: &mut Fields, request: &mut HubRequest) {
    let list = fields.peek("include").and_then(Value::as_array);
    let list = list.map(Vec::as_slice).unwrap_or_default();
    let is_known = |word: &Value| word.as_str().is_some_and(|word| INCLUDED.contains(&word));
    let is_included = list.iter().any(|word| word == LOGPROBS);
    if list.iter().all(is_known) {
        fields.blank("include");
    }
    request.top_logprobs = fields.count("top_logprobs");
    if request.top_logprobs == Some(0) && !is_included {
        request.top_logprobs = None;
        fields.keep_blank("top_logprobs", json!(0));
    }
    let is_asked = is_included || request.top_logprobs.is_some();
    request.logprobs = is_asked.then_some(true);
}
