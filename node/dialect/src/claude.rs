//! How much Anthropic's models think, wherever they are served.
//!
//! Models up to Claude 4.5 take a budget of tokens; later ones decide for themselves and take an effort. A request
//! from another dialect says what its model takes. The list of the former is complete: no new model joins it.

use serde_json::{Number, json};

use crate::dialect::Dialect;
use crate::fields::inside;
use crate::grammar::Object;
use crate::hub::part::{Part, PartKind};
use crate::hub::request::{HubRequest, ReasoningMode, Role, Sampling, Turn};
use crate::loss::LossList;
use crate::reasoning::{BUDGET_MIN, NO_EFFORT, budget_of, effort_of};

/// What the names of models contain that take a budget.
const MODELS_WITH_BUDGETS: [&str; 11] = [
    "claude-2",
    "claude-3",
    "claude-haiku-4-5",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-opus-4-2025",
    "claude-opus-4-5",
    "claude-opus-4@",
    "claude-sonnet-4-0",
    "claude-sonnet-4-2025",
    "claude-sonnet-4-5",
];

/// What the names of other models contain whose tokens a client may have drawn in its own way: all before Claude Opus
/// 4.7, by Anthropic's list of what that one changed. The list is complete.
const MODELS_WITH_SAMPLING_BESIDE: [&str; 2] = ["claude-opus-4-6", "claude-sonnet-4-6"];

/// What the names of models contain that take `temperature` and `top_p` at once. Later ones refuse both together.
const MODELS_WITH_BOTH: [&str; 7] = [
    "claude-2",
    "claude-3",
    "claude-opus-4-0",
    "claude-opus-4-2025",
    "claude-opus-4@",
    "claude-sonnet-4-0",
    "claude-sonnet-4-2025",
];

/// The highest temperature of these models, by Anthropic's reference.
const TEMPERATURE_MAX: f64 = 1.0;

/// How many tokens an answer may have at most, thoughts among them, by what the names of models contain: the first that
/// fits counts.
const ANSWER_TOKENS: [(&str, u64); 8] = [
    ("claude-2", 4_096),
    ("claude-3-5", 8_192),
    ("claude-3-7", 64_000),
    ("claude-3", 4_096),
    ("claude-opus-4-0", 32_000),
    ("claude-opus-4-1", 32_000),
    ("claude-opus-4-2025", 32_000),
    ("claude", 64_000),
];

/// The same for other models that speak Anthropic's messages.
const ANSWER_TOKENS_ELSEWHERE: u64 = 8_192;

/// How many tokens an answer of a model may have at most.
pub(crate) fn answer_tokens_max(model: Option<&str>) -> u64 {
    let model = model.unwrap_or_default();
    let limit = ANSWER_TOKENS.iter().find(|(name, _)| model.contains(name));
    limit.map_or(ANSWER_TOKENS_ELSEWHERE, |(_, tokens)| *tokens)
}

/// How the next token is drawn, as far as the model lets a client say so. What everybody does anyway is left out of a
/// request to a model that does not.
pub(crate) fn sampling(request: &HubRequest, losses: &mut LossList) -> Sampling {
    let mut sampling = request.sampling.clone();
    let model = request.model.as_deref().unwrap_or_default();
    let is_any_of = |names: &[&str]| names.iter().any(|name| model.contains(name));
    if model.contains("claude") && !takes_budget(model) && !is_any_of(&MODELS_WITH_SAMPLING_BESIDE)
    {
        let said = [
            ("temperature", sampling.temperature.take()),
            ("top_p", sampling.top_p.take()),
            ("top_k", sampling.top_k.take()),
        ];
        for (field, number) in said {
            if number.is_some_and(|number| number.as_f64() != Some(1.0) || field == "top_k") {
                losses.add_models_own(request.rest.at(field), "the model draws tokens its own way");
            }
        }
        return sampling;
    }
    let is_hot = |number: &Number| {
        number
            .as_f64()
            .is_some_and(|number| number > TEMPERATURE_MAX)
    };
    if sampling.temperature.as_ref().is_some_and(is_hot) {
        let reason = "the model takes temperatures up to 1";
        losses.add(request.rest.at("temperature"), reason);
        sampling.temperature = Number::from_f64(TEMPERATURE_MAX);
    }
    let is_new = model.contains("claude") && !is_any_of(&MODELS_WITH_BOTH);
    if is_new && sampling.temperature.is_some() && sampling.top_p.take().is_some() {
        let reason = "the model takes a temperature or top_p, not both";
        losses.add_models_own(request.rest.at("top_p"), reason);
    }
    sampling
}

