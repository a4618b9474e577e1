//! Anthropic's messages as read: the rules of the API itself, and of Bedrock and Vertex, which carry them.

use serde_json::{Value, json};

use super::blocks::{check_blocks, mark};
use super::exchange::{
    Object, content_text, count, items, last_user_text, object, text, unknown_key,
};
use super::pairs::check_pairs;
use super::prefix::Prefixes;
use super::refusal::Refusal;
use super::said::{Ask, Choice, Tool};
use super::seal::Seal;
use super::turns::{thinking, turns};

/// The version that Anthropic's SDKs of today ask for, of clouds too.
pub(in crate::mock::strict) const SDK_VERSION: &str = "2026-10-21";

/// Who carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    Api,
    /// `count_tokens` of the API.
    Count,
    /// `anthropic_version: bedrock-2023-05-31`; the model and the stream are in the URL.
    Bedrock,
    /// `anthropic_version: vertex-2023-10-16`; the model is in the URL.
    Vertex,
}

/// The parameters of Anthropic's reference, in all versions of the API.
const PARAMETERS: [&str; 16] = [
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "mcp_servers",
    "max_tokens",
    "messages",
    "metadata",
    "output_config",
    "output_format",
    "service_tier",
    "stop_sequences",
    "system",
    "thinking",
    "tool_choice",
    "tools",
];

/// The parameters that are not in the body of `count_tokens`.
const NOT_COUNTED: [&str; 6] = [
    "max_tokens",
    "metadata",
    "service_tier",
    "stop_sequences",
    "inference_geo",
    "container",
];

/// Models that take messages of the system's after the first, as others take none.
const SYSTEM_ROLE_MODELS: [&str; 1] = ["claude-opus-4-8"];

/// The most blocks with `cache_control`.
const MARKS_MAX: usize = 4;

/// A checked request.
pub(super) struct Messages {
    pub(super) ask: Ask,
    /// The conversation in blocks, and after which of them the client marked the cache.
    pub(super) prefixes: Prefixes,
    pub(super) marks: Vec<usize>,
}

/// Reads and checks a request. `model` is the URL's, where it is there.
pub(super) fn read(
    body: &[u8],
    host: Host,
    model: Option<&str>,
    seal: &Seal,
) -> Result<Messages, Refusal> {
    let body = object(body)?;
    parameters(&body, host)?;
    let field = |name: &str| body.get(name).unwrap_or(&Value::Null);
    let model = match model {
        Some(model) => model,
        None => field("model").as_str().ok_or_else(|| required("model"))?,
    };
    let messages = field("messages")
        .as_array()
        .ok_or_else(|| required("messages"))?;
    if host != Host::Count
        && field("max_tokens")
            .as_u64()
            .is_none_or(|tokens| tokens == 0)
    {
        return Err(match field("max_tokens") {
            Value::Null => required("max_tokens"),
            Value::Number(_) => {
                Refusal::invalid("max_tokens: Input should be greater than or equal to 1")
            }
            _ => Refusal::invalid("max_tokens: Input should be a valid integer"),
        });
    }
    check_messages(model, messages, seal)?;
    let turns = turns(messages);
    check_pairs(&turns)?;
    let thinking = thinking(&body, &turns)?;
    let tools = tools(field("tools"))?;
    let (prefixes, marks) = prefixes(model, &body, messages)?;
    let last = turns.last().filter(|turn| turn.role == "user");
    let results: Vec<String> = last.map_or(Vec::new(), |turn| turn.results());
    let bytes = Value::Array(messages.clone()).to_string().len()
        + field("system").to_string().len()
        + field("tools").to_string().len();
    let format = match field("output_format") {
        Value::Null => &field("output_config")["format"],
        format => format,
    };
    Ok(Messages {
        ask: Ask {
            model: model.to_owned(),
            text: last_user_text(messages),
            tools,
            choice: choice(field("tool_choice")),
            results,
            thinking,
            schema: (text(format, "type") == "json_schema").then(|| format["schema"].clone()),
            words_max: count(body.get("max_tokens")),
            stream: field("stream").as_bool().unwrap_or(false),
            input_tokens: bytes as u64 / 4 + 1,
        },
        prefixes,
        marks,
    })
}

/// A field that is not there.
pub(super) fn required(name: &str) -> Refusal {
    Refusal::invalid(format!("{name}: Field required"))
}

/// A field that has no place there.
pub(super) fn extra(name: &str) -> Refusal {
    Refusal::invalid(format!("{name}: Extra inputs are not permitted"))
}

fn parameters(body: &Object, host: Host) -> Result<(), Refusal> {
    let (version, own): (Option<&str>, &[&str]) = match host {
        Host::Api => (None, &["model", "stream", "temperature", "top_k", "top_p"]),
        Host::Count => (None, &["model"]),
        Host::Bedrock => (
            Some("bedrock-2023-05-31"),
            &[
                "temperature",
                "top_k",
                "top_p",
                "anthropic_version",
                "anthropic_beta",
            ],
        ),
        Host::Vertex => (
            Some("vertex-2023-10-16"),
            &[
                "stream",
                "temperature",
                "top_k",
                "top_p",
                "anthropic_version",
                "anthropic_beta",
            ],
        ),
    };
    if let Some(version) = version {
        match body.get("anthropic_version").and_then(Value::as_str) {
            None => return Err(required("anthropic_version")),
            Some(given) if given != version && given != SDK_VERSION => {
                return Err(Refusal::invalid(format!(
                    "anthropic_version: Input should be '{version}'"
                )));
            }
            Some(_) => {}
        }
    }
    let known: Vec<&str> = PARAMETERS
        .into_iter()
        .filter(|name| host != Host::Count || !NOT_COUNTED.contains(name))
        .chain(own.iter().copied())
        .collect();
    if let Some(name) = unknown_key(body, &known) {
        return Err(extra(name));
    }
    for (name, most) in [("temperature", 1.0), ("top_p", 1.0)] {
        let value = body.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        if !(0.0..=most).contains(&value) {
            return Err(Refusal::invalid(format!("{name}: range: 0..1")));
        }
    }
    Ok(())
}

