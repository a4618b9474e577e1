//! How much a model thinks, and how long its answer may be, which messages counts together.

use super::DIALECT;
use crate::claude;
use crate::fields::{inside, put};
use crate::grammar::Object;
use crate::hub::request::{HubRequest, Reasoning, ReasoningMode};
use crate::loss::LossList;

/// The tokens of an answer, beside those of its thoughts, if the client sets no limit, which messages demands. A model
/// that may not write as many is limited to what it may.
const MAX_TOKENS_DEFAULT: u64 = 32_000;

pub(super) fn write(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    if request.rest.is_from(DIALECT) {
        write_home(&request.reasoning, body);
        put(body, "max_tokens", request.max_tokens);
        return;
    }
    let budget = claude::write_thinking(request, DIALECT, body, losses).unwrap_or(0);
    let most = claude::answer_tokens_max(request.model.as_deref());
    let unlimited = most.min(budget.saturating_add(MAX_TOKENS_DEFAULT));
    let max_tokens = request.max_tokens.unwrap_or(unlimited);
    put(body, "max_tokens", Some(max_tokens));
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
