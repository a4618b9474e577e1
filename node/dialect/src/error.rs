//! Why something is not translated.

use crate::event_stream::FrameError;
use crate::fields::ReadError;
use crate::hub::error::ReportedError;

/// Why a body is not translated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TranslateError {
    /// The body is no JSON object.
    #[error("the body is no JSON object")]
    NotJson,
    /// The body is none of its dialect.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// The body reports an error under a status of success. [`Translation::reported`](crate::Translation::reported) says
    /// it in the client's dialect.
    #[error("the upstream reports an error in place of an answer: {}", .0.message)]
    Reported(Box<ReportedError>),
    /// An event of a stream is larger than [`EVENT_BYTES_MAX`](crate::stream::EVENT_BYTES_MAX).
    #[error("an event of the stream is too large")]
    EventTooLarge,
    /// The stream's frames are broken.
    #[error(transparent)]
    Frame(FrameError),
    /// The stream goes on after it failed to be read.
    #[error("the stream cannot be read any further")]
    StreamFailed,
}

impl From<FrameError> for TranslateError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge => Self::EventTooLarge,
            FrameError::Checksum | FrameError::Malformed => Self::Frame(error),
        }
    }
}
