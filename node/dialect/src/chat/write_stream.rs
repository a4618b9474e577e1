//! Writes a stream of chat completion chunks.
//!
//! A frame of a chat stream is written as the chunk that it was; one of another dialect as one chunk per event. The
//! usage waits for the end, where chat completions puts it, and is left out unless the client asked for it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{DIALECT, answer, error, home_chunk, parts, usage};
use crate::dialect::Dialect;
use crate::fields::put;
use crate::grammar::{AnswerTerms, Object, ServerEvent, StreamWriter};
use crate::hub::answer::{HubAnswer, Stop, TokenUsage};
use crate::hub::part::{Part, PartKind, ToolInput, ToolStyle};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::loss::LossList;
use crate::rest::Rest;

/// Writes one stream.
pub(super) struct Writer {
    terms: AnswerTerms,
    head: Object,
    begun: BTreeSet<u64>,
    /// The choices whose thought is signed.
    pub(super) signed: BTreeSet<u64>,
    pub(super) parts: BTreeMap<(u64, usize), PartState>,
    usage: Option<TokenUsage>,
    home: home_chunk::HomeChunks,
}

/// What has come of a part.
pub(super) enum PartState {
    Words,
    Thought {
        path: String,
        signature: String,
        origin: Dialect,
        has_words: bool,
    },
    Call {
        number: usize,
        style: ToolStyle,
        has_input: bool,
    },
    Left,
}

impl StreamWriter for Writer {
    fn write(&mut self, frame: StreamFrame, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        if frame.rest.is_from(DIALECT) {
            self.home.write(frame, out, losses);
            return;
        }
        for event in frame.events {
            self.write_event(event, out, losses);
        }
        frame.rest.lose(losses);
    }
}

impl Writer {
    pub(super) fn new(terms: &AnswerTerms) -> Self {
        Self {
            terms: terms.clone(),
            head: Object::new(),
            begun: BTreeSet::new(),
            signed: BTreeSet::new(),
            parts: BTreeMap::new(),
            usage: None,
            home: home_chunk::HomeChunks::default(),
        }
    }

    fn write_event(
        &mut self,
        event: StreamEvent,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        match event {
            StreamEvent::Start(answer) => self.start(*answer, out, losses),
            StreamEvent::PartStart {
                choice,
                index,
                part,
            } => {
                self.start_part(choice, index, *part, out, losses);
            }
            StreamEvent::PartDelta {
                choice,
                index,
                delta,
                rest,
            } => {
                rest.lose(losses);
                self.extend_part(choice, index, delta, &rest, out, losses);
            }
            StreamEvent::PartStop { choice, index } => self.stop_part(choice, index, out, losses),
            StreamEvent::Stop { choice, stop } => self.stop(choice, &stop, out, losses),
            StreamEvent::Usage(usage) => usage.add_to(&mut self.usage),
            StreamEvent::Logprobs { choice, value } => {
                let mut chunk = choice_object(choice, Object::new());
                chunk.insert("logprobs".to_string(), value);
                out.push(self.chunk(chunk));
            }
            StreamEvent::Choice { rest, turn, .. } => {
                rest.lose(losses);
                turn.lose(losses);
            }
            StreamEvent::Error(failure) => {
                out.push(ServerEvent::unnamed(error::write(&failure)));
            }
            StreamEvent::End => self.end(out, losses),
            StreamEvent::Ping => {}
            StreamEvent::Unknown { name, .. } => {
                let name = name.unwrap_or_default();
                losses.add(name, "chat completions has no such event");
            }
        }
    }

    fn start(&mut self, answer: HubAnswer, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        put(
            &mut self.head,
            "service_tier",
            answer::service_tier(&answer, losses),
        );
        let created = answer.created.unwrap_or(self.terms.created);
        self.head
            .insert("id".to_string(), json!(answer.id.unwrap_or_default()));
        self.head
            .insert("object".to_string(), json!("chat.completion.chunk"));
        self.head.insert("created".to_string(), json!(created));
        self.head
            .insert("model".to_string(), json!(answer.model.unwrap_or_default()));
        answer.rest.lose(losses);
        if let Some(usage) = answer.usage {
            usage.add_to(&mut self.usage);
        }
        self.begin(0, out);
    }

    // The first chunk of a choice says whose turn it is.
    fn begin(&mut self, choice: u64, out: &mut Vec<ServerEvent>) {
        if self.begun.insert(choice) {
            let mut delta = Object::new();
            delta.insert("role".to_string(), json!("assistant"));
            delta.insert("content".to_string(), json!(""));
            let chunk = choice_object(choice, delta);
            out.push(self.chunk(chunk));
        }
    }

    fn start_part(
        &mut self,
        choice: u64,
        index: usize,
        part: Part,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        self.begin(choice, out);
        part.rest.lose(losses);
        let state = match part.kind {
            PartKind::Text(text) => {
                self.say(choice, "content", text, out);
                PartState::Words
            }
            PartKind::Refusal(text) => {
                self.say(choice, "refusal", text, out);
                PartState::Words
            }
            PartKind::Thinking(thinking) => {
                self.start_thought(choice, index, thinking, &part.rest, out, losses);
                return;
            }
            PartKind::ToolCall(call) => {
                let number = self.calls(choice);
                let input = call.input.begun_text();
                let has_input = !input.is_empty();
                let mut said = call.clone();
                said.input = ToolInput::Text(input);
                let rest = Rest::new(part.rest.from(), part.rest.path());
                let mut entry = parts::write_tool_call(&said, &call.id, &rest, losses);
                entry.insert("index".to_string(), json!(number));
                self.say_call(choice, entry, out);
                let style = call.style;
                PartState::Call {
                    number,
                    style,
                    has_input,
                }
            }
            PartKind::Attachment(_) | PartKind::ToolResult(_) | PartKind::Unknown(_) => {
                losses.add(part.rest.path(), "chat completions has no such part");
                PartState::Left
            }
        };
        self.parts.insert((choice, index), state);
    }

