//! OpenAI's responses as read, and the responses that are kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::chat::{choice, reasons};
use super::chat_checks::{missing, strict_schema, wrong};
use super::exchange::{Object, content_text, count, items, object, text, unknown_key};
use super::kept::Kept;
use super::refusal::Refusal;
use super::said::{Ask, Tool};
use super::seal::Seal;
use super::stored::Stored;

/// The parameters of OpenAI's reference.
const PARAMETERS: [&str; 28] = [
    "background",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
];

/// What [`Seal`] signs reasoning for.
const REASONING: &str = "reasoning";

/// A checked request.
#[derive(Debug)]
pub(super) struct ResponseAsk {
    pub(super) ask: Ask,
    /// The whole conversation: that of the previous response, and the new input.
    pub(super) items: Vec<Value>,
    pub(super) body: Object,
    pub(super) encrypted: bool,
    pub(super) store: bool,
}

/// Reads and checks a request.
pub(super) fn read(body: &[u8], stored: &Stored, seal: &Seal) -> Result<ResponseAsk, Refusal> {
    let kept = &stored.kept;
    let body = object(body)?;
    if let Some(name) = unknown_key(&body, &PARAMETERS).filter(|name| *name != "user") {
        return Err(wrong(
            format!("Unknown parameter: '{name}'."),
            name,
            "unknown_parameter",
        ));
    }
    let field = |name: &str| body.get(name).unwrap_or(&Value::Null);
    let model = field("model").as_str().ok_or_else(|| missing("model"))?;
    let new = match field("input") {
        Value::String(text) => vec![json!({"role": "user", "content": text})],
        Value::Array(items) => items.clone(),
        Value::Null => return Err(missing("input")),
        _ => {
            return Err(wrong(
                "Invalid type for 'input': expected one of a string or array of input items.",
                "input",
                "invalid_type",
            ));
        }
    };
    let mut conversation = previous(field("previous_response_id"), kept)?;
    conversation.extend(stored.conversation(field("conversation"))?);
    stored.check_files(&new)?;
    check_reasoning(&new, kept, seal)?;
    conversation.extend(new);
    check_calls(&conversation)?;
    let format = &field("text")["format"];
    let schema = (text(format, "type") == "json_schema").then(|| format["schema"].clone());
    if let Some(schema) = &schema {
        if text(format, "name").is_empty() {
            return Err(missing("text.format.name"));
        }
        if format["strict"] == true {
            strict_schema(schema, text(format, "name"), "text.format.schema")?;
        }
    }
    let effort = text(field("reasoning"), "effort");
    let bytes =
        Value::Array(conversation.clone()).to_string().len() + text_length(field("instructions"));
    Ok(ResponseAsk {
        ask: Ask {
            model: model.to_owned(),
            text: last_user_text(&conversation),
            tools: tools(field("tools"))?,
            choice: choice(body.get("tool_choice")),
            results: results(&conversation),
            thinking: effort != "none" && (!effort.is_empty() || reasons(model)),
            schema,
            words_max: count(body.get("max_output_tokens")),
            stream: field("stream").as_bool().unwrap_or(false),
            input_tokens: bytes as u64 / 4 + 1,
        },
        items: conversation,
        encrypted: items(field("include"))
            .iter()
            .any(|name| name == "reasoning.encrypted_content"),
        store: field("store").as_bool().unwrap_or(true),
        body,
    })
}

fn text_length(value: &Value) -> usize {
    value.as_str().map_or(0, str::len)
}

fn previous(id: &Value, kept: &Kept) -> Result<Vec<Value>, Refusal> {
    let Some(id) = id.as_str() else {
        return Ok(Vec::new());
    };
    kept.find(id).map(|one| one.items).ok_or_else(|| {
        wrong(
            format!("Previous response with id '{id}' not found."),
            "previous_response_id",
            "previous_response_not_found",
        )
    })
}

/// What a client keeps of the reasoning `id`, in place of what is stored.
pub(super) fn sealed_reasoning(seal: &Seal, id: &str) -> String {
    let tag = seal.sign(REASONING, id);
    STANDARD.encode(format!("{id} {tag}"))
}

/// Whether `sealed` is of this mock. Clients that store nothing send no id beside it.
fn is_sealed_reasoning(seal: &Seal, id: &str, sealed: &str) -> bool {
    let opened = STANDARD.decode(sealed).ok();
    let opened = opened.and_then(|bytes| String::from_utf8(bytes).ok());
    opened.is_some_and(|opened| {
        opened.split_once(' ').is_some_and(|(own, tag)| {
            (id.is_empty() || id == own) && seal.verify(REASONING, own, tag)
        })
    })
}

