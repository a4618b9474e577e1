//! Reads a request for a chat completion.

use serde_json::Value;

use super::{DIALECT, tools, turns};
use crate::fields::{Fields, ReadError, element};
use crate::grammar::Object;
use crate::hub::request::{HubRequest, Reasoning, ReasoningMode, Sampling};
use crate::reasoning::NO_EFFORT;
use crate::rest::Rest;

pub(super) fn read(body: Object) -> Result<HubRequest, ReadError> {
    let mut fields = Fields::of(DIALECT, "", body);
    let mut request = HubRequest::new(Rest::new(DIALECT, ""));
    for (index, message) in fields.need_list("messages")?.into_iter().enumerate() {
        let message = Fields::new(DIALECT, element("messages", index), message)?;
        request.turns.push(turns::read(message)?);
    }
    request.model = fields.text("model");
    read_tools(&mut fields, &mut request);
    request.max_tokens = read_max_tokens(&mut fields);
    request.stop = read_stop(&mut fields);
    request.sampling = read_sampling(&mut fields);
    request.reasoning = read_reasoning(&mut fields);
    if let Some(format) = fields.take("response_format") {
        match tools::read_output(format, fields.at("response_format")) {
            Ok(output) => request.output = Some(output),
            Err(format) => fields.put_back("response_format", format),
        }
    }
    request.verbosity = fields.text("verbosity");
    request.user = fields.text("user");
    request.safety_identifier = fields.text("safety_identifier");
    request.metadata = fields.object("metadata");
    request.prompt_cache_key = fields.text("prompt_cache_key");
    request.service_tier = fields.text("service_tier");
    request.store = fields.flag("store");
    request.stream = fields.flag("stream");
    if let Some(mut options) = fields.enter("stream_options") {
        request.include_usage = options.flag("include_usage");
        fields.leave("stream_options", options);
    }
    request.answers = fields.count("n");
    request.logprobs = fields.flag("logprobs");
    request.top_logprobs = fields.count("top_logprobs");
    name_fields(&mut fields);
    request.rest = fields.finish();
    Ok(request)
}

// What the hub calls otherwise.
fn name_fields(fields: &mut Fields) {
    fields.set_name("answers", "n");
    fields.set_name("effort", "reasoning_effort");
    fields.set_name("output", "response_format");
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

// The newer name holds where a body has both; the older one then stays what it is.
fn read_max_tokens(fields: &mut Fields) -> Option<u64> {
    for name in ["max_completion_tokens", "max_tokens"] {
        if let Some(tokens) = fields.count(name) {
            fields.set_name("max_tokens", name);
            return Some(tokens);
        }
    }
    None
}

fn read_stop(fields: &mut Fields) -> Vec<String> {
    if let Some(stop) = fields.text("stop") {
        fields.set_form("stop", "string");
        return vec![stop];
    }
    match fields.texts("stop") {
        Some(list) if list.is_empty() => {
            fields.keep_blank("stop", Value::Array(Vec::new()));
            list
        }
        list => list.unwrap_or_default(),
    }
}

fn read_sampling(fields: &mut Fields) -> Sampling {
    Sampling {
        temperature: fields.number("temperature"),
        top_p: fields.number("top_p"),
        top_k: fields.number("top_k"),
        frequency_penalty: fields.number("frequency_penalty"),
        presence_penalty: fields.number("presence_penalty"),
        seed: fields.number("seed"),
    }
}

fn read_reasoning(fields: &mut Fields) -> Reasoning {
    let effort = fields.text("reasoning_effort");
    let mode = effort.as_deref().map(|effort| match effort {
        NO_EFFORT => ReasoningMode::Disabled,
        _ => ReasoningMode::Enabled,
    });
    Reasoning {
        mode,
        effort,
        ..Reasoning::default()
    }
}
