//! Writes a frame of a message stream as the event that it was.

use serde_json::{Value, json};

use super::{DIALECT, answer, error, usage, write_parts};
use crate::fields::{inside, put};
use crate::grammar::{Object, ServerEvent, Toward};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::loss::LossList;
use crate::rest::Rest;

pub(super) fn write(frame: StreamFrame, losses: &mut LossList) -> ServerEvent {
    let mut object = Object::new();
    let mut name = frame.rest.form(DIALECT, "event").map(ToString::to_string);
    for event in frame.events {
        match event {
            StreamEvent::Start(start) => {
                let message = answer::write_answer(&start, losses);
                object.insert("message".to_string(), Value::Object(message));
            }
            StreamEvent::PartStart { index, part, .. } => {
                object.insert("index".to_string(), json!(index));
                let block = write_parts::write(&part, Toward::Client, losses);
                put(&mut object, "content_block", block);
            }
            StreamEvent::PartDelta {
                index, delta, rest, ..
            } => {
                object.insert("index".to_string(), json!(index));
                let delta = write_delta(delta, &rest, losses);
                object.insert("delta".to_string(), delta);
            }
            StreamEvent::PartStop { index, .. } => {
                object.insert("index".to_string(), json!(index));
            }
            StreamEvent::Stop { stop, .. } => {
                if let Some(delta) = inside(&mut object, "delta") {
                    let word = answer::write_stop(&stop, false);
                    delta.insert("stop_reason".to_string(), json!(word));
                    put(delta, "stop_sequence", stop.sequence);
                }
            }
            StreamEvent::Usage(spent) => {
                let spent = usage::write(&spent, losses);
                object.insert("usage".to_string(), Value::Object(spent));
            }
            StreamEvent::Error(failure) => object = error::write(&failure),
            StreamEvent::Unknown {
                name: unknown,
                value: Value::Object(value),
            } => {
                name = unknown;
                object = value;
            }
            StreamEvent::End
            | StreamEvent::Ping
            | StreamEvent::Choice { .. }
            | StreamEvent::Logprobs { .. }
            | StreamEvent::Unknown { .. } => {}
        }
    }
    frame.rest.write(DIALECT, &mut object, losses);
    let mut event = ServerEvent::typed(object);
    event.name = name.or(event.name);
    event
}

fn write_delta(delta: PartDelta, rest: &Rest, losses: &mut LossList) -> Value {
    let mut object = Object::new();
    let (field, text) = match delta {
        PartDelta::Text(text) | PartDelta::Refusal(text) => ("text", text),
        PartDelta::Thinking(text) => ("thinking", text),
        PartDelta::Signature(text) => ("signature", text),
        PartDelta::ToolInput(text) | PartDelta::ToolId(text) | PartDelta::ToolName(text) => {
            ("partial_json", text)
        }
        PartDelta::Unknown(value) => return value,
    };
    object.insert(field.to_string(), json!(text));
    rest.write(DIALECT, &mut object, losses);
    Value::Object(object)
}
