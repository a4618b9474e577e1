//! Numbers the parts of one choice of a stream.
//!
//! A chunk's words go on from those of the chunk before, and so does a thought; anything else is whole in its chunk.
//! One part is open at a time.

use serde_json::Value;

use super::{DIALECT, answer, seal, write_parts};
use crate::fields::ReadError;
use crate::hub::answer::{AnswerChoice, StopReason};
use crate::hub::part::{Part, PartKind, Thinking};
use crate::hub::stream::{PartDelta, StreamEvent};
use crate::loss::LossList;
use crate::rest::Rest;

/// How many parts of a choice are told apart.
const PARTS_MAX: usize = 65_536;

/// What has come of one choice.
#[derive(Default)]
pub(super) struct ChoiceState {
    parts: usize,
    calls: usize,
    open: Option<OpenPart>,
    pub(super) is_stopped: bool,
}

struct OpenPart {
    index: usize,
    kind: OpenKind,
}

#[derive(PartialEq, Eq)]
enum OpenKind {
    Words,
    Thought { has_proof: bool },
}

impl ChoiceState {
    /// Reads what one chunk says of the choice.
    pub(super) fn read(
        &mut self,
        mut choice: AnswerChoice,
        answer_id: Option<&str>,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        let number = choice.index;
        let mut parts = std::mem::take(&mut choice.turn.parts);
        self.calls = answer::complete_ids(number, &mut parts, self.calls, answer_id);
        // Empty words alone say nothing but that the chunk has a content.
        if self.words().is_none() && matches!(parts.as_slice(), [part] if part.text() == Some("")) {
            let blank = write_parts::write_home(&parts, &mut LossList::default());
            choice.turn.rest.set_blank("parts", Value::Array(blank));
            parts.clear();
        }
        if let Some(stop) = &mut choice.stop
            && stop.reason == StopReason::End
            && self.calls > 0
        {
            stop.reason = StopReason::ToolCalls;
        }
        events.push(StreamEvent::Choice {
            choice: number,
            rest: choice.rest,
            turn: choice.turn.rest,
        });
        for part in parts {
            self.read_part(number, part, events)?;
        }
        let logprobs = choice.logprobs;
        events.extend(logprobs.map(|value| StreamEvent::Logprobs {
            choice: number,
            value,
        }));
        if let Some(stop) = choice.stop {
            self.is_stopped = true;
            self.close(number, events);
            events.push(StreamEvent::Stop {
                choice: number,
                stop,
            });
        }
        Ok(())
    }

    fn read_part(
        &mut self,
        choice: u64,
        part: Part,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        let Part { kind, cache, rest } = part;
        let kind = match kind {
            PartKind::Text(text) => {
                if let Some(index) = self.words() {
                    let delta = PartDelta::Text(text);
                    events.push(StreamEvent::PartDelta {
                        choice,
                        index,
                        delta,
                        rest,
                    });
                    return Ok(());
                }
                PartKind::Text(text)
            }
            PartKind::Thinking(thinking) => {
                if let Some(index) = self.thought(thinking.signature.is_some()) {
                    extend_thought(choice, index, thinking, rest, events);
                    return Ok(());
                }
                PartKind::Thinking(thinking)
            }
            kind => kind,
        };
        let open = match &kind {
            PartKind::Text(_) => Some(OpenKind::Words),
            PartKind::Thinking(thinking) => Some(OpenKind::Thought {
                has_proof: thinking.signature.is_some(),
            }),
            _ => None,
        };
        self.close(choice, events);
        if self.parts >= PARTS_MAX {
            return Err(ReadError::new(rest.path(), "among fewer parts"));
        }
        let index = self.parts;
        self.parts += 1;
        let part = Box::new(Part { kind, cache, rest });
        events.push(StreamEvent::PartStart {
            choice,
            index,
            part,
        });
        match open {
            Some(kind) => self.open = Some(OpenPart { index, kind }),
            None => events.push(StreamEvent::PartStop { choice, index }),
        }
        Ok(())
    }

    fn words(&self) -> Option<usize> {
        let open = self.open.as_ref()?;
        (open.kind == OpenKind::Words).then_some(open.index)
    }

    // The thought that goes on. One that is signed has ended.
    fn thought(&mut self, is_signed: bool) -> Option<usize> {
        let open = self.open.as_mut()?;
        match &mut open.kind {
            OpenKind::Thought { has_proof } if !*has_proof => {
                *has_proof = is_signed;
                Some(open.index)
            }
            _ => None,
        }
    }

    fn close(&mut self, choice: u64, events: &mut Vec<StreamEvent>) {
        if let Some(open) = self.open.take() {
            let index = open.index;
            events.push(StreamEvent::PartStop { choice, index });
        }
    }
}

// The rest of the last delta tells where the signature stood in the chunk: with the words, alone, or on the next part.
fn extend_thought(
    choice: u64,
    index: usize,
    thinking: Thinking,
    rest: Rest,
    events: &mut Vec<StreamEvent>,
) {
    // The client opens a seal when it sends the signature back.
    let origin = thinking.origin;
    let as_it_came = |proof: String| PartDelta::Signature(seal::sealed(&proof, origin));
    let signature = thinking.signature.map(as_it_came);
    let has_words = thinking.text.is_some();
    if let Some(text) = thinking.text {
        events.push(StreamEvent::PartDelta {
            choice,
            index,
            delta: PartDelta::Thinking(text),
            rest: rest.clone(),
        });
    }
    if let Some(delta) = signature {
        let mut rest = rest;
        if has_words && rest.form(DIALECT, "proof") == Some("own") {
            rest.set_form("piece", "joined");
        }
        events.push(StreamEvent::PartDelta {
            choice,
            index,
            delta,
            rest,
        });
    }
}
