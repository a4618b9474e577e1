//! Reads a stream of chunks, each of which is an answer. Nothing says that a stream is complete but that every choice
//! has said why it ends, or that the prompt is blocked.

use std::collections::BTreeMap;

use serde_json::Value;

use super::stream_choice::ChoiceState;
use super::{DIALECT, answer, error};
use crate::fields::ReadError;
use crate::grammar::{Object, StreamEnding, StreamReader, event_object};
use crate::hub::answer::HubAnswer;
use crate::hub::stream::{StreamEvent, StreamFrame};
use crate::rest::Rest;

/// How many choices are told apart.
const CHOICES_MAX: usize = 4_096;

/// Reads one stream.
#[derive(Default)]
pub(super) struct Reader {
    is_started: bool,
    is_failed: bool,
    choices: BTreeMap<u64, ChoiceState>,
}

impl StreamReader for Reader {
    fn read(&mut self, _name: Option<&str>, data: &str) -> Result<StreamFrame, ReadError> {
        let object = event_object(data)?;
        if object.get("error").is_some_and(|error| !error.is_null()) {
            return Ok(self.read_error(object));
        }
        let mut chunk = answer::read(object)?;
        let mut events = Vec::new();
        if !self.is_started {
            self.is_started = true;
            let mut start = HubAnswer::new(Rest::new(DIALECT, ""));
            start.id.clone_from(&chunk.id);
            start.model.clone_from(&chunk.model);
            start.service_tier.clone_from(&chunk.service_tier);
            start.usage.clone_from(&chunk.usage);
            events.push(StreamEvent::Start(Box::new(start)));
        }
        for choice in std::mem::take(&mut chunk.choices) {
            let number = choice.index;
            if self.choices.len() >= CHOICES_MAX && !self.choices.contains_key(&number) {
                let path = choice.rest.at("index");
                return Err(ReadError::new(path, "among fewer choices"));
            }
            let state = self.choices.entry(number).or_default();
            state.read(choice, chunk.id.as_deref(), &mut events)?;
        }
        let usage = chunk.usage.map(Box::new);
        events.extend(usage.map(StreamEvent::Usage));
        // Each chunk repeats what the answer is, and is written back as it is.
        let mut rest = chunk.rest;
        for (field, text) in [("responseId", chunk.id), ("modelVersion", chunk.model)] {
            if let Some(text) = text {
                rest.set_blank(field, Value::String(text));
            }
        }
        Ok(StreamFrame::new(events, rest))
    }

    fn finish(&mut self) -> StreamEnding {
        let mut choices = self.choices.values();
        let is_whole = !self.choices.is_empty() && choices.all(|choice| choice.is_stopped);
        match (self.is_failed, is_whole) {
            (true, _) => StreamEnding::Failed,
            (false, false) => StreamEnding::Truncated,
            (false, true) => {
                let mut rest = Rest::new(DIALECT, "");
                rest.set_form("chunk", "absent");
                StreamEnding::CompleteWith(StreamFrame::new(vec![StreamEvent::End], rest))
            }
        }
    }
}

impl Reader {
    fn read_error(&mut self, object: Object) -> StreamFrame {
        self.is_failed = true;
        let event = match error::read(None, object.clone()) {
            Some(error) => StreamEvent::Error(Box::new(error)),
            None => StreamEvent::Unknown {
                name: None,
                value: Value::Object(object),
            },
        };
        StreamFrame::new(vec![event], Rest::new(DIALECT, ""))
    }
}
