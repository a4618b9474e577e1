//! Writes a stream of message events.
//!
//! A frame of a message stream is written as the event that it was. From another dialect the reason to stop waits for
//! the end of the stream, since messages says it together with the usage, which may come last.

use serde_json::{Value, json};

use super::write_parts::{self, Toward};
use super::{DIALECT, answer, block_event, error, home_event, usage};
use crate::blocks::{BlockEvent, Blocks};
use crate::fields::{inside, put};
use crate::grammar::{Object, ServerEvent, StreamWriter};
use crate::hub::answer::{HubAnswer, Stop, TokenUsage};
use crate::hub::part::{Part, PartKind};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::loss::LossList;
use crate::rest::Rest;

/// Writes one stream.
pub(super) struct Writer {
    is_started: bool,
    blocks: Blocks,
    usage: Option<TokenUsage>,
    stop: Option<Stop>,
    has_refusal: bool,
}

impl StreamWriter for Writer {
    fn write(&mut self, frame: StreamFrame, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        if frame.rest.is_from(DIALECT) {
            out.push(home_event::write(frame, losses));
            return;
        }
        for event in frame.events {
            self.write_event(event, out, losses);
        }
        frame.rest.lose(losses);
    }
}

impl Writer {
    pub(super) const fn new() -> Self {
        Self {
            is_started: false,
            blocks: Blocks::new(DIALECT),
            usage: None,
            stop: None,
            has_refusal: false,
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
            } => {
                self.start_part(index, &part, out, losses);
            }
            StreamEvent::PartDelta {
                choice: 0,
                index,
                delta,
                rest,
            } => {
                rest.lose(losses);
                if matches!(delta, PartDelta::Unknown(_)) {
                    losses.add(rest.path(), "messages has no such piece of a part");
                }
                self.write_blocks(out, |blocks, events| blocks.extend(index, delta, events));
            }
            StreamEvent::PartStop { choice: 0, index } => {
                self.write_blocks(out, |blocks, events| blocks.stop(index, events))
            }
            StreamEvent::Stop { choice: 0, stop } => {
                self.write_blocks(out, Blocks::stop_all);
                answer::lose_stop(&stop, "finish_reason".to_string(), losses);
                self.stop = Some(stop);
            }
            StreamEvent::PartStart { choice, .. }
            | StreamEvent::PartDelta { choice, .. }
            | StreamEvent::PartStop { choice, .. }
            | StreamEvent::Stop { choice, .. } => {
                losses.add(format!("choices[{choice}]"), "messages gives one answer");
            }
            StreamEvent::Usage(usage) => usage.add_to(&mut self.usage),
            StreamEvent::Logprobs { .. } => {
                losses.add("logprobs", "messages has no log probabilities");
            }
            StreamEvent::Choice { rest, turn, .. } => {
                rest.lose(losses);
                turn.lose(losses);
            }
            StreamEvent::Error(failure) => {
                out.push(ServerEvent::typed(error::write(&failure)));
            }
            StreamEvent::End => self.end(out, losses),
            StreamEvent::Ping => {}
            StreamEvent::Unknown { name, .. } => {
                losses.add(name.unwrap_or_default(), "messages has no such event");
            }
        }
    }

    fn start(&mut self, answer: HubAnswer, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        self.is_started = true;
        self.blocks.message_id = answer.id.clone().unwrap_or_default();
        let message = answer::write_answer(&answer, losses);
        let mut event = Object::new();
        event.insert("type".to_string(), json!("message_start"));
        event.insert("message".to_string(), Value::Object(message));
        out.push(ServerEvent::typed(event));
        if let Some(usage) = answer.usage {
            usage.add_to(&mut self.usage);
        }
    }

    // Some upstreams begin without saying so.
    fn begin(&mut self, from: &Rest, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        if !self.is_started {
            let answer = HubAnswer::new(Rest::new(from.from(), ""));
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
        self.begin(&part.rest, out, losses);
        self.has_refusal |= answer::is_refusal(part);
        let comes_in_pieces = match &part.kind {
            PartKind::Text(_) | PartKind::Refusal(_) | PartKind::ToolCall(_) => true,
            PartKind::Thinking(thinking) => thinking.encrypted.is_none(),
            _ => false,
        };
        let whole = if comes_in_pieces {
            part.rest.lose(losses);
            None
        } else {
            write_parts::write(part, Toward::Client, losses)
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
        out.extend(events.into_iter().map(block_event::write));
    }

    fn end(&mut self, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        self.write_blocks(out, Blocks::stop_all);
        let mut event = Object::new();
        event.insert("type".to_string(), json!("message_delta"));
        if let Some(delta) = inside(&mut event, "delta") {
            let stop = self.stop.as_ref();
            let word = stop.map(|stop| answer::write_stop(stop, self.has_refusal));
            delta.insert("stop_reason".to_string(), json!(word));
            delta.insert("stop_sequence".to_string(), Value::Null);
            put(
                delta,
                "stop_sequence",
                stop.and_then(|stop| stop.sequence.clone()),
            );
        }
        let spent = match &self.usage {
            Some(usage) => usage::write(usage, losses),
            None => usage::nothing(),
        };
        event.insert("usage".to_string(), Value::Object(spent));
        out.push(ServerEvent::typed(event));
        let mut event = Object::new();
        event.insert("type".to_string(), json!("message_stop"));
        out.push(ServerEvent::typed(event));
    }
}
