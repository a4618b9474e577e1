//! Names of Google's fields, and the signatures of its calls.

use serde_json::{Value, json};

use super::exchange::Object;
use super::refusal::Refusal;
use super::seal::Seal;

/// What [`Seal`] signs calls for.
const CALL: &str = "call";

/// Signatures that the documentation names for calls of other models.
const BYPASSES: [&str; 2] = [
    "skip_thought_signature_validator",
    "context_engineering_is_the_way_to_go",
];

/// A field by its name in camel case, or in snake case, which Google takes as well.
pub(super) fn either<'a>(object: &'a Object, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| object.get(&snake(name)))
}

fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// The refusal of a field that Google does not know; `path` is empty for the outermost object.
pub(super) fn unknown_name(name: &str, path: &str) -> Refusal {
    let place = if path.is_empty() {
        String::new()
    } else {
        format!(" at '{path}'")
    };
    let message = format!(
        "Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."
    );
    let mut violation = json!({"description": message});
    if !path.is_empty() {
        violation["field"] = json!(path);
    }
    Refusal::invalid(message).details(json!([
        {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
    ]))
}

/// Refuses the first field that is not among `names`.
pub(super) fn known(object: &Object, names: &[&str], path: &str) -> Result<(), Refusal> {
    let fits = |key: &&String| {
        names
            .iter()
            .any(|name| *name == key.as_str() || snake(name) == key.as_str())
    };
    match object.keys().find(|key| !fits(key)) {
        Some(key) => Err(unknown_name(key, path)),
        None => Ok(()),
    }
}

/// The signature of a call, as the mock issues it.
pub(super) fn sign(seal: &Seal, name: &str, arguments: &Value) -> String {
    seal.sign(CALL, &format!("{name} {arguments}"))
}

/// Bytes in JSON are base64 of either alphabet to Google's servers, and its SDKs write that of URLs.
fn is_signed(seal: &Seal, call: &str, signature: &str) -> bool {
    let signature = signature.replace('-', "+").replace('_', "/");
    seal.verify(CALL, call, &signature)
}

/// Checks what came back with a call; `position` is that of its turn, for the message. Models before Gemini 3 judge no
/// signature.
pub(super) fn check_signature(
    seal: &Seal,
    model: &str,
    name: &str,
    arguments: &Value,
    signature: Option<&str>,
    position: usize,
) -> Result<(), Refusal> {
    let lax = model.contains("gemini-1") || model.contains("gemini-2");
    match signature {
        _ if lax => Ok(()),
        None => Err(Refusal::invalid(format!(
            "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call `default_api:{name}` , position {position}. Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
        ))),
        Some(given) if BYPASSES.contains(&given) => Ok(()),
        Some(given) if is_signed(seal, &format!("{name} {arguments}"), given) => Ok(()),
        Some(_) => Err(Refusal::invalid("Thought signature is not valid.")),
    }
}
