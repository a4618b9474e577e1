//! Writes a frame of a Converse stream as the event that it was.

use serde_json::{Value, json};

use super::write_parts::PartWriter;
use super::{DIALECT, answer, error, usage};
use crate::fields::{inside, put};
use crate::grammar::{Object, ServerEvent};
use crate::hub::part::{Part, PartKind, ToolInput};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::loss::LossList;
use crate::rest::Rest;

/// The event; nothing if the frame was none, as one that the end of the body stands for.
pub(super) fn write(frame: StreamFrame, losses: &mut LossList) -> Option<ServerEvent> {
    let mut object = Object::new();
    let event = frame.rest.form(DIALECT, "event");
    let mut name = event.map(ToString::to_string);
    let mut is_said = event.is_some();
    for said in frame.events {
        match said {
            StreamEvent::PartStart { index, part, .. } if event == Some("contentBlockStart") => {
                object.insert("contentBlockIndex".to_string(), json!(index));
                object.insert("start".to_string(), write_start(&part, losses));
            }
            StreamEvent::PartStart { index, part, .. } => {
                write_whole(index, &part, &mut object, losses)
            }
            StreamEvent::PartDelta {
                index, delta, rest, ..
            } => {
                object.insert("contentBlockIndex".to_string(), json!(index));
                write_delta(delta, &rest, &mut object, losses);
            }
            StreamEvent::PartStop { index, .. } => {
                object.insert("contentBlockIndex".to_string(), json!(index));
            }
            StreamEvent::Stop { stop, .. } => {
                answer::write_stop(&stop, false, String::new(), &mut object, losses);
            }
            StreamEvent::Usage(spent) => {
                let spent = usage::write(&spent, losses);
                object.insert("usage".to_string(), Value::Object(spent));
            }
            StreamEvent::Error(failure) => {
                is_said = true;
                name = Some(error::stream_name(&failure));
                object = error::write(&failure);
            }
            StreamEvent::Unknown {
                name: unknown,
                value: Value::Object(value),
            } => {
                is_said = true;
                name = unknown;
                object = value;
            }
            StreamEvent::Start(_)
            | StreamEvent::End
            | StreamEvent::Ping
            | StreamEvent::Choice { .. }
            | StreamEvent::Logprobs { .. }
            | StreamEvent::Unknown { .. } => {}
        }
    }
    frame.rest.write(DIALECT, &mut object, losses);
    let mut body = Value::Object(object);
    if frame.rest.form(DIALECT, "name").is_some() {
        body = json!({name.take().unwrap_or_default(): body});
    }
    let data = body.to_string();
    is_said.then_some(ServerEvent { name, data })
}

fn write_start(part: &Part, losses: &mut LossList) -> Value {
    let block = PartWriter::to_client().write(part, losses);
    let mut block = block.unwrap_or_default();
    // The input comes in pieces.
    if let PartKind::ToolCall(call) = &part.kind
        && let ToolInput::Text(_) = call.input
        && let Some(call) = block.get_mut("toolUse").and_then(Value::as_object_mut)
    {
        call.remove("input");
    }
    block
}

// Of the parts that have no start, those that come whole are a piece themselves.
fn write_whole(index: usize, part: &Part, object: &mut Object, losses: &mut LossList) {
    let is_whole = match &part.kind {
        PartKind::Thinking(thinking) => thinking.encrypted.is_some(),
        kind => matches!(kind, PartKind::Attachment(_)),
    };
    if is_whole {
        object.insert("contentBlockIndex".to_string(), json!(index));
        let mut delta = PartWriter::to_client().write(part, losses);
        let image = delta.as_mut().and_then(|delta| delta.get_mut("image"));
        if part.rest.form(DIALECT, "format") == Some("before")
            && let Some(image) = image.and_then(Value::as_object_mut)
        {
            image.remove("format");
        }
        put(object, "delta", delta);
    }
}

fn write_delta(piece: PartDelta, rest: &Rest, object: &mut Object, losses: &mut LossList) {
    let Some(delta) = inside(object, "delta") else {
        return;
    };
    let (block, field, text) = match piece {
        PartDelta::Unknown(Value::Object(unread)) => {
            *delta = unread;
            return;
        }
        PartDelta::Unknown(_) => return,
        PartDelta::Text(text) | PartDelta::Refusal(text) => (None, "text", text),
        PartDelta::Thinking(text) => (Some("reasoningContent"), "text", text),
        PartDelta::Signature(text) => (Some("reasoningContent"), "signature", text),
        PartDelta::ToolInput(text) | PartDelta::ToolId(text) | PartDelta::ToolName(text) => {
            (Some("toolUse"), "input", text)
        }
    };
    let within = match block {
        Some(block) => inside(delta, block),
        None => Some(&mut *delta),
    };
    if let Some(within) = within {
        within.insert(field.to_string(), json!(text));
    }
    rest.write(DIALECT, delta, losses);
}
