//! Reads a stream of message events.

use serde_json::Value;

use super::{DIALECT, answer, error, read_parts, usage};
use crate::fields::{Fields, ReadError};
use crate::grammar::{Object, StreamEnding, StreamReader, event_object};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};

/// The one choice of a message.
const CHOICE: u64 = 0;

/// The highest number of a content block.
const INDEX_MAX: u64 = 65_535;

/// Reads one stream.
#[derive(Default)]
pub(super) struct Reader {
    is_complete: bool,
    is_failed: bool,
}

impl StreamReader for Reader {
    fn read(&mut self, name: Option<&str>, data: &str) -> Result<StreamFrame, ReadError> {
        let object = event_object(data)?;
        let kind = object.get("type").and_then(Value::as_str).or(name);
        let kind = kind.unwrap_or_default().to_string();
        if kind == "error" {
            return Ok(self.read_error(object));
        }
        let mut fields = Fields::of(DIALECT, "", object);
        let events = match kind.as_str() {
            "message_start" => {
                fields.set_form("event", "message_start");
                vec![read_start(&mut fields)?]
            }
            "content_block_start" => {
                fields.set_form("event", "content_block_start");
                vec![read_part_start(&mut fields)?]
            }
            "content_block_delta" => {
                fields.set_form("event", "content_block_delta");
                vec![read_part_delta(&mut fields)?]
            }
            "content_block_stop" => {
                fields.set_form("event", "content_block_stop");
                let index = read_index(&mut fields)?;
                vec![StreamEvent::PartStop {
                    choice: CHOICE,
                    index,
                }]
            }
            "message_delta" => {
                fields.set_form("event", "message_delta");
                read_message_delta(&mut fields)
            }
            "message_stop" => {
                self.is_complete = true;
                fields.set_form("event", "message_stop");
                vec![StreamEvent::End]
            }
            "ping" => {
                fields.set_form("event", "ping");
                vec![StreamEvent::Ping]
            }
            _ => return Ok(unknown(kind, fields)),
        };
        fields.blank("type");
        Ok(StreamFrame::new(events, fields.finish()))
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
    fn read_error(&mut self, object: Object) -> StreamFrame {
        self.is_failed = true;
        match error::read(None, object.clone()) {
            Some(error) => {
                let mut fields = Fields::of(DIALECT, "", Object::new());
                fields.set_form("event", "error");
                let events = vec![StreamEvent::Error(Box::new(error))];
                StreamFrame::new(events, fields.finish())
            }
            None => unknown("error".to_string(), Fields::of(DIALECT, "", object)),
        }
    }
}

fn unknown(name: String, fields: Fields) -> StreamFrame {
    let rest = fields.finish();
    let value = Value::Object(rest.fields);
    let name = Some(name);
    let fields = Fields::of(DIALECT, "", Object::new());
    StreamFrame::new(vec![StreamEvent::Unknown { name, value }], fields.finish())
}

fn read_start(fields: &mut Fields) -> Result<StreamEvent, ReadError> {
    let Some(message) = fields.object("message") else {
        return Err(ReadError::new(fields.at("message"), "an object"));
    };
    Ok(StreamEvent::Start(Box::new(answer::read(message)?)))
}

fn read_part_start(fields: &mut Fields) -> Result<StreamEvent, ReadError> {
    let index = read_index(fields)?;
    let path = fields.at("content_block");
    let Some(block) = fields.object("content_block") else {
        return Err(ReadError::new(path, "an object"));
    };
    let part = read_parts::read(Value::Object(block), path);
    Ok(StreamEvent::PartStart {
        choice: CHOICE,
        index,
        part: Box::new(part),
    })
}

fn read_part_delta(fields: &mut Fields) -> Result<StreamEvent, ReadError> {
    let index = read_index(fields)?;
    let Some(mut delta) = fields.enter("delta") else {
        return Err(ReadError::new(fields.at("delta"), "an object"));
    };
    let piece = match delta.peek_text("type") {
        Some("text_delta") => delta.text("text").map(PartDelta::Text),
        Some("thinking_delta") => delta.text("thinking").map(PartDelta::Thinking),
        Some("signature_delta") => delta.text("signature").map(PartDelta::Signature),
        Some("input_json_delta") => delta.text("partial_json").map(PartDelta::ToolInput),
        _ => None,
    };
    let (piece, rest) = match piece {
        Some(piece) => {
            delta.blank("type");
            (piece, delta.finish())
        }
        None => {
            let path = delta.path().to_string();
            let unread = Value::Object(delta.into_object());
            let rest = Fields::of(DIALECT, path, Object::new()).finish();
            (PartDelta::Unknown(unread), rest)
        }
    };
    Ok(StreamEvent::PartDelta {
        choice: CHOICE,
        index,
        delta: piece,
        rest,
    })
}

fn read_message_delta(fields: &mut Fields) -> Vec<StreamEvent> {
    let mut events = Vec::new();
    if let Some(mut delta) = fields.enter("delta") {
        let choice = CHOICE;
        let stop = answer::read_stop(&mut delta);
        events.extend(stop.map(|stop| StreamEvent::Stop { choice, stop }));
        fields.leave("delta", delta);
    }
    if let Some(spent) = fields.enter("usage") {
        events.push(StreamEvent::Usage(Box::new(usage::read(spent))));
    }
    events
}

fn read_index(fields: &mut Fields) -> Result<usize, ReadError> {
    let index = fields.count("index").filter(|index| *index <= INDEX_MAX);
    index
        .and_then(|index| usize::try_from(index).ok())
        .ok_or_else(|| ReadError::new(fields.at("index"), "the number of a content block"))
}