fn check_messages(model: &str, messages: &[Value], seal: &Seal) -> Result<(), Refusal> {
    if messages.is_empty() {
        return Err(Refusal::invalid(
            "messages: at least one message is required",
        ));
    }
    for (at, message) in messages.iter().enumerate() {
        let path = format!("messages.{at}");
        let role = text(message, "role");
        let system = SYSTEM_ROLE_MODELS.iter().any(|known| model.contains(known));
        if role == "system" && !system {
            return Err(Refusal::invalid(
                "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role.",
            ));
        }
        if !["user", "assistant", "system"].contains(&role) {
            return Err(Refusal::invalid(format!(
                "{path}.role: Input should be 'user' or 'assistant'"
            )));
        }
        if let Some(name) = message
            .as_object()
            .and_then(|object| unknown_key(object, &["role", "content"]))
        {
            return Err(extra(&format!("{path}.{name}")));
        }
        let last = at + 1 == messages.len();
        let empty = match &message["content"] {
            Value::String(text) => text.is_empty(),
            Value::Array(blocks) => {
                check_blocks(blocks, role, &format!("{path}.content"), seal)?;
                blocks.is_empty()
            }
            Value::Null => return Err(required(&format!("{path}.content"))),
            _ => {
                return Err(Refusal::invalid(format!(
                    "{path}.content: Input should be a valid list"
                )));
            }
        };
        if empty && !(last && role == "assistant") {
            return Err(Refusal::invalid(format!(
                "{path}: all messages must have non-empty content except for the optional final assistant message"
            )));
        }
        if last
            && role == "assistant"
            && content_text(&message["content"]).ends_with(char::is_whitespace)
        {
            return Err(Refusal::invalid(
                "messages: final assistant content cannot end with trailing whitespace",
            ));
        }
    }
    if text(&messages[0], "role") != "user" {
        return Err(Refusal::invalid(
            "messages: first message must use the \"user\" role",
        ));
    }
    Ok(())
}

fn tools(tools: &Value) -> Result<Vec<Tool>, Refusal> {
    let mut found: Vec<Tool> = Vec::new();
    for (at, tool) in items(tools).iter().enumerate() {
        let name = text(tool, "name");
        if !["", "custom"].contains(&text(tool, "type")) {
            continue;
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 128 || !name.chars().all(fits) {
            return Err(Refusal::invalid(format!(
                "tools.{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )));
        }
        let known = [
            "type",
            "name",
            "description",
            "input_schema",
            "cache_control",
            "strict",
            "eager_input_streaming",
            "defer_loading",
            "allowed_callers",
            "input_examples",
        ];
        if let Some(key) = tool.as_object().and_then(|tool| unknown_key(tool, &known)) {
            return Err(extra(&format!("tools.{at}.custom.{key}")));
        }
        match &tool["input_schema"] {
            Value::Null => return Err(required(&format!("tools.{at}.custom.input_schema"))),
            schema if schema["type"] != "object" => {
                return Err(required(&format!("tools.{at}.custom.input_schema.type")));
            }
            _ => {}
        }
        if found.iter().any(|tool| tool.name == name) {
            return Err(Refusal::invalid("tools: Tool names must be unique."));
        }
        found.push(Tool {
            name: name.to_owned(),
            schema: tool["input_schema"].clone(),
        });
    }
    Ok(found)
}

fn choice(choice: &Value) -> Choice {
    match text(choice, "type") {
        "any" => Choice::Any,
        "none" => Choice::None,
        "tool" => Choice::Named(text(choice, "name").to_owned()),
        _ => Choice::Auto,
    }
}

/// Tools, system and messages in the order in which the cache sees them.
fn prefixes(
    model: &str,
    body: &Object,
    messages: &[Value],
) -> Result<(Prefixes, Vec<usize>), Refusal> {
    let mut prefixes = Prefixes::of(model);
    let mut marks = Vec::new();
    let field = |name: &str| body.get(name).unwrap_or(&Value::Null);
    for block in items(field("tools")).iter().chain(items(field("system"))) {
        mark(block, &mut prefixes, &mut marks);
    }
    if let Value::String(system) = field("system") {
        prefixes.push(system);
    }
    for message in messages {
        prefixes.push(text(message, "role"));
        match &message["content"] {
            Value::Array(blocks) => blocks
                .iter()
                .for_each(|block| mark(block, &mut prefixes, &mut marks)),
            content => mark(
                &json!({"type": "text", "text": content}),
                &mut prefixes,
                &mut marks,
            ),
        }
    }
    if marks.len() > MARKS_MAX {
        return Err(Refusal::invalid(format!(
            "A maximum of {MARKS_MAX} blocks with cache_control may be provided. Found {}.",
            marks.len()
        )));
    }
    Ok((prefixes, marks))
}
