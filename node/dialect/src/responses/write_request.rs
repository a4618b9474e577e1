//! Writes a request for a response.

use serde_json::{Number, Value, json};

use super::read_request::{ENCRYPTED_THOUGHTS, LOGPROBS};
use super::{DIALECT, tools, write_items};
use crate::cache_mark;
use crate::fields::{inside, put};
use crate::grammar::Object;
use crate::hub::part::{Part, PartKind};
use crate::hub::request::{HubRequest, OutputKind, ReasoningMode};
use crate::ids;
use crate::loss::LossList;
use crate::reasoning::{NO_EFFORT, effort_of};
use crate::unsayable::{self, RequestField};

/// What separates instructions that become one text.
const BETWEEN_INSTRUCTIONS: &str = "\n\n";

/// The least number of tokens that an answer may be limited to, by the error message of OpenAI's API.
const MAX_TOKENS_MIN: u64 = 16;

/// What the dialect lacks, and what a client reads about that.
const UNSAYABLE: [(RequestField, &str); 6] = [
    (RequestField::FrequencyPenalty, "responses has no penalties"),
    (RequestField::PresencePenalty, "responses has no penalties"),
    (RequestField::Seed, "responses has no seed"),
    (RequestField::TopK, "responses has no top_k"),
    (RequestField::Stop, "responses has no stop sequences"),
    (RequestField::Answers, "responses gives one answer"),
];

pub(super) fn write(request: &HubRequest, losses: &mut LossList) -> Object {
    let is_home = request.rest.is_from(DIALECT);
    let mut body = Object::new();
    put(&mut body, "model", request.model.clone());
    put(&mut body, "instructions", instructions(request, losses));
    put(&mut body, "input", write_input(request, losses));
    write_tools(request, &mut body, losses);
    put(&mut body, "max_output_tokens", max_tokens(request, losses));
    let sampling = &request.sampling;
    // Models that think refuse both fields, and 1 is what stands for either that is not there.
    for (field, number) in [
        ("temperature", &sampling.temperature),
        ("top_p", &sampling.top_p),
    ] {
        let is_said = |number: &&Number| is_home || number.as_f64() != Some(1.0);
        let number = number.as_ref().filter(is_said).cloned();
        put(&mut body, field, number.map(Value::Number));
    }
    if is_home {
        let frequency = sampling.frequency_penalty.clone().map(Value::Number);
        put(&mut body, "frequency_penalty", frequency);
        let presence = sampling.presence_penalty.clone().map(Value::Number);
        put(&mut body, "presence_penalty", presence);
        write_home_reasoning(request, &mut body);
    } else {
        unsayable::lose(request, &UNSAYABLE, losses);
        write_reasoning(request, &mut body, losses);
        write_include(request, &mut body);
        // Nobody can refer to it: the client's dialect has no such reference.
        let store = request.store.unwrap_or(false);
        body.insert("store".to_string(), json!(store));
    }
    write_text(request, &mut body, losses);
    let user = |id: &String| ids::of_user(id, is_home);
    put(&mut body, "user", request.user.as_ref().map(user));
    let identifier = request.safety_identifier.as_ref().map(user);
    put(&mut body, "safety_identifier", identifier);
    put(&mut body, "metadata", request.metadata.clone());
    let key = request.prompt_cache_key.clone();
    put(&mut body, "prompt_cache_key", key);
    put(&mut body, "service_tier", service_tier(request, losses));
    put(&mut body, "stream", request.stream);
    put(&mut body, "top_logprobs", request.top_logprobs);
    cache_mark::lose(request.cache.as_ref(), losses);
    request.rest.write(DIALECT, &mut body, losses);
    body
}

fn instructions(request: &HubRequest, losses: &mut LossList) -> Option<String> {
    let mut texts = Vec::new();
    for part in &request.instructions {
        if !part.rest.is_from(DIALECT) {
            cache_mark::lose(part.cache.as_ref(), losses);
            part.rest.lose(losses);
        }
        match &part.kind {
            PartKind::Text(text) => texts.push(text.as_str()),
            _ => losses.add(
                part.rest.path(),
                "responses takes instructions in words alone",
            ),
        }
    }
    (!texts.is_empty()).then(|| texts.join(BETWEEN_INSTRUCTIONS))
}

fn write_input(request: &HubRequest, losses: &mut LossList) -> Option<Value> {
    if !request.rest.is_from(DIALECT) {
        return Some(Value::Array(write_items::write_turns(request, losses)));
    }
    let parts = request.turns.iter().flat_map(|turn| &turn.parts);
    match request.rest.form(DIALECT, "input")? {
        "string" => Some(json!(parts.filter_map(Part::text).collect::<String>())),
        _ => Some(Value::Array(write_items::write_home(parts))),
    }
}

