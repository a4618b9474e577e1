//! Writes a stream for a client that sees one block at a time: of messages or of Converse.
//!
//! A frame of the client's own dialect is written as the event that it was. From another dialect the reason to stop
//! waits for the end of the stream, since the usage belongs to it or follows it, and may come last.

use serde_json::Value;

use crate::blocks::{BlockEvent, Blocks};
use crate::dialect::Dialect;
use crate::grammar::{ServerEvent, StreamWriter};
use crate::hub::answer::{HubAnswer, Stop, TokenUsage};
use crate::hub::error::ReportedError;
use crate::hub::part::{Part, PartKind};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::loss::LossList;
use crate::rest::Rest;

/// What each of the two dialects says in its own way.
pub(crate) trait BlockDialect: Send {
    /// Which it is.
    const DIALECT: Dialect;
    /// What a client reads about what it lacks.
    const LACKS: StreamLacks;

    /// Writes a frame of the dialect as it was.
    fn write_home(frame: StreamFrame, out: &mut Vec<ServerEvent>, losses: &mut LossList);

    /// The answer begins.
    fn start(&mut self, answer: &HubAnswer, out: &mut Vec<ServerEvent>, losses: &mut LossList);

    /// The block of a part that does not come in pieces; nothing if a stream has no such block.
    fn whole(&mut self, part: &Part, losses: &mut LossList) -> Option<Value>;

    /// Something happens to a block.
    fn write_block(event: BlockEvent, out: &mut Vec<ServerEvent>);

    /// The upstream failed.
    fn write_error(error: &ReportedError) -> ServerEvent;

    /// The answer ends.
    fn end(&mut self, ending: &BlockEnding, out: &mut Vec<ServerEvent>, losses: &mut LossList);
}

/// What a client reads about what a stream of its dialect lacks.
pub(crate) struct StreamLacks {
    /// Pieces that the hub does not model.
    pub(crate) piece: &'static str,
    /// More than one answer.
    pub(crate) choice: &'static str,
    /// Log probabilities.
    pub(crate) logprobs: &'static str,
    /// Events that the hub does not model.
    pub(crate) event: &'static str,
}

/// What is known of an answer when it ends.
#[derive(Default)]
pub(crate) struct BlockEnding {
    /// Why it ends.
    pub(crate) stop: Option<Stop>,
    /// What it cost.
    pub(crate) usage: Option<TokenUsage>,
    /// Whether the model refuses in it.
    pub(crate) has_refusal: bool,
}

/// Writes one stream.
pub(crate) struct BlockWriter<T> {
    dialect: T,
    upstream: Dialect,
    is_started: bool,
    blocks: Blocks,
    ending: BlockEnding,
}

impl<T: BlockDialect> StreamWriter for BlockWriter<T> {
    fn write(&mut self, frame: StreamFrame, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        self.upstream = frame.rest.from();
        if self.upstream == T::DIALECT {
            T::write_home(frame, out, losses);
            return;
        }
        for event in frame.events {
            self.write_event(event, out, losses);
        }
        frame.rest.lose(losses);
    }
}

impl<T: BlockDialect> BlockWriter<T> {
    /// Writes what `dialect` says.
    pub(crate) fn new(dialect: T) -> Self {
        Self {
            dialect,
            upstream: T::DIALECT,
            is_started: false,
            blocks: Blocks::new(T::DIALECT),
            ending: BlockEnding::default(),
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
                choice: 0,
                index,
                part,
            } => self.start_part(index, &part, out, losses),
            StreamEvent::PartDelta {
                choice: 0,
                index,
                delta,
                rest,
            } => {
                rest.lose(losses);
                if matches!(delta, PartDelta::Unknown(_)) {
                    losses.add(rest.path(), T::LACKS.piece);
                }
                self.write_blocks(out, |blocks, events| blocks.extend(index, delta, events));
            }
            StreamEvent::PartStop { choice: 0, index } => {
                self.write_blocks(out, |blocks, events| blocks.stop(index, events));
            }
            StreamEvent::Stop { choice: 0, stop } => {
                self.write_blocks(out, Blocks::stop_all);
                self.ending.stop = Some(stop);
            }
            StreamEvent::PartStart { choice, .. }
            | StreamEvent::PartDelta { choice, .. }
            | StreamEvent::PartStop { choice, .. }
            | StreamEvent::Stop { choice, .. } => {
                losses.add(format!("choices[{choice}]"), T::LACKS.choice);
            }
            StreamEvent::Usage(usage) => usage.add_to(&mut self.ending.usage),
            StreamEvent::Logprobs { .. } => losses.add("logprobs", T::LACKS.logprobs),
            StreamEvent::Choice { rest, turn, .. } => {
                rest.lose(losses);
                turn.lose(losses);
            }
            StreamEvent::Error(failure) => out.push(T::write_error(&failure)),
            StreamEvent::End => self.end(out, losses),
            StreamEvent::Ping => {}
            StreamEvent::Unknown { name, .. } => {
                losses.add(name.unwrap_or_default(), T::LACKS.event);
            }
        }
    }

    fn start(&mut self, answer: HubAnswer, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        self.is_started = true;
        self.blocks.message_id = answer.id.clone().unwrap_or_default();
        self.dialect.start(&answer, out, losses);
        if let Some(usage) = answer.usage {
            usage.add_to(&mut self.ending.usage);
        }
    }

    // Some upstreams begin without saying so.
    fn begin(&mut self, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        if !self.is_started {
            let answer = HubAnswer::new(Rest::new(self.upstream, ""));
            self.start(answer, out, losses);
        }
    }

    fn start_part(
        &mut self,
        index: usize,
        part: &Part,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        self.begin(out, losses);
        self.ending.has_refusal |= part.is_refusal();
        let comes_in_pieces = match &part.kind {
            PartKind::Text(_) | PartKind::Refusal(_) | PartKind::ToolCall(_) => true,
            PartKind::Thinking(thinking) => thinking.encrypted.is_none(),
            _ => false,
        };
        let whole = if comes_in_pieces {
            part.rest.lose(losses);
            None
        } else {
            self.dialect.whole(part, losses)
        };
        self.write_blocks(out, |blocks, events| {
            blocks.start(index, part, whole, events)
        });
    }

    fn write_blocks(
        &mut self,
        out: &mut Vec<ServerEvent>,
        change: impl FnOnce(&mut Blocks, &mut Vec<BlockEvent>),
    ) {
        let mut events = Vec::new();
        change(&mut self.blocks, &mut events);
        for event in events {
            T::write_block(event, out);
        }
    }

    fn end(&mut self, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        self.begin(out, losses);
        self.write_blocks(out, Blocks::stop_all);
        self.dialect.end(&self.ending, out, losses);
    }
}
