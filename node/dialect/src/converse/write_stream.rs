//! Writes a stream of Converse's events.
//!
//! A frame of a Converse stream is written as the event that it was. From another dialect the reason to stop waits for
//! the end of the stream, since the usage follows it and may come last.

use serde_json::{Value, json};

use super::write_parts::PartWriter;
use super::{DIALECT, answer, error, home_event, usage};
use crate::blocks::{BlockDelta, BlockEvent, BlockStart, Blocks};
use crate::grammar::{Object, ServerEvent, StreamWriter};
use crate::hub::answer::{HubAnswer, Stop, TokenUsage};
use crate::hub::part::{Part, PartKind};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::loss::LossList;

/// Writes one stream.
pub(super) struct Writer {
    is_started: bool,
    blocks: Blocks,
    parts: PartWriter,
    usage: Option<TokenUsage>,
    tier: Option<String>,
    stop: Option<Stop>,
    has_refusal: bool,
}

impl StreamWriter for Writer {
    fn write(&mut self, frame: StreamFrame, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        if frame.rest.is_from(DIALECT) {
            out.extend(home_event::write(frame, losses));
            return;
        }
        for event in frame.events {
            self.write_event(event, out, losses);
        }
        frame.rest.lose(losses);
    }
}

impl Writer {
    pub(super) fn new() -> Self {
        Self {
            is_started: false,
            blocks: Blocks::new(DIALECT),
            parts: PartWriter::to_client(),
            usage: None,
            tier: None,
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
            } => self.start_part(index, &part, out, losses),
            StreamEvent::PartDelta {
                choice: 0,
                index,
                delta,
                rest,
            } => {
                rest.lose(losses);
                if matches!(delta, PartDelta::Unknown(_)) {
                    losses.add(rest.path(), "Converse has no such piece of a part");
                }
                self.write_blocks(out, |blocks, events| blocks.extend(index, delta, events));
            }
            StreamEvent::PartStop { choice: 0, index } => {
                self.write_blocks(out, |blocks, events| blocks.stop(index, events));
            }
            StreamEvent::Stop { choice: 0, stop } => {
                self.write_blocks(out, Blocks::stop_all);
                self.stop = Some(stop);
            }
            StreamEvent::PartStart { choice, .. }
            | StreamEvent::PartDelta { choice, .. }
            | StreamEvent::PartStop { choice, .. }
            | StreamEvent::Stop { choice, .. } => {
                losses.add(format!("choices[{choice}]"), "Converse gives one answer");
            }
            StreamEvent::Usage(usage) => usage.add_to(&mut self.usage),
            StreamEvent::Logprobs { .. } => {
                losses.add("logprobs", "Converse has no log probabilities");
            }
            StreamEvent::Choice { rest, turn, .. } => {
                rest.lose(losses);
                turn.lose(losses);
            }
            StreamEvent::Error(failure) => {
                out.push(named(error::stream_name(&failure), error::write(&failure)));
            }
            StreamEvent::End => self.end(out, losses),
            StreamEvent::Ping => {}
            StreamEvent::Unknown { name, .. } => {
                losses.add(name.unwrap_or_default(), "Converse has no such event");
            }
        }
    }

    fn start(&mut self, answer: HubAnswer, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        self.begin(out);
        self.blocks.message_id = answer.id.clone().unwrap_or_default();
        let tier = answer::tier_of(answer.service_tier.as_deref(), &answer.rest, losses);
        self.tier = tier.map(ToString::to_string);
        answer.rest.lose(losses);
        if let Some(usage) = answer.usage {
            usage.add_to(&mut self.usage);
        }
    }

    // Some upstreams begin without saying so.
    fn begin(&mut self, out: &mut Vec<ServerEvent>) {
        if !std::mem::replace(&mut self.is_started, true) {
            let mut body = Object::new();
            body.insert("role".to_string(), json!("assistant"));
            out.push(named("messageStart", body));
        }
    }

    fn start_part(
        &mut self,
        index: usize,
        part: &Part,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        self.begin(out);
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
            let block = self.parts.write(part, losses);
            let is_streamed = |block: &Value| pieces(block).is_some();
            if block.as_ref().is_some_and(|block| !is_streamed(block)) {
                losses.add(part.rest.path(), "a stream of Converse has no such part");
            }
            block.filter(is_streamed)
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
            write_block(event, out);
        }
    }

    fn end(&mut self, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        self.begin(out);
        self.write_blocks(out, Blocks::stop_all);
        let mut body = Object::new();
        match &self.stop {
            Some(stop) => {
                let at = "finish_reason".to_string();
                answer::write_stop(stop, self.has_refusal, at, &mut body, losses);
            }
            None => drop(body.insert("stopReason".to_string(), json!("end_turn"))),
        }
        out.push(named("messageStop", body));
        let mut body = Object::new();
        let spent = match &self.usage {
            Some(usage) => usage::write(usage, losses),
            None => usage::nothing(),
        };
        body.insert("usage".to_string(), Value::Object(spent));
        body.insert("metrics".to_string(), answer::no_metrics());
        answer::write_tier(self.tier.as_deref(), &mut body);
        out.push(named("metadata", body));
    }
}

fn write_block(event: BlockEvent, out: &mut Vec<ServerEvent>) {
    match event {
        BlockEvent::Start { number, start } => match start {
            // Their first piece says what they are.
            BlockStart::Text | BlockStart::Thought => {}
            BlockStart::Call { id, name } => {
                let start = json!({"toolUse": {"toolUseId": id, "name": name}});
                out.push(numbered(
                    "contentBlockStart",
                    number,
                    Some(("start", start)),
                ));
            }
            BlockStart::Whole(block) => {
                for (name, field, said) in pieces(&block).into_iter().flatten() {
                    out.push(numbered(name, number, Some((field, said))));
                }
            }
        },
        BlockEvent::Delta { number, delta } => {
            let delta = match delta {
                BlockDelta::Text(text) => json!({"text": text}),
                BlockDelta::Thought(text) => json!({"reasoningContent": {"text": text}}),
                BlockDelta::Signature(text) => json!({"reasoningContent": {"signature": text}}),
                BlockDelta::Input(text) => json!({"toolUse": {"input": text}}),
            };
            out.push(numbered(
                "contentBlockDelta",
                number,
                Some(("delta", delta)),
            ));
        }
        BlockEvent::Stop { number } => out.push(numbered("contentBlockStop", number, None)),
    }
}

// What becomes of a block that comes whole, by event, field and value: a redacted thought, or an image.
fn pieces(block: &Value) -> Option<Vec<(&'static str, &'static str, Value)>> {
    if let Some(image) = block.get("image") {
        let start = json!({"image": {"format": image.get("format")?}});
        let delta = json!({"image": {"source": image.get("source")?}});
        return Some(vec![
            ("contentBlockStart", "start", start),
            ("contentBlockDelta", "delta", delta),
        ]);
    }
    let thought = block.get("reasoningContent")?;
    let blob = thought.get("redactedContent")?;
    let delta = json!({"reasoningContent": {"redactedContent": blob}});
    Some(vec![("contentBlockDelta", "delta", delta)])
}

fn numbered(name: &str, number: usize, said: Option<(&str, Value)>) -> ServerEvent {
    let mut body = Object::new();
    body.insert("contentBlockIndex".to_string(), json!(number));
    if let Some((field, value)) = said {
        body.insert(field.to_string(), value);
    }
    named(name, body)
}

fn named(name: impl Into<String>, body: Object) -> ServerEvent {
    let name = Some(name.into());
    let data = Value::Object(body).to_string();
    ServerEvent { name, data }
}
