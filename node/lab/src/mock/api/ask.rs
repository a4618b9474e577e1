//! What the mock reads of a request's body: the fields that change its answer, of all endpoints in one type.

use serde::Deserialize;
use serde_json::Value;

use super::{ApiError, Generation};

/// A request's body as written. Unknown fields are ignored, as the APIs do for new ones.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::mock) struct Wire {
    pub(in crate::mock) model: Option<String>,
    messages: Option<Vec<Message>>,
    system: Option<Content>,
    prompt: Option<Value>,
    pub(super) input: Option<Value>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    max_output_tokens: Option<u32>,
    pub(super) encoding_format: Option<String>,
    pub(super) dimensions: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(default)]
    text: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl Wire {
    /// Reads a body.
    pub(in crate::mock) fn read(body: &[u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(body).map_err(|error| {
            ApiError::invalid(
                format!("We could not parse the JSON body of your request: {error}"),
                None,
            )
        })
    }
}

/// A checked request for text.
#[derive(Debug)]
pub(in crate::mock) struct Ask {
    pub(super) model: String,
    /// The text of the last message of the user, or of the last message when none is the user's.
    pub(super) last_user_message: String,
    /// The client's limit of tokens.
    pub(super) words_max: Option<u32>,
    /// A quarter of the characters of the input, and one: deterministic, not a tokenizer.
    pub(super) input_tokens: usize,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl Ask {
    /// Checks what `generation` requires; `limit_required` is whether Anthropic's `max_tokens` must be there.
    pub(super) fn new(
        generation: Generation,
        wire: Wire,
        limit_required: bool,
    ) -> Result<Self, ApiError> {
        let (last_user_message, input_bytes) = match generation {
            Generation::Chat | Generation::Message => messages(wire.messages, wire.system)?,
            Generation::Completion => {
                let prompt = wire.prompt.ok_or_else(|| ApiError::missing("prompt"))?;
                with_length(input_text(prompt, "prompt")?)
            }
            Generation::Response => {
                let input = wire.input.ok_or_else(|| ApiError::missing("input"))?;
                response_input(input)?
            }
        };
        let (words_max, limit_name) = match generation {
            Generation::Chat => (
                wire.max_completion_tokens.or(wire.max_tokens),
                "max_completion_tokens",
            ),
            Generation::Completion | Generation::Message => (wire.max_tokens, "max_tokens"),
            Generation::Response => (wire.max_output_tokens, "max_output_tokens"),
        };
        if words_max == Some(0) {
            return Err(ApiError::invalid(
                format!("{limit_name}: must be at least 1"),
                Some(limit_name),
            ));
        }
        if generation == Generation::Message && limit_required && words_max.is_none() {
            return Err(ApiError::missing("max_tokens"));
        }
        Ok(Self {
            model: wire.model.unwrap_or_default(),
            last_user_message,
            words_max,
            input_tokens: input_bytes / 4 + 1,
            stream: wire.stream.unwrap_or(false),
            include_usage: wire
                .stream_options
                .and_then(|options| options.include_usage)
                .unwrap_or(false),
        })
    }
}

fn with_length(text: String) -> (String, usize) {
    let length = text.len();
    (text, length)
}

/// The last text of the user and the length of all texts.
fn messages(
    messages: Option<Vec<Message>>,
    system: Option<Content>,
) -> Result<(String, usize), ApiError> {
    let messages = messages.ok_or_else(|| ApiError::missing("messages"))?;
    if messages.is_empty() {
        return Err(ApiError::invalid(
            "messages: at least one message is required",
            Some("messages"),
        ));
    }
    if let Some(at) = messages.iter().position(|message| message.role.is_none()) {
        return Err(ApiError::invalid(
            format!("messages[{at}].role: Field required"),
            Some("messages"),
        ));
    }
    let mut bytes = system.map_or(0, |system| content_text(system).len());
    let mut last = String::new();
    let mut last_is_the_users = false;
    for message in messages {
        let text = message.content.map(content_text).unwrap_or_default();
        bytes += text.len();
        let is_the_users = message.role.as_deref() == Some("user");
        if is_the_users || !last_is_the_users {
            last = text;
            last_is_the_users = is_the_users;
        }
    }
    Ok((last, bytes))
}

fn content_text(content: Content) -> String {
    match content {
        Content::Text(text) => text,
        Content::Parts(parts) => {
            let texts: Vec<String> = parts.into_iter().filter_map(|part| part.text).collect();
            texts.join("\n")
        }
    }
}

/// `input` of `/v1/responses`: a text, or messages among other items.
fn response_input(input: Value) -> Result<(String, usize), ApiError> {
    match input {
        Value::String(text) => Ok(with_length(text)),
        Value::Array(mut items) => {
            items.retain(|item| item.get("role").is_some());
            let read = serde_json::from_value(Value::Array(items))
                .map_err(|error| ApiError::invalid(format!("input: {error}"), Some("input")))?;
            messages(Some(read), None)
        }
        _ => Err(ApiError::invalid(
            "input: must be a string or an array",
            Some("input"),
        )),
    }
}

/// The text of one input: a string, the first of several, or token ids as written.
pub(super) fn input_text(input: Value, param: &'static str) -> Result<String, ApiError> {
    let wrong = || {
        ApiError::invalid(
            format!("{param}: must be a string, an array of strings, or token ids"),
            Some(param),
        )
    };
    match input {
        Value::String(text) => Ok(text),
        Value::Array(items) => match items.into_iter().next() {
            Some(Value::String(text)) => Ok(text),
            Some(tokens @ (Value::Number(_) | Value::Array(_))) => Ok(tokens.to_string()),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(generation: Generation, body: &str) -> Result<Ask, ApiError> {
        Ask::new(generation, Wire::read(body.as_bytes())?, true)
    }

    #[test]
    fn the_last_message_of_the_user_is_found_among_others() {
        let ask = ask(
            Generation::Chat,
            r#"{"messages": [{"role": "user", "content": "first"},
                {"role": "user", "content": [{"type": "text", "text": "second"}, {"type": "image_url"}]},
                {"role": "assistant", "content": null}]}"#,
        )
        .expect("a valid request");
        assert_eq!(ask.last_user_message, "second");
    }

    #[test]
    fn a_response_takes_a_text_or_items() {
        let items = r#"{"input": [{"type": "reasoning"}, {"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}"#;
        for body in [r#"{"input": "hi"}"#, items] {
            let ask = ask(Generation::Response, body).expect("a valid request");
            assert_eq!(ask.last_user_message, "hi");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_a_400() {
        let wrong = [
            (Generation::Chat, "{}"),
            (Generation::Chat, r#"{"messages": []}"#),
            (Generation::Chat, r#"{"messages": [{"content": "x"}]}"#),
            (
                Generation::Chat,
                r#"{"messages": [{"role": "user", "content": 5}]}"#,
            ),
            (
                Generation::Chat,
                r#"{"messages": [{"role": "user"}], "max_tokens": 0}"#,
            ),
            (
                Generation::Message,
                r#"{"messages": [{"role": "user", "content": "x"}]}"#,
            ),
            (Generation::Completion, r#"{"prompt": true}"#),
            (Generation::Response, r#"{"input": 5}"#),
            (Generation::Response, r#"{"input": []}"#),
            (Generation::Chat, "{"),
            (Generation::Chat, "[]"),
            (Generation::Chat, ""),
        ];
        for (generation, body) in wrong {
            let error = ask(generation, body).expect_err(body);
            assert_eq!(error.status, 400, "{body}");
        }
    }

    #[test]
    fn only_the_limit_of_the_called_endpoint_counts() {
        let body = r#"{"messages": [{"role": "user"}], "prompt": "x", "input": "x",
            "max_tokens": 1, "max_completion_tokens": 2, "max_output_tokens": 3}"#;
        let limit = |generation| ask(generation, body).expect("a valid request").words_max;
        assert_eq!(limit(Generation::Chat), Some(2));
        assert_eq!(limit(Generation::Completion), Some(1));
        assert_eq!(limit(Generation::Message), Some(1));
        assert_eq!(limit(Generation::Response), Some(3));
    }
}
