//! Writes a stream of Converse's events. The usage follows the reason to stop.

use serde_json::{Value, json};

use super::write_parts::PartWriter;
use super::{DIALECT, answer, error, home_event, usage};
use crate::block_stream::{BlockDialect, BlockEnding, StreamLacks};
use crate::blocks::{BlockDelta, BlockEvent, BlockStart};
use crate::dialect::Dialect;
use crate::grammar::{Object, ServerEvent};
use crate::hub::answer::HubAnswer;
use crate::hub::error::ReportedError;
use crate::hub::part::Part;
use crate::hub::stream::StreamFrame;
use crate::loss::LossList;

/// The events of Converse.
pub(super) struct ConverseEvents {
    parts: PartWriter,
    tier: Option<String>,
}

impl ConverseEvents {
    pub(super) fn new() -> Self {
        Self {
            parts: PartWriter::to_client(),
            tier: None,
        }
    }
}

impl BlockDialect for ConverseEvents {
    const DIALECT: Dialect = DIALECT;
    const LACKS: StreamLacks = StreamLacks {
        piece: "Converse has no such piece of a part",
        choice: "Converse gives one answer",
        logprobs: "Converse has no log probabilities",
        event: "Converse has no such event",
    };

    fn write_home(frame: StreamFrame, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        out.extend(home_event::write(frame, losses));
    }

    fn start(&mut self, answer: &HubAnswer, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        let mut body = Object::new();
        body.insert("role".to_string(), json!("assistant"));
        out.push(named("messageStart", body));
        let tier = answer::tier_of(answer.service_tier.as_deref(), &answer.rest, losses);
        self.tier = tier.map(ToString::to_string);
        answer.rest.lose(losses);
    }

    fn whole(&mut self, part: &Part, losses: &mut LossList) -> Option<Value> {
        let block = self.parts.write(part, losses)?;
        if pieces(&block).is_none() {
            losses.add(part.rest.path(), "a stream of Converse has no such part");
            return None;
        }
        Some(block)
    }

    fn write_block(event: BlockEvent, out: &mut Vec<ServerEvent>) {
        write_block(event, out);
    }

    fn write_error(error: &ReportedError) -> ServerEvent {
        named(error::stream_name(error), error::write(error))
    }

    fn end(&mut self, ending: &BlockEnding, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        let mut body = Object::new();
        match &ending.stop {
            Some(stop) => {
                let at = "finish_reason".to_string();
                answer::write_stop(stop, ending.has_refusal, at, &mut body, losses);
            }
            None => drop(body.insert("stopReason".to_string(), json!("end_turn"))),
        }
        out.push(named("messageStop", body));
        let mut body = Object::new();
        let spent = match &ending.usage {
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
