//! `application/vnd.amazon.eventstream`: the binary frames in which Amazon streams events.
//!
//! A frame is a prelude (its length, that of its headers, and a CRC32 of both), headers, a payload, and a CRC32 of all
//! before it; numbers are big-endian. A frame with a checksum that does not fit is refused, since nothing says where
//! the next one begins. No length is believed before it is checked against a limit.
//!
//! Of the headers three decide what a message is: `:message-type`, and beside it `:event-type`, `:exception-type`, or
//! `:error-code` with `:error-message`.

mod bounds;
mod decode;
mod encode;
mod headers;

pub use bounds::FrameBounds;
pub use decode::FrameDecoder;

use crate::sse::EVENT_BYTES_MAX;

/// The media type of bodies in this framing.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// The most bytes of a frame's headers, by Amazon's description of the format.
pub const HEADER_BYTES_MAX: usize = 128 * 1024;

/// The most bytes of a frame: its prelude, headers and closing checksum, and a payload of one event.
pub const FRAME_BYTES_MAX: usize = PRELUDE_BYTES + HEADER_BYTES_MAX + EVENT_BYTES_MAX + CRC_BYTES;

const CRC_BYTES: usize = 4;
const PRELUDE_BYTES: usize = 8 + CRC_BYTES;

/// A message of an event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMessage {
    /// What it is.
    pub kind: EventMessageKind,
    /// What it says, which is JSON in all that this crate reads.
    pub payload: Vec<u8>,
}

/// What a message of an event stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventMessageKind {
    /// An event of this type.
    Event(String),
    /// An error that the API models, of this type.
    Exception(String),
    /// An error that it does not.
    Error {
        /// A word for it.
        code: String,
        /// What happened, for a person.
        message: String,
    },
}

/// Why bytes are no event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame's checksum does not fit its bytes.
    #[error("the checksum of a frame does not fit")]
    Checksum,
    /// A frame exceeds [`FRAME_BYTES_MAX`], or its headers [`HEADER_BYTES_MAX`].
    #[error("a frame is too large")]
    TooLarge,
    /// The lengths or headers of a frame contradict one another, or it does not say what it is.
    #[error("a frame is malformed")]
    Malformed,
}

impl EventMessage {
    /// An event of this type.
    pub fn event(name: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        let (kind, payload) = (EventMessageKind::Event(name.into()), payload.into());
        Self { kind, payload }
    }

    /// An error that the API models.
    pub fn exception(name: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        let (kind, payload) = (EventMessageKind::Exception(name.into()), payload.into());
        Self { kind, payload }
    }

    /// Appends the message as a frame.
    ///
    /// # Errors
    ///
    /// If the frame would exceed its limits.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        encode::write(self, out)
    }
}
