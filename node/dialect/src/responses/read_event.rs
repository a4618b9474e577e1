//! Numbers the parts of a response's items, and finds what an event says that has not been said yet.
//!
//! A response says most things three times: piece by piece, at the end of the part and at the end of the item. What a
//! server leaves out of the pieces is taken from the ends.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::piece::{CHOICE, Piece, delta_event};
use super::read_items::{self, ITEM};
use super::reasoning_item::BETWEEN;
use super::{DIALECT, content, reasoning_item};
use crate::fields::ReadError;
use crate::grammar::Object;
use crate::hub::part::{Part, PartKind};
use crate::hub::stream::{PartDelta, StreamEvent};
use crate::rest::Rest;

/// How many parts are told apart.
const PARTS_MAX: usize = 65_536;

/// What has come of a response's items.
#[derive(Default)]
pub(super) struct Items {
    items: BTreeMap<u64, Item>,
    parts: usize,
    /// Whether any calls a tool.
    pub(super) has_calls: bool,
}

enum Item {
    Message {
        shell: Rest,
        pieces: BTreeMap<u64, Piece>,
    },
    Call {
        piece: Piece,
        /// Whether its id and its name are still to come.
        lacks: Lacking,
    },
    Thought {
        piece: Piece,
        /// Whether the pieces are a summary or the thought itself, and which part of it came last.
        source: Option<(&'static str, u64)>,
    },
    /// One that is said when it is whole.
    Waiting,
    Done,
}

/// What is still to come of a call beside its input.
#[derive(Clone, Copy)]
struct Lacking {
    id: bool,
    name: bool,
}

impl Items {
    /// An item begins.
    pub(super) fn add(
        &mut self,
        number: u64,
        item: Object,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        let path = format!("output[{number}]");
        let is_message = item.get("type").is_some_and(|kind| kind == "message");
        if is_message && item.get("role").is_some_and(Value::is_string) {
            let shell = read_items::begun_message(item, path);
            let pieces = BTreeMap::new();
            self.items.insert(number, Item::Message { shell, pieces });
            return Ok(());
        }
        let mut item = item;
        item.remove("encrypted_content");
        let mut parts = read_items::read(Value::Object(item), path).parts;
        let Some(mut part) = parts.pop() else {
            return Ok(());
        };
        read_items::leave_end(&mut part.rest);
        let item = match &mut part.kind {
            PartKind::ToolCall(call) => {
                self.has_calls = true;
                let mut piece = Piece::new(self.number()?, PartDelta::ToolInput);
                piece.length = call.input.to_text().len();
                let lacks = Lacking {
                    id: call.id.is_empty(),
                    name: call.name.is_empty(),
                };
                Item::Call { piece, lacks }
            }
            PartKind::Thinking(thinking) => {
                thinking.text = None;
                let piece = Piece::new(self.number()?, PartDelta::Thinking);
                Item::Thought {
                    piece,
                    source: None,
                }
            }
            _ => Item::Waiting,
        };
        if let Item::Call { piece, .. } | Item::Thought { piece, .. } = &item {
            events.push(part_start(piece.index, part));
        }
        self.items.insert(number, item);
        Ok(())
    }

    /// A message's part begins.
    pub(super) fn add_part(
        &mut self,
        number: u64,
        place: u64,
        part: Value,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        let next = self.parts;
        let item = self.items.entry(number).or_insert_with(|| Item::Message {
            shell: read_items::begun_message(made_message(), format!("output[{number}]")),
            pieces: BTreeMap::new(),
        });
        let Item::Message { shell, pieces } = item else {
            return Ok(());
        };
        if pieces.contains_key(&place) {
            return Ok(());
        }
        let path = format!("output[{number}].content[{place}]");
        let mut part = content::read(part, path.clone());
        part.rest.blanks.remove("logprobs");
        part.rest.set_form("logprobs", "late");
        if pieces.is_empty() {
            part.rest.set_nested(ITEM, shell.clone());
        } else {
            part.rest.set_form(ITEM, "shared");
        }
        let (kind, length): (fn(String) -> PartDelta, usize) = match &part.kind {
            PartKind::Refusal(text) => (PartDelta::Refusal, text.len()),
            PartKind::Text(text) => (PartDelta::Text, text.len()),
            _ => (PartDelta::Text, 0),
        };
        let mut piece = Piece::new(next, kind);
        piece.length = length;
        pieces.insert(place, piece);
        self.number()?;
        events.push(part_start(next, part));
        Ok(())
    }

    /// A message's part goes on; `kind` is what it is if it has not begun yet.
    pub(super) fn extend_part(
        &mut self,
        number: u64,
        place: u64,
        kind: &str,
        delta: String,
        logprobs: Vec<Value>,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        self.add_part(number, place, empty_part(kind), events)?;
        if let Some(piece) = self.piece(number, place) {
            piece.extend(delta, events);
            piece.judge(logprobs, events);
        }
        Ok(())
    }

    /// A message's part is complete.
    pub(super) fn end_part(
        &mut self,
        number: u64,
        place: u64,
        part: &Value,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        let kind = part["type"].as_str().unwrap_or_default();
        let begins = match kind {
            "output_text" | "refusal" => empty_part(kind),
            _ => part.clone(),
        };
        self.add_part(number, place, begins, events)?;
        if let Some(piece) = self.piece(number, place) {
            let field = if kind == "refusal" { "refusal" } else { "text" };
            piece.complete(part[field].as_str().unwrap_or_default(), events);
            let tokens = part["logprobs"].as_array().into_iter().flatten();
            piece.judge(tokens.skip(piece.tokens).cloned().collect(), events);
            piece.stop(events);
        }
        Ok(())
    }

