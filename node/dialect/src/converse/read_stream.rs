//! Reads a stream of Converse's events.
//!
//! On the wire the name of an event stands in its frame; software kits show it as the one field of an object, which is
//! read too. Only the blocks of tools and images have a start: others begin with their first piece. An image is what its
//! first piece holds, which is all of it so far.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{DIALECT, answer, attachments, error, read_parts, thoughts, usage};
use crate::fields::{Fields, ReadError};
use crate::grammar::{Object, StreamEnding, StreamReader, event_object};
use crate::hub::answer::HubAnswer;
use crate::hub::part::{Part, PartKind, ToolCall, ToolInput, ToolStyle};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::rest::Rest;

/// The one choice of an answer.
const CHOICE: u64 = 0;

/// The highest number of a content block.
const INDEX_MAX: u64 = 65_535;

/// The events that the hub models.
const EVENTS: [&str; 6] = [
    "messageStart",
    "contentBlockStart",
    "contentBlockDelta",
    "contentBlockStop",
    "messageStop",
    "metadata",
];

/// Reads one stream.
#[derive(Default)]
pub(super) struct Reader {
    begun: BTreeSet<usize>,
    /// The formats of images that are still to come.
    images: BTreeMap<usize, String>,
    is_stopped: bool,
    is_metered: bool,
    is_failed: bool,
}

impl StreamReader for Reader {
    fn read(&mut self, name: Option<&str>, data: &str) -> Result<StreamFrame, ReadError> {
        let (name, body, is_wrapped) = named(name, event_object(data)?);
        let name = name.unwrap_or_default();
        if error::is_exception(&name)
            && let Some(failure) = error::read(None, Some(&name), body.clone())
        {
            self.is_failed = true;
            let events = vec![StreamEvent::Error(Box::new(failure))];
            return Ok(StreamFrame::new(events, empty(is_wrapped)));
        }
        let Some(event) = EVENTS.into_iter().find(|event| *event == name) else {
            let name = Some(name).filter(|name| !name.is_empty());
            let value = Value::Object(body);
            let events = vec![StreamEvent::Unknown { name, value }];
            return Ok(StreamFrame::new(events, empty(is_wrapped)));
        };
        let mut fields = Fields::of(DIALECT, "", body);
        fields.set_form("event", event);
        if is_wrapped {
            fields.set_form("name", "inside");
        }
        let events = match event {
            "messageStart" => {
                fields.blank("role");
                let answer = HubAnswer::new(Rest::new(DIALECT, ""));
                vec![StreamEvent::Start(Box::new(answer))]
            }
            "contentBlockStart" => self.read_part_start(&mut fields)?,
            "contentBlockDelta" => self.read_part_delta(&mut fields)?,
            "contentBlockStop" => {
                let (choice, index) = (CHOICE, read_index(&mut fields)?);
                vec![StreamEvent::PartStop { choice, index }]
            }
            "messageStop" => self.read_stop(&mut fields),
            _ => self.read_metadata(&mut fields),
        };
        Ok(StreamFrame::new(events, fields.finish()))
    }

    fn finish(&mut self) -> StreamEnding {
        match (self.is_failed, self.is_stopped, self.is_metered) {
            (true, _, _) => StreamEnding::Failed,
            (false, true, true) => StreamEnding::Complete,
            // What it cost has not come, but all that it says has.
            (false, true, false) => {
                let frame = StreamFrame::new(vec![StreamEvent::End], Rest::new(DIALECT, ""));
                StreamEnding::CompleteWith(frame)
            }
            (false, false, _) => StreamEnding::Truncated,
        }
    }
}

