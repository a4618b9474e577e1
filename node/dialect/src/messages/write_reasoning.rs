//! How much a model thinks, and how long its answer may be, which messages counts together.
//!
//! Models up to Claude 4.5 take a budget of tokens; later ones decide for themselves and take an effort. A request
//! from another dialect says what its model takes. The list of the former is complete: no new model joins it.

use serde_json::json;

use super::DIALECT;
use crate::fields::{inside, put};
use crate::grammar::Object;
use crate::hub::part::{Part, PartKind};
use crate::hub::request::{HubRequest, Reasoning, ReasoningMode, Role, Turn};
use crate::loss::LossList;
use crate::reasoning::{BUDGET_MIN, NO_EFFORT, budget_of};

/// The tokens of an answer if the client sets no limit, which messages demands.
///
/// The most that every model behind the API may write, the first Claude 3 models included. A client that wants more
/// says so.
pub const MAX_TOKENS_DEFAULT: u64 = 4_096;

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

pub(super) fn write(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let reasoning = &request.reasoning;
    if request.rest.is_from(DIALECT) {
        write_home(reasoning, body);
        put(body, "max_tokens", request.max_tokens);
        return;
    }
    let effort = reasoning.effort.as_deref();
    let is_off = reasoning.mode == Some(ReasoningMode::Disabled) || effort == Some(NO_EFFORT);
    let takes_budget = request.model.as_deref().is_some_and(takes_budget);
    if is_off {
        body.insert("thinking".to_string(), json!({"type": "disabled"}));
    } else if takes_budget {
        if let Some(budget) = reasoning.budget.or_else(|| effort.and_then(budget_of)) {
            write_budget(request, budget, body, losses);
            return;
        }
    } else {
        write_effort(request, body, losses);
    }
    let max_tokens = request.max_tokens.unwrap_or(MAX_TOKENS_DEFAULT);
    body.insert("max_tokens".to_string(), json!(max_tokens));
}

fn takes_budget(model: &str) -> bool {
    MODELS_WITH_BUDGETS.iter().any(|name| model.contains(name))
}

// A budget must be below the answer's limit, and the limit is the client's to set: thinking gives way.
fn write_budget(request: &HubRequest, budget: u64, body: &mut Object, losses: &mut LossList) {
    let budget = budget.max(BUDGET_MIN);
    let unlimited = budget.saturating_add(MAX_TOKENS_DEFAULT);
    let max_tokens = request.max_tokens.unwrap_or(unlimited);
    body.insert("max_tokens".to_string(), json!(max_tokens));
    if lacks_thought(&request.turns) {
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
fn lacks_thought(turns: &[Turn]) -> bool {
    let is_result = |part: &Part| matches!(part.kind, PartKind::ToolResult(_));
    let is_call = |part: &Part| matches!(part.kind, PartKind::ToolCall(_));
    let is_own = |part: &Part| match &part.kind {
        PartKind::Thinking(thinking) => thinking.origin == DIALECT,
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
    let by_budget = reasoning.budget.map(crate::reasoning::effort_of);
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
            "messages does not show thoughts so",
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

fn write_home(reasoning: &Reasoning, body: &mut Object) {
    let mode = reasoning.mode.map(|mode| match mode {
        ReasoningMode::Disabled => "disabled",
        ReasoningMode::Enabled => "enabled",
        ReasoningMode::Adaptive => "adaptive",
    });
    if mode.is_some()
        && let Some(thinking) = inside(body, "thinking")
    {
        put(thinking, "type", mode);
        put(thinking, "budget_tokens", reasoning.budget);
        put(thinking, "display", reasoning.summary.clone());
    }
    if reasoning.effort.is_some()
        && let Some(config) = inside(body, "output_config")
    {
        put(config, "effort", reasoning.effort.clone());
    }
}
