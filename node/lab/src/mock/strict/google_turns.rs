//! The order that Google demands of calls and their responses.

use serde_json::Value;

use super::exchange::{items, text};
use super::google_fields::{check_signature, either};
use super::refusal::Refusal;
use super::seal::Seal;

/// Checks that calls follow the user, that responses follow calls, as many as those, and that the calls of the current
/// turn bring their signatures back.
pub(super) fn check_turns(contents: &[Value], model: &str, seal: &Seal) -> Result<(), Refusal> {
    let current = contents
        .iter()
        .rposition(|content| {
            text(content, "role") != "model" && parts_with(content, "functionResponse").is_empty()
        })
        .unwrap_or(0);
    let mut open = 0;
    for (at, content) in contents.iter().enumerate() {
        let calls = parts_with(content, "functionCall");
        let responses = parts_with(content, "functionResponse");
        if text(content, "role") == "model" {
            if open > 0 {
                return Err(unequal());
            }
            let before = at
                .checked_sub(1)
                .map(|before| text(&contents[before], "role"));
            if !calls.is_empty() && before.is_none_or(|role| role == "model") {
                return Err(Refusal::invalid(
                    "Please ensure that function call turn comes immediately after a user turn or after a function response turn.",
                ));
            }
            if at > current
                && let Some(part) = calls.first()
            {
                check_call(part, model, seal, at + 1)?;
            }
            open = calls.len();
            continue;
        }
        if responses.len() != open {
            return Err(match open {
                0 => Refusal::invalid(
                    "Please ensure that function response turn comes immediately after a function call turn.",
                ),
                _ => unequal(),
            });
        }
        open = 0;
    }
    if open > 0 { Err(unequal()) } else { Ok(()) }
}

fn unequal() -> Refusal {
    Refusal::invalid(
        "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
    )
}

fn check_call(part: &Value, model: &str, seal: &Seal, position: usize) -> Result<(), Refusal> {
    let part = part.as_object().cloned().unwrap_or_default();
    let call = either(&part, "functionCall").unwrap_or(&Value::Null);
    let signature = either(&part, "thoughtSignature").and_then(Value::as_str);
    check_signature(
        seal,
        model,
        text(call, "name"),
        &call["args"],
        signature,
        position,
    )
}

fn parts_with<'a>(content: &'a Value, name: &str) -> Vec<&'a Value> {
    let has = |part: &&Value| {
        part.as_object()
            .is_some_and(|part| either(part, name).is_some())
    };
    items(&content["parts"]).iter().filter(has).collect()
}
