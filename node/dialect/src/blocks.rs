//! Puts parts that come at once, or in pieces out of order, into blocks that come one after the other.
//!
//! A client of messages or Converse sees one block at a time: it begins, goes on and ends before the next begins. A
//! text or a thought ends when another part begins, and goes on in a new block; a tool call ends when its input is
//! whole. What comes for another part meanwhile waits, and so does a call whose id or name is still to come.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::dialect::Dialect;
use crate::free_text;
use crate::hub::part::{Part, PartKind, ToolStyle};
use crate::hub::stream::PartDelta;
use crate::ids;
use crate::json_end::JsonEnd;
use crate::signature;

/// What happens to the blocks of a message, one after the other.
#[derive(Debug, PartialEq)]
pub(crate) enum BlockEvent {
    /// A block begins, and every event until it ends is about it.
    Start {
        /// Its number in the message.
        number: usize,
        /// What it is.
        start: BlockStart,
    },
    /// It goes on.
    Delta {
        /// Its number in the message.
        number: usize,
        /// With what.
        delta: BlockDelta,
    },
    /// It is complete.
    Stop {
        /// Its number in the message.
        number: usize,
    },
}

/// What a block begins as.
#[derive(Debug, PartialEq)]
pub(crate) enum BlockStart {
    /// Words.
    Text,
    /// A thought.
    Thought,
    /// A call of a tool, whose id has plain characters.
    Call { id: String, name: String },
    /// A block that is complete already, in the client's dialect.
    Whole(Value),
}

/// What comes next of a block; never an empty text.
#[derive(Debug, PartialEq)]
pub(crate) enum BlockDelta {
    /// Words.
    Text(String),
    /// Words of a thought.
    Thought(String),
    /// The whole signature of a thought, sealed if it is another provider's.
    Signature(String),
    /// A piece of a call's JSON.
    Input(String),
}

/// The blocks of one message.
pub(crate) struct Blocks {
    home: Dialect,
    blocks: BTreeMap<usize, Block>,
    open: Option<usize>,
    waiting: Vec<usize>,
    written: usize,
    /// What ids are made of that an upstream does not give.
    pub(crate) message_id: String,
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
    /// The blocks of a message to a client of `home`.
    pub(crate) const fn new(home: Dialect) -> Self {
        Self {
            home,
            blocks: BTreeMap::new(),
            open: None,
            waiting: Vec::new(),
            written: 0,
            message_id: String::new(),
        }
    }

    /// A part begins. `whole` is the block of one that does not come in pieces.
    pub(crate) fn start(
        &mut self,
        index: usize,
        part: &Part,
        whole: Option<Value>,
        out: &mut Vec<BlockEvent>,
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
                let pending = call.input.begun_text();
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
    pub(crate) fn extend(&mut self, index: usize, delta: PartDelta, out: &mut Vec<BlockEvent>) {
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
    pub(crate) fn stop(&mut self, index: usize, out: &mut Vec<BlockEvent>) {
        if let Some(block) = self.blocks.get_mut(&index) {
            block.is_stopped = true;
            self.advance(out);
        }
    }

    /// Every part is complete.
    pub(crate) fn stop_all(&mut self, out: &mut Vec<BlockEvent>) {
        for block in self.blocks.values_mut() {
            block.is_stopped = true;
        }
        self.advance(out);
    }

    fn advance(&mut self, out: &mut Vec<BlockEvent>) {
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

    fn begin(&mut self, index: usize, out: &mut Vec<BlockEvent>) {
        let number = self.written;
        let made = ids::made(index, Some(&self.message_id));
        let Some(block) = self.blocks.get_mut(&index) else {
            return;
        };
        let start = match &block.content {
            Content::Text => BlockStart::Text,
            Content::Thought { .. } => BlockStart::Thought,
            Content::Call { id, name, .. } => {
                let id = if id.is_empty() { &made } else { id };
                let (id, name) = (ids::plain(id).into_owned(), name.clone());
                BlockStart::Call { id, name }
            }
            Content::Whole(block) => BlockStart::Whole(block.clone()),
        };
        out.push(BlockEvent::Start { number, start });
        self.open = Some(index);
        self.write_pending(index, out);
    }

    fn write_pending(&mut self, index: usize, out: &mut Vec<BlockEvent>) {
        let Some(block) = self.blocks.get_mut(&index) else {
            return;
        };
        let delta = match &mut block.content {
            Content::Text => BlockDelta::Text,
            Content::Thought { .. } => BlockDelta::Thought,
            // Free text becomes JSON when all of it has come.
            Content::Call {
                is_custom: true, ..
            } => return,
            Content::Call { end, .. } => {
                end.read(&block.pending);
                BlockDelta::Input
            }
            Content::Whole(_) => return,
        };
        let text = std::mem::take(&mut block.pending);
        self.write_delta(delta, text, out);
    }

    fn write_delta(
        &self,
        delta: impl FnOnce(String) -> BlockDelta,
        text: String,
        out: &mut Vec<BlockEvent>,
    ) {
        if text.is_empty() {
            return;
        }
        let (number, delta) = (self.written, delta(text));
        out.push(BlockEvent::Delta { number, delta });
    }

    fn end(&mut self, index: usize, out: &mut Vec<BlockEvent>) {
        if let Some(block) = self.blocks.get_mut(&index) {
            match &mut block.content {
                Content::Thought { signature, origin } => {
                    let signature = std::mem::take(signature);
                    let sealed = signature::sealed(&signature, *origin, self.home);
                    self.write_delta(BlockDelta::Signature, sealed, out);
                }
                Content::Call {
                    is_custom: true, ..
                } => {
                    let input = std::mem::take(&mut block.pending);
                    let input = free_text::wrapped(&input).to_string();
                    self.write_delta(BlockDelta::Input, input, out);
                }
                _ => {}
            }
        }
        let number = self.written;
        out.push(BlockEvent::Stop { number });
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
