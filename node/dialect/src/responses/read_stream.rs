//! Reads a stream of a response's events.
//!
//! At home an event is written as it was: it repeats what came before, and so it is kept beside what it says.

use serde_json::Value;

use super::piece::CHOICE;
use super::read_event::Items;
use super::{DIALECT, answer, error, usage};
use crate::fields::{Fields, ReadError};
use crate::grammar::{Object, StreamEnding, StreamReader, event_object};
use crate::hub::answer::StopReason;
use crate::hub::stream::{StreamEvent, StreamFrame};
use crate::rest::Rest;

/// What some servers send after the end.
pub(super) const DONE: &str = "[DONE]";

/// Reads one stream.
#[derive(Default)]
pub(super) struct Reader {
    is_started: bool,
    is_complete: bool,
    is_failed: bool,
    items: Items,
}

impl StreamReader for Reader {
    fn read(&mut self, name: Option<&str>, data: &str) -> Result<StreamFrame, ReadError> {
        let mut rest = Rest::new(DIALECT, "");
        if data.trim() == DONE {
            rest.set_form("data", "done");
            return Ok(StreamFrame::new(Vec::new(), rest));
        }
        let object = event_object(data)?;
        rest.set_form("data", "event");
        rest.blanks = object.clone();
        let kind = object.get("type").and_then(Value::as_str).or(name);
        let kind = kind.unwrap_or_default().to_string();
        let mut events = Vec::new();
        self.read_event(&kind, object, &mut events)?;
        Ok(StreamFrame::new(events, rest))
    }

    fn finish(&mut self) -> StreamEnding {
        match (self.is_failed, self.is_complete) {
            (true, _) => StreamEnding::Failed,
            (false, true) => StreamEnding::Complete,
            (false, false) => StreamEnding::Truncated,
        }
    }
}

impl Reader {
    fn read_event(
        &mut self,
        kind: &str,
        mut object: Object,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        match kind {
            "response.created" | "response.queued" | "response.in_progress" => {
                self.start(response(&mut object)?, events)
            }
            "response.completed" | "response.incomplete" => {
                self.end(response(&mut object)?, events)
            }
            "response.failed" => {
                let mut response = response(&mut object)?;
                let report = response.remove("error");
                self.fail(report.unwrap_or_default(), events);
                Ok(())
            }
            "error" => {
                self.fail(Value::Object(object), events);
                Ok(())
            }
            "response.output_item.added" => {
                let number = count(&object, "output_index");
                match object.remove("item") {
                    Some(Value::Object(item)) => self.items.add(number, item, events),
                    _ => Err(ReadError::new("item", "an object")),
                }
            }
            "response.output_item.done" => {
                let number = count(&object, "output_index");
                let item = object.remove("item").unwrap_or_default();
                self.items.end(number, item, events)
            }
            _ => self.read_piece(kind, object, events),
        }
    }

    // What comes of one item.
    fn read_piece(
        &mut self,
        kind: &str,
        mut object: Object,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        let number = count(&object, "output_index");
        let place = count(&object, "content_index");
        let summary = count(&object, "summary_index");
        let mut text = |field: &str| match object.remove(field) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let items = &mut self.items;
        match kind {
            "response.output_text.delta" => {
                let delta = text("delta");
                let tokens = match object.remove("logprobs") {
                    Some(Value::Array(tokens)) => tokens,
                    _ => Vec::new(),
                };
                items.extend_part(number, place, "output_text", delta, tokens, events)?;
            }
            "response.refusal.delta" => {
                items.extend_part(number, place, "refusal", text("delta"), Vec::new(), events)?;
            }
            "response.content_part.added" => {
                let part = object.remove("part").unwrap_or_default();
                items.add_part(number, place, part, events)?;
            }
            "response.content_part.done" => {
                let part = object.remove("part").unwrap_or_default();
                items.end_part(number, place, &part, events)?;
            }
            "response.output_text.annotation.added" => {
                let annotation = object.remove("annotation").unwrap_or_default();
                items.annotate(number, place, annotation, events);
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                items.extend_call(number, text("delta"), events);
            }
            "response.function_call_arguments.done" => {
                items.end_input(number, &text("arguments"), events);
            }
            "response.custom_tool_call_input.done" => {
                items.end_input(number, &text("input"), events);
            }
            "response.reasoning_summary_part.added" => {
                items.extend_thought(number, "summary", summary, String::new(), events);
            }
            "response.reasoning_summary_text.delta" => {
                items.extend_thought(number, "summary", summary, text("delta"), events);
            }
            "response.reasoning_text.delta" => {
                items.extend_thought(number, "content", place, text("delta"), events);
            }
            "keepalive" => events.push(StreamEvent::Ping),
            // What comes of an item that the hub does not model is lost with the item.
            _ if object.contains_key("output_index") => {}
            _ => {
                let name = Some(kind.to_string());
                let value = Value::Object(object);
                events.push(StreamEvent::Unknown { name, value });
            }
        }
        Ok(())
    }

    fn start(
        &mut self,
        mut response: Object,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        if std::mem::replace(&mut self.is_started, true) {
            return Ok(());
        }
        // Its end says these.
        for field in ["status", "incomplete_details", "output", "usage", "error"] {
            response.remove(field);
        }
        response.insert("output".to_string(), Value::Array(Vec::new()));
        let mut answer = answer::read(response)?;
        answer.rest.set_form("status", "late");
        answer.choices.clear();
        events.push(StreamEvent::Start(Box::new(answer)));
        Ok(())
    }

    fn end(
        &mut self,
        mut response: Object,
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), ReadError> {
        if !self.is_started {
            self.start(response.clone(), events)?;
        }
        if let Some(Value::Array(items)) = response.remove("output") {
            for (number, item) in (0_u64..).zip(items) {
                self.items.end(number, item, events)?;
            }
        }
        let mut fields = Fields::of(DIALECT, "", response);
        if let Some(mut stop) = answer::read_stop(&mut fields, &[]) {
            if stop.reason == StopReason::End && self.items.has_calls {
                stop.reason = StopReason::ToolCalls;
            }
            events.push(StreamEvent::Stop {
                choice: CHOICE,
                stop,
            });
        }
        if let Some(spent) = fields.enter("usage") {
            events.push(StreamEvent::Usage(Box::new(usage::read(spent))));
        }
        self.is_complete = true;
        events.push(StreamEvent::End);
        Ok(())
    }

    fn fail(&mut self, report: Value, events: &mut Vec<StreamEvent>) {
        self.is_failed = true;
        let report = match report {
            Value::Object(report) => report,
            _ => Object::new(),
        };
        let error = error::read_report(report);
        events.push(StreamEvent::Error(Box::new(error)));
    }
}

fn response(object: &mut Object) -> Result<Object, ReadError> {
    match object.remove("response") {
        Some(Value::Object(response)) => Ok(response),
        _ => Err(ReadError::new("response", "an object")),
    }
}

fn count(object: &Object, field: &str) -> u64 {
    object.get(field).and_then(Value::as_u64).unwrap_or(0)
}
