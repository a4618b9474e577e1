//! Puts parts that come at once, or in pieces out of order, into blocks that come one after the other.
//!
//! A client of messages sees one block at a time: it begins, goes on and ends before the next begins. A text or a
//! thought ends when another part begins, and goes on in a new block; a tool call ends when its input is whole. What
//! comes for another part meanwhile waits, and so does a call whose id or name is still to come.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::dialect::Dialect;
use crate::free_text;
use crate::grammar::{Object, ServerEvent};
use crate::hub::part::{Part, PartKind, ToolInput, ToolStyle};
use crate::hub::stream::PartDelta;
use crate::ids;
use crate::signature;

use super::json_end::JsonEnd;
use super::{DIALECT, answer};

/// The blocks of one message.
#[derive(Default)]
pub(super) struct Blocks {
    blocks: BTreeMap<usize, Block>,
    open: Option<usize>,
    waiting: Vec<usize>,
    written: usize,
    /// What ids are made of that an upstream does not give.
    pub(super) message_id: String,
}

struct Block {
    content: Content,
    /// What has come and is not written yet.
    pending: String,
    is_stopped: bool,
}

enum Content {
    Text,
    Thought {
        signature: String,
        origin: Dialect,
    },
    Call {
        id: String,
        name: String,
        is_custom: bool,
        end: JsonEnd,
    },
    /// One that is written at once.
    Whole(Value),
}

