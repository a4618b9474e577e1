//! Writes `generationConfig`.

use serde_json::{Value, json};

use super::names::{
    CANDIDATE_COUNT, FREQUENCY_PENALTY, GENERATION_CONFIG, INCLUDE_THOUGHTS, MAX_TOKENS,
    PRESENCE_PENALTY, RESPONSE_JSON_SCHEMA, RESPONSE_LOGPROBS, RESPONSE_MIME_TYPE, RESPONSE_SCHEMA,
    STOP_SEQUENCES, SpelledName, THINKING_BUDGET, THINKING_CONFIG, THINKING_LEVEL, TOP_K, TOP_P,
};
use super::read_config::{JSON, TEXT};
use super::{DIALECT, models};
use crate::fields::put;
use crate::grammar::Object;
use crate::hub::request::{HubRequest, OutputFormat, OutputKind, ReasoningMode};
use crate::loss::LossList;
use crate::reasoning::{NO_EFFORT, budget_of, effort_of};
use crate::rest::Rest;

/// The most stop sequences of a request, by Google's reference.
const STOP_MAX: usize = 5;

/// The most tokens that every model with a budget may think.
const BUDGET_MAX: u64 = 24_576;

pub(super) fn write(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let is_home = request.rest.is_from(DIALECT);
    let field = GENERATION_CONFIG.in_rest(&request.rest);
    let nothing = Rest::new(DIALECT, "");
    let kept = request.rest.nested(field).filter(|_| is_home);
    let rest = kept.unwrap_or(&nothing);
    let mut config = Object::new();
    let mut say = |name: SpelledName, value: Option<Value>| {
        put(&mut config, name.in_rest(rest), value);
    };
    say(MAX_TOKENS, request.max_tokens.map(Value::from));
    say(STOP_SEQUENCES, stop(request, losses));
    say(CANDIDATE_COUNT, request.answers.map(Value::from));
    let logprobs = request.logprobs.filter(|wanted| *wanted || is_home);
    say(RESPONSE_LOGPROBS, logprobs.map(Value::from));
    let sampling = &request.sampling;
    for (name, number) in [
        (TOP_P, &sampling.top_p),
        (TOP_K, &sampling.top_k),
        (FREQUENCY_PENALTY, &sampling.frequency_penalty),
        (PRESENCE_PENALTY, &sampling.presence_penalty),
    ] {
        say(name, number.clone().map(Value::Number));
    }
    put(&mut config, "logprobs", request.top_logprobs);
    for (name, number) in [
        ("temperature", &sampling.temperature),
        ("seed", &sampling.seed),
    ] {
        put(&mut config, name, number.clone().map(Value::Number));
    }
    if let Some(output) = &request.output {
        write_output(output, rest, &mut config, losses);
    }
    let thinking = if is_home {
        home_thinking(request, rest)
    } else {
        thinking(request, losses)
    };
    if !thinking.is_empty() {
        let name = THINKING_CONFIG.in_rest(rest);
        config.insert(name.to_string(), Value::Object(thinking));
    }
    if !config.is_empty() {
        body.insert(field.to_string(), Value::Object(config));
    }
}

fn stop(request: &HubRequest, losses: &mut LossList) -> Option<Value> {
    let stop = request.stop.as_slice();
    if stop.len() > STOP_MAX && !request.rest.is_from(DIALECT) {
        losses.add(request.rest.at("stop"), "gemini takes five stop sequences");
        return Some(json!(stop[..STOP_MAX]));
    }
    (!stop.is_empty()).then(|| json!(stop))
}

