//! Bedrock's Converse as read and as written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::blocks::THINKING;
use super::event_stream::event;
use super::exchange::{count, items, last_user_text, object, text, unknown_key};
use super::refusal::Refusal;
use super::said::{Ask, Choice, Said, Tool};
use super::seal::Seal;
use crate::mock::script::Stream;

/// Fields of a request.
const REQUEST: [&str; 12] = [
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "guardrailConfig",
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "promptVariables",
    "requestMetadata",
    "performanceConfig",
    "outputConfig",
    "serviceTier",
];

/// Reads and checks a request for the URL's `model`.
pub(super) fn read(body: &[u8], model: &str, stream: bool, seal: &Seal) -> Result<Ask, Refusal> {
    let body = object(body).map_err(|_| {
        Refusal::invalid("The request body is not valid JSON.").code("SerializationException")
    })?;
    if let Some(name) = unknown_key(&body, &REQUEST) {
        return Err(malformed(&format!(
            "#: extraneous key [{name}] is not permitted"
        )));
    }
    let field = |name: &str| body.get(name).unwrap_or(&Value::Null);
    let messages = items(field("messages"));
    let config = field("toolConfig");
    check_messages(messages, config, seal)?;
    let tools = items(&config["tools"])
        .iter()
        .map(|tool| &tool["toolSpec"])
        .filter(|spec| !spec.is_null())
        .map(|spec| Tool {
            name: text(spec, "name").to_owned(),
            schema: spec["inputSchema"]["json"].clone(),
        })
        .collect();
    let choice = match &config["toolChoice"] {
        choice if choice.get("any").is_some() => Choice::Any,
        choice => choice["tool"]["name"]
            .as_str()
            .map_or(Choice::Auto, |name| Choice::Named(name.to_owned())),
    };
    let thinking = text(&field("additionalModelRequestFields")["thinking"], "type");
    let last = messages
        .last()
        .map_or(&[][..], |message| items(&message["content"]));
    let bytes = field("messages").to_string().len()
        + field("system").to_string().len()
        + config.to_string().len();
    Ok(Ask {
        model: model.to_owned(),
        text: last_user_text(messages),
        tools,
        choice,
        results: last
            .iter()
            .filter_map(|block| block.get("toolResult"))
            .map(|result| result_text(&result["content"]))
            .collect(),
        thinking: ["enabled", "adaptive"].contains(&thinking),
        schema: schema(&field("outputConfig")["textFormat"]),
        words_max: count(field("inferenceConfig").get("maxTokens")),
        stream,
        input_tokens: bytes as u64 / 4 + 1,
    })
}

/// The schema that the answer must satisfy, which is JSON within a text.
fn schema(format: &Value) -> Option<Value> {
    let schema = text(&format["structure"]["jsonSchema"], "schema");
    let is_demanded = text(format, "type") == "json_schema";
    serde_json::from_str(schema).ok().filter(|_| is_demanded)
}

fn malformed(what: &str) -> Refusal {
    Refusal::invalid(format!(
        "Malformed input request: {what}, please reformat your input and try again."
    ))
}

fn check_messages(messages: &[Value], config: &Value, seal: &Seal) -> Result<(), Refusal> {
    if messages.is_empty() {
        return Err(Refusal::invalid(
            "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
        ));
    }
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let expected = if at % 2 == 0 { "user" } else { "assistant" };
        let role = text(message, "role");
        if role != expected {
            return Err(Refusal::invalid(match at {
                0 => {
                    "A conversation must start with a user message. Try again with a conversation that starts with a user message."
                }
                _ => {
                    "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again."
                }
            }));
        }
        let blocks = items(&message["content"]);
        if blocks.is_empty() {
            return Err(Refusal::invalid(format!(
                "The content field in the Message object at messages.{at} is empty. Add a ContentBlock object to the content field and try again."
            )));
        }
        for (number, block) in blocks.iter().enumerate() {
            check_block(
                block,
                config,
                &format!("messages.{at}.content.{number}"),
                seal,
            )?;
        }
        let results: Vec<&str> = blocks
            .iter()
            .filter_map(|block| block.get("toolResult"))
            .map(|result| text(result, "toolUseId"))
            .collect();
        if results.len() != open.len() || results.iter().any(|id| !open.contains(id)) {
            return Err(Refusal::invalid(format!(
                "The number of toolResult blocks at messages.{at}.content exceeds or falls short of the number of toolUse blocks of previous turn."
            )));
        }
        open = blocks
            .iter()
            .filter_map(|block| block.get("toolUse"))
            .map(|call| text(call, "toolUseId"))
            .collect();
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid(format!(
            "Expected toolResult blocks at messages.{}.content for the following Ids: {}",
            messages.len(),
            open.join(", ")
        )))
    }
}

