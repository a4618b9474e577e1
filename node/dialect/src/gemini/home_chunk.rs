//! Writes a frame of a Gemini stream as the chunk that it was: an answer, put together of the frame's events.

use serde_json::Value;

use super::{DIALECT, answer, error};
use crate::grammar::ServerEvent;
use crate::hub::answer::{AnswerChoice, HubAnswer};
use crate::hub::part::{Part, PartKind, Thinking};
use crate::hub::request::{Role, Turn};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::loss::LossList;
use crate::rest::Rest;

/// The chunk; nothing for an end, which is none.
pub(super) fn write(frame: StreamFrame, losses: &mut LossList) -> Option<ServerEvent> {
    if frame.rest.form(DIALECT, "chunk").is_some() {
        return None;
    }
    let mut chunk = HubAnswer::new(frame.rest);
    for event in frame.events {
        match event {
            StreamEvent::Error(failure) => {
                return Some(ServerEvent::unnamed(error::write(&failure)));
            }
            StreamEvent::Unknown {
                value: Value::Object(object),
                ..
            } => return Some(ServerEvent::unnamed(object)),
            StreamEvent::Usage(usage) => chunk.usage = Some(*usage),
            StreamEvent::Choice { choice, rest, turn } => {
                chunk.choices.push(begin(choice, rest, turn));
            }
            event => {
                if let Some(choice) = chunk.choices.last_mut() {
                    add(event, choice);
                }
            }
        }
    }
    Some(ServerEvent::unnamed(answer::write(&chunk, losses)))
}

fn begin(index: u64, rest: Rest, turn: Rest) -> AnswerChoice {
    AnswerChoice {
        index,
        turn: Turn {
            role: Role::Assistant,
            parts: Vec::new(),
            rest: turn,
        },
        stop: None,
        logprobs: None,
        rest,
    }
}

fn add(event: StreamEvent, choice: &mut AnswerChoice) {
    let parts = &mut choice.turn.parts;
    match event {
        StreamEvent::PartStart { part, .. } => parts.push(*part),
        StreamEvent::PartDelta { delta, rest, .. } => match delta {
            PartDelta::Text(text) => parts.push(Part::new(PartKind::Text(text), rest)),
            PartDelta::Thinking(text) => parts.push(thought(Some(text), None, rest)),
            PartDelta::Signature(proof) => match parts.last_mut() {
                Some(Part {
                    kind: PartKind::Thinking(thinking),
                    ..
                }) if rest.form(DIALECT, "piece").is_some() => thinking.signature = Some(proof),
                _ => parts.push(thought(None, Some(proof), rest)),
            },
            _ => {}
        },
        StreamEvent::Stop { stop, .. } => choice.stop = Some(stop),
        _ => {}
    }
}

fn thought(text: Option<String>, signature: Option<String>, rest: Rest) -> Part {
    let thinking = Thinking {
        text,
        signature,
        encrypted: None,
        origin: DIALECT,
    };
    Part::new(PartKind::Thinking(thinking), rest)
}
