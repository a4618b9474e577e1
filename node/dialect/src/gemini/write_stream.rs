//! Writes a stream of chunks.
//!
//! A frame of a Gemini stream is written as the chunk that it was; one of another dialect as one chunk per event. A
//! call waits until it is whole, since its arguments are an object, and why the answer ends waits for the end of the
//! stream: the last chunk says it together with the usage.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{DIALECT, answer, error, home_chunk, logprobs, seal, stop, usage, write_parts};
use crate::dialect::Dialect;
use crate::fields::put;
use crate::grammar::{Object, ServerEvent, StreamWriter};
use crate::hub::answer::{HubAnswer, Stop, TokenUsage};
use crate::hub::part::{Part, PartKind, ToolInput};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::loss::LossList;

/// Writes one stream.
#[derive(Default)]
pub(super) struct Writer {
    head: Object,
    answer: Option<HubAnswer>,
    parts: BTreeMap<(u64, usize), PendingPart>,
    stops: BTreeMap<u64, Stop>,
    usage: Option<TokenUsage>,
}

enum PendingPart {
    Words,
    Thought { proof: String, origin: Dialect },
    Call(Box<Part>),
}

impl StreamWriter for Writer {
    fn write(&mut self, frame: StreamFrame, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        if frame.rest.is_from(DIALECT) {
            out.extend(home_chunk::write(frame, losses));
            return;
        }
        for event in frame.events {
            self.write_event(event, out, losses);
        }
        frame.rest.lose(losses);
    }
}

impl Writer {
    fn write_event(
        &mut self,
        event: StreamEvent,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        match event {
            StreamEvent::Start(answer) => self.start(*answer, losses),
            StreamEvent::PartStart {
                choice,
                index,
                part,
            } => self.start_part(choice, index, *part, out, losses),
            StreamEvent::PartDelta {
                choice,
                index,
                delta,
                rest,
            } => {
                rest.lose(losses);
                if matches!(delta, PartDelta::Unknown(_)) {
                    losses.add(rest.path(), "gemini has no such piece of a part");
                }
                self.extend_part(choice, index, delta, out);
            }
            StreamEvent::PartStop { choice, index } => self.stop_part(choice, index, out, losses),
            StreamEvent::Stop { choice, stop } => {
                self.stop_parts(choice, out, losses);
                stop::lose(&stop, "stop_reason".to_string(), losses);
                self.stops.insert(choice, stop);
            }
            StreamEvent::Usage(usage) => usage.add_to(&mut self.usage),
            StreamEvent::Logprobs { choice, value } => {
                let mut candidate = candidate(choice, Vec::new());
                put(&mut candidate, "logprobsResult", logprobs::write(&value));
                out.push(self.chunk(candidate));
            }
            StreamEvent::Choice { rest, turn, .. } => {
                rest.lose(losses);
                turn.lose(losses);
            }
            StreamEvent::Error(failure) => {
                out.push(ServerEvent::unnamed(error::write(&failure)));
            }
            StreamEvent::End => self.end(out, losses),
            StreamEvent::Ping => {}
            StreamEvent::Unknown { name, .. } => {
                losses.add(name.unwrap_or_default(), "gemini has no such event");
            }
        }
    }

    fn start(&mut self, mut answer: HubAnswer, losses: &mut LossList) {
        put(&mut self.head, "modelVersion", answer.model.clone());
        put(&mut self.head, "responseId", answer.id.clone());
        answer.rest.lose(losses);
        if let Some(usage) = answer.usage.take() {
            usage.add_to(&mut self.usage);
        }
        self.answer = Some(answer);
    }

