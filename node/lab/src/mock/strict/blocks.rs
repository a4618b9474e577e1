//! The blocks of Anthropic's messages: which fields each has, and which values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::exchange::{items, text, unknown_key};
use super::prefix::Prefixes;
use super::refusal::Refusal;
use super::seal::Seal;

/// What [`Seal`] signs thinking for.
pub(super) const THINKING: &str = "thinking";

/// The fields of the blocks that are checked, beside `type`. Blocks of other types (server tools, citations' sources)
/// are taken as they are.
const FIELDS: [(&str, &[&str]); 7] = [
    ("text", &["text", "cache_control", "citations"]),
    ("image", &["source", "cache_control"]),
    (
        "document",
        &["source", "cache_control", "citations", "title", "context"],
    ),
    (
        "tool_use",
        &["id", "name", "input", "cache_control", "caller"],
    ),
    (
        "tool_result",
        &["tool_use_id", "content", "is_error", "cache_control"],
    ),
    ("thinking", &["thinking", "signature"]),
    ("redacted_thinking", &["data"]),
];

/// Checks the blocks of one message.
pub(super) fn check_blocks(
    blocks: &[Value],
    role: &str,
    path: &str,
    seal: &Seal,
) -> Result<(), Refusal> {
    for (at, block) in blocks.iter().enumerate() {
        check(block, role, &format!("{path}.{at}"), seal)?;
    }
    Ok(())
}

fn check(block: &Value, role: &str, path: &str, seal: &Seal) -> Result<(), Refusal> {
    let kind = text(block, "type");
    if kind.is_empty() {
        return Err(Refusal::invalid(format!("{path}.type: Field required")));
    }
    let fields = FIELDS
        .iter()
        .find(|(name, _)| *name == kind)
        .map(|(_, fields)| *fields);
    if let (Some(fields), Some(block)) = (fields, block.as_object()) {
        let known: Vec<&str> = fields.iter().copied().chain(["type"]).collect();
        if let Some(name) = unknown_key(block, &known) {
            return Err(Refusal::invalid(format!(
                "{path}.{kind}.{name}: Extra inputs are not permitted"
            )));
        }
    }
    check_values(block, role, path, seal)
}

fn check_values(block: &Value, role: &str, path: &str, seal: &Seal) -> Result<(), Refusal> {
    let kind = text(block, "type");
    match kind {
        "text" if !block["text"].is_string() => Err(Refusal::invalid(format!(
            "{path}.text.text: Field required"
        ))),
        "text" if text(block, "text").is_empty() => Err(Refusal::invalid(
            "messages: text content blocks must be non-empty",
        )),
        "text" if text(block, "text").trim().is_empty() => Err(Refusal::invalid(
            "messages: text content blocks must contain non-whitespace text",
        )),
        "image" => check_image(&block["source"], path),
        "tool_use" if role == "assistant" => {
            check_id(text(block, "id"), &format!("{path}.tool_use.id"))?;
            match &block["input"] {
                Value::Object(_) => Ok(()),
                Value::Null => Err(Refusal::invalid(format!(
                    "{path}.tool_use.input: Field required"
                ))),
                _ => Err(Refusal::invalid(format!(
                    "{path}.tool_use.input: Input should be a valid dictionary"
                ))),
            }
        }
        "tool_result" if role == "user" => {
            check_id(
                text(block, "tool_use_id"),
                &format!("{path}.tool_result.tool_use_id"),
            )?;
            check_blocks(
                items(&block["content"]),
                role,
                &format!("{path}.tool_result.content"),
                seal,
            )
        }
        "thinking" if role == "assistant" => {
            if seal.verify(THINKING, text(block, "thinking"), text(block, "signature")) {
                Ok(())
            } else {
                Err(Refusal::invalid(format!(
                    "{path}: Invalid `signature` in `thinking` block"
                )))
            }
        }
        "tool_use" | "thinking" | "redacted_thinking" if role != "assistant" => {
            Err(Refusal::invalid(format!(
                "messages: `{kind}` blocks can only be in `assistant` messages"
            )))
        }
        "tool_result" => Err(Refusal::invalid(
            "messages: `tool_result` blocks can only be in `user` messages",
        )),
        _ => Ok(()),
    }
}

fn check_id(id: &str, path: &str) -> Result<(), Refusal> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if id.is_empty() || !id.chars().all(fits) {
        return Err(Refusal::invalid(format!(
            "{path}: String should match pattern '^[a-zA-Z0-9_-]+$'"
        )));
    }
    Ok(())
}

fn check_image(source: &Value, path: &str) -> Result<(), Refusal> {
    match text(source, "type") {
        "base64" => {
            let kind = text(source, "media_type");
            if !["image/jpeg", "image/png", "image/gif", "image/webp"].contains(&kind) {
                return Err(Refusal::invalid(format!(
                    "{path}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
                )));
            }
            let data = text(source, "data");
            if data.is_empty() || STANDARD.decode(data).is_err() {
                return Err(Refusal::invalid(format!(
                    "{path}.image.source.base64.data: Invalid base64 data"
                )));
            }
            Ok(())
        }
        "url" if !text(source, "url").is_empty() => Ok(()),
        "file" if !text(source, "file_id").is_empty() => Ok(()),
        _ => Err(Refusal::invalid(format!(
            "{path}.image.source: Field required"
        ))),
    }
}

/// Adds a block to the cache's view of the prompt, and remembers where the client marked one.
pub(super) fn mark(block: &Value, prefixes: &mut Prefixes, marks: &mut Vec<usize>) {
    let mut bare = block.clone();
    let marked = match &mut bare {
        Value::Object(fields) => fields
            .remove("cache_control")
            .is_some_and(|mark| !mark.is_null()),
        _ => false,
    };
    let length = prefixes.push(&bare.to_string());
    if marked {
        marks.push(length);
    }
}
