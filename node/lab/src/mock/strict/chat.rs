//! Chat completions as read: OpenAI's rules, and what the others that speak them leave out.

use serde_json::{Value, json};

use super::chat_checks::{check_messages, check_signatures, missing, strict_schema, wrong};
use super::exchange::{Object, content_text, count, items, object, text, unknown_key};
use super::refusal::Refusal;
use super::said::{Ask, Choice, Tool};
use super::seal::Seal;

/// Whose chat completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    OpenAi,
    /// OpenAI's models on Azure, whose answers carry the results of its filters.
    Azure,
    /// Gemini's endpoint for OpenAI's clients: thought signatures come back in `extra_content`.
    Gemini,
    /// vLLM ignores parameters that it does not know and shows its reasoning.
    Vllm,
}

impl Flavor {
    fn is_openai(self) -> bool {
        matches!(self, Self::OpenAi | Self::Azure)
    }
}

/// The parameters of OpenAI's reference.
const PARAMETERS: [&str; 37] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
    // Gemini's own, refused elsewhere.
    "extra_body",
    "google",
];

/// The parameters of [`PARAMETERS`] that only Gemini takes.
const GEMINI_ALONE: [&str; 2] = ["extra_body", "google"];

/// The most choices of one answer.
const CHOICES_MAX: u32 = 8;

/// A checked request.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) ask: Ask,
    pub(super) messages: Vec<Value>,
    pub(super) include_usage: bool,
    pub(super) choices: u32,
}

/// Reads and checks a request.
pub(super) fn read(body: &[u8], flavor: Flavor, seal: &Seal) -> Result<Chat, Refusal> {
    let body = object(body)?;
    parameters(&body, flavor)?;
    let model = body
        .get("model")
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::invalid("you must provide a model parameter"))?;
    let messages = body
        .get("messages")
        .and_then(Value::as_array)
        .ok_or_else(|| missing("messages"))?;
    if messages.is_empty() {
        return Err(wrong(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "messages",
            "empty_array",
        ));
    }
    check_messages(messages)?;
    if flavor == Flavor::Gemini {
        check_signatures(messages, model, seal)?;
    }
    let tools = tools(&body)?;
    let schema = schema(&body, messages, flavor)?;
    let stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
    if !stream
        && body
            .get("stream_options")
            .is_some_and(|options| !options.is_null())
    {
        return Err(wrong(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
            "invalid_parameter",
        ));
    }
    let bytes = Value::Array(messages.clone()).to_string().len();
    let effort = body.get("reasoning_effort").and_then(Value::as_str);
    Ok(Chat {
        ask: Ask {
            model: model.to_owned(),
            text: last_user_text(messages),
            tools,
            choice: choice(body.get("tool_choice")),
            results: results(messages),
            thinking: effort.is_some_and(|effort| effort != "none"),
            schema,
            words_max: count(body.get("max_completion_tokens"))
                .or_else(|| count(body.get("max_tokens"))),
            stream,
            input_tokens: bytes as u64 / 4 + 1,
        },
        messages: messages.clone(),
        include_usage: body
            .get("stream_options")
            .and_then(|options| options.get("include_usage"))
            .and_then(Value::as_bool)
            .unwrap_or(false),
        choices: count(body.get("n")).unwrap_or(1).clamp(1, CHOICES_MAX),
    })
}

/// Whether OpenAI takes this for one of its models that reason before they answer.
pub(super) fn reasons(model: &str) -> bool {
    ["o1", "o3", "o4", "gpt-5"]
        .iter()
        .any(|family| model.starts_with(family))
}

