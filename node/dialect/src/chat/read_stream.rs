//! Reads a stream of chat completion chunks.
//!
//! The chunks number tool calls and nothing else, so parts get their numbers in the order in which they begin. A
//! server that numbers every call 0 is understood by the new id; one that repeats id and name in each chunk, by
//! their being equal. A choice's end ends its parts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::parts::read_tool_call;
use super::turns::read_thoughts;
use super::{DIALECT, answer, error, usage};
use crate::fields::{Fields, ReadError, element};
use crate::grammar::{Object, StreamEnding, StreamReader, event_object};
use crate::hub::answer::HubAnswer;
use crate::hub::part::{Part, PartKind, ToolCall};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::rest::Rest;

/// What ends a stream.
const DONE: &str = "[DONE]";

/// How many choices and parts of a choice are told apart.
const PARTS_MAX: usize = 4_096;

/// Reads one stream.
#[derive(Default)]
pub(super) struct Reader {
    is_started: bool,
    is_failed: bool,
    is_ended: bool,
    choices: BTreeMap<u64, ChoiceState>,
}

#[derive(Default)]
struct ChoiceState {
    parts: usize,
    words: BTreeMap<&'static str, usize>,
    calls: BTreeMap<u64, CallState>,
    is_stopped: bool,
}

struct CallState {
    part: usize,
    id: String,
    name: String,
}

impl StreamReader for Reader {
    fn read(&mut self, _name: Option<&str>, data: &str) -> Result<StreamFrame, ReadError> {
        if data.trim() == DONE {
            self.is_ended = true;
            return Ok(StreamFrame::new(
                vec![StreamEvent::End],
                Rest::new(DIALECT, ""),
            ));
        }
        let object = event_object(data)?;
        if object.get("error").is_some_and(|error| !error.is_null()) {
            return Ok(self.read_error(object));
        }
        let mut fields = Fields::of(DIALECT, "", object);
        let mut events = Vec::new();
        self.start(&mut fields, &mut events);
        let choices = fields.list("choices");
        if choices.is_none() {
            fields.set_form("choices", "absent");
        }
        for (index, choice) in choices.unwrap_or_default().into_iter().enumerate() {
            let choice = Fields::new(DIALECT, element("choices", index), choice)?;
            self.read_choice(choice, &mut events)?;
        }
        if let Some(spent) = fields.enter("usage") {
            events.push(StreamEvent::Usage(Box::new(usage::read(spent))));
        }
        Ok(StreamFrame::new(events, fields.finish()))
    }

    fn finish(&mut self) -> StreamEnding {
        let is_whole =
            !self.choices.is_empty() && self.choices.values().all(|choice| choice.is_stopped);
        match () {
            () if self.is_failed => StreamEnding::Failed,
            () if self.is_ended => StreamEnding::Complete,
            // Not every server sends `[DONE]`.
            () if is_whole => StreamEnding::CompleteWith(StreamFrame::new(
                vec![StreamEvent::End],
                Rest::new(DIALECT, ""),
            )),
            () => StreamEnding::Truncated,
        }
    }
}

impl Reader {
    fn read_error(&mut self, object: Object) -> StreamFrame {
        self.is_failed = true;
        let error = error::read(None, object.clone());
        let events = match error {
            Some(error) => vec![StreamEvent::Error(Box::new(error))],
            None => vec![StreamEvent::Unknown {
                name: None,
                value: Value::Object(object),
            }],
        };
        StreamFrame::new(events, Rest::new(DIALECT, ""))
    }

