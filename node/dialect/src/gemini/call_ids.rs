//! Ids of function calls that come without one.
//!
//! Older models and Vertex pair a call and its response by name and order. Other dialects demand an id, so a reader
//! makes one of where the call stands: the same history gives the same ids, and no two calls of it have one. A made
//! id is known by its prefix and is not written to Gemini again.

use crate::hub::part::PartKind;
use crate::hub::request::{Role, Turn};

/// What begins a made id.
const MADE: &str = "gvcall_";

/// The id of call `call` of choice `choice` in the answer `answer_id`.
pub(super) fn of_answer(choice: u64, call: usize, answer_id: Option<&str>) -> String {
    format!("{MADE}{choice}_{call}_{}", answer_id.unwrap_or_default())
}

/// Whether an id was made here.
pub(super) fn is_made(id: &str) -> bool {
    id.is_empty() || id.starts_with(MADE)
}

/// Gives ids to the calls of a conversation that have none, and to responses the id of their call: the first of their
/// name that is not answered yet.
pub(super) fn complete(turns: &mut [Turn]) {
    let mut unanswered: Vec<(String, String)> = Vec::new();
    let mut is_after_model = false;
    for (turn_index, turn) in turns.iter_mut().enumerate() {
        let is_model = turn.role == Role::Assistant;
        if is_model && !is_after_model {
            unanswered.clear();
        }
        is_after_model = is_model;
        for (part_index, part) in turn.parts.iter_mut().enumerate() {
            let made = || format!("{MADE}{turn_index}_{part_index}");
            match &mut part.kind {
                PartKind::ToolCall(call) => {
                    if call.id.is_empty() {
                        call.id = made();
                    }
                    unanswered.push((call.name.clone(), call.id.clone()));
                }
                PartKind::ToolResult(result) => {
                    let is_answered = |(name, id): &(String, String)| {
                        *id == result.call_id
                            || (result.call_id.is_empty() && result.name.as_ref() == Some(name))
                    };
                    let position = unanswered.iter().position(is_answered);
                    let call = position.map(|position| unanswered.remove(position));
                    if result.call_id.is_empty() {
                        result.call_id = call.map_or_else(made, |(_, id)| id);
                    }
                }
                _ => {}
            }
        }
    }
}
