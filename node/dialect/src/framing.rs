//! How the events of a stream become bytes: server-sent events, or for Converse Amazon's event stream.
//!
//! A caller pushes the upstream's bytes and sends on what it gets; which framing applies follows from the dialect.

use crate::dialect::Dialect;
use crate::error::TranslateError;
use crate::event_stream::{self, EventMessage, EventMessageKind, FrameDecoder};
use crate::grammar::ServerEvent;
use crate::sse::{self, EVENT_BYTES_MAX, SseReader};

/// What the name of an event ends with that is an error.
pub(crate) const EXCEPTION: &str = "Exception";

/// The exception that stands for an error without a type of its own.
const UNNAMED_EXCEPTION: &str = "internalServerException";

/// How the events of a stream become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    ServerSentEvents,
    /// Amazon's [`event_stream`].
    EventStream,
}

impl Framing {
    /// The framing of a dialect's streams.
    pub const fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Converse => Self::EventStream,
            Dialect::Chat | Dialect::Responses | Dialect::Messages | Dialect::Gemini => {
                Self::ServerSentEvents
            }
        }
    }

    /// The media type of such a body.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::ServerSentEvents => "text/event-stream",
            Self::EventStream => event_stream::CONTENT_TYPE,
        }
    }

    /// Appends an event. One that exceeds the framing's limits is left out, and that is an error.
    ///
    /// # Errors
    ///
    /// If the event is too large.
    pub fn write(self, event: &ServerEvent, out: &mut Vec<u8>) -> Result<(), TranslateError> {
        match self {
            Self::ServerSentEvents => sse::write(event, out),
            Self::EventStream => {
                let name = event.name.clone().unwrap_or_default();
                let message = if name.ends_with(EXCEPTION) {
                    EventMessage::exception(name, event.data.as_str())
                } else {
                    EventMessage::event(name, event.data.as_str())
                };
                message.write(out)?;
            }
        }
        Ok(())
    }
}

/// Cuts the bytes of a stream into events.
#[derive(Debug)]
pub struct EventReader(Reader);

#[derive(Debug)]
enum Reader {
    Sse(SseReader),
    EventStream(FrameDecoder),
}

impl EventReader {
    /// Reads the framing of one stream.
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::ServerSentEvents => Reader::Sse(SseReader::new(EVENT_BYTES_MAX)),
            Framing::EventStream => Reader::EventStream(FrameDecoder::default()),
        })
    }

    /// Takes bytes, cut anywhere, and appends each event that they complete.
    ///
    /// # Errors
    ///
    /// If an event is too large or its frame is broken. The events before it are appended.
    pub fn push(
        &mut self,
        bytes: &[u8],
        events: &mut Vec<ServerEvent>,
    ) -> Result<(), TranslateError> {
        match &mut self.0 {
            Reader::Sse(reader) => {
                let mut raw = Vec::new();
                let pushed = reader.push(bytes, &mut raw);
                let raw = raw.into_iter();
                events.extend(raw.map(|sse::RawEvent { name, data }| ServerEvent { name, data }));
                pushed.map_err(|sse::TooLarge| TranslateError::EventTooLarge)
            }
            Reader::EventStream(decoder) => {
                let mut messages = Vec::new();
                let pushed = decoder.push(bytes, &mut messages);
                events.extend(messages.into_iter().map(server_event));
                Ok(pushed?)
            }
        }
    }
}

fn server_event(message: EventMessage) -> ServerEvent {
    let data = String::from_utf8_lossy(&message.payload).into_owned();
    match message.kind {
        EventMessageKind::Event(name) | EventMessageKind::Exception(name) => {
            let name = Some(name);
            ServerEvent { name, data }
        }
        EventMessageKind::Error { code, message } => {
            let is_named = code.ends_with(EXCEPTION);
            let name = if is_named {
                code
            } else {
                UNNAMED_EXCEPTION.to_string()
            };
            let data = serde_json::json!({"message": message}).to_string();
            let name = Some(name);
            ServerEvent { name, data }
        }
    }
}