fn check_block(block: &Value, config: &Value, path: &str, seal: &Seal) -> Result<(), Refusal> {
    let has = |name: &str| block.get(name).is_some();
    if (has("toolUse") || has("toolResult")) && items(&config["tools"]).is_empty() {
        return Err(Refusal::invalid(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        ));
    }
    if has("text") && text(block, "text").trim().is_empty() {
        return Err(Refusal::invalid(format!(
            "The text field in the ContentBlock object at {path} is blank. Add text to the text field, and try again."
        )));
    }
    let thinking = &block["reasoningContent"]["reasoningText"];
    if !thinking.is_null()
        && !seal.verify(
            THINKING,
            text(thinking, "text"),
            text(thinking, "signature"),
        )
    {
        return Err(Refusal::invalid(format!(
            "{path}: Invalid `signature` in `thinking` block"
        )));
    }
    let image = &block["image"]["source"]["bytes"];
    if !image.is_null()
        && image
            .as_str()
            .is_none_or(|bytes| STANDARD.decode(bytes).is_err())
    {
        return Err(
            Refusal::invalid(format!("{path}.image.source.bytes: is not valid base64"))
                .code("SerializationException"),
        );
    }
    Ok(())
}

fn result_text(content: &Value) -> String {
    let part = |part: &Value| match part.get("json") {
        Some(json) => json.to_string(),
        None => text(part, "text").to_owned(),
    };
    items(content)
        .iter()
        .map(part)
        .collect::<Vec<_>>()
        .join("\n")
}

/// What an answer is made of.
pub(super) struct ConverseAnswer<'a> {
    pub(super) ask: &'a Ask,
    pub(super) said: &'a Said,
    pub(super) seal: &'a Seal,
}

impl ConverseAnswer<'_> {
    pub(super) fn whole(&self) -> Value {
        let mut content = Vec::new();
        if let Some(thinking) = &self.said.thinking {
            let signature = self.seal.sign(THINKING, thinking);
            content.push(json!({"reasoningContent": {"reasoningText": {"text": thinking, "signature": signature}}}));
        }
        if self.said.calls.is_empty() {
            content.push(json!({"text": self.said.text()}));
        }
        for call in &self.said.calls {
            let id = format!("tooluse_{}", call.id);
            content.push(
                json!({"toolUse": {"toolUseId": id, "name": call.name, "input": call.arguments}}),
            );
        }
        json!({
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": self.stop_reason(),
            "usage": self.usage(),
            "metrics": {"latencyMs": 1},
        })
    }

    pub(super) fn stream(&self) -> Stream {
        let mut chunks = Vec::new();
        let delta = |index: usize, delta: Value| {
            event(
                "contentBlockDelta",
                &json!({"contentBlockIndex": index, "delta": delta}),
            )
        };
        let stop = |index: usize| event("contentBlockStop", &json!({"contentBlockIndex": index}));
        let mut index = 0;
        if let Some(thinking) = &self.said.thinking {
            let signature = self.seal.sign(THINKING, thinking);
            chunks.push(delta(0, json!({"reasoningContent": {"text": thinking}})));
            chunks.push(delta(
                0,
                json!({"reasoningContent": {"signature": signature}}),
            ));
            chunks.push(stop(0));
            index = 1;
        }
        if self.said.calls.is_empty() {
            chunks.extend(
                self.said
                    .pieces
                    .iter()
                    .map(|text| delta(index, json!({"text": text}))),
            );
            chunks.push(stop(index));
        }
        for (at, call) in self.said.calls.iter().enumerate() {
            let start = json!({"toolUse": {"toolUseId": format!("tooluse_{}", call.id), "name": call.name}});
            chunks.push(event(
                "contentBlockStart",
                &json!({"contentBlockIndex": index + at, "start": start}),
            ));
            let pieces = call.pieces().into_iter();
            chunks.extend(
                pieces.map(|piece| delta(index + at, json!({"toolUse": {"input": piece}}))),
            );
            chunks.push(stop(index + at));
        }
        let closing = [
            event("messageStop", &json!({"stopReason": self.stop_reason()})),
            event(
                "metadata",
                &json!({"usage": self.usage(), "metrics": {"latencyMs": 1}}),
            ),
        ];
        Stream {
            opening: event("messageStart", &json!({"role": "assistant"})),
            chunks,
            closing: Bytes::from(closing.concat()),
        }
    }

    fn stop_reason(&self) -> &'static str {
        match (self.said.calls.is_empty(), self.said.capped) {
            (false, _) => "tool_use",
            (true, true) => "max_tokens",
            (true, false) => "end_turn",
        }
    }

    fn usage(&self) -> Value {
        let (input, output) = (self.ask.input_tokens, self.said.output_tokens());
        json!({
            "inputTokens": input,
            "outputTokens": output,
            "totalTokens": input + output,
            "cacheReadInputTokens": 0,
            "cacheWriteInputTokens": 0,
        })
    }
}
