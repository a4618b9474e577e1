//! Reads a stream of chat completion chunks.
//!
//! The chunks number tool calls and nothing else, so parts get their numbers in the order in which they begin. A
//! server that numbers every call 0 is understood by the new id; one that repeats id and name in each chunk, by
//! their being equal. A choice's end ends its parts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::stream_choice::ChoiceState;
use super::{DIALECT, answer, error, usage};
use crate::fields::{Fields, ReadError, element};
use crate::grammar::{Object, StreamEnding, StreamReader, event_object};
use crate::hub::answer::HubAnswer;
use crate::hub::stream::{StreamEvent, StreamFrame};
use crate::rest::Rest;

/// What ends a stream.
const DONE: &str = "[DONE]";

/// How many choices are told apart.
const CHOICES_MAX: usize = 4_096;

/// Reads one stream.
#[derive(Default)]
pub(super) struct Reader {
    is_started: bool,
    is_failed: bool,
    is_ended: bool,
    choices: BTreeMap<u64, ChoiceState>,
}

impl StreamReader for Reader {
    fn read(&mut self, _name: Option<&str>, data: &str) -> Result<StreamFrame, ReadError> {
        if data.trim() == DONE {
            return Ok(self.read_done());
        }
        let object = event_object(data)?;
        if object.get("error").is_some_and(|error| !error.is_null()) {
            return Ok(self.read_error(object));
        }
        let mut fields = Fields::of(DIALECT, "", object);
        let mut events = Vec::new();
        self.start(&mut fields, &mut events);
        let choices = fields.list("choices");
        if choices.is_none() {
            fields.set_form("choices", "absent");
        }
        for (index, choice) in choices.unwrap_or_default().into_iter().enumerate() {
            let choice = Fields::new(DIALECT, element("choices", index), choice)?;
            self.read_choice(choice, &mut events)?;
        }
        if let Some(spent) = fields.enter("usage") {
            events.push(StreamEvent::Usage(Box::new(usage::read(spent))));
        }
        Ok(StreamFrame::new(events, fields.finish()))
    }

    fn finish(&mut self) -> StreamEnding {
        let end = StreamFrame::new(vec![StreamEvent::End], Rest::new(DIALECT, ""));
        match () {
            () if self.is_failed => StreamEnding::Failed,
            () if !self.is_whole() => StreamEnding::Truncated,
            () if self.is_ended => StreamEnding::Complete,
            // Not every server sends `[DONE]`.
            () => StreamEnding::CompleteWith(end),
        }
    }
}

impl Reader {
    // A proxy may say `[DONE]` after a stream that broke: an answer is whole when each choice said why it ends.
    fn read_done(&mut self) -> StreamFrame {
        self.is_ended = true;
        let mut rest = Rest::new(DIALECT, "");
        rest.set_form("data", "done");
        let is_end = self.is_whole() && !self.is_failed;
        let events = is_end.then_some(StreamEvent::End);
        StreamFrame::new(events.into_iter().collect(), rest)
    }

    fn is_whole(&self) -> bool {
        let mut choices = self.choices.values();
        !self.choices.is_empty() && choices.all(|choice| choice.is_stopped)
    }

    fn read_error(&mut self, object: Object) -> StreamFrame {
        self.is_failed = true;
        let error = error::read(None, object.clone());
        let events = match error {
            Some(error) => vec![StreamEvent::Error(Box::new(error))],
            None => vec![StreamEvent::Unknown {
                name: None,
                value: Value::Object(object),
            }],
        };
        StreamFrame::new(events, Rest::new(DIALECT, ""))
    }

    // Each chunk repeats what the answer is; what a chunk says itself is written back as it is.
    fn start(&mut self, fields: &mut Fields, events: &mut Vec<StreamEvent>) {
        let text = |field: &str| fields.peek_text(field).map(ToString::to_string);
        let mut answer = HubAnswer::new(Rest::new(DIALECT, ""));
        answer.id = text("id");
        answer.model = text("model");
        answer.service_tier = text("service_tier");
        answer.created = fields.peek("created").and_then(Value::as_u64);
        for field in ["id", "object", "created", "model", "service_tier"] {
            fields.blank(field);
        }
        // A first chunk without choices may be about the prompt alone, and name no model.
        let is_about_answer = fields
            .peek("choices")
            .is_some_and(|choices| choices != &json!([]));
        if !self.is_started && is_about_answer {
            self.is_started = true;
            events.push(StreamEvent::Start(Box::new(answer)));
        }
    }

    fn read_choice(
        &mut self,
        mut fields: Fields,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        let choice = match fields.count("index") {
            Some(index) => index,
            None => {
                fields.set_form("index", "absent");
                0
            }
        };
        if self.choices.len() >= CHOICES_MAX && !self.choices.contains_key(&choice) {
            return Err(ReadError::new(fields.at("index"), "among fewer choices"));
        }
        let state = self.choices.entry(choice).or_default();
        let mut delta = fields.enter("delta");
        if delta.is_none() {
            fields.set_form("delta", "absent");
        }
        let mut said = Vec::new();
        if let Some(delta) = &mut delta {
            state.read_delta(choice, delta, &mut said)?;
        }
        if let Some(value) = fields.take("logprobs") {
            said.push(StreamEvent::Logprobs { choice, value });
        }
        if let Some(word) = fields.text("finish_reason") {
            state.is_stopped = true;
            let open: BTreeSet<usize> = state.open();
            let stops = open.into_iter();
            said.extend(stops.map(|index| StreamEvent::PartStop { choice, index }));
            let stop = answer::read_stop(word, state.has_calls());
            said.push(StreamEvent::Stop { choice, stop });
        }
        let turn = delta.map_or_else(|| Rest::new(DIALECT, ""), Fields::finish);
        let rest = fields.finish();
        events.push(StreamEvent::Choice { choice, rest, turn });
        events.extend(said);
        Ok(())
    }
}