    fn start_part(
        &mut self,
        choice: u64,
        index: usize,
        part: Part,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        self.sign(choice, out);
        let pending = match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => {
                part.rest.lose(losses);
                self.say(choice, text.clone(), false, out);
                PendingPart::Words
            }
            PartKind::Thinking(thinking) if thinking.encrypted.is_none() => {
                part.rest.lose(losses);
                self.say(choice, thinking.text.clone().unwrap_or_default(), true, out);
                PendingPart::Thought {
                    proof: thinking.signature.clone().unwrap_or_default(),
                    origin: thinking.origin,
                }
            }
            PartKind::ToolCall(_) => PendingPart::Call(Box::new(part)),
            PartKind::Thinking(thinking) => {
                write_parts::write_thought(thinking, &part.rest, losses);
                return;
            }
            _ => {
                if let Some(object) = write_parts::write_foreign(&part, losses) {
                    out.push(self.chunk(candidate(choice, vec![object])));
                }
                return;
            }
        };
        self.parts.insert((choice, index), pending);
    }

    // What is signed so far of a choice's thoughts is said before anything else is.
    fn sign(&mut self, choice: u64, out: &mut Vec<ServerEvent>) {
        let of_choice = self.parts.range_mut((choice, 0)..=(choice, usize::MAX));
        let mut signed = Vec::new();
        for (_, pending) in of_choice {
            if let PendingPart::Thought { proof, origin } = pending
                && !proof.is_empty()
            {
                signed.push(seal::sealed(&std::mem::take(proof), *origin));
            }
        }
        for sealed in signed {
            let object = write_parts::thought(String::new(), Some(sealed));
            out.push(self.chunk(candidate(choice, vec![object])));
        }
    }

    fn extend_part(
        &mut self,
        choice: u64,
        index: usize,
        delta: PartDelta,
        out: &mut Vec<ServerEvent>,
    ) {
        let Some(pending) = self.parts.get_mut(&(choice, index)) else {
            return;
        };
        match (pending, delta) {
            (PendingPart::Words, PartDelta::Text(text) | PartDelta::Refusal(text)) => {
                self.say(choice, text, false, out);
            }
            (PendingPart::Thought { .. }, PartDelta::Thinking(text)) => {
                self.say(choice, text, true, out);
            }
            (PendingPart::Thought { proof, .. }, PartDelta::Signature(more)) => {
                proof.push_str(&more);
            }
            (PendingPart::Call(part), delta) => extend_call(part, delta),
            _ => {}
        }
    }

    fn stop_part(
        &mut self,
        choice: u64,
        index: usize,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        let object = match self.parts.remove(&(choice, index)) {
            Some(PendingPart::Thought { proof, origin }) if !proof.is_empty() => {
                let sealed = seal::sealed(&proof, origin);
                Some(write_parts::thought(String::new(), Some(sealed)))
            }
            Some(PendingPart::Call(part)) => write_parts::write_foreign(&part, losses),
            _ => None,
        };
        if let Some(object) = object {
            out.push(self.chunk(candidate(choice, vec![object])));
        }
    }

    fn stop_parts(&mut self, choice: u64, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        let of_choice = self.parts.range((choice, 0)..=(choice, usize::MAX));
        let open: Vec<usize> = of_choice.map(|((_, index), _)| *index).collect();
        for index in open {
            self.stop_part(choice, index, out, losses);
        }
    }

    fn end(&mut self, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        let open: Vec<u64> = self.parts.keys().map(|(choice, _)| *choice).collect();
        for choice in open {
            self.stop_parts(choice, out, losses);
        }
        let stops = self.stops.iter().map(|(choice, stop)| {
            let mut empty = Object::new();
            empty.insert("text".to_string(), json!(""));
            let mut candidate = candidate(*choice, vec![empty]);
            candidate.insert("finishReason".to_string(), json!(stop::write(stop)));
            Value::Object(candidate)
        });
        let candidates: Vec<Value> = stops.collect();
        let mut chunk = self.head.clone();
        if !candidates.is_empty() {
            chunk.insert("candidates".to_string(), Value::Array(candidates));
        }
        let spent = self.usage.as_ref().map(|spent| usage::write(spent, losses));
        put(&mut chunk, "usageMetadata", spent);
        if let Some(answer) = &self.answer {
            answer::write_tier(answer, &mut chunk, losses);
        }
        out.push(ServerEvent::unnamed(chunk));
    }

    fn say(&self, choice: u64, text: String, is_thought: bool, out: &mut Vec<ServerEvent>) {
        if text.is_empty() {
            return;
        }
        let object = if is_thought {
            write_parts::thought(text, None)
        } else {
            let mut object = Object::new();
            object.insert("text".to_string(), Value::String(text));
            object
        };
        out.push(self.chunk(candidate(choice, vec![object])));
    }

    fn chunk(&self, candidate: Object) -> ServerEvent {
        let mut chunk = self.head.clone();
        chunk.insert("candidates".to_string(), json!([candidate]));
        ServerEvent::unnamed(chunk)
    }
}

fn candidate(choice: u64, parts: Vec<Object>) -> Object {
    let mut object = Object::new();
    object.insert("index".to_string(), json!(choice));
    let content = json!({"role": "model", "parts": parts});
    object.insert("content".to_string(), content);
    object
}

fn extend_call(part: &mut Part, delta: PartDelta) {
    let PartKind::ToolCall(call) = &mut part.kind else {
        return;
    };
    match delta {
        PartDelta::ToolId(id) => call.id = id,
        PartDelta::ToolName(more) => call.name.push_str(&more),
        PartDelta::ToolInput(more) => match &mut call.input {
            ToolInput::Text(text) => text.push_str(&more),
            // An empty object stands for an input that is still to come.
            ToolInput::Json(_) => call.input = ToolInput::Text(more),
        },
        _ => {}
    }
}
