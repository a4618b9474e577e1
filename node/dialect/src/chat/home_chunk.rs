//! Writes a frame of a chat stream as the chunk that it was.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::thoughts::THOUGHT_SIGNATURE;
use super::{DIALECT, answer, error, parts, usage};
use crate::fields::inside;
use crate::grammar::{Object, ServerEvent};
use crate::hub::part::{Part, PartKind, ToolStyle};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::loss::LossList;
use crate::rest::Rest;
use crate::signature;

/// What is known of the tool calls so far, which a chunk may repeat.
#[derive(Default)]
pub(super) struct HomeChunks {
    calls: BTreeMap<(u64, usize), Known>,
}

#[derive(Default)]
struct Known {
    id: String,
    name: String,
    is_custom: bool,
}

/// A choice of the chunk that is being written.
struct ChoiceChunk {
    object: Object,
    delta: Object,
    calls: Vec<(usize, Object)>,
    rest: Rest,
    turn: Rest,
}

/// What ends a stream.
pub(super) fn done() -> ServerEvent {
    ServerEvent {
        name: None,
        data: "[DONE]".to_string(),
    }
}

impl HomeChunks {
    pub(super) fn write(
        &mut self,
        frame: StreamFrame,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        if frame.rest.form(DIALECT, "data") == Some("done") {
            out.push(done());
            return;
        }
        let mut chunk = Object::new();
        let mut choices: Vec<ChoiceChunk> = Vec::new();
        for event in frame.events {
            match event {
                StreamEvent::Error(failure) => {
                    out.push(ServerEvent::unnamed(error::write(&failure)));
                    return;
                }
                StreamEvent::Unknown {
                    value: Value::Object(object),
                    ..
                } => {
                    out.push(ServerEvent::unnamed(object));
                    return;
                }
                // An end that the upstream did not write.
                StreamEvent::End => return,
                StreamEvent::Usage(spent) => {
                    let spent = usage::write(&spent, losses);
                    chunk.insert("usage".to_string(), Value::Object(spent));
                }
                StreamEvent::Choice { choice, rest, turn } => {
                    choices.push(ChoiceChunk::new(choice, rest, turn));
                }
                event => {
                    if let Some(choice) = choices.last_mut() {
                        self.write_event(event, choice, losses);
                    }
                }
            }
        }
        if frame.rest.form(DIALECT, "choices").is_none() {
            let choices = choices.into_iter().map(|choice| choice.finish(losses));
            chunk.insert("choices".to_string(), choices.collect());
        }
        frame.rest.write(DIALECT, &mut chunk, losses);
        out.push(ServerEvent::unnamed(chunk));
    }

    fn write_event(&mut self, event: StreamEvent, chunk: &mut ChoiceChunk, losses: &mut LossList) {
        match event {
            StreamEvent::PartStart {
                choice,
                index,
                part,
            } => {
                self.start_part(choice, index, &part, chunk, losses);
            }
            StreamEvent::PartDelta {
                choice,
                index,
                delta,
                rest,
            } => {
                self.extend_part(choice, index, delta, &rest, chunk, losses);
            }
            StreamEvent::Logprobs { value, .. } => {
                chunk.object.insert("logprobs".to_string(), value);
            }
            StreamEvent::Stop { stop, .. } => {
                let word = answer::write_stop(&stop);
                chunk
                    .object
                    .insert("finish_reason".to_string(), json!(word));
            }
            _ => {}
        }
    }

    fn start_part(
        &mut self,
        choice: u64,
        index: usize,
        part: &Part,
        chunk: &mut ChoiceChunk,
        losses: &mut LossList,
    ) {
        match &part.kind {
            PartKind::Text(text) => chunk.say("content", text),
            PartKind::Refusal(text) => chunk.say("refusal", text),
            PartKind::Thinking(thinking) => {
                if let Some(text) = &thinking.text {
                    chunk.say(thought_field(&part.rest), text);
                }
                if let Some(proof) = &thinking.signature {
                    let sealed = signature::sealed(proof, thinking.origin, DIALECT);
                    chunk.say(THOUGHT_SIGNATURE, &sealed);
                }
            }
            PartKind::ToolCall(call) => {
                let known = Known {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    is_custom: call.style == ToolStyle::Custom,
                };
                self.calls.insert((choice, index), known);
                let entry = parts::write_tool_call(call, &call.id, &part.rest, losses);
                chunk.calls.push((index, entry));
            }
            _ => {}
        }
    }