/// Writes how much the model thinks into the object that holds `thinking` and `output_config`, and returns the budget
/// that the client asks for, if the model takes one.
///
/// `upstream` is the dialect of the request that is written: a model thinks on with thoughts of its own alone.
pub(crate) fn write_thinking(
    request: &HubRequest,
    upstream: Dialect,
    body: &mut Object,
    losses: &mut LossList,
) -> Option<u64> {
    let reasoning = &request.reasoning;
    let effort = reasoning.effort.as_deref();
    let is_off = reasoning.mode == Some(ReasoningMode::Disabled) || effort == Some(NO_EFFORT);
    if is_off {
        body.insert("thinking".to_string(), json!({"type": "disabled"}));
        return None;
    }
    if !request.model.as_deref().is_some_and(takes_budget) {
        write_effort(request, body, losses);
        return None;
    }
    let budget = reasoning.budget.or_else(|| effort.and_then(budget_of))?;
    let budget = budget.max(BUDGET_MIN);
    write_budget(request, upstream, budget, body, losses);
    Some(budget)
}

fn takes_budget(model: &str) -> bool {
    MODELS_WITH_BUDGETS.iter().any(|name| model.contains(name))
}

// A budget must be below the answer's limit, and the limit is the client's to set: thinking gives way.
fn write_budget(
    request: &HubRequest,
    upstream: Dialect,
    budget: u64,
    body: &mut Object,
    losses: &mut LossList,
) {
    let most = || answer_tokens_max(request.model.as_deref());
    let max_tokens = request.max_tokens.unwrap_or_else(most);
    if lacks_thought(&request.turns, upstream) {
        let reason =
            "the model thinks on with its thoughts before a tool call, and they are not there";
        losses.add(request.rest.at("effort"), reason);
    } else if max_tokens > BUDGET_MIN {
        let budget = budget.min(max_tokens - 1);
        let thinking = json!({"type": "enabled", "budget_tokens": budget});
        body.insert("thinking".to_string(), thinking);
    } else {
        losses.add(
            request.rest.at("effort"),
            "the limit of tokens leaves none to think",
        );
    }
}

// Anthropic refuses to think with a budget while tools answer a turn that does not begin with its own thought.
fn lacks_thought(turns: &[Turn], upstream: Dialect) -> bool {
    let is_result = |part: &Part| matches!(part.kind, PartKind::ToolResult(_));
    let is_call = |part: &Part| matches!(part.kind, PartKind::ToolCall(_));
    let is_own = |part: &Part| match &part.kind {
        PartKind::Thinking(thinking) => thinking.origin == upstream,
        _ => false,
    };
    let last = turns.iter().rposition(|turn| turn.role == Role::Assistant);
    let Some(last) = last else { return false };
    let is_answered = turns[last..]
        .iter()
        .any(|turn| turn.parts.iter().any(is_result));
    let parts = &turns[last].parts;
    is_answered && parts.iter().any(is_call) && !parts.iter().any(is_own)
}

fn write_effort(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let reasoning = &request.reasoning;
    let by_budget = reasoning.budget.map(effort_of);
    let effort = match reasoning.effort.as_deref().or(by_budget) {
        Some("minimal") => Some("low"),
        effort => effort,
    };
    if effort.is_none() && reasoning.mode.is_none() {
        return;
    }
    let mut thinking = Object::new();
    thinking.insert("type".to_string(), json!("adaptive"));
    match reasoning.summary.as_deref() {
        Some(display @ ("summarized" | "omitted")) => {
            thinking.insert("display".to_string(), json!(display));
        }
        Some("auto" | "concise" | "detailed") => {
            thinking.insert("display".to_string(), json!("summarized"));
        }
        Some(_) => losses.add(
            request.rest.at("summary"),
            "the model does not show thoughts so",
        ),
        None => {}
    }
    body.insert("thinking".to_string(), json!(thinking));
    if let Some(effort) = effort
        && let Some(config) = inside(body, "output_config")
    {
        config.insert("effort".to_string(), json!(effort));
    }
}
