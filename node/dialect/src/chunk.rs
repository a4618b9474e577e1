//! Anthropic's messages as Bedrock streams them (`invoke-with-response-stream`): each `chunk` frame holds
//! `{"bytes": ..}`, the base64 of the JSON of one of Anthropic's events.

mod write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::error::TranslateError;
use crate::event_stream::{EventMessage, EventMessageKind, FrameDecoder};
use crate::grammar::ServerEvent;
use crate::sse;

pub use write::ChunkWriter;

/// The words of messages for the errors that a frame may be.
const ERRORS: [(&str, &str); 5] = [
    ("throttlingException", "rate_limit_error"),
    ("validationException", "invalid_request_error"),
    ("serviceUnavailableException", "overloaded_error"),
    ("modelTimeoutException", "timeout_error"),
    ("accessDeniedException", "permission_error"),
];

/// Turns such frames into the server-sent events that Anthropic's own API writes.
#[derive(Debug, Default)]
pub struct ChunkReader {
    frames: FrameDecoder,
}

impl ChunkReader {
    /// Takes bytes of frames, cut anywhere, and appends server-sent events.
    ///
    /// # Errors
    ///
    /// If a frame is broken, or a chunk's payload is not what it must be. The events before it are appended.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TranslateError> {
        let mut messages = Vec::new();
        let pushed = self.frames.push(bytes, &mut messages);
        for message in messages {
            if let Some(event) = read(message)? {
                sse::write(&event, out);
            }
        }
        Ok(pushed?)
    }
}

fn read(message: EventMessage) -> Result<Option<ServerEvent>, TranslateError> {
    let payload: Value = serde_json::from_slice(&message.payload).unwrap_or(Value::Null);
    match message.kind {
        EventMessageKind::Event(name) if name == "chunk" => {
            let bytes = payload["bytes"].as_str();
            let bytes = bytes.and_then(|bytes| STANDARD.decode(bytes).ok());
            let event = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            match event {
                Some(Value::Object(event)) => Ok(Some(ServerEvent::typed(event))),
                _ => Err(TranslateError::NotJson),
            }
        }
        EventMessageKind::Event(_) => Ok(None),
        EventMessageKind::Exception(name) => {
            let text = payload["message"].as_str().or(payload["Message"].as_str());
            Ok(Some(failure(&name, text.unwrap_or(&name))))
        }
        EventMessageKind::Error { code, message } => Ok(Some(failure(&code, &message))),
    }
}

fn failure(name: &str, message: &str) -> ServerEvent {
    let word = ERRORS.iter().find(|(known, _)| *known == name);
    let word = word.map_or("api_error", |(_, word)| *word);
    let error = json!({"type": word, "message": message});
    let data = json!({"type": "error", "error": error}).to_string();
    let name = Some("error".to_string());
    ServerEvent { name, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(event: &str) -> EventMessage {
        let bytes = STANDARD.encode(event);
        EventMessage::event("chunk", json!({"bytes": bytes, "p": "abc"}).to_string())
    }

    fn read_all(messages: &[EventMessage]) -> Result<String, TranslateError> {
        let mut bytes = Vec::new();
        for message in messages {
            message.write(&mut bytes).unwrap();
        }
        let mut out = Vec::new();
        let mut reader = ChunkReader::default();
        for piece in bytes.chunks(7) {
            reader.push(piece, &mut out)?;
        }
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn chunk_becomes_the_event_that_it_holds() {
        let out = read_all(&[chunk(r#"{"type":"ping"}"#)]).unwrap();
        assert_eq!(out, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    }

    #[test]
    fn exception_becomes_an_error_of_its_kind() {
        let message = EventMessage::exception("throttlingException", r#"{"message":"slow down"}"#);
        let out = read_all(&[message]).unwrap();
        assert!(out.starts_with("event: error\n"), "{out}");
        assert!(
            out.contains("rate_limit_error") && out.contains("slow down"),
            "{out}"
        );
    }

    #[test]
    fn chunk_without_an_event_is_refused() {
        let broken = EventMessage::event("chunk", r#"{"bytes":"!"}"#);
        assert_eq!(read_all(&[broken]), Err(TranslateError::NotJson));
        assert_eq!(read_all(&[chunk("[]")]), Err(TranslateError::NotJson));
    }
}
