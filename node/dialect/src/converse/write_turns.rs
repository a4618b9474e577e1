//! Writes the turns of a request.
//!
//! Turns of another dialect follow Bedrock's rules: instructions at the front become `system`, turns of one side become
//! one message, tools' answers come first in it, and what says nothing is left out. There are no instructions in the
//! middle: the user says them, and that is named.

use serde_json::{Value, json};

use super::write_parts::PartWriter;
use super::{DIALECT, cache_point};
use crate::grammar::Object;
use crate::hub::request::{HubRequest, Role, Turn};
use crate::loss::LossList;
use crate::sides;

/// The turns of a request in Converse, as they were.
pub(super) fn home(turns: &[Turn], writer: &mut PartWriter, losses: &mut LossList) -> Vec<Value> {
    let messages = turns.iter().map(|turn| {
        let mut message = Object::new();
        let role = match &turn.role {
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
            Role::System | Role::Developer => "system",
            Role::Other(role) => role,
        };
        message.insert("role".to_string(), json!(role));
        let content = writer.write_list(&turn.parts, losses);
        if !content.is_empty() {
            message.insert("content".to_string(), Value::Array(content));
        }
        turn.rest.write(DIALECT, &mut message, losses);
        Value::Object(message)
    });
    messages.collect()
}

/// `system` and the messages of a request in another dialect.
pub(super) fn foreign(
    request: &HubRequest,
    writer: &mut PartWriter,
    losses: &mut LossList,
) -> (Vec<Value>, Vec<Value>) {
    let (instructions, turns) = sides::instructions(request, losses);
    let system = writer.write_list(instructions, losses);
    let mut messages = Vec::new();
    for turn in turns {
        turn.rest.lose(losses);
        let role = match &turn.role {
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
            Role::System | Role::Developer => {
                let reason = "said as the user's: Converse has instructions at the front alone";
                losses.add(turn.rest.at("role"), reason);
                "user"
            }
            Role::Other(_) => {
                losses.add(turn.rest.at("role"), "Converse has no such role");
                continue;
            }
        };
        let blocks = writer.write_list(&turn.parts, losses);
        sides::say(&mut messages, role, blocks);
    }
    if let Some(mark) = &request.cache {
        match messages.last_mut() {
            Some((_, blocks)) if !blocks.last().is_some_and(cache_point::is_one) => {
                blocks.push(cache_point::write(mark, losses));
            }
            Some(_) => {}
            None => losses.add(mark.rest.path(), "there is nothing before it to cache"),
        }
    }
    let messages = messages
        .into_iter()
        .map(|(role, blocks)| json!({"role": role, "content": results_first(blocks)}));
    (system, messages.collect())
}

// A cache point stays behind its block.
fn results_first(blocks: Vec<Value>) -> Vec<Value> {
    let (mut results, mut others) = (Vec::new(), Vec::new());
    let mut is_after_result = false;
    for block in blocks {
        if !cache_point::is_one(&block) {
            is_after_result = block.get("toolResult").is_some();
        }
        let side = if is_after_result {
            &mut results
        } else {
            &mut others
        };
        side.push(block);
    }
    results.append(&mut others);
    results
}
