//! Anthropic's messages as written.

use bytes::Bytes;
use serde_json::{Value, json};

use super::blocks::THINKING;
use super::exchange::event;
use super::prefix::CacheUse;
use super::said::{Ask, Said, ToolCall};
use super::seal::Seal;
use crate::mock::script::Stream;

/// What an answer is made of.
pub(super) struct MessageAnswer<'a> {
    pub(super) id: String,
    /// `toolu_`, or what the carrier puts before the ids.
    pub(super) call_prefix: &'static str,
    pub(super) ask: &'a Ask,
    pub(super) said: &'a Said,
    pub(super) cache: CacheUse,
    pub(super) seal: &'a Seal,
}

impl MessageAnswer<'_> {
    pub(super) fn whole(&self) -> Value {
        let mut content = Vec::new();
        if let Some(thinking) = &self.said.thinking {
            let signature = self.seal.sign(THINKING, thinking);
            content.push(json!({"type": "thinking", "thinking": thinking, "signature": signature}));
        }
        if self.said.calls.is_empty() {
            content.push(json!({"type": "text", "text": self.said.text()}));
        }
        for call in &self.said.calls {
            content.push(self.call(call, call.arguments.clone()));
        }
        let mut message = self.message(content, self.said.output_tokens());
        message["stop_reason"] = json!(self.stop_reason());
        message
    }

    /// The events, each with its name.
    pub(super) fn events(&self) -> MessageEvents {
        let start = json!({"message": self.message(Vec::new(), 1)});
        let mut events = MessageEvents::default();
        events.opening.push(("message_start", start));
        let mut index = 0;
        if let Some(thinking) = &self.said.thinking {
            let block = json!({"type": "thinking", "thinking": "", "signature": ""});
            let signature = self.seal.sign(THINKING, thinking);
            let deltas = thinking
                .split_inclusive(' ')
                .map(|word| json!({"type": "thinking_delta", "thinking": word}))
                .chain([json!({"type": "signature_delta", "signature": signature})]);
            events.block(index, block, deltas);
            index += 1;
        }
        if self.said.calls.is_empty() {
            let deltas = self
                .said
                .pieces
                .iter()
                .map(|text| json!({"type": "text_delta", "text": text}));
            events.block(index, json!({"type": "text", "text": ""}), deltas);
        }
        for (at, call) in self.said.calls.iter().enumerate() {
            let deltas = std::iter::once(String::new())
                .chain(call.pieces())
                .map(|json| json!({"type": "input_json_delta", "partial_json": json}));
            events.block(index + at, self.call(call, json!({})), deltas);
        }
        let delta = json!({"stop_reason": self.stop_reason(), "stop_sequence": null});
        let usage = self.usage(self.said.output_tokens());
        events
            .closing
            .push(("message_delta", json!({"delta": delta, "usage": usage})));
        events.closing.push(("message_stop", json!({})));
        events
    }

    /// The events as the API streams them.
    pub(super) fn stream(&self) -> Stream {
        self.events().stream(|name, data| event(name, &data))
    }

    fn message(&self, content: Vec<Value>, output_tokens: u64) -> Value {
        json!({
            "model": self.ask.model,
            "id": format!("msg_{}", self.id),
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": null,
            "stop_sequence": null,
            "usage": self.usage(output_tokens),
        })
    }

    fn call(&self, call: &ToolCall, input: Value) -> Value {
        json!({"type": "tool_use", "id": format!("{}{}", self.call_prefix, call.id), "name": call.name, "input": input})
    }

    fn stop_reason(&self) -> &'static str {
        match (self.said.calls.is_empty(), self.said.capped) {
            (false, _) => "tool_use",
            (true, true) => "max_tokens",
            (true, false) => "end_turn",
        }
    }

    /// The whole prompt's.
    pub(super) fn input_tokens(&self) -> u64 {
        self.uncached_tokens() + self.cache.read + self.cache.written
    }

    fn uncached_tokens(&self) -> u64 {
        let cached = self.cache.read + self.cache.written;
        self.ask.input_tokens.saturating_sub(cached).max(1)
    }

    fn usage(&self, output_tokens: u64) -> Value {
        json!({
            "input_tokens": self.uncached_tokens(),
            "cache_creation_input_tokens": self.cache.written,
            "cache_read_input_tokens": self.cache.read,
            "cache_creation": {"ephemeral_5m_input_tokens": self.cache.written, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output_tokens,
            "service_tier": "standard",
        })
    }
}

/// The events of a message, before they are framed.
#[derive(Debug, Default)]
pub(super) struct MessageEvents {
    opening: Vec<(&'static str, Value)>,
    chunks: Vec<(&'static str, Value)>,
    closing: Vec<(&'static str, Value)>,
}

impl MessageEvents {
    fn block(&mut self, index: usize, block: Value, deltas: impl Iterator<Item = Value>) {
        let first = index == 0;
        self.chunks.push((
            "content_block_start",
            json!({"index": index, "content_block": block}),
        ));
        if first {
            self.chunks.push(("ping", json!({})));
        }
        for delta in deltas {
            self.chunks.push((
                "content_block_delta",
                json!({"index": index, "delta": delta}),
            ));
        }
        self.chunks
            .push(("content_block_stop", json!({"index": index})));
    }

    /// The events in frames, each with its `type` in it.
    pub(super) fn stream(self, frame: impl Fn(&str, Value) -> Bytes) -> Stream {
        let framed = |(name, mut data): (&str, Value)| {
            data["type"] = json!(name);
            frame(name, data)
        };
        let all = |events: Vec<(&'static str, Value)>| -> Vec<Bytes> {
            events.into_iter().map(framed).collect()
        };
        Stream {
            opening: Bytes::from(all(self.opening).concat()),
            chunks: all(self.chunks),
            closing: Bytes::from(all(self.closing).concat()),
        }
    }
}
