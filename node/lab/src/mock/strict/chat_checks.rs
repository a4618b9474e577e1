//! The rules of OpenAI's messages and schemas.

use serde_json::Value;

use super::exchange::{items, text};
use super::refusal::Refusal;
use super::seal::Seal;

const ROLES: [&str; 6] = [
    "system",
    "assistant",
    "user",
    "function",
    "tool",
    "developer",
];

/// A parameter that is not there.
pub(super) fn missing(param: &str) -> Refusal {
    wrong(
        format!("Missing required parameter: '{param}'."),
        param,
        "missing_required_parameter",
    )
}

/// A parameter at fault, in OpenAI's way.
pub(super) fn wrong(
    message: impl Into<String>,
    param: impl Into<String>,
    code: &'static str,
) -> Refusal {
    Refusal::invalid(message).param(param).code(code)
}

/// Checks roles, contents, and that calls have their results.
pub(super) fn check_messages(messages: &[Value]) -> Result<(), Refusal> {
    // The calls of the last assistant message that wait for their results.
    let mut open: Vec<&str> = Vec::new();
    let mut after_calls = false;
    for (at, message) in messages.iter().enumerate() {
        let role = text(message, "role");
        if !ROLES.contains(&role) {
            return Err(wrong(
                format!(
                    "Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
                ),
                format!("messages[{at}].role"),
                "invalid_value",
            ));
        }
        check_content(message, role, at)?;
        if role == "tool" {
            let id = text(message, "tool_call_id");
            if id.is_empty() {
                return Err(missing(&format!("messages[{at}].tool_call_id")));
            }
            if !after_calls || !open.contains(&id) {
                return Err(Refusal::invalid(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                )
                .param(format!("messages.[{at}].role")));
            }
            open.retain(|waiting| *waiting != id);
            continue;
        }
        unanswered(&open, at)?;
        open = items(&message["tool_calls"])
            .iter()
            .map(|call| text(call, "id"))
            .collect();
        after_calls = !open.is_empty();
        for (number, call) in items(&message["tool_calls"]).iter().enumerate() {
            let is_text = |field: &str| call["function"][field].is_string();
            if text(call, "id").is_empty() || !is_text("name") || !is_text("arguments") {
                let param = format!("messages[{at}].tool_calls[{number}].function");
                return Err(missing(&param));
            }
        }
    }
    unanswered(&open, messages.len())
}

fn unanswered(open: &[&str], at: usize) -> Result<(), Refusal> {
    if open.is_empty() {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        open.join(", ")
    ))
    .param(format!("messages.[{at}].role")))
}

fn check_content(message: &Value, role: &str, at: usize) -> Result<(), Refusal> {
    let param = || format!("messages[{at}].content");
    let calls = !items(&message["tool_calls"]).is_empty() || message.get("function_call").is_some();
    match message.get("content") {
        Some(Value::String(_)) => Ok(()),
        Some(Value::Array(parts)) => {
            for (number, part) in parts.iter().enumerate() {
                let kind = text(part, "type");
                let known = ["text", "image_url", "input_audio", "file", "refusal"];
                if !known.contains(&kind) {
                    return Err(wrong(
                        format!(
                            "Invalid value: '{kind}'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', and 'file'."
                        ),
                        format!("messages[{at}].content[{number}].type"),
                        "invalid_value",
                    ));
                }
                if kind == "image_url" && text(&part["image_url"], "url").is_empty() {
                    return Err(missing(&format!(
                        "messages[{at}].content[{number}].image_url.url"
                    )));
                }
            }
            Ok(())
        }
        None | Some(Value::Null) if role == "assistant" && calls => Ok(()),
        None => Err(missing(&param())),
        Some(Value::Null) => Err(wrong(
            "Invalid value for 'content': expected a string, got null.",
            param(),
            "invalid_type",
        )),
        Some(_) => Err(wrong(
            format!(
                "Invalid type for '{}': expected one of an array of objects or string.",
                param()
            ),
            param(),
            "invalid_type",
        )),
    }
}

/// Every call after the last question must bring its signature back.
pub(super) fn check_signatures(
    messages: &[Value],
    model: &str,
    seal: &Seal,
) -> Result<(), Refusal> {
    let turn = messages
        .iter()
        .rposition(|message| text(message, "role") == "user");
    for (at, message) in messages.iter().enumerate().skip(turn.unwrap_or(0)) {
        // Of parallel calls, the first alone carries one.
        if let Some(call) = items(&message["tool_calls"]).first() {
            let name = text(&call["function"], "name");
            let arguments =
                serde_json::from_str(text(&call["function"], "arguments")).unwrap_or(Value::Null);
            let signature = call["extra_content"]["google"]["thought_signature"].as_str();
            super::google_fields::check_signature(
                seal,
                model,
                name,
                &arguments,
                signature,
                at + 1,
            )?;
        }
    }
    Ok(())
}

/// What OpenAI's strict mode demands of the outermost object.
pub(super) fn strict_schema(schema: &Value, name: &str, param: &str) -> Result<(), Refusal> {
    let refused = |why: String| {
        wrong(
            format!("Invalid schema for {param} '{name}': In context=(), {why}"),
            param,
            "invalid_json_schema",
        )
    };
    if schema["additionalProperties"] != false {
        return Err(refused(
            "'additionalProperties' is required to be supplied and to be false.".to_owned(),
        ));
    }
    let required = items(&schema["required"]);
    for key in schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
    {
        if !required.iter().any(|name| name.as_str() == Some(key)) {
            return Err(refused(format!(
                "'required' is required to be supplied and to be an array including every key in properties. Missing '{key}'."
            )));
        }
    }
    Ok(())
}
