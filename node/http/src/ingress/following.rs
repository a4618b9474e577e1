//! Follows a stream of events that is passed on, so that it can be told at its end that it broke off.

use bytes::Bytes;
use grapevine_base::headers;
use grapevine_base::headers::ReadHeaders;
use grapevine_dialect::event_stream::{self, EventMessage, FrameBounds};
use http::header;

use super::limits::StreamForm;
use super::problem::{Problem, Shape};
use super::sse::Events;

/// A stream of events in one of the ways that events become bytes.
#[derive(Debug)]
pub(super) enum Following {
    /// Server-sent events.
    Text(Events),
    /// Amazon's frames.
    Frames(FrameBounds),
}

impl Following {
    /// Of an answer with these headers; nothing if it is no stream of events that can be read.
    pub(super) fn of(headers: &impl ReadHeaders) -> Option<Self> {
        if headers.value_of(&header::CONTENT_ENCODING).is_some() {
            return None;
        }
        if headers::is_media_type(headers, "text/event-stream") {
            return Some(Self::Text(Events::default()));
        }
        let are_frames = headers::is_media_type(headers, event_stream::CONTENT_TYPE);
        are_frames.then(|| Self::Frames(FrameBounds::default()))
    }

    pub(super) const fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// How its events become bytes.
    pub(super) const fn form(&self) -> StreamForm {
        match self {
            Self::Text(_) => StreamForm::Text,
            Self::Frames(_) => StreamForm::Frames,
        }
    }

    /// `piece` is passed on.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        match self {
            Self::Text(events) => events.pass(piece),
            Self::Frames(bounds) => bounds.pass(piece),
        }
    }

    /// Whether a comment may be added: Amazon's frames know none.
    pub(super) fn takes_comment(&self) -> bool {
        match self {
            Self::Text(events) => events.is_between_events(),
            Self::Frames(_) => false,
        }
    }

    /// What is added to a stream that broke off. A frame that has begun cannot be ended: then it is the connection
    /// alone that breaks.
    pub(super) fn error(&self, problem: &Problem, shape: Shape, request_id: &str) -> Option<Bytes> {
        match self {
            Self::Text(events) => {
                let data = problem.to_json(shape, request_id);
                let name = match shape {
                    Shape::OpenAi | Shape::Google | Shape::Amazon => "",
                    Shape::Anthropic => "event: error\n",
                };
                let mut event = events.cut().to_vec();
                event.extend_from_slice(format!("{name}data: {data}\n\n").as_bytes());
                Some(event.into())
            }
            Self::Frames(bounds) => {
                let (name, data) = problem.to_exception();
                let mut frame = Vec::new();
                let exception = EventMessage::exception(name, data.to_string());
                let written = exception.write(&mut frame);
                (bounds.is_between_frames() && written.is_ok()).then(|| frame.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use grapevine_core::outcome::Outcome;
    use grapevine_dialect::event_stream::{EventMessageKind, FrameDecoder};
    use http::HeaderValue;

    use http::HeaderMap;

    use super::*;

    fn frames() -> Following {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static(event_stream::CONTENT_TYPE);
        headers.insert(header::CONTENT_TYPE, kind);
        Following::of(&headers).expect("a stream of events")
    }

    fn broken(following: &Following) -> Option<Bytes> {
        let problem = Problem::failed(&Outcome::BrokenOff);
        following.error(&problem, Shape::Amazon, "id")
    }

    #[test]
    fn stream_of_frames_that_breaks_between_two_ends_with_an_exception() {
        let mut stream = Vec::new();
        let event = EventMessage::event("messageStart", r#"{"role":"assistant"}"#);
        event.write(&mut stream).expect("the frame is small");
        let mut following = frames();
        following.pass(&stream);
        assert!(!following.takes_comment());
        stream.extend(broken(&following).expect("an exception"));
        let mut messages = Vec::new();
        let mut decoder = FrameDecoder::default();
        decoder.push(&stream, &mut messages).expect("whole frames");
        let kind = EventMessageKind::Exception("modelStreamErrorException".to_owned());
        assert_eq!((messages.len(), &messages[1].kind), (2, &kind));
        assert!(decoder.is_between_frames());
    }

    #[test]
    fn frame_that_has_begun_is_followed_by_nothing() {
        let mut following = frames();
        following.pass(&[0, 0, 0]);
        assert_eq!(broken(&following), None);
    }
}
