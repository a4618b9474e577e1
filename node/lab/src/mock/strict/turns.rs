//! The turns of Anthropic's messages, and when an answer may begin with thinking.

use serde_json::Value;

use super::exchange::{Object, content_text, items, text};
use super::refusal::Refusal;

/// The least budget of thinking.
const BUDGET_MIN: u64 = 1_024;

/// Consecutive messages of one role, which the API takes for one.
#[derive(Debug)]
pub(super) struct AnthropicTurn<'a> {
    pub(super) role: &'a str,
    /// Where the first of its messages is.
    pub(super) at: usize,
    pub(super) blocks: Vec<&'a Value>,
}

impl AnthropicTurn<'_> {
    /// The blocks of one type.
    pub(super) fn of<'s>(&'s self, kind: &'s str) -> impl Iterator<Item = &'s Value> {
        self.blocks
            .iter()
            .copied()
            .filter(move |block| text(block, "type") == kind)
    }

    /// What the tools answered.
    pub(super) fn results(&self) -> Vec<String> {
        self.of("tool_result")
            .map(|block| content_text(&block["content"]))
            .collect()
    }
}

/// The turns of a conversation.
pub(super) fn turns(messages: &[Value]) -> Vec<AnthropicTurn<'_>> {
    let mut turns: Vec<AnthropicTurn<'_>> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let role = text(message, "role");
        // The system's messages come between turns and end none.
        if role == "system" {
            continue;
        }
        let blocks = items(&message["content"]).iter();
        match turns.last_mut().filter(|turn| turn.role == role) {
            Some(turn) => turn.blocks.extend(blocks),
            None => turns.push(AnthropicTurn {
                role,
                at,
                blocks: blocks.collect(),
            }),
        }
    }
    turns
}

/// Whether the answer begins with thinking.
pub(super) fn thinking(body: &Object, turns: &[AnthropicTurn<'_>]) -> Result<bool, Refusal> {
    let thinking = body.get("thinking").unwrap_or(&Value::Null);
    match text(thinking, "type") {
        "enabled" => {
            let budget = thinking["budget_tokens"].as_u64().ok_or_else(|| {
                Refusal::invalid("thinking.enabled.budget_tokens: Field required")
            })?;
            if budget < BUDGET_MIN {
                return Err(Refusal::invalid(
                    "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
                ));
            }
            if body
                .get("max_tokens")
                .and_then(Value::as_u64)
                .is_some_and(|most| most <= budget)
            {
                return Err(Refusal::invalid(
                    "`max_tokens` must be greater than `thinking.budget_tokens`.",
                ));
            }
        }
        "adaptive" => {}
        "disabled" => return Ok(false),
        _ if thinking.is_null() => return Ok(false),
        kind => {
            return Err(Refusal::invalid(format!(
                "thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'"
            )));
        }
    }
    if body
        .get("temperature")
        .and_then(Value::as_f64)
        .is_some_and(|value| value != 1.0)
    {
        return Err(Refusal::invalid(
            "`temperature` may only be set to 1 when thinking is enabled.",
        ));
    }
    let forced = body
        .get("tool_choice")
        .is_some_and(|choice| ["any", "tool"].contains(&text(choice, "type")));
    if forced {
        return Err(Refusal::invalid(
            "Thinking may not be enabled when tool_choice forces tool use.",
        ));
    }
    let last = turns.iter().rfind(|turn| turn.role == "assistant");
    let answered = turns
        .last()
        .is_some_and(|turn| turn.of("tool_result").next().is_some());
    if let Some(turn) = last.filter(|turn| answered && turn.of("tool_use").next().is_some()) {
        let first = turn.blocks.first().map_or("", |block| text(block, "type"));
        if text(thinking, "type") == "enabled"
            && first != "thinking"
            && first != "redacted_thinking"
        {
            return Err(Refusal::invalid(format!(
                "messages.{}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks).",
                turn.at
            )));
        }
    }
    Ok(true)
}
