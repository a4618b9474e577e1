//! Anthropic's server-sent events as the frames that clients of Bedrock read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::ERRORS;
use crate::error::TranslateError;
use crate::event_stream::EventMessage;
use crate::sse::{EVENT_BYTES_MAX, RawEvent, SseReader};

/// The largest event that still fits a frame: its payload is the base64 of it, and a few bytes around that.
const CHUNK_BYTES_MAX: usize = EVENT_BYTES_MAX / 4 * 3 - 64;

/// The exception of an error whose word is none of Bedrock's.
const INTERNAL: &str = "internalServerException";

/// Turns the server-sent events of Anthropic's API into such frames.
#[derive(Debug)]
pub struct ChunkWriter {
    events: SseReader,
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self {
            events: SseReader::new(CHUNK_BYTES_MAX),
        }
    }
}

impl ChunkWriter {
    /// Takes bytes of server-sent events, cut anywhere, and appends frames.
    ///
    /// # Errors
    ///
    /// If an event is too large, or its data is no JSON object. The frames before it are appended.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TranslateError> {
        let mut events = Vec::new();
        let pushed = self.events.push(bytes, &mut events);
        for event in events {
            framed(&event)?.write(out)?;
        }
        pushed.map_err(|_| TranslateError::EventTooLarge)
    }
}

fn framed(event: &RawEvent) -> Result<EventMessage, TranslateError> {
    let data: Value = serde_json::from_str(&event.data).map_err(|_| TranslateError::NotJson)?;
    if !data.is_object() {
        return Err(TranslateError::NotJson);
    }
    if data["type"] != "error" {
        let bytes = STANDARD.encode(&event.data);
        let payload = json!({ "bytes": bytes }).to_string();
        return Ok(EventMessage::event("chunk", payload));
    }
    let error = &data["error"];
    let word = error["type"].as_str().unwrap_or_default();
    let name = ERRORS.iter().find(|(_, known)| *known == word);
    let name = name.map_or(INTERNAL, |(name, _)| *name);
    let message = error["message"].as_str().unwrap_or(word);
    let payload = json!({ "message": message }).to_string();
    Ok(EventMessage::exception(name, payload))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ChunkReader;
    use super::*;

    fn frames(pieces: &[&[u8]]) -> Result<Vec<u8>, TranslateError> {
        let (mut writer, mut out) = (ChunkWriter::default(), Vec::new());
        for piece in pieces {
            writer.push(piece, &mut out)?;
        }
        Ok(out)
    }

    fn back(frames: &[u8]) -> String {
        let mut out = Vec::new();
        ChunkReader::default().push(frames, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn error_becomes_the_exception_of_its_kind() {
        for (word, _) in ERRORS.map(|(name, word)| (word, name)) {
            let event = format!(
                "event: error\ndata: {{\"error\":{{\"message\":\"m\",\"type\":\"{word}\"}},\"type\":\"error\"}}\n\n"
            );
            assert_eq!(back(&frames(&[event.as_bytes()]).unwrap()), event);
        }
        let unknown = br#"data: {"type":"error","error":{"type":"new_error","message":"m"}}"#;
        let written = frames(&[unknown, b"\n\n"]).unwrap();
        assert!(back(&written).contains("api_error"));
    }

    #[test]
    fn data_that_is_no_event_of_anthropics_is_refused() {
        for data in ["[DONE]", "{", "1"] {
            let event = format!("data: {data}\n\n");
            assert_eq!(frames(&[event.as_bytes()]), Err(TranslateError::NotJson));
        }
    }

    #[test]
    fn event_that_fits_no_frame_is_refused() {
        let event = |padding: usize| {
            let text = "a".repeat(padding);
            format!("data: {{\"type\":\"ping\",\"p\":\"{text}\"}}\n\n").into_bytes()
        };
        let fits = frames(&[&event(CHUNK_BYTES_MAX - 40)]).unwrap();
        assert!(!back(&fits).is_empty());
        assert_eq!(
            frames(&[&event(CHUNK_BYTES_MAX)]),
            Err(TranslateError::EventTooLarge)
        );
    }

    proptest! {
        #[test]
        fn events_come_back_wherever_they_are_cut(cuts in prop::collection::vec(0_usize..120, 0..6)) {
            let stream = "event: ping\ndata: {\"type\":\"ping\"}\n\n: alive\n\n\
                          event: message_stop\ndata: {\"a\":\"\u{e4}\",\"type\":\"message_stop\"}\n\n";
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            let (mut pieces, mut at) = (Vec::new(), 0);
            for cut in cuts.into_iter().chain([stream.len()]) {
                pieces.push(&stream.as_bytes()[at..cut]);
                at = cut;
            }
            let written = frames(&pieces).unwrap();
            let read = back(&written);
            prop_assert_eq!(read, stream.replace(": alive\n\n", ""));
        }
    }
}