    fn extend_part(
        &mut self,
        choice: u64,
        index: usize,
        delta: PartDelta,
        rest: &Rest,
        chunk: &mut ChoiceChunk,
        losses: &mut LossList,
    ) {
        match delta {
            PartDelta::Text(text) => chunk.say("content", &text),
            PartDelta::Refusal(text) => chunk.say("refusal", &text),
            PartDelta::Thinking(text) => chunk.say(thought_field(rest), &text),
            PartDelta::Signature(text) => chunk.say(THOUGHT_SIGNATURE, &text),
            PartDelta::Unknown(_) => {}
            delta => {
                let known = self.calls.entry((choice, index)).or_default();
                extend_call(known, delta, rest, chunk.call(index), losses);
            }
        }
    }
}

fn extend_call(
    known: &mut Known,
    delta: PartDelta,
    rest: &Rest,
    entry: &mut Object,
    losses: &mut LossList,
) {
    match rest.form(DIALECT, "id") {
        Some("repeated") => {
            entry.insert("id".to_string(), json!(known.id));
        }
        Some("empty") => {
            entry.insert("id".to_string(), json!(""));
        }
        _ => {}
    }
    let (outer, inner) = match known.is_custom {
        true => ("custom", "input"),
        false => ("function", "arguments"),
    };
    let is_said = rest.form(DIALECT, "function") != Some("absent");
    if is_said && let Some(within) = inside(entry, outer) {
        if rest.form(DIALECT, "name") == Some("repeated") {
            within.insert("name".to_string(), json!(known.name));
        }
        match &delta {
            PartDelta::ToolName(name) => {
                known.name.push_str(name);
                within.insert("name".to_string(), json!(name));
            }
            PartDelta::ToolInput(text) if rest.form(DIALECT, "input").is_none() => {
                within.insert(inner.to_string(), json!(text));
            }
            _ => {}
        }
    }
    if let PartDelta::ToolId(id) = delta {
        entry.insert("id".to_string(), json!(id));
        known.id = id;
    }
    rest.write(DIALECT, entry, losses);
}

fn thought_field(rest: &Rest) -> &'static str {
    rest.form(DIALECT, "field").unwrap_or("reasoning_content")
}

impl ChoiceChunk {
    fn new(choice: u64, rest: Rest, turn: Rest) -> Self {
        let mut object = Object::new();
        if rest.form(DIALECT, "index").is_none() {
            object.insert("index".to_string(), json!(choice));
        }
        Self {
            object,
            delta: Object::new(),
            calls: Vec::new(),
            rest,
            turn,
        }
    }

    fn say(&mut self, field: &str, text: &str) {
        self.delta.insert(field.to_string(), json!(text));
    }

    // The entry of a part, made if the chunk has none yet.
    fn call(&mut self, index: usize) -> &mut Object {
        let position = self.calls.iter().position(|(part, _)| *part == index);
        let position = position.unwrap_or_else(|| {
            self.calls.push((index, Object::new()));
            self.calls.len() - 1
        });
        &mut self.calls[position].1
    }

    fn finish(mut self, losses: &mut LossList) -> Value {
        if !self.calls.is_empty() {
            let calls = self.calls.into_iter().map(|(_, call)| Value::Object(call));
            self.delta.insert("tool_calls".to_string(), calls.collect());
        }
        self.turn.write(DIALECT, &mut self.delta, losses);
        if self.rest.form(DIALECT, "delta").is_none() {
            self.object
                .insert("delta".to_string(), Value::Object(self.delta));
        }
        self.rest.write(DIALECT, &mut self.object, losses);
        Value::Object(self.object)
    }
}
