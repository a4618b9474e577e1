//! Writes a request.

use serde_json::{Number, Value, json};

use super::read_request::{MODEL_FIELDS, RESPONSE_PATHS, STOP_SEQUENCE_PATH};
use super::write_parts::PartWriter;
use super::{DIALECT, answer, models, output, tools, write_turns};
use crate::claude;
use crate::fields::{inside, put};
use crate::grammar::Object;
use crate::hub::request::{HubRequest, ReasoningMode, Sampling};
use crate::loss::LossList;
use crate::reasoning::{NO_EFFORT, effort_of};
use crate::unsayable::{self, RequestField};

/// What the dialect lacks, and what a client reads about that.
const UNSAYABLE: [(RequestField, &str); 11] = [
    (RequestField::FrequencyPenalty, "Converse has no penalties"),
    (RequestField::PresencePenalty, "Converse has no penalties"),
    (RequestField::Seed, "Converse has no seed"),
    (RequestField::Answers, "Converse gives one answer"),
    (RequestField::Logprobs, "Converse has no log probabilities"),
    (
        RequestField::TopLogprobs,
        "Converse has no log probabilities",
    ),
    (RequestField::Verbosity, "Converse has no verbosity"),
    (RequestField::User, "Converse takes no id of a user"),
    (
        RequestField::SafetyIdentifier,
        "Converse takes no id of a user",
    ),
    (RequestField::PromptCacheKey, "Converse has no cache keys"),
    (RequestField::Store, "Converse keeps no answers"),
];

pub(super) fn write(request: &HubRequest, losses: &mut LossList) -> Object {
    let is_home = request.rest.is_from(DIALECT);
    let is_claude = models::is_claude(request.model.as_deref());
    let mut body = Object::new();
    let mut writer = PartWriter::to_upstream(is_claude);
    let (system, messages) = if is_home {
        let system = writer.write_list(&request.instructions, losses);
        (
            system,
            write_turns::home(&request.turns, &mut writer, losses),
        )
    } else {
        write_turns::foreign(request, &mut writer, losses)
    };
    if !system.is_empty() {
        body.insert("system".to_string(), Value::Array(system));
    }
    if request.rest.form(DIALECT, "messages").is_none() {
        body.insert("messages".to_string(), Value::Array(messages));
    }
    if request.rest.form(DIALECT, "model").is_some() {
        put(&mut body, "modelId", request.model.clone());
    }
    tools::write(request, &mut body, losses);
    if is_home {
        write_inference(request, &request.sampling, &mut body);
        write_home_model_fields(request, &mut body);
    } else {
        let sampling = claude::sampling(request, losses);
        write_inference(request, &sampling, &mut body);
        write_model_fields(request, sampling.top_k, is_claude, &mut body, losses);
        unsayable::lose(request, &UNSAYABLE, losses);
    }
    if let Some(output) = &request.output {
        output::write(output, &mut body, losses);
    }
    write_labels(request, &mut body, losses);
    let tier = request.service_tier.as_deref();
    let tier = answer::tier_of(tier, &request.rest, losses);
    answer::write_tier(tier, &mut body);
    request.rest.write(DIALECT, &mut body, losses);
    body
}

fn write_inference(request: &HubRequest, sampling: &Sampling, body: &mut Object) {
    let mut config = Object::new();
    put(&mut config, "maxTokens", request.max_tokens);
    let temperature = sampling.temperature.clone().map(Value::Number);
    put(&mut config, "temperature", temperature);
    let top_p = sampling.top_p.clone().map(Value::Number);
    put(&mut config, "topP", top_p);
    if !request.stop.is_empty() {
        config.insert("stopSequences".to_string(), json!(request.stop));
    }
    if !config.is_empty() {
        body.insert("inferenceConfig".to_string(), Value::Object(config));
    }
}

fn write_home_model_fields(request: &HubRequest, body: &mut Object) {
    let mut more = Object::new();
    let top_k = request.sampling.top_k.clone();
    put(&mut more, "top_k", top_k.map(Value::Number));
    let reasoning = &request.reasoning;
    let mode = reasoning.mode.map(|mode| match mode {
        ReasoningMode::Disabled => "disabled",
        ReasoningMode::Enabled => "enabled",
        ReasoningMode::Adaptive => "adaptive",
    });
    if let Some(field) = request.rest.form(DIALECT, "thinking")
        && let Some(thinking) = inside(&mut more, field)
    {
        put(thinking, "type", mode);
        put(thinking, "budget_tokens", reasoning.budget);
        put(thinking, "display", reasoning.summary.clone());
    }
    match request.rest.form(DIALECT, "effort") {
        Some("output_config") => {
            if let Some(config) = inside(&mut more, "output_config") {
                put(config, "effort", reasoning.effort.clone());
            }
        }
        Some(field) => put(&mut more, field, reasoning.effort.clone()),
        None => {}
    }
    if !more.is_empty() {
        body.insert(MODEL_FIELDS.to_string(), Value::Object(more));
    }
}

// What a model takes beyond the API's own fields is known of two makers' models.
fn write_model_fields(
    request: &HubRequest,
    top_k: Option<Number>,
    is_claude: bool,
    body: &mut Object,
    losses: &mut LossList,
) {
    let at = |field| request.rest.at(field);
    let mut more = Object::new();
    if is_claude {
        put(&mut more, "top_k", top_k.map(Value::Number));
        claude::write_thinking(request, DIALECT, &mut more, losses);
        if !request.stop.is_empty() {
            let paths = json!([STOP_SEQUENCE_PATH]);
            body.insert(RESPONSE_PATHS.to_string(), paths);
        }
    } else {
        losses.add_some(top_k.as_ref(), at("top_k"), "the model takes no such field");
        write_effort(request, &mut more, losses);
    }
    if !more.is_empty() {
        body.insert(MODEL_FIELDS.to_string(), Value::Object(more));
    }
}

fn write_effort(request: &HubRequest, more: &mut Object, losses: &mut LossList) {
    let reasoning = &request.reasoning;
    let by_budget = reasoning.budget.map(effort_of);
    let effort = reasoning.effort.as_deref().or(by_budget);
    let is_off = reasoning.mode == Some(ReasoningMode::Disabled) || effort == Some(NO_EFFORT);
    if effort.is_none() && reasoning.mode.is_none() {
        return;
    }
    let word = match effort {
        _ if is_off => None,
        Some("minimal" | "low") => Some("low"),
        Some("high" | "xhigh" | "max") => Some("high"),
        Some(_) | None => Some("medium"),
    };
    match word.filter(|_| models::is_openai(request.model.as_deref())) {
        Some(word) => drop(more.insert("reasoning_effort".to_string(), json!(word))),
        None => losses.add(
            request.rest.at("effort"),
            "Converse leaves it to each model how it thinks, and this one's way is not known",
        ),
    }
}

// Labels of Converse are texts.
fn write_labels(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let Some(labels) = &request.metadata else {
        return;
    };
    if request.rest.is_from(DIALECT) {
        body.insert("requestMetadata".to_string(), json!(labels));
        return;
    }
    let mut written = Object::new();
    for (label, value) in labels {
        if value.is_string() {
            written.insert(label.clone(), value.clone());
        } else {
            let at = format!("{}.{label}", request.rest.at("metadata"));
            losses.add(at, "labels of Converse are texts");
        }
    }
    if !written.is_empty() {
        body.insert("requestMetadata".to_string(), Value::Object(written));
    }
}
