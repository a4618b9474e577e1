//! Writes a request for a message.

use serde_json::{Value, json};

use super::write_parts::write_content;
use super::{DIALECT, tools, write_reasoning, write_turns};
use crate::fields::{inside, put};
use crate::grammar::{Object, Toward};
use crate::hub::request::{HubRequest, OutputFormat, OutputKind};
use crate::loss::LossList;
use crate::unsayable::{self, RequestField};
use crate::{cache_mark, claude};

/// What the dialect lacks, and what a client reads about that.
const UNSAYABLE: [(RequestField, &str); 10] = [
    (RequestField::FrequencyPenalty, "messages has no penalties"),
    (RequestField::PresencePenalty, "messages has no penalties"),
    (RequestField::Seed, "messages has no seed"),
    (RequestField::Answers, "messages gives one answer"),
    (RequestField::Logprobs, "messages has no log probabilities"),
    (
        RequestField::TopLogprobs,
        "messages has no log probabilities",
    ),
    (RequestField::Verbosity, "messages has no verbosity"),
    (RequestField::Metadata, "messages takes no labels"),
    (RequestField::PromptCacheKey, "messages has no cache keys"),
    (RequestField::Store, "messages keeps no answers"),
];

pub(super) fn write(request: &HubRequest, losses: &mut LossList) -> Object {
    let mut body = Object::new();
    put(&mut body, "model", request.model.clone());
    if request.rest.is_from(DIALECT) {
        let rest = &request.rest;
        let system = write_content(
            &request.instructions,
            rest,
            "system",
            Toward::Upstream,
            losses,
        );
        put(&mut body, "system", system);
        let messages = write_turns::home(&request.turns, losses);
        body.insert("messages".to_string(), Value::Array(messages));
    } else {
        let (system, messages) = write_turns::foreign(request, losses);
        put(&mut body, "system", system);
        body.insert("messages".to_string(), Value::Array(messages));
    }
    let tools = request.tools.iter();
    let tools: Vec<Value> = tools
        .filter_map(|tool| tools::write_tool(tool, losses))
        .collect();
    let has_tools = !tools.is_empty();
    if has_tools {
        body.insert("tools".to_string(), Value::Array(tools));
    }
    // Anthropic refuses a choice among no tools.
    if has_tools || request.rest.is_from(DIALECT) {
        put(
            &mut body,
            "tool_choice",
            tools::write_selection(request, losses),
        );
    }
    if !request.stop.is_empty() {
        body.insert("stop_sequences".to_string(), json!(request.stop));
    }
    write_sampling(request, &mut body, losses);
    write_reasoning::write(request, &mut body, losses);
    if let Some(output) = &request.output {
        write_output(output, &mut body, losses);
    }
    write_terms(request, &mut body, losses);
    unsayable::lose(request, &UNSAYABLE, losses);
    cache_mark::write(request.cache.as_ref(), DIALECT, &mut body, losses);
    put(&mut body, "stream", request.stream);
    request.rest.write(DIALECT, &mut body, losses);
    body
}

fn write_sampling(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let sampling = match request.rest.is_from(DIALECT) {
        true => request.sampling.clone(),
        false => claude::sampling(request, losses),
    };
    put(body, "temperature", sampling.temperature.map(Value::Number));
    put(body, "top_p", sampling.top_p.map(Value::Number));
    put(body, "top_k", sampling.top_k.map(Value::Number));
}

// The schema's name is a label that chat completions demands, and no schema of messages is anything but strict.
fn write_output(output: &OutputFormat, body: &mut Object, losses: &mut LossList) {
    match &output.kind {
        OutputKind::Text => output.rest.lose_elsewhere(DIALECT, losses),
        OutputKind::Json => {
            losses.add(
                output.rest.path(),
                "messages answers in JSON by a schema alone",
            );
        }
        OutputKind::Schema {
            description,
            schema,
            ..
        } => {
            let mut format = Object::new();
            format.insert("type".to_string(), json!("json_schema"));
            format.insert("schema".to_string(), schema.clone());
            losses.add_some(
                description.as_ref(),
                output.rest.at("description"),
                "messages has no description of a schema",
            );
            output.rest.write(DIALECT, &mut format, losses);
            if let Some(config) = inside(body, "output_config") {
                config.insert("format".to_string(), Value::Object(format));
            }
        }
    }
}

fn write_terms(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let is_home = request.rest.is_from(DIALECT);
    let user = request.user.as_ref();
    if let Some(user) = user.or(request.safety_identifier.as_ref())
        && let Some(metadata) = inside(body, "metadata")
    {
        metadata.insert("user_id".to_string(), json!(user));
    }
    let second = request
        .safety_identifier
        .as_ref()
        .filter(|_| user.is_some());
    let at_second = request.rest.at("safety_identifier");
    losses.add_some(second, at_second, "messages takes one id of a user");
    let tier = match request.service_tier.as_deref() {
        Some(tier) if is_home => Some(tier),
        Some("auto") => Some("auto"),
        Some("default" | "standard_only") => Some("standard_only"),
        Some(_) => {
            losses.add(request.rest.at("service_tier"), "messages has no such tier");
            None
        }
        None => None,
    };
    put(body, "service_tier", tier);
}