impl Blocks {
    /// A part begins. `whole` is the block of one that does not come in pieces.
    pub(super) fn start(
        &mut self,
        index: usize,
        part: &Part,
        whole: Option<Value>,
        out: &mut Vec<ServerEvent>,
    ) {
        let (content, pending) = match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => (Content::Text, text.clone()),
            PartKind::Thinking(thinking) if thinking.encrypted.is_none() => {
                let signature = thinking.signature.clone().unwrap_or_default();
                let origin = thinking.origin;
                let text = thinking.text.clone().unwrap_or_default();
                (Content::Thought { signature, origin }, text)
            }
            PartKind::ToolCall(call) => {
                let is_custom = call.style == ToolStyle::Custom;
                let pending = match &call.input {
                    ToolInput::Json(Value::Object(object)) if object.is_empty() => String::new(),
                    input => input.to_text(),
                };
                let content = Content::Call {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    is_custom,
                    end: JsonEnd::default(),
                };
                (content, pending)
            }
            _ => match whole {
                Some(block) => (Content::Whole(block), String::new()),
                None => return,
            },
        };
        let is_stopped = matches!(content, Content::Whole(_));
        let block = Block {
            content,
            pending,
            is_stopped,
        };
        self.blocks.insert(index, block);
        self.waiting.push(index);
        self.advance(out);
    }

    /// A part goes on.
    pub(super) fn extend(&mut self, index: usize, delta: PartDelta, out: &mut Vec<ServerEvent>) {
        let Some(block) = self.blocks.get_mut(&index) else {
            return;
        };
        match (&mut block.content, delta) {
            (Content::Text, PartDelta::Text(more) | PartDelta::Refusal(more))
            | (Content::Thought { .. }, PartDelta::Thinking(more))
            | (Content::Call { .. }, PartDelta::ToolInput(more)) => block.pending.push_str(&more),
            (Content::Thought { signature, .. }, PartDelta::Signature(more)) => {
                signature.push_str(&more);
            }
            (Content::Call { id, .. }, PartDelta::ToolId(given)) => *id = given,
            (Content::Call { name, .. }, PartDelta::ToolName(more)) => name.push_str(&more),
            _ => return,
        }
        if self.open == Some(index) {
            self.write_pending(index, out);
        } else if !self.waiting.contains(&index) {
            self.waiting.push(index);
        }
        self.advance(out);
    }

    /// A part is complete.
    pub(super) fn stop(&mut self, index: usize, out: &mut Vec<ServerEvent>) {
        if let Some(block) = self.blocks.get_mut(&index) {
            block.is_stopped = true;
            self.advance(out);
        }
    }

    /// Every part is complete.
    pub(super) fn stop_all(&mut self, out: &mut Vec<ServerEvent>) {
        for block in self.blocks.values_mut() {
            block.is_stopped = true;
        }
        self.advance(out);
    }

    fn advance(&mut self, out: &mut Vec<ServerEvent>) {
        loop {
            let next = self
                .waiting
                .iter()
                .position(|index| self.blocks.get(index).is_some_and(Block::is_ready));
            if let Some(open) = self.open {
                let may_end = self
                    .blocks
                    .get(&open)
                    .is_none_or(|block| block.is_stopped || (next.is_some() && block.may_end()));
                if !may_end {
                    return;
                }
                self.end(open, out);
            }
            let Some(position) = next else { return };
            let index = self.waiting.remove(position);
            self.begin(index, out);
        }
    }

    fn begin(&mut self, index: usize, out: &mut Vec<ServerEvent>) {
        let written = self.written;
        let made = answer::made_id(index, Some(&self.message_id));
        let Some(block) = self.blocks.get_mut(&index) else {
            return;
        };
        let content = match &block.content {
            Content::Text => json!({"type": "text", "text": ""}),
            Content::Thought { .. } => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Content::Call { id, name, .. } => {
                let id = if id.is_empty() { &made } else { id };
                json!({"type": "tool_use", "id": ids::plain(id), "name": name, "input": {}})
            }
            Content::Whole(block) => block.clone(),
        };
        let mut event = numbered("content_block_start", written);
        event.insert("content_block".to_string(), content);
        out.push(ServerEvent::typed(event));
        self.open = Some(index);
        self.write_pending(index, out);
    }

    fn write_pending(&mut self, index: usize, out: &mut Vec<ServerEvent>) {
        let Some(block) = self.blocks.get_mut(&index) else {
            return;
        };
        let (kind, field) = match &mut block.content {
            Content::Text => ("text_delta", "text"),
            Content::Thought { .. } => ("thinking_delta", "thinking"),
            // Free text becomes JSON when all of it has come.
            Content::Call {
                is_custom: true, ..
            } => return,
            Content::Call { end, .. } => {
                end.read(&block.pending);
                ("input_json_delta", "partial_json")
            }
            Content::Whole(_) => return,
        };
        let text = std::mem::take(&mut block.pending);
        self.write_delta(kind, field, text, out);
    }

    fn write_delta(&self, kind: &str, field: &str, text: String, out: &mut Vec<ServerEvent>) {
        if text.is_empty() {
            return;
        }
        let mut event = numbered("content_block_delta", self.written);
        event.insert("delta".to_string(), json!({"type": kind, field: text}));
        out.push(ServerEvent::typed(event));
    }

    fn end(&mut self, index: usize, out: &mut Vec<ServerEvent>) {
        if let Some(block) = self.blocks.get_mut(&index) {
            match &mut block.content {
                Content::Thought { signature, origin } => {
                    let sealed = signature::sealed(&std::mem::take(signature), *origin, DIALECT);
                    self.write_delta("signature_delta", "signature", sealed, out);
                }
                Content::Call {
                    is_custom: true, ..
                } => {
                    let input = std::mem::take(&mut block.pending);
                    let input = free_text::wrapped(&input).to_string();
                    self.write_delta("input_json_delta", "partial_json", input, out);
                }
                _ => {}
            }
        }
        let event = numbered("content_block_stop", self.written);
        out.push(ServerEvent::typed(event));
        self.written += 1;
        self.open = None;
    }
}

impl Block {
    // Whether a block can begin. Anthropic's clients may send it back, so an empty text never does.
    fn is_ready(&self) -> bool {
        match &self.content {
            Content::Text => !self.pending.is_empty(),
            Content::Thought { signature, .. } => !self.pending.is_empty() || !signature.is_empty(),
            Content::Call { id, name, .. } => {
                self.is_stopped || (!id.is_empty() && !name.is_empty())
            }
            Content::Whole(_) => true,
        }
    }

    // Whether a block may end before its part does.
    fn may_end(&self) -> bool {
        match &self.content {
            Content::Call { end, is_custom, .. } => !is_custom && end.is_reached(),
            _ => true,
        }
    }
}

fn numbered(kind: &str, index: usize) -> Object {
    let mut event = Object::new();
    event.insert("type".to_string(), json!(kind));
    event.insert("index".to_string(), json!(index));
    event
}