fn write_output(output: &OutputFormat, rest: &Rest, config: &mut Object, losses: &mut LossList) {
    let is_home = output.rest.is_from(DIALECT);
    let media_type = match &output.kind {
        OutputKind::Text => is_home.then_some(TEXT),
        OutputKind::Json | OutputKind::Schema { .. } => Some(JSON),
    };
    let is_said = output.rest.form(DIALECT, "media_type").is_none();
    put(
        config,
        RESPONSE_MIME_TYPE.in_rest(rest),
        media_type.filter(|_| is_said),
    );
    if let OutputKind::Schema {
        description,
        schema,
        ..
    } = &output.kind
    {
        let (name, schema) = match output.rest.blank(DIALECT, "schema") {
            Some(subset) => (RESPONSE_SCHEMA, subset),
            None => (RESPONSE_JSON_SCHEMA, schema),
        };
        config.insert(name.in_rest(rest).to_string(), schema.clone());
        losses.add_some(
            description.as_ref(),
            output.rest.at("description"),
            "gemini has no description of a schema",
        );
    }
    output.rest.lose_elsewhere(DIALECT, losses);
}

fn home_thinking(request: &HubRequest, config: &Rest) -> Object {
    let reasoning = &request.reasoning;
    let nothing = Rest::new(DIALECT, "");
    let rest = config
        .nested(THINKING_CONFIG.in_rest(config))
        .unwrap_or(&nothing);
    let mut thinking = Object::new();
    let shown = reasoning.summary.as_ref().map(|_| true);
    put(&mut thinking, INCLUDE_THOUGHTS.in_rest(rest), shown);
    put(
        &mut thinking,
        THINKING_BUDGET.in_rest(rest),
        reasoning.budget,
    );
    let level = reasoning.effort.as_ref().map(|effort| {
        if rest.form(DIALECT, "level") == Some("upper") {
            effort.to_ascii_uppercase()
        } else {
            effort.clone()
        }
    });
    put(&mut thinking, THINKING_LEVEL.in_rest(rest), level);
    thinking
}

// Former models take a budget, later ones a level. Thoughts are shown, as others do, unless the client hides them.
fn thinking(request: &HubRequest, losses: &mut LossList) -> Object {
    let reasoning = &request.reasoning;
    let model = request.model.as_deref();
    let effort = reasoning.effort.as_deref();
    let is_off = reasoning.mode == Some(ReasoningMode::Disabled) || effort == Some(NO_EFFORT);
    let mut thinking = Object::new();
    if reasoning.mode.is_none() && effort.is_none() && reasoning.budget.is_none() {
        if reasoning.summary.as_deref().is_some_and(is_shown) {
            thinking.insert(INCLUDE_THOUGHTS.camel().to_string(), json!(true));
        }
        return thinking;
    }
    if models::is_former(model) {
        let budget = if is_off {
            Some(0)
        } else {
            reasoning.budget.or_else(|| effort.and_then(budget_of))
        };
        if reasoning.budget.is_some_and(|budget| budget > BUDGET_MAX) && !is_off {
            losses.add(
                request.rest.at("budget"),
                "gemini's models think up to 24,576 tokens",
            );
        }
        put(
            &mut thinking,
            THINKING_BUDGET.camel(),
            budget.map(|budget| budget.min(BUDGET_MAX)),
        );
    } else {
        if is_off {
            losses.add(
                request.rest.at("effort"),
                "gemini's later models always think",
            );
        }
        put(
            &mut thinking,
            THINKING_LEVEL.camel(),
            level(request, is_off),
        );
    }
    if !is_off && reasoning.summary.as_deref().is_none_or(is_shown) {
        thinking.insert(INCLUDE_THOUGHTS.camel().to_string(), json!(true));
    }
    thinking
}

fn level(request: &HubRequest, is_off: bool) -> Option<&'static str> {
    let reasoning = &request.reasoning;
    let effort = reasoning.effort.as_deref();
    let has_all = models::has_all_levels(request.model.as_deref());
    match effort.or(reasoning.budget.map(effort_of)) {
        _ if is_off => Some(if has_all { "MINIMAL" } else { "LOW" }),
        Some("minimal") => Some(if has_all { "MINIMAL" } else { "LOW" }),
        Some("low") => Some("LOW"),
        Some("medium") => Some(if has_all { "MEDIUM" } else { "HIGH" }),
        Some("high" | "xhigh" | "max") => Some("HIGH"),
        _ => None,
    }
}

fn is_shown(summary: &str) -> bool {
    summary != "omitted"
}
