//! Writes a request for a chat completion.

use serde_json::{Value, json};

use super::{DIALECT, tools, turns};
use crate::fields::{inside, put};
use crate::grammar::{Object, Toward};
use crate::hub::request::{HubRequest, OutputKind, ReasoningMode, Role, Turn};
use crate::ids;
use crate::loss::LossList;
use crate::reasoning::{NO_EFFORT, effort_of};
use crate::rest::Rest;

/// The most stop sequences of a request, by OpenAI's reference.
const STOP_MAX: usize = 4;

pub(super) fn write(request: &HubRequest, losses: &mut LossList) -> Object {
    let mut body = Object::new();
    put(&mut body, "model", request.model.clone());
    body.insert("messages".to_string(), write_turns(request, losses));
    write_tools(request, &mut body, losses);
    write_limits(request, &mut body, losses);
    write_sampling(request, &mut body, losses);
    put(&mut body, "reasoning_effort", effort(request, losses));
    if let Some(output) = &request.output
        && (request.rest.is_from(DIALECT) || output.kind != OutputKind::Text)
    {
        let output = tools::write_output(output, losses);
        body.insert("response_format".to_string(), output);
    }
    put(&mut body, "verbosity", request.verbosity.clone());
    let is_home = request.rest.is_from(DIALECT);
    let user = |id: &String| ids::of_user(id, is_home);
    put(&mut body, "user", request.user.as_ref().map(user));
    let identifier = request.safety_identifier.as_ref().map(user);
    put(&mut body, "safety_identifier", identifier);
    put(&mut body, "metadata", labels(request, losses));
    put(
        &mut body,
        "prompt_cache_key",
        request.prompt_cache_key.clone(),
    );
    write_service_tier(request, &mut body, losses);
    put(&mut body, "store", request.store);
    write_stream(request, &mut body);
    put(&mut body, "n", request.answers);
    put(&mut body, "logprobs", request.logprobs);
    put(&mut body, "top_logprobs", request.top_logprobs);
    crate::cache_mark::lose(request.cache.as_ref(), losses);
    request.rest.write(DIALECT, &mut body, losses);
    body
}

// OpenAI's API refuses labels of what it does not keep.
fn labels(request: &HubRequest, losses: &mut LossList) -> Option<Object> {
    let labels = request.metadata.clone()?;
    if request.rest.is_from(DIALECT) || request.store == Some(true) {
        return Some(labels);
    }
    let lost = Some(&labels).filter(|labels| !labels.is_empty());
    let at = request.rest.at("metadata");
    losses.add_some(lost, at, "chat completions labels kept answers alone");
    None
}

fn write_turns(request: &HubRequest, losses: &mut LossList) -> Value {
    let mut messages = Vec::new();
    if !request.instructions.is_empty() {
        let instructions = Turn {
            role: Role::System,
            parts: request.instructions.clone(),
            rest: Rest::new(request.rest.from(), request.rest.at("instructions")),
        };
        messages.extend(turns::write(&instructions, Toward::Upstream, losses));
    }
    for turn in &request.turns {
        messages.extend(turns::write(turn, Toward::Upstream, losses));
    }
    Value::Array(messages.into_iter().map(Value::Object).collect())
}

fn write_tools(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let tools = request.tools.iter();
    let tools: Vec<Value> = tools
        .filter_map(|tool| tools::write_tool(tool, losses))
        .collect();
    let is_home = request.rest.is_from(DIALECT);
    // OpenAI refuses both fields in a request without tools.
    let has_tools = !tools.is_empty() || is_home;
    if !tools.is_empty() {
        body.insert("tools".to_string(), Value::Array(tools));
    }
    if let Some(selection) = request.tool_selection.as_ref().filter(|_| has_tools) {
        put(
            body,
            "tool_choice",
            tools::write_selection(selection, losses),
        );
    }
    put(
        body,
        "parallel_tool_calls",
        request.parallel_tool_calls.filter(|_| has_tools),
    );
}

fn write_limits(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let name = request.rest.name(DIALECT, "max_tokens");
    put(
        body,
        name.unwrap_or("max_completion_tokens"),
        request.max_tokens,
    );
    let is_home = request.rest.is_from(DIALECT);
    let stop = match request.stop.as_slice() {
        [] => return,
        [stop] if request.rest.form(DIALECT, "stop").is_some() => json!(stop),
        [..] if is_home => json!(request.stop),
        [first @ .., _] if first.len() >= STOP_MAX => {
            losses.add(
                request.rest.at("stop"),
                "chat completions takes four stop sequences",
            );
            json!(request.stop[..STOP_MAX])
        }
        stop => json!(stop),
    };
    body.insert("stop".to_string(), stop);
}

fn write_sampling(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let sampling = &request.sampling;
    let is_home = request.rest.is_from(DIALECT);
    if !is_home {
        let reason = "chat completions has no top_k";
        losses.add_some(sampling.top_k.as_ref(), request.rest.at("top_k"), reason);
    }
    let top_k = sampling.top_k.clone().filter(|_| is_home);
    for (name, number) in [
        ("temperature", &sampling.temperature),
        ("top_p", &sampling.top_p),
        ("top_k", &top_k),
        ("frequency_penalty", &sampling.frequency_penalty),
        ("presence_penalty", &sampling.presence_penalty),
        ("seed", &sampling.seed),
    ] {
        put(body, name, number.clone().map(Value::Number));
    }
}

// An effort stays the word that it is; a budget becomes one, by the table in `reasoning`.
fn effort(request: &HubRequest, losses: &mut LossList) -> Option<String> {
    let reasoning = &request.reasoning;
    if request.rest.is_from(DIALECT) {
        return reasoning.effort.clone();
    }
    let summary = reasoning.summary.as_ref().filter(|word| *word != "auto");
    losses.add_some(
        summary,
        request.rest.at("summary"),
        "chat completions does not choose how thoughts are shown",
    );
    if reasoning.mode == Some(ReasoningMode::Disabled) {
        return Some(NO_EFFORT.to_string());
    }
    let effort = match reasoning.effort.as_deref() {
        Some("max") => Some("xhigh"),
        effort => effort,
    };
    effort
        .or(reasoning.budget.map(effort_of))
        .map(ToString::to_string)
}

fn write_service_tier(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let tier = match request.service_tier.as_deref() {
        Some("standard_only") => Some("default"),
        Some(tier @ ("auto" | "default" | "flex" | "priority" | "scale")) => Some(tier),
        Some(tier) if request.rest.is_from(DIALECT) => Some(tier),
        Some(_) => {
            losses.add(
                request.rest.at("service_tier"),
                "chat completions has no such tier",
            );
            None
        }
        None => None,
    };
    put(body, "service_tier", tier);
}

// A client of another dialect always gets the usage, so the upstream is asked for it.
fn write_stream(request: &HubRequest, body: &mut Object) {
    put(body, "stream", request.stream);
    let is_home = request.rest.is_from(DIALECT);
    let wanted = request.stream == Some(true) && !is_home;
    let include_usage = request.include_usage.or(wanted.then_some(true));
    if let Some(include_usage) = include_usage
        && let Some(options) = inside(body, "stream_options")
    {
        options.insert("include_usage".to_string(), json!(include_usage));
    }
}