    fn extend_part(
        &mut self,
        choice: u64,
        index: usize,
        delta: PartDelta,
        rest: &Rest,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        let Some(state) = self.parts.get_mut(&(choice, index)) else {
            return;
        };
        match (state, delta) {
            (PartState::Left, _) => {}
            (PartState::Thought { signature, .. }, PartDelta::Signature(more)) => {
                signature.push_str(&more);
            }
            (
                PartState::Call {
                    number,
                    style,
                    has_input,
                },
                PartDelta::ToolInput(more),
            ) => {
                *has_input |= !more.is_empty();
                let (number, style) = (*number, *style);
                self.say_input(choice, number, style, more, out);
            }
            (PartState::Call { number, .. }, delta) => {
                let mut entry = Object::new();
                entry.insert("index".to_string(), json!(*number));
                match delta {
                    PartDelta::ToolId(id) => entry.insert("id".to_string(), json!(id)),
                    PartDelta::ToolName(name) => {
                        entry.insert("function".to_string(), json!({"name": name}))
                    }
                    _ => return,
                };
                self.say_call(choice, entry, out);
            }
            (_, PartDelta::Text(text)) => self.say(choice, "content", text, out),
            (_, PartDelta::Refusal(text)) => self.say(choice, "refusal", text, out),
            (_, PartDelta::Thinking(text)) => {
                self.extend_thought(choice, index, &text, out, losses);
            }
            (_, PartDelta::Unknown(_)) => {
                losses.add(rest.path(), "chat completions has no such piece of a part");
            }
            _ => {}
        }
    }

    fn stop_part(
        &mut self,
        choice: u64,
        index: usize,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        match self.parts.get_mut(&(choice, index)) {
            Some(PartState::Thought { .. }) => self.stop_thought(choice, index, out, losses),
            Some(PartState::Call {
                number,
                style: ToolStyle::Function,
                has_input,
            }) if !*has_input => {
                // An input of nothing at all is no JSON, which clients expect.
                *has_input = true;
                let number = *number;
                self.say_input(choice, number, ToolStyle::Function, "{}".to_string(), out);
            }
            _ => {}
        }
    }

    fn stop(
        &mut self,
        choice: u64,
        stop: &Stop,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        self.begin(choice, out);
        answer::lose_stop(stop, "stop_reason".to_string(), losses);
        let mut chunk = choice_object(choice, Object::new());
        chunk.insert("finish_reason".to_string(), json!(answer::write_stop(stop)));
        out.push(self.chunk(chunk));
    }

    fn end(&mut self, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        let wanted = self.usage.as_ref().filter(|_| self.terms.usage);
        if let Some(usage) = wanted {
            let mut chunk = self.head.clone();
            chunk.insert("choices".to_string(), json!([]));
            chunk.insert(
                "usage".to_string(),
                Value::Object(usage::write(usage, losses)),
            );
            out.push(ServerEvent::unnamed(chunk));
        }
        out.push(home_chunk::done());
    }

    fn calls(&self, choice: u64) -> usize {
        let of_choice = self.parts.range((choice, 0)..=(choice, usize::MAX));
        of_choice
            .filter(|(_, state)| matches!(state, PartState::Call { .. }))
            .count()
    }

    pub(super) fn say(&self, choice: u64, field: &str, text: String, out: &mut Vec<ServerEvent>) {
        if text.is_empty() {
            return;
        }
        let mut delta = Object::new();
        delta.insert(field.to_string(), Value::String(text));
        out.push(self.chunk(choice_object(choice, delta)));
    }

    fn say_input(
        &self,
        choice: u64,
        number: usize,
        style: ToolStyle,
        text: String,
        out: &mut Vec<ServerEvent>,
    ) {
        if text.is_empty() {
            return;
        }
        let mut entry = Object::new();
        entry.insert("index".to_string(), json!(number));
        match style {
            ToolStyle::Function => entry.insert("function".to_string(), json!({"arguments": text})),
            ToolStyle::Custom => entry.insert("custom".to_string(), json!({"input": text})),
        };
        self.say_call(choice, entry, out);
    }

    fn say_call(&self, choice: u64, entry: Object, out: &mut Vec<ServerEvent>) {
        let mut delta = Object::new();
        delta.insert("tool_calls".to_string(), json!([entry]));
        out.push(self.chunk(choice_object(choice, delta)));
    }

    fn chunk(&self, choice: Object) -> ServerEvent {
        let mut chunk = self.head.clone();
        chunk.insert("choices".to_string(), json!([choice]));
        ServerEvent::unnamed(chunk)
    }
}

fn choice_object(choice: u64, delta: Object) -> Object {
    let mut object = Object::new();
    object.insert("index".to_string(), json!(choice));
    object.insert("delta".to_string(), Value::Object(delta));
    object.insert("finish_reason".to_string(), Value::Null);
    object
}