// The name and the body of an event, and whether the name was its one field.
fn named(name: Option<&str>, mut object: Object) -> (Option<String>, Object, bool) {
    if name.is_some() || object.len() != 1 {
        return (name.map(ToString::to_string), object, false);
    }
    let key = object.keys().next().cloned().unwrap_or_default();
    let is_name = EVENTS.contains(&key.as_str()) || error::is_exception(&key);
    match object.get_mut(&key) {
        Some(Value::Object(body)) if is_name => (Some(key), std::mem::take(body), true),
        _ => (None, object, false),
    }
}

fn empty(is_wrapped: bool) -> Rest {
    let mut rest = Rest::new(DIALECT, "");
    if is_wrapped {
        rest.set_form("name", "inside");
    }
    rest
}

impl Reader {
    fn read_part_start(&mut self, fields: &mut Fields) -> Result<Vec<StreamEvent>, ReadError> {
        let index = read_index(fields)?;
        let path = fields.at("start");
        let Some(start) = fields.object("start") else {
            return Err(ReadError::new(path, "an object"));
        };
        let format = start
            .get("image")
            .and_then(|image| image["format"].as_str());
        if start.is_empty() || format.is_some() {
            // The first piece decides what it is.
            let format = format.map(|format| (index, format.to_string()));
            self.images.extend(format);
            fields.keep_blank("contentBlockIndex", index.into());
            fields.keep_blank("start", Value::Object(start));
            return Ok(Vec::new());
        }
        self.begun.insert(index);
        Ok(vec![part_start(index, read_start(start, path))])
    }

    fn read_part_delta(&mut self, fields: &mut Fields) -> Result<Vec<StreamEvent>, ReadError> {
        let index = read_index(fields)?;
        let Some(mut delta) = fields.enter("delta") else {
            return Err(ReadError::new(fields.at("delta"), "an object"));
        };
        let is_new = !self.begun.contains(&index);
        let format = self.images.remove(&index).filter(|_| is_new);
        let image = delta.peek("image");
        let pieces = match format {
            Some(format) if image.is_some_and(attachments::is_known) => {
                let image = attachments::read_piece(&mut delta, &format);
                Some(vec![Piece::Whole(image)])
            }
            _ => read_pieces(&mut delta, is_new),
        };
        let path = delta.path().to_string();
        let (pieces, mut rest) = match pieces {
            Some(pieces) => (pieces, delta.finish()),
            None => {
                let unread = Value::Object(delta.into_object());
                let rest = Rest::new(DIALECT, path.clone());
                (vec![Piece::Delta(PartDelta::Unknown(unread))], rest)
            }
        };
        let mut events = Vec::new();
        for piece in pieces {
            let kind = match &piece {
                Piece::Whole(kind) => Some(kind.clone()),
                Piece::Delta(delta) => kind_of(delta),
            };
            if let Some(kind) = kind.filter(|_| self.begun.insert(index)) {
                let mut part = Part::new(kind, Rest::new(DIALECT, path.clone()));
                if matches!(piece, Piece::Whole(_)) {
                    part.rest = std::mem::replace(&mut rest, Rest::new(DIALECT, ""));
                }
                events.push(part_start(index, part));
            }
            if let Piece::Delta(delta) = piece {
                events.push(StreamEvent::PartDelta {
                    choice: CHOICE,
                    index,
                    delta,
                    rest: std::mem::replace(&mut rest, Rest::new(DIALECT, path.clone())),
                });
            }
        }
        Ok(events)
    }

    fn read_stop(&mut self, fields: &mut Fields) -> Vec<StreamEvent> {
        self.is_stopped = true;
        let choice = CHOICE;
        let stop = answer::read_stop(fields);
        let mut events: Vec<StreamEvent> = stop
            .map(|stop| StreamEvent::Stop { choice, stop })
            .into_iter()
            .collect();
        events.extend(self.is_metered.then_some(StreamEvent::End));
        events
    }

    fn read_metadata(&mut self, fields: &mut Fields) -> Vec<StreamEvent> {
        self.is_metered = true;
        let mut events = Vec::new();
        if let Some(spent) = fields.enter("usage") {
            events.push(StreamEvent::Usage(Box::new(usage::read(spent))));
        }
        events.extend(self.is_stopped.then_some(StreamEvent::End));
        events
    }
}

