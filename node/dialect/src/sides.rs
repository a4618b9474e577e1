//! Turns of a request for dialects in which two sides take turns, and instructions stand before them.

use serde_json::Value;

use crate::hub::part::Part;
use crate::hub::request::{HubRequest, Role, Turn};
use crate::loss::LossList;

/// The instructions of a request, those of its first turns among them, and the turns that follow. Instructions are
/// words in every dialect of this kind.
pub(crate) fn instructions<'a>(
    request: &'a HubRequest,
    losses: &mut LossList,
) -> (Vec<&'a Part>, &'a [Turn]) {
    let is_instruction = |turn: &&Turn| matches!(turn.role, Role::System | Role::Developer);
    let count = request.turns.iter().take_while(is_instruction).count();
    let (front, others) = request.turns.split_at(count);
    for turn in front {
        turn.rest.lose(losses);
    }
    let of_turns = front.iter().flat_map(|turn| &turn.parts);
    let mut instructions: Vec<&Part> = request.instructions.iter().chain(of_turns).collect();
    instructions.retain(|part| {
        let is_text = part.text().is_some();
        if !is_text {
            losses.add(part.rest.path(), "instructions are words alone");
        }
        is_text
    });
    (instructions, others)
}

/// Adds what a side says to its message, which goes on until the other side speaks.
pub(crate) fn say(
    messages: &mut Vec<(&'static str, Vec<Value>)>,
    side: &'static str,
    blocks: Vec<Value>,
) {
    match messages.last_mut() {
        Some((last, earlier)) if *last == side => earlier.extend(blocks),
        _ if blocks.is_empty() => {}
        _ => messages.push((side, blocks)),
    }
}