    // Each chunk repeats what the answer is; what a chunk says itself is written back as it is.
    fn start(&mut self, fields: &mut Fields, events: &mut Vec<StreamEvent>) {
        let known = |field: &str| fields.peek(field).cloned();
        let mut answer = HubAnswer::new(Rest::new(DIALECT, ""));
        answer.id = known("id")
            .as_ref()
            .and_then(Value::as_str)
            .map(ToString::to_string);
        answer.model = known("model")
            .as_ref()
            .and_then(Value::as_str)
            .map(ToString::to_string);
        answer.created = known("created").as_ref().and_then(Value::as_u64);
        for field in ["id", "object", "created", "model"] {
            fields.blank(field);
        }
        // A first chunk without choices may be about the prompt alone, and name no model.
        let is_about_answer = fields
            .peek("choices")
            .is_some_and(|choices| choices != &json!([]));
        if !self.is_started && is_about_answer {
            self.is_started = true;
            events.push(StreamEvent::Start(Box::new(answer)));
        }
    }

    fn read_choice(
        &mut self,
        mut fields: Fields,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        let choice = match fields.count("index") {
            Some(index) => index,
            None => {
                fields.set_form("index", "absent");
                0
            }
        };
        if self.choices.len() >= PARTS_MAX && !self.choices.contains_key(&choice) {
            return Err(ReadError::new(fields.at("index"), "among fewer choices"));
        }
        let state = self.choices.entry(choice).or_default();
        let mut delta = fields.enter("delta");
        if delta.is_none() {
            fields.set_form("delta", "absent");
        }
        let mut said = Vec::new();
        if let Some(delta) = &mut delta {
            state.read_delta(choice, delta, &mut said)?;
        }
        if let Some(value) = fields.take("logprobs") {
            said.push(StreamEvent::Logprobs { choice, value });
        }
        if let Some(word) = fields.text("finish_reason") {
            state.is_stopped = true;
            let open: BTreeSet<usize> = state.open();
            let stops = open.into_iter();
            said.extend(stops.map(|index| StreamEvent::PartStop { choice, index }));
            let stop = answer::read_stop(word);
            said.push(StreamEvent::Stop { choice, stop });
        }
        let turn = delta.map_or_else(|| Rest::new(DIALECT, ""), Fields::finish);
        let rest = fields.finish();
        events.push(StreamEvent::Choice { choice, rest, turn });
        events.extend(said);
        Ok(())
    }
}

impl ChoiceState {
    fn read_delta(
        &mut self,
        choice: u64,
        delta: &mut Fields,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        delta.blank("role");
        for part in read_thoughts(delta) {
            self.read_thought(choice, part, events)?;
        }
        for field in ["content", "refusal"] {
            match delta.peek_text(field) {
                Some("") => delta.blank(field),
                Some(_) => {
                    let text = delta.text(field).unwrap_or_default();
                    let path = delta.at(field);
                    self.read_words(choice, field, text, path, events)?;
                }
                None => {
                    if delta.peek(field).is_some_and(Value::is_null) {
                        delta.blank(field);
                    }
                }
            }
        }
        let path = delta.at("tool_calls");
        let calls = delta.list("tool_calls");
        if calls.as_ref().is_some_and(Vec::is_empty) {
            delta.keep_blank("tool_calls", json!([]));
        }
        for (position, call) in calls.unwrap_or_default().into_iter().enumerate() {
            self.read_call(choice, call, element(&path, position), events)?;
        }
        Ok(())
    }

    fn read_thought(
        &mut self,
        choice: u64,
        part: Part,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        if let Some(&index) = self.words.get("thought") {
            let PartKind::Thinking(thinking) = part.kind else {
                return Ok(());
            };
            let text = thinking.text.map(PartDelta::Thinking);
            let signature = thinking.signature.map(PartDelta::Signature);
            for delta in text.into_iter().chain(signature) {
                let rest = part.rest.clone();
                events.push(StreamEvent::PartDelta {
                    choice,
                    index,
                    delta,
                    rest,
                });
            }
            return Ok(());
        }
        let index = self.begin(part.rest.path())?;
        self.words.insert("thought", index);
        let part = Box::new(part);
        events.push(StreamEvent::PartStart {
            choice,
            index,
            part,
        });
        Ok(())
    }