    /// What the hub does not model comes to a message's part.
    pub(super) fn annotate(
        &self,
        number: u64,
        place: u64,
        value: Value,
        events: &mut Vec<StreamEvent>,
    ) {
        if let Some(Item::Message { pieces, .. }) = self.items.get(&number)
            && let Some(piece) = pieces.get(&place)
        {
            let delta = PartDelta::Unknown(value);
            let rest = Rest::new(
                DIALECT,
                format!("output[{number}].content[{place}].annotations"),
            );
            events.push(StreamEvent::PartDelta {
                choice: CHOICE,
                index: piece.index,
                delta,
                rest,
            });
        }
    }

    fn piece(&mut self, number: u64, place: u64) -> Option<&mut Piece> {
        match self.items.get_mut(&number) {
            Some(Item::Message { pieces, .. }) => pieces.get_mut(&place),
            _ => None,
        }
    }

    /// The input of a call goes on.
    pub(super) fn extend_call(&mut self, number: u64, more: String, events: &mut Vec<StreamEvent>) {
        if let Some(Item::Call { piece, .. }) = self.items.get_mut(&number) {
            piece.extend(more, events);
        }
    }

    /// The input of a call is whole.
    pub(super) fn end_input(&mut self, number: u64, whole: &str, events: &mut Vec<StreamEvent>) {
        if let Some(Item::Call { piece, .. }) = self.items.get_mut(&number) {
            piece.complete(whole, events);
        }
    }

    /// A thought goes on, or a part of it begins. Of a summary and the thought itself the first that comes is read.
    pub(super) fn extend_thought(
        &mut self,
        number: u64,
        kind: &'static str,
        place: u64,
        more: String,
        events: &mut Vec<StreamEvent>,
    ) {
        let Some(Item::Thought { piece, source }) = self.items.get_mut(&number) else {
            return;
        };
        let before = *source;
        if before.is_some_and(|(known, _)| known != kind) {
            return;
        }
        *source = Some((kind, place));
        if before.is_some_and(|(_, last)| last != place) {
            piece.extend(BETWEEN.to_string(), events);
        }
        piece.extend(more, events);
    }

    /// An item is complete.
    pub(super) fn end(
        &mut self,
        number: u64,
        item: Value,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        match self.items.get_mut(&number) {
            Some(Item::Done) => return Ok(()),
            Some(Item::Message { pieces, .. }) => {
                let parts = item["content"].as_array().cloned().unwrap_or_default();
                let last = pieces.len().max(parts.len());
                for (place, part) in (0_u64..).zip(&parts) {
                    self.end_part(number, place, part, events)?;
                }
                for place in 0..last as u64 {
                    if let Some(piece) = self.piece(number, place) {
                        piece.stop(events);
                    }
                }
            }
            Some(Item::Call { piece, lacks }) => {
                name_call(piece.index, *lacks, &item, events);
                let input = item["arguments"].as_str().or(item["input"].as_str());
                piece.complete(input.unwrap_or_default(), events);
                piece.stop(events);
            }
            Some(Item::Thought { piece, .. }) => {
                if let Some(whole) = reasoning_item::text(&item) {
                    piece.complete(&whole, events);
                }
                if let Some(proof) = item["encrypted_content"].as_str() {
                    let delta = PartDelta::Signature(proof.to_string());
                    events.push(delta_event(piece.index, delta));
                }
                piece.stop(events);
            }
            Some(Item::Waiting) | None => {
                let path = format!("output[{number}]");
                for part in read_items::read(item, path).parts {
                    self.has_calls |= matches!(part.kind, PartKind::ToolCall(_));
                    let index = self.number()?;
                    events.push(part_start(index, part));
                    events.push(StreamEvent::PartStop {
                        choice: CHOICE,
                        index,
                    });
                }
            }
        }
        self.items.insert(number, Item::Done);
        Ok(())
    }

    fn number(&mut self) -> Result<usize, ReadError> {
        if self.parts >= PARTS_MAX {
            return Err(ReadError::new("output", "fewer parts"));
        }
        self.parts += 1;
        Ok(self.parts - 1)
    }
}

// Some servers name a call when it is whole.
fn name_call(index: usize, lacks: Lacking, item: &Value, events: &mut Vec<StreamEvent>) {
    let said = |field: &str| {
        let text = item[field].as_str().filter(|text| !text.is_empty());
        text.map(ToString::to_string)
    };
    let id = said("call_id").filter(|_| lacks.id).map(PartDelta::ToolId);
    let name = said("name").filter(|_| lacks.name);
    let deltas = id.into_iter().chain(name.map(PartDelta::ToolName));
    events.extend(deltas.map(|delta| delta_event(index, delta)));
}

fn part_start(index: usize, part: Part) -> StreamEvent {
    StreamEvent::PartStart {
        choice: CHOICE,
        index,
        part: Box::new(part),
    }
}

fn made_message() -> Object {
    let mut item = Object::new();
    item.insert("type".to_string(), json!("message"));
    item.insert("role".to_string(), json!("assistant"));
    item
}

fn empty_part(kind: &str) -> Value {
    match kind {
        "refusal" => json!({"type": "refusal", "refusal": ""}),
        _ => json!({"type": "output_text", "text": "", "annotations": []}),
    }
}