fn write_tools(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let tools = request.tools.iter();
    let tools: Vec<Value> = tools
        .filter_map(|tool| tools::write_tool(tool, losses))
        .collect();
    // OpenAI refuses a choice among no tools.
    let has_tools = !tools.is_empty() || request.rest.is_from(DIALECT);
    if !tools.is_empty() {
        body.insert("tools".to_string(), Value::Array(tools));
    }
    if let Some(selection) = request.tool_selection.as_ref().filter(|_| has_tools) {
        let selection = tools::write_selection(selection, &request.tools, losses);
        put(body, "tool_choice", selection);
    }
    let parallel = request.parallel_tool_calls.filter(|_| has_tools);
    put(body, "parallel_tool_calls", parallel);
}

fn max_tokens(request: &HubRequest, losses: &mut LossList) -> Option<u64> {
    let tokens = request.max_tokens?;
    if tokens < MAX_TOKENS_MIN && !request.rest.is_from(DIALECT) {
        let reason = "responses takes no limit below 16 tokens";
        losses.add(request.rest.at("max_tokens"), reason);
        return Some(MAX_TOKENS_MIN);
    }
    Some(tokens)
}

fn write_home_reasoning(request: &HubRequest, body: &mut Object) {
    let reasoning = &request.reasoning;
    if (reasoning.effort.is_some() || reasoning.summary.is_some())
        && let Some(object) = inside(body, "reasoning")
    {
        put(object, "effort", reasoning.effort.clone());
        put(object, "summary", reasoning.summary.clone());
    }
}

// An effort stays the word that it is; a budget becomes one, by the table in `reasoning`. A client that has the model
// think sees its thoughts in most dialects, so the summary is asked for unless the client does not want it.
fn write_reasoning(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let reasoning = &request.reasoning;
    let effort = match (reasoning.mode, reasoning.effort.as_deref()) {
        (Some(ReasoningMode::Disabled), _) => Some(NO_EFFORT),
        (_, Some("max")) => Some("xhigh"),
        (_, Some(effort)) => Some(effort),
        (_, None) => reasoning.budget.map(effort_of),
    };
    let summary = match reasoning.summary.as_deref() {
        Some("omitted") => None,
        Some(summary @ ("auto" | "concise" | "detailed")) => Some(summary),
        Some("summarized") => Some("auto"),
        Some(_) => {
            losses.add(
                request.rest.at("summary"),
                "responses does not show thoughts so",
            );
            None
        }
        // Who says no more than how hard it thinks does not ask to see it.
        None if shows_thoughts(request) => Some("auto"),
        None => None,
    };
    if (effort.is_some() || summary.is_some())
        && let Some(object) = inside(body, "reasoning")
    {
        put(object, "effort", effort);
        put(object, "summary", summary);
    }
}

// Whether the client's dialect shows the thoughts of a request that turns thinking on.
fn shows_thoughts(request: &HubRequest) -> bool {
    let mode = request.reasoning.mode;
    let is_on = matches!(mode, Some(ReasoningMode::Enabled | ReasoningMode::Adaptive));
    is_on && !request.rest.is_from(crate::dialect::Dialect::Chat)
}

// A model that does not think refuses to encrypt its thoughts, so they are asked for where the client has it think.
fn write_include(request: &HubRequest, body: &mut Object) {
    let reasoning = &request.reasoning;
    let is_on = match reasoning.mode {
        Some(mode) => mode != ReasoningMode::Disabled,
        None => reasoning.effort.is_some() || reasoning.budget.is_some(),
    };
    let mut include = Vec::new();
    if is_on {
        include.push(ENCRYPTED_THOUGHTS);
    }
    if request.logprobs == Some(true) {
        include.push(LOGPROBS);
    }
    if !include.is_empty() {
        body.insert("include".to_string(), json!(include));
    }
}

fn write_text(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let is_home = request.rest.is_from(DIALECT);
    let output = request
        .output
        .as_ref()
        .filter(|output| is_home || output.kind != OutputKind::Text);
    if (output.is_some() || request.verbosity.is_some())
        && let Some(text) = inside(body, "text")
    {
        let format = output.map(|output| tools::write_output(output, losses));
        put(text, "format", format);
        put(text, "verbosity", request.verbosity.clone());
    }
}

fn service_tier<'a>(request: &'a HubRequest, losses: &mut LossList) -> Option<&'a str> {
    match request.service_tier.as_deref()? {
        tier if request.rest.is_from(DIALECT) => Some(tier),
        "standard_only" => Some("default"),
        tier @ ("auto" | "default" | "flex" | "priority" | "scale") => Some(tier),
        _ => {
            let at = request.rest.at("service_tier");
            losses.add(at, "responses has no such tier");
            None
        }
    }
}