    fn read_words(
        &mut self,
        choice: u64,
        field: &'static str,
        text: String,
        path: String,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        let is_refusal = field == "refusal";
        if let Some(&index) = self.words.get(field) {
            let delta = if is_refusal {
                PartDelta::Refusal(text)
            } else {
                PartDelta::Text(text)
            };
            let rest = Rest::new(DIALECT, path);
            events.push(StreamEvent::PartDelta {
                choice,
                index,
                delta,
                rest,
            });
            return Ok(());
        }
        let index = self.begin(&path)?;
        self.words.insert(field, index);
        let kind = if is_refusal {
            PartKind::Refusal(text)
        } else {
            PartKind::Text(text)
        };
        let mut rest = Rest::new(DIALECT, path);
        if is_refusal {
            rest.set_form("place", "refusal");
        }
        let part = Box::new(Part::new(kind, rest));
        events.push(StreamEvent::PartStart {
            choice,
            index,
            part,
        });
        Ok(())
    }

    fn read_call(
        &mut self,
        choice: u64,
        mut value: Value,
        path: String,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        let number = value["index"].as_u64().unwrap_or(0);
        // A chunk may name the tool's id alone.
        if value.is_object() && value["function"].is_null() && value["custom"].is_null() {
            value["function"] = json!({});
        }
        let part = read_tool_call(value, path);
        let Part {
            kind: PartKind::ToolCall(call),
            mut rest,
            ..
        } = part
        else {
            return Err(ReadError::new(part.rest.path(), "a tool call"));
        };
        rest.set_form("piece", "yes");
        let known = self.calls.get(&number);
        let is_same = known
            .is_some_and(|known| call.id.is_empty() || known.id.is_empty() || known.id == call.id);
        if is_same {
            self.extend_call(choice, number, call, rest, events);
            return Ok(());
        }
        let index = self.begin(rest.path())?;
        let state = CallState {
            part: index,
            id: call.id.clone(),
            name: call.name.clone(),
        };
        if let Some(earlier) = self.calls.insert(number, state) {
            events.push(StreamEvent::PartStop {
                choice,
                index: earlier.part,
            });
        }
        let part = Box::new(Part::new(PartKind::ToolCall(call), rest));
        events.push(StreamEvent::PartStart {
            choice,
            index,
            part,
        });
        Ok(())
    }

    // Id and name are said again by some servers, and late by others.
    fn extend_call(
        &mut self,
        choice: u64,
        number: u64,
        call: ToolCall,
        mut rest: Rest,
        events: &mut Vec<StreamEvent>,
    ) {
        let Some(state) = self.calls.get_mut(&number) else {
            return;
        };
        let mut deltas = Vec::new();
        if rest.form(DIALECT, "id").is_none() && !call.id.is_empty() {
            if state.id == call.id {
                rest.set_form("id", "repeated");
            } else {
                state.id.clone_from(&call.id);
                deltas.push(PartDelta::ToolId(call.id));
            }
        }
        if rest.form(DIALECT, "name").is_none() {
            if !call.name.is_empty() && state.name == call.name {
                rest.set_form("name", "repeated");
            } else {
                state.name.push_str(&call.name);
                deltas.push(PartDelta::ToolName(call.name));
            }
        }
        if rest.form(DIALECT, "input").is_none() || deltas.is_empty() {
            deltas.push(PartDelta::ToolInput(call.input.to_text()));
        }
        for delta in deltas {
            let (index, rest) = (state.part, rest.clone());
            events.push(StreamEvent::PartDelta {
                choice,
                index,
                delta,
                rest,
            });
        }
    }

    fn open(&self) -> BTreeSet<usize> {
        let words = self.words.values().copied();
        words
            .chain(self.calls.values().map(|call| call.part))
            .collect()
    }

    fn begin(&mut self, path: &str) -> Result<usize, ReadError> {
        if self.parts >= PARTS_MAX {
            return Err(ReadError::new(path, "among fewer parts"));
        }
        self.parts += 1;
        Ok(self.parts - 1)
    }
}
