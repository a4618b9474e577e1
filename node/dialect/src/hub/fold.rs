//! Puts a stream together to the whole answer.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::answer::{AnswerChoice, HubAnswer};
use super::part::{Part, PartKind, ToolInput};
use super::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::dialect::Dialect;
use crate::rest::Rest;

/// The answer that a stream of `dialect` adds up to.
///
/// An error, a missing end and events that the hub does not model add nothing.
pub fn fold(dialect: Dialect, frames: impl IntoIterator<Item = StreamFrame>) -> HubAnswer {
    let mut folding = Folding {
        dialect,
        answer: HubAnswer::new(Rest::new(dialect, "")),
        choices: BTreeMap::new(),
    };
    for event in frames.into_iter().flat_map(|frame| frame.events) {
        folding.add(event);
    }
    folding.finish()
}

struct Folding {
    dialect: Dialect,
    answer: HubAnswer,
    choices: BTreeMap<u64, FoldedChoice>,
}

struct FoldedChoice {
    choice: AnswerChoice,
    parts: BTreeMap<usize, Part>,
}

impl Folding {
    fn add(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Start(answer) => self.start(*answer),
            StreamEvent::PartStart {
                choice,
                index,
                part,
            } => {
                self.choice(choice).parts.insert(index, *part);
            }
            StreamEvent::PartDelta {
                choice,
                index,
                delta,
                ..
            } => {
                if let Some(part) = self.choice(choice).parts.get_mut(&index) {
                    extend(part, delta);
                }
            }
            StreamEvent::Logprobs { choice, value } => {
                let choice = &mut self.choice(choice).choice;
                choice.logprobs = match choice.logprobs.take() {
                    Some(earlier) => Some(joined(earlier, value)),
                    None => Some(value),
                };
            }
            StreamEvent::Stop { choice, stop } => {
                self.choice(choice).choice.stop = Some(stop);
            }
            StreamEvent::Usage(usage) => usage.add_to(&mut self.answer.usage),
            StreamEvent::Choice { choice, .. } => {
                self.choice(choice);
            }
            StreamEvent::PartStop { .. }
            | StreamEvent::Error(_)
            | StreamEvent::End
            | StreamEvent::Ping
            | StreamEvent::Unknown { .. } => {}
        }
    }

    fn start(&mut self, mut answer: HubAnswer) {
        for choice in std::mem::take(&mut answer.choices) {
            let folded = FoldedChoice {
                parts: choice.turn.parts.iter().cloned().enumerate().collect(),
                choice,
            };
            self.choices.insert(folded.choice.index, folded);
        }
        self.answer = answer;
    }

    fn choice(&mut self, index: u64) -> &mut FoldedChoice {
        let dialect = self.dialect;
        self.choices.entry(index).or_insert_with(|| FoldedChoice {
            choice: AnswerChoice::new(index, dialect),
            parts: BTreeMap::new(),
        })
    }

    fn finish(mut self) -> HubAnswer {
        for (_, mut folded) in self.choices {
            folded.parts.values_mut().for_each(settle);
            folded.choice.turn.parts = folded.parts.into_values().collect();
            self.answer.choices.push(folded.choice);
        }
        self.answer
    }
}

fn extend(part: &mut Part, delta: PartDelta) {
    match (&mut part.kind, delta) {
        (PartKind::Text(text), PartDelta::Text(more))
        | (PartKind::Refusal(text), PartDelta::Refusal(more)) => text.push_str(&more),
        (PartKind::Thinking(thinking), PartDelta::Thinking(more)) => {
            thinking.text.get_or_insert_default().push_str(&more);
        }
        (PartKind::Thinking(thinking), PartDelta::Signature(more)) => {
            thinking.signature.get_or_insert_default().push_str(&more);
        }
        (PartKind::ToolCall(call), PartDelta::ToolId(id)) => call.id = id,
        (PartKind::ToolCall(call), PartDelta::ToolName(more)) => call.name.push_str(&more),
        (PartKind::ToolCall(call), PartDelta::ToolInput(more)) => match &mut call.input {
            ToolInput::Text(text) => text.push_str(&more),
            ToolInput::Json(_) => call.input = ToolInput::Text(more),
        },
        // A call that the provider runs itself has its input under the same name everywhere.
        (PartKind::Unknown(Value::Object(call)), PartDelta::ToolInput(more)) => {
            let earlier = call
                .get("input")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let input = Value::String(format!("{earlier}{more}"));
            call.insert("input".to_string(), input);
        }
        _ => {}
    }
}

// The input of an unknown part came as text, piece by piece.
fn settle(part: &mut Part) {
    if let PartKind::Unknown(Value::Object(call)) = &mut part.kind
        && let Some(Value::String(text)) = call.get_mut("input")
    {
        let input = serde_json::from_str(text).unwrap_or_else(|_| Value::Object(Map::new()));
        call.insert("input".to_string(), input);
    }
}

// Lists are put one after the other, field by field; of anything else the later one holds.
fn joined(earlier: Value, later: Value) -> Value {
    match (earlier, later) {
        (Value::Object(mut earlier), Value::Object(later)) => {
            for (key, value) in later {
                let value = match earlier.remove(&key) {
                    Some(before) => joined(before, value),
                    None => value,
                };
                earlier.insert(key, value);
            }
            Value::Object(earlier)
        }
        (Value::Array(mut earlier), Value::Array(later)) => {
            earlier.extend(later);
            Value::Array(earlier)
        }
        (earlier, Value::Null) => earlier,
        (_, later) => later,
    }
}