/// What one event says of a part.
enum Piece {
    /// A part that comes in one piece.
    Whole(PartKind),
    /// What comes next.
    Delta(PartDelta),
}

fn part_start(index: usize, part: Part) -> StreamEvent {
    StreamEvent::PartStart {
        choice: CHOICE,
        index,
        part: Box::new(part),
    }
}

fn read_start(start: Object, path: String) -> Part {
    let call = start.get("toolUse");
    let is_call = call.is_some_and(|call| {
        let is_clients = call["type"].is_null() || call["type"] == "tool_use";
        is_clients && call["toolUseId"].is_string() && call["name"].is_string()
    });
    if !is_call {
        let kind = PartKind::Unknown(Value::Object(start));
        return Part::new(kind, Rest::new(DIALECT, path));
    }
    let mut call = ToolCall {
        id: String::new(),
        name: String::new(),
        input: ToolInput::Text(String::new()),
        style: ToolStyle::Function,
    };
    let mut fields = Fields::of(DIALECT, path, start);
    if let Some(mut inside) = fields.enter("toolUse") {
        inside.blank_if("type", &Value::from("tool_use"));
        call.id = read_parts::read_id(&mut inside);
        call.name = inside.text("name").unwrap_or_default();
        if let Some(input) = inside.take("input") {
            call.input = ToolInput::Json(input);
        }
        fields.leave("toolUse", inside);
    }
    Part::new(PartKind::ToolCall(call), fields.finish())
}

// The pieces of a delta that the hub models. What is redacted is a part of its own.
fn read_pieces(delta: &mut Fields, is_new: bool) -> Option<Vec<Piece>> {
    if delta.peek_text("text").is_some() {
        let text = delta.text("text")?;
        return Some(vec![Piece::Delta(PartDelta::Text(text))]);
    }
    let is_text =
        |value: Option<&Value>, field: &str| value.is_some_and(|value| value[field].is_string());
    if is_text(delta.peek("toolUse"), "input") {
        let mut inside = delta.enter("toolUse")?;
        let input = inside.text("input")?;
        delta.leave("toolUse", inside);
        return Some(vec![Piece::Delta(PartDelta::ToolInput(input))]);
    }
    let thought = delta.peek("reasoningContent");
    let has_words = is_text(thought, "text") || is_text(thought, "signature");
    let is_redacted = is_new && is_text(thought, "redactedContent");
    if !has_words && !is_redacted {
        return None;
    }
    let mut inside = delta.enter("reasoningContent")?;
    let pieces = if has_words {
        let text = inside.text("text").map(PartDelta::Thinking);
        let proof = inside.text("signature").map(PartDelta::Signature);
        text.into_iter().chain(proof).map(Piece::Delta).collect()
    } else {
        let thought = thoughts::redacted(inside.text("redactedContent")?);
        vec![Piece::Whole(PartKind::Thinking(thought))]
    };
    delta.leave("reasoningContent", inside);
    Some(pieces)
}

// The part that begins with such a piece.
fn kind_of(delta: &PartDelta) -> Option<PartKind> {
    match delta {
        PartDelta::Text(_) => Some(PartKind::Text(String::new())),
        PartDelta::Thinking(_) | PartDelta::Signature(_) => {
            Some(PartKind::Thinking(thoughts::worded()))
        }
        _ => None,
    }
}

fn read_index(fields: &mut Fields) -> Result<usize, ReadError> {
    let index = fields.count("contentBlockIndex");
    index
        .filter(|index| *index <= INDEX_MAX)
        .and_then(|index| usize::try_from(index).ok())
        .ok_or_else(|| {
            ReadError::new(
                fields.at("contentBlockIndex"),
                "the number of a content block",
            )
        })
}
