//! Chat completions as written.

use bytes::Bytes;
use serde_json::{Value, json};

use super::chat::{Chat, Flavor};
use super::exchange::{Outcome, data};
use super::google_fields;
use super::prefix::CacheUse;
use super::said::{Said, ToolCall};
use super::seal::Seal;
use crate::mock::script::Stream;

/// What an answer is made of.
pub(super) struct ChatAnswer<'a> {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) chat: &'a Chat,
    pub(super) said: &'a Said,
    /// The tokens of the prompt that came from the cache.
    pub(super) cached: u64,
    pub(super) flavor: Flavor,
    pub(super) seal: &'a Seal,
}

impl ChatAnswer<'_> {
    /// The document or the stream that was asked for.
    pub(super) fn outcome(&self) -> Outcome {
        if self.chat.ask.stream {
            Outcome::events(self.stream())
        } else {
            Outcome::json(&self.whole())
        }
    }

    fn whole(&self) -> Value {
        let calls: Vec<Value> = (0..)
            .zip(&self.said.calls)
            .map(|(at, call)| self.call(at, call, &call.arguments.to_string()))
            .collect();
        let mut message = json!({"role": "assistant", "content": self.said.text(), "refusal": null, "annotations": []});
        if !calls.is_empty() {
            message["content"] = Value::Null;
            message["tool_calls"] = Value::Array(calls);
        }
        if let (Flavor::Vllm, Some(thinking)) = (self.flavor, &self.said.thinking) {
            message["reasoning_content"] = json!(thinking);
        }
        let choices: Vec<Value> = (0..self.chat.choices)
            .map(|index| json!({"index": index, "message": message, "logprobs": null, "finish_reason": self.finish()}))
            .map(|choice| self.filtered(choice))
            .collect();
        let mut whole = self.frame("chat.completion", json!(choices));
        if self.flavor == Flavor::Azure {
            whole["prompt_filter_results"] = prompt_filter();
        }
        whole["usage"] = self.usage();
        whole
    }

    fn stream(&self) -> Stream {
        let mut chunks = Vec::new();
        let mut opening = self.chunk(
            json!({"role": "assistant", "content": "", "refusal": null}),
            None,
        );
        if !self.said.calls.is_empty() {
            opening = self.chunk(json!({"role": "assistant", "content": null}), None);
        }
        if let (Flavor::Vllm, Some(thinking)) = (self.flavor, &self.said.thinking) {
            chunks.push(self.chunk(json!({"reasoning_content": thinking}), None));
        }
        for piece in &self.said.pieces {
            chunks.push(self.chunk(json!({"content": piece}), None));
        }
        for (at, call) in (0..).zip(&self.said.calls) {
            let mut begin = self.call(at, call, "");
            begin["index"] = json!(at);
            chunks.push(self.chunk(json!({"tool_calls": [begin]}), None));
            for piece in call.pieces() {
                let delta =
                    json!({"tool_calls": [{"index": at, "function": {"arguments": piece}}]});
                chunks.push(self.chunk(delta, None));
            }
        }
        let mut closing = self.chunk(json!({}), Some(self.finish())).to_vec();
        if self.chat.include_usage {
            let mut usage = self.frame("chat.completion.chunk", json!([]));
            usage["usage"] = self.usage();
            closing.extend(data(&usage));
        }
        closing.extend(b"data: [DONE]\n\n");
        if self.flavor == Flavor::Azure {
            // Azure's first chunk has no choice.
            let first = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": prompt_filter()});
            opening = Bytes::from([data(&first), opening].concat());
        }
        Stream {
            opening,
            chunks,
            closing: Bytes::from(closing),
        }
    }

    fn filtered(&self, mut choice: Value) -> Value {
        if self.flavor == Flavor::Azure {
            choice["content_filter_results"] = filter();
        }
        choice
    }

    /// One chunk, with the same delta for each choice.
    fn chunk(&self, delta: Value, finish: Option<&str>) -> Bytes {
        let choices: Vec<Value> = (0..self.chat.choices)
            .map(|index| json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish}))
            .map(|choice| self.filtered(choice))
            .collect();
        let mut chunk = self.frame("chat.completion.chunk", json!(choices));
        if self.chat.include_usage {
            chunk["usage"] = Value::Null;
        }
        data(&chunk)
    }

    fn frame(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": format!("chatcmpl-{}", self.id),
            "object": object,
            "created": self.created,
            "model": self.chat.ask.model,
            "choices": choices,
            "service_tier": "default",
            "system_fingerprint": "fp_mock",
        })
    }

    fn call(&self, at: usize, call: &ToolCall, arguments: &str) -> Value {
        let mut value = json!({
            "id": format!("call_{}", call.id),
            "type": "function",
            "function": {"name": call.name, "arguments": arguments},
        });
        if self.flavor == Flavor::Gemini && at == 0 {
            let signature = google_fields::sign(self.seal, &call.name, &call.arguments);
            value["extra_content"] = json!({"google": {"thought_signature": signature}});
        }
        value
    }

    fn finish(&self) -> &'static str {
        match (self.said.calls.is_empty(), self.said.capped) {
            (false, _) => "tool_calls",
            (true, true) => "length",
            (true, false) => "stop",
        }
    }

    fn usage(&self) -> Value {
        let prompt = self.chat.ask.input_tokens;
        let completion = self.said.output_tokens();
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.said.thinking_tokens(),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        })
    }
}

fn filter() -> Value {
    let safe = json!({"filtered": false, "severity": "safe"});
    json!({"hate": safe, "self_harm": safe, "sexual": safe, "violence": safe})
}

fn prompt_filter() -> Value {
    json!([{"prompt_index": 0, "content_filter_results": filter()}])
}

/// OpenAI's cache begins at 1,024 tokens and goes in steps of 128.
pub(super) fn cached(cache: CacheUse) -> u64 {
    if cache.read < 1_024 {
        0
    } else {
        cache.read - cache.read % 128
    }
}
