//! Writes the turns of a request.
//!
//! Turns of another dialect follow Anthropic's rules: instructions at the front become `system`, turns of one side
//! become one message, tools' answers come first in it, and what says nothing is left out. Instructions in the middle
//! stay there, with the role `system`, which later models take; an upstream that does not refuses them itself.

use serde_json::{Value, json};

use super::DIALECT;
use super::write_parts::{self, write_content};
use crate::grammar::{Object, Toward};
use crate::hub::part::{Part, PartKind};
use crate::hub::request::{HubRequest, Role, Turn};
use crate::loss::LossList;
use crate::sides;

/// The turns of a request in messages, as they were.
pub(super) fn home(turns: &[Turn], losses: &mut LossList) -> Vec<Value> {
    let messages = turns.iter().map(|turn| {
        let mut message = Object::new();
        let role = match &turn.role {
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
            Role::System | Role::Developer => "system",
            Role::Other(role) => role,
        };
        message.insert("role".to_string(), json!(role));
        let content = write_content(&turn.parts, &turn.rest, "content", Toward::Upstream, losses);
        if let Some(content) = content {
            message.insert("content".to_string(), content);
        }
        turn.rest.write(DIALECT, &mut message, losses);
        Value::Object(message)
    });
    messages.collect()
}

/// `system` and the messages of a request in another dialect.
pub(super) fn foreign(request: &HubRequest, losses: &mut LossList) -> (Option<Value>, Vec<Value>) {
    let (instructions, turns) = sides::instructions(request, losses);
    let system: Vec<Value> = instructions
        .into_iter()
        .filter_map(|part| write_parts::write(part, Toward::Upstream, losses))
        .collect();
    let system = (!system.is_empty()).then_some(Value::Array(system));
    let mut messages = Vec::new();
    for turn in turns {
        turn.rest.lose(losses);
        let role = match &turn.role {
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
            Role::System | Role::Developer => "system",
            Role::Other(_) => {
                losses.add(turn.rest.at("role"), "messages has no such role");
                continue;
            }
        };
        let blocks = write_blocks(&turn.parts, losses);
        sides::say(&mut messages, role, blocks);
    }
    let messages = messages.into_iter().map(|(role, mut blocks)| {
        // Sorting is stable: the order among answers and among the others stays.
        blocks.sort_by_key(|block| block["type"] != "tool_result");
        json!({"role": role, "content": blocks})
    });
    (system, messages.collect())
}

// A refusal and a text are the same to messages; an attachment of the model's own is not.
fn write_blocks(parts: &[Part], losses: &mut LossList) -> Vec<Value> {
    let is_said = |part: &&Part| !matches!(&part.kind, PartKind::Text(text) if text.is_empty());
    let parts = parts.iter().filter(is_said);
    parts
        .filter_map(|part| write_parts::write(part, Toward::Upstream, losses))
        .collect()
}