/// Reasoning comes back sealed, or by the id of what is kept, and never without what followed it.
fn check_reasoning(new: &[Value], kept: &Kept, seal: &Seal) -> Result<(), Refusal> {
    for (at, item) in new.iter().enumerate() {
        if text(item, "type") != "reasoning" {
            continue;
        }
        let id = text(item, "id");
        match item.get("encrypted_content").and_then(Value::as_str) {
            Some(sealed) if !is_sealed_reasoning(seal, id, sealed) => {
                return Err(Refusal::invalid(format!(
                    "The encrypted content for item {id} could not be verified. Reason: Encrypted content could not be decrypted or parsed."
                ))
                .code("invalid_encrypted_content"));
            }
            None if !kept.has_item(id) => {
                return Err(Refusal::new(
                    404,
                    format!(
                        "Item with id '{id}' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input."
                    ),
                )
                .param("input"));
            }
            _ => {}
        }
        let next = new.get(at + 1).unwrap_or(&Value::Null);
        let follows = text(next, "role") == "assistant"
            || text(next, "type").ends_with("_call")
            || text(next, "type") == "reasoning";
        if !follows {
            return Err(Refusal::invalid(format!(
                "Item '{id}' of type 'reasoning' was provided without its required following item."
            ))
            .param("input"));
        }
    }
    Ok(())
}

fn check_calls(conversation: &[Value]) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (at, item) in conversation.iter().enumerate() {
        let id = text(item, "call_id");
        match text(item, "type") {
            "function_call" | "custom_tool_call" => {
                if id.is_empty() {
                    return Err(missing(&format!("input[{at}].call_id")));
                }
                open.push(id);
                seen.push(id);
            }
            "function_call_output" | "custom_tool_call_output" => {
                if !seen.contains(&id) {
                    return Err(Refusal::invalid(format!(
                        "No tool call found for function call output with call_id {id}."
                    ))
                    .param("input"));
                }
                open.retain(|waiting| *waiting != id);
            }
            "" | "message" => {
                let role = text(item, "role");
                if !["user", "assistant", "system", "developer"].contains(&role) {
                    return Err(wrong(
                        format!(
                            "Invalid value: '{role}'. Supported values are: 'assistant', 'system', 'developer', and 'user'."
                        ),
                        format!("input[{at}]"),
                        "invalid_value",
                    ));
                }
                check_parts(item, role, at)?;
            }
            _ => {}
        }
    }
    match open.first() {
        None => Ok(()),
        Some(id) => Err(
            Refusal::invalid(format!("No tool output found for function call {id}."))
                .param("input"),
        ),
    }
}

fn check_parts(item: &Value, role: &str, at: usize) -> Result<(), Refusal> {
    let known: &[&str] = match role {
        "assistant" => &["output_text", "refusal"],
        _ => &["input_text", "input_image", "input_file", "input_audio"],
    };
    for (number, part) in items(&item["content"]).iter().enumerate() {
        let kind = text(part, "type");
        if !known.contains(&kind) {
            let supported: Vec<String> = known.iter().map(|kind| format!("'{kind}'")).collect();
            return Err(wrong(
                format!(
                    "Invalid value: '{kind}'. Supported values are: {}.",
                    supported.join(", ")
                ),
                format!("input[{at}].content[{number}]"),
                "invalid_value",
            ));
        }
    }
    Ok(())
}

fn tools(tools: &Value) -> Result<Vec<Tool>, Refusal> {
    let mut found = Vec::new();
    for (at, tool) in items(tools).iter().enumerate() {
        if text(tool, "type").is_empty() {
            return Err(missing(&format!("tools[{at}].type")));
        }
        if text(tool, "type") != "function" {
            continue;
        }
        if text(tool, "name").is_empty() {
            return Err(missing(&format!("tools[{at}].name")));
        }
        found.push(Tool {
            name: text(tool, "name").to_owned(),
            schema: tool["parameters"].clone(),
        });
    }
    Ok(found)
}

fn last_user_text(conversation: &[Value]) -> String {
    let last = conversation
        .iter()
        .rfind(|item| text(item, "role") == "user");
    last.map(|item| content_text(&item["content"]))
        .unwrap_or_default()
}

/// The results at the end of the conversation.
fn results(conversation: &[Value]) -> Vec<String> {
    let is_result = |item: &Value| text(item, "type").ends_with("_call_output");
    let start = conversation
        .iter()
        .rposition(|item| !is_result(item))
        .map_or(0, |last| last + 1);
    conversation[start..]
        .iter()
        .map(|item| content_text(&item["output"]))
        .collect()
}