fn parameters(body: &Object, flavor: Flavor) -> Result<(), Refusal> {
    let unknown = unknown_key(body, &PARAMETERS).or_else(|| {
        let own = body.keys().find(|key| GEMINI_ALONE.contains(&key.as_str()));
        own.filter(|_| flavor.is_openai()).map(String::as_str)
    });
    match (flavor, unknown) {
        (Flavor::OpenAi | Flavor::Azure, Some(name)) => {
            let message = format!("Unknown parameter: '{name}'.");
            return Err(wrong(message, name, "unknown_parameter"));
        }
        (Flavor::Gemini, Some(name)) => return Err(super::google_fields::unknown_name(name, "")),
        _ => {}
    }
    let model = body
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if flavor.is_openai() && reasons(model) {
        if body.contains_key("max_tokens") {
            return Err(wrong(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                "max_tokens",
                "unsupported_parameter",
            ));
        }
        let temperature = body.get("temperature").and_then(Value::as_f64);
        if temperature.is_some_and(|value| value != 1.0) {
            return Err(wrong(
                "Unsupported value: 'temperature' does not support this value with this model. Only the default (1) value is supported.",
                "temperature",
                "unsupported_value",
            ));
        }
    }
    Ok(())
}

fn tools(body: &Object) -> Result<Vec<Tool>, Refusal> {
    let tools = body.get("tools").unwrap_or(&Value::Null);
    let mut found = Vec::new();
    for (at, tool) in items(tools).iter().enumerate() {
        let function = &tool["function"];
        let name = text(function, "name");
        if text(tool, "type").is_empty() {
            return Err(missing(&format!("tools[{at}].type")));
        }
        if text(tool, "type") != "function" {
            continue;
        }
        let param = format!("tools[{at}].function.name");
        if name.is_empty() {
            return Err(missing(&param));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.len() > 64 || !name.chars().all(fits) {
            return Err(wrong(
                format!(
                    "Invalid '{param}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
                ),
                param,
                "invalid_value",
            ));
        }
        found.push(Tool {
            name: name.to_owned(),
            schema: function
                .get("parameters")
                .cloned()
                .unwrap_or_else(|| json!({"type": "object"})),
        });
    }
    Ok(found)
}

/// A tool choice of chat completions and of responses.
pub(super) fn choice(choice: Option<&Value>) -> Choice {
    match choice {
        Some(Value::String(mode)) if mode == "required" => Choice::Any,
        Some(Value::String(mode)) if mode == "none" => Choice::None,
        Some(object @ Value::Object(_)) => {
            let name = object["function"]["name"]
                .as_str()
                .or_else(|| object["name"].as_str());
            name.map_or(Choice::Auto, |name| Choice::Named(name.to_owned()))
        }
        _ => Choice::Auto,
    }
}

fn schema(body: &Object, messages: &[Value], flavor: Flavor) -> Result<Option<Value>, Refusal> {
    let format = body.get("response_format").unwrap_or(&Value::Null);
    match text(format, "type") {
        "json_schema" => {
            let named = &format["json_schema"];
            let schema = named
                .get("schema")
                .cloned()
                .unwrap_or_else(|| json!({"type": "object"}));
            if text(named, "name").is_empty() {
                return Err(missing("response_format.json_schema.name"));
            }
            if flavor.is_openai() && named["strict"] == true {
                strict_schema(&schema, text(named, "name"), "response_format")?;
            }
            Ok(Some(schema))
        }
        "json_object" => {
            let mentioned = messages.iter().any(|message| {
                content_text(&message["content"])
                    .to_lowercase()
                    .contains("json")
            });
            if flavor.is_openai() && !mentioned {
                return Err(Refusal::invalid(
                    "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
                )
                .param("messages"));
            }
            Ok(Some(
                json!({"type": "object", "properties": {"answer": {"type": "string"}}}),
            ))
        }
        _ => Ok(None),
    }
}

fn last_user_text(messages: &[Value]) -> String {
    let last = messages
        .iter()
        .rfind(|message| text(message, "role") == "user");
    content_text(
        &last
            .or_else(|| messages.last())
            .map_or(Value::Null, |message| message["content"].clone()),
    )
}

/// The results at the end of the conversation.
fn results(messages: &[Value]) -> Vec<String> {
    let start = messages
        .iter()
        .rposition(|message| text(message, "role") != "tool")
        .map_or(0, |last| last + 1);
    messages[start..]
        .iter()
        .map(|message| content_text(&message["content"]))
        .collect()
}
