//! OpenAI's responses as written.

use bytes::Bytes;
use serde_json::{Value, json};

use super::chat_answer::cached;
use super::exchange::event;
use super::prefix::CacheUse;
use super::responses::{ResponseAsk, sealed_reasoning};
use super::said::Said;
use super::seal::Seal;
use crate::mock::script::Stream;

/// What an answer is made of.
pub(super) struct ResponseAnswer<'a> {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) asked: &'a ResponseAsk,
    pub(super) said: &'a Said,
    pub(super) cache: CacheUse,
    pub(super) seal: &'a Seal,
}

impl ResponseAnswer<'_> {
    /// The response at its end.
    pub(super) fn whole(&self) -> Value {
        let status = if self.said.capped {
            "incomplete"
        } else {
            "completed"
        };
        let mut response = self.response(status, &self.output());
        let input = self.asked.ask.input_tokens;
        let output = self.said.output_tokens();
        response["usage"] = json!({
            "input_tokens": input,
            "input_tokens_details": {"cached_tokens": cached(self.cache)},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": self.said.thinking_tokens()},
            "total_tokens": input + output,
        });
        response
    }

    fn response(&self, status: &str, output: &[Value]) -> Value {
        let field =
            |name: &str, default: Value| self.asked.body.get(name).cloned().unwrap_or(default);
        let incomplete = (status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
        json!({
            "id": format!("resp_{}", self.id),
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": incomplete,
            "instructions": field("instructions", Value::Null),
            "max_output_tokens": field("max_output_tokens", Value::Null),
            "max_tool_calls": field("max_tool_calls", Value::Null),
            "model": self.asked.ask.model,
            "output": output,
            "parallel_tool_calls": field("parallel_tool_calls", json!(true)),
            "previous_response_id": field("previous_response_id", Value::Null),
            "prompt_cache_key": field("prompt_cache_key", Value::Null),
            "reasoning": field("reasoning", json!({"effort": null, "summary": null})),
            "safety_identifier": null,
            "service_tier": "default",
            "store": self.asked.store,
            "temperature": field("temperature", json!(1.0)),
            "text": field("text", json!({"format": {"type": "text"}, "verbosity": "medium"})),
            "tool_choice": field("tool_choice", json!("auto")),
            "tools": field("tools", json!([])),
            "top_logprobs": 0,
            "top_p": field("top_p", json!(1.0)),
            "truncation": field("truncation", json!("disabled")),
            "usage": null,
            "user": null,
            "metadata": field("metadata", json!({})),
        })
    }

    fn output(&self) -> Vec<Value> {
        let mut output: Vec<Value> = self.reasoning().into_iter().collect();
        if self.said.calls.is_empty() {
            output.push(self.message(
                &self.said.text(),
                if self.said.capped {
                    "incomplete"
                } else {
                    "completed"
                },
            ));
        }
        for at in 0..self.said.calls.len() {
            output.push(self.call(at, true));
        }
        output
    }

    fn reasoning(&self) -> Option<Value> {
        let thinking = self.said.thinking.as_ref()?;
        let id = format!("rs_{}", self.id);
        let wanted = self
            .asked
            .body
            .get("reasoning")
            .and_then(|reasoning| reasoning.get("summary"));
        let summary = match wanted {
            Some(Value::String(_)) => json!([{"type": "summary_text", "text": thinking}]),
            _ => json!([]),
        };
        let mut item = json!({"id": id, "type": "reasoning", "summary": summary});
        if self.asked.encrypted {
            item["encrypted_content"] = json!(sealed_reasoning(self.seal, &id));
        }
        Some(item)
    }

    fn message(&self, text: &str, status: &str) -> Value {
        let content = match status {
            "in_progress" => json!([]),
            _ => json!([part(text)]),
        };
        json!({"id": format!("msg_{}", self.id), "type": "message", "status": status, "role": "assistant", "content": content})
    }

    fn call(&self, at: usize, done: bool) -> Value {
        let call = &self.said.calls[at];
        let (status, arguments) = match done {
            true => ("completed", call.arguments.to_string()),
            false => ("in_progress", String::new()),
        };
        json!({
            "id": format!("fc_{}", call.id),
            "type": "function_call",
            "status": status,
            "arguments": arguments,
            "call_id": format!("call_{}", call.id),
            "name": call.name,
        })
    }

    /// The events of a stream.
    pub(super) fn stream(&self) -> Stream {
        let mut events = Events::default();
        let started = self.response("in_progress", &[]);
        events.add("response.created", json!({"response": started}));
        events.add("response.in_progress", json!({"response": started}));
        let mut index = 0;
        if let Some(item) = self.reasoning() {
            let begun = json!({"id": item["id"], "type": "reasoning", "summary": []});
            events.add(
                "response.output_item.added",
                json!({"output_index": 0, "item": begun}),
            );
            self.summary(&item, &mut events);
            events.add(
                "response.output_item.done",
                json!({"output_index": 0, "item": item}),
            );
            index = 1;
        }
        let opening = events.take();
        if self.said.calls.is_empty() {
            self.text_events(index, &mut events);
        }
        for at in 0..self.said.calls.len() {
            self.call_events(index + at, at, &mut events);
        }
        let name = if self.said.capped {
            "response.incomplete"
        } else {
            "response.completed"
        };
        let chunks = std::mem::take(&mut events.list);
        events.add(name, json!({"response": self.whole()}));
        Stream {
            opening,
            chunks,
            closing: events.take(),
        }
    }

    fn summary(&self, item: &Value, events: &mut Events) {
        let Some(text) = item["summary"][0]["text"].as_str() else {
            return;
        };
        let at = json!({"item_id": item["id"], "output_index": 0, "summary_index": 0});
        let with = |key: &str, value: Value| {
            let mut fields = at.clone();
            fields[key] = value;
            fields
        };
        let part = |text: &str| json!({"type": "summary_text", "text": text});
        events.add(
            "response.reasoning_summary_part.added",
            with("part", part("")),
        );
        events.add(
            "response.reasoning_summary_text.delta",
            with("delta", json!(text)),
        );
        events.add(
            "response.reasoning_summary_text.done",
            with("text", json!(text)),
        );
        events.add(
            "response.reasoning_summary_part.done",
            with("part", part(text)),
        );
    }

    fn text_events(&self, index: usize, events: &mut Events) {
        let at = json!({"item_id": format!("msg_{}", self.id), "output_index": index, "content_index": 0});
        let with = |key: &str, value: Value| {
            let mut fields = at.clone();
            fields[key] = value;
            fields
        };
        let item = self.message("", "in_progress");
        events.add(
            "response.output_item.added",
            json!({"output_index": index, "item": item}),
        );
        events.add("response.content_part.added", with("part", part("")));
        for piece in &self.said.pieces {
            let mut fields = with("delta", json!(piece));
            fields["logprobs"] = json!([]);
            events.add("response.output_text.delta", fields);
        }
        let text = self.said.text();
        events.add("response.output_text.done", with("text", json!(text)));
        events.add("response.content_part.done", with("part", part(&text)));
        let item = self.message(&text, "completed");
        events.add(
            "response.output_item.done",
            json!({"output_index": index, "item": item}),
        );
    }

    fn call_events(&self, index: usize, at: usize, events: &mut Events) {
        let id = self.call(at, false)["id"].clone();
        events.add(
            "response.output_item.added",
            json!({"output_index": index, "item": self.call(at, false)}),
        );
        for piece in self.said.calls[at].pieces() {
            let fields = json!({"item_id": id, "output_index": index, "delta": piece});
            events.add("response.function_call_arguments.delta", fields);
        }
        let item = self.call(at, true);
        let fields = json!({"item_id": id, "output_index": index, "arguments": item["arguments"], "name": item["name"]});
        events.add("response.function_call_arguments.done", fields);
        events.add(
            "response.output_item.done",
            json!({"output_index": index, "item": item}),
        );
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// Numbers the events and keeps those not yet taken.
#[derive(Default)]
struct Events {
    sequence: u64,
    list: Vec<Bytes>,
}

impl Events {
    fn add(&mut self, name: &str, mut fields: Value) {
        fields["type"] = json!(name);
        fields["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        self.list.push(event(name, &fields));
    }

    fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.list).concat())
    }
}
