//! Puts parts that come in pieces into items, and says of each how it begins, goes on and ends.
//!
//! Several items may be open at once, so nothing waits but what cannot be said yet: a text or a thought without a
//! character, and a call whose id or name is still to come.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::answer::item_id;
use crate::grammar::{Object, ServerEvent};
use crate::hub::part::{Part, PartKind, Thinking, ToolCall};
use crate::hub::stream::PartDelta;

/// The items of one response.
#[derive(Default)]
pub(super) struct Output {
    /// What ids are made of.
    pub(super) answer_id: String,
    /// The log probabilities of the tokens, which belong to the first text.
    pub(super) logprobs: Vec<Value>,
    pub(super) parts: BTreeMap<usize, PartState>,
    stopped: BTreeSet<usize>,
    pub(super) items: Vec<OpenItem>,
    sequence: u64,
}

/// What has come of a part, and where it goes.
pub(super) enum PartState {
    Words {
        is_refusal: bool,
        text: String,
        place: Option<(usize, usize)>,
    },
    Thought {
        thinking: Thinking,
        place: Option<usize>,
        is_shown: bool,
    },
    Call {
        call: ToolCall,
        input: String,
        said: usize,
        place: Option<usize>,
    },
}

/// An item that has begun.
pub(super) struct OpenItem {
    pub(super) id: String,
    /// The parts of a message, each when it is whole.
    pub(super) content: Vec<Value>,
    pub(super) is_message: bool,
    /// The item when it is whole.
    pub(super) whole: Option<Object>,
}

impl Output {
    /// Writes an event with the next number.
    pub(super) fn say(&mut self, kind: &str, fields: Value, out: &mut Vec<ServerEvent>) {
        let mut event = Object::new();
        event.insert("type".to_string(), json!(kind));
        event.insert("sequence_number".to_string(), json!(self.sequence));
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        self.sequence += 1;
        out.push(ServerEvent::typed(event));
    }

    /// The events of home have numbers of their own.
    pub(super) fn follow(&mut self, sequence: u64) {
        self.sequence = sequence.saturating_add(1);
    }

    /// A part begins; one that does not come in pieces is not written.
    pub(super) fn start(&mut self, index: usize, part: &Part, out: &mut Vec<ServerEvent>) {
        let earlier: Vec<usize> = self.parts.keys().copied().collect();
        for earlier in earlier {
            self.begin_call(earlier, false, out);
        }
        let state = match &part.kind {
            PartKind::Text(_) | PartKind::Refusal(_) => PartState::Words {
                is_refusal: part.is_refusal(),
                text: String::new(),
                place: None,
            },
            PartKind::Thinking(thinking) => PartState::Thought {
                thinking: thinking.clone(),
                place: None,
                is_shown: false,
            },
            PartKind::ToolCall(call) => PartState::Call {
                call: call.clone(),
                input: call.input.begun_text(),
                said: 0,
                place: None,
            },
            _ => return,
        };
        self.parts.insert(index, state);
        match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => self.extend_words(index, text, out),
            PartKind::Thinking(thinking) => {
                let text = thinking.text.clone().unwrap_or_default();
                self.extend_thought(index, &text, out);
            }
            _ => self.write_input(index, out),
        }
    }

    /// A part goes on.
    pub(super) fn extend(&mut self, index: usize, delta: PartDelta, out: &mut Vec<ServerEvent>) {
        match (self.parts.get_mut(&index), delta) {
            (Some(PartState::Words { .. }), PartDelta::Text(more) | PartDelta::Refusal(more)) => {
                self.extend_words(index, &more, out);
            }
            (Some(PartState::Thought { thinking, .. }), PartDelta::Thinking(more)) => {
                thinking.text.get_or_insert_default().push_str(&more);
                self.extend_thought(index, &more, out);
            }
            (Some(PartState::Thought { thinking, .. }), PartDelta::Signature(more)) => {
                thinking.signature.get_or_insert_default().push_str(&more);
            }
            (Some(PartState::Call { call, place, .. }), PartDelta::ToolId(id))
                if place.is_none() =>
            {
                call.id = id;
            }
            (Some(PartState::Call { call, place, .. }), PartDelta::ToolName(more))
                if place.is_none() =>
            {
                call.name.push_str(&more);
            }
            (Some(PartState::Call { input, .. }), PartDelta::ToolInput(more)) => {
                input.push_str(&more);
                self.write_input(index, out);
            }
            _ => {}
        }
    }

    /// Every part is complete.
    pub(super) fn stop_all(&mut self, out: &mut Vec<ServerEvent>) {
        let parts: Vec<usize> = self.parts.keys().copied().collect();
        for index in parts {
            self.stop(index, out);
        }
        for number in 0..self.items.len() {
            self.end_message(number, out);
        }
    }

    /// A part is complete.
    pub(super) fn stop(&mut self, index: usize, out: &mut Vec<ServerEvent>) {
        if !self.stopped.insert(index) {
            return;
        }
        match self.parts.get(&index) {
            Some(PartState::Words { .. }) => self.stop_words(index, out),
            Some(PartState::Thought { .. }) => self.stop_thought(index, out),
            Some(PartState::Call { .. }) => self.stop_call(index, out),
            None => {}
        }
    }

    /// The items that are whole.
    pub(super) fn whole(&self) -> Vec<Value> {
        let items = self.items.iter().filter_map(|item| item.whole.clone());
        items.map(Value::Object).collect()
    }

    pub(super) fn begin(
        &mut self,
        prefix: &str,
        is_message: bool,
        out: &mut Vec<ServerEvent>,
    ) -> usize {
        for number in 0..self.items.len() {
            self.end_message_of_whole_parts(number, out);
        }
        let number = self.items.len();
        self.items.push(OpenItem {
            id: item_id(prefix, &self.answer_id, number),
            content: Vec::new(),
            is_message,
            whole: None,
        });
        number
    }

    pub(super) fn say_of(
        &mut self,
        number: usize,
        kind: &str,
        fields: Value,
        out: &mut Vec<ServerEvent>,
    ) {
        let mut event = Object::new();
        if let Some(item) = self.items.get(number) {
            event.insert("item_id".to_string(), json!(item.id));
        }
        event.insert("output_index".to_string(), json!(number));
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        self.say(kind, Value::Object(event), out);
    }

    pub(super) fn say_item(
        &mut self,
        number: usize,
        kind: &str,
        item: &Object,
        out: &mut Vec<ServerEvent>,
    ) {
        let event = json!({"output_index": number, "item": item});
        self.say(kind, event, out);
    }

    pub(super) fn end_item(&mut self, number: usize, item: Object, out: &mut Vec<ServerEvent>) {
        self.say_item(number, "response.output_item.done", &item, out);
        if let Some(open) = self.items.get_mut(number) {
            open.whole = Some(item);
        }
    }
}
