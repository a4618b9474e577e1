//! The rule that each use of a tool is followed by its result, in Anthropic's words.

use serde_json::Value;

use super::exchange::text;
use super::refusal::Refusal;
use super::turns::AnthropicTurn;

/// Checks that every `tool_use` has its `tool_result` at the head of the next turn, and the other way round.
pub(super) fn check_pairs(turns: &[AnthropicTurn<'_>]) -> Result<(), Refusal> {
    let mut before: Vec<&str> = Vec::new();
    let mut before_at = 0;
    for turn in turns {
        let leading: Vec<&Value> = turn
            .blocks
            .iter()
            .copied()
            .take_while(|block| text(block, "type") == "tool_result")
            .collect();
        let answered = |id: &&str| {
            leading
                .iter()
                .any(|block| text(block, "tool_use_id") == *id)
        };
        let missing: Vec<&str> = before.iter().copied().filter(|id| !answered(id)).collect();
        if !missing.is_empty() {
            return Err(without_result(&missing, before_at));
        }
        for (number, block) in turn.of("tool_result").enumerate() {
            let id = text(block, "tool_use_id");
            if !before.contains(&id) {
                return Err(Refusal::invalid(format!(
                    "messages.{}.content.{number}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
                    turn.at
                )));
            }
        }
        before = turn.of("tool_use").map(|block| text(block, "id")).collect();
        before_at = turn.at;
        let mut sorted = before.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() < before.len() {
            return Err(Refusal::invalid("messages: `tool_use` ids must be unique"));
        }
    }
    if before.is_empty() {
        Ok(())
    } else {
        Err(without_result(&before, before_at))
    }
}

fn without_result(ids: &[&str], at: usize) -> Refusal {
    Refusal::invalid(format!(
        "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        ids.join(", ")
    ))
}
