//! Numbers the parts of one choice of a stream.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::parts::read_tool_call;
use super::{DIALECT, thoughts};
use crate::fields::{Fields, ReadError, element};
use crate::hub::part::{Part, PartKind, ToolCall};
use crate::hub::stream::{PartDelta, StreamEvent};
use crate::rest::Rest;
use crate::signature;

/// How many parts of a choice are told apart.
const PARTS_MAX: usize = 4_096;

/// What has come of one choice.
#[derive(Default)]
pub(super) struct ChoiceState {
    parts: usize,
    words: BTreeMap<&'static str, usize>,
    calls: BTreeMap<u64, CallState>,
    pub(super) is_stopped: bool,
}

struct CallState {
    part: usize,
    id: String,
    name: String,
}

impl ChoiceState {
    /// Reads what a choice's delta says.
    pub(super) fn read_delta(
        &mut self,
        choice: u64,
        delta: &mut Fields,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        delta.blank("role");
        for part in thoughts::read(delta) {
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
            // The piece may be all of it or not: it is opened when a client sends it back whole.
            let origin = thinking.origin;
            let as_it_came = |piece: String| signature::sealed(&piece, origin, DIALECT);
            let signature = thinking.signature.map(as_it_came);
            let signature = signature.map(PartDelta::Signature);
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
        let is_bare = value["function"].is_null() && value["custom"].is_null();
        let is_bare = is_bare && value.is_object();
        let has_null = is_bare && value.get("function").is_some();
        if is_bare {
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
        if is_bare {
            rest.remove_nested("function");
            rest.set_form("function", "absent");
        }
        if has_null {
            rest.set_blank("function", Value::Null);
        }
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
        if rest.form(DIALECT, "id").is_none() {
            if call.id.is_empty() {
                rest.set_form("id", "empty");
            } else if state.id == call.id {
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

    /// Whether it calls tools.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// The parts that a choice's end ends.
    pub(super) fn open(&self) -> BTreeSet<usize> {
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
