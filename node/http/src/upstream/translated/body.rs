//! A stream, translated as it arrives.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grapevine_base::exchange::{AnswerBody, CallFailure};
use grapevine_core::outcome::Outcome;
use grapevine_dialect::chunk::{ChunkReader, ChunkWriter};
use grapevine_dialect::stream::Completeness;
use grapevine_dialect::{StreamTranslator, TranslateError};
use http_body::{Body, Frame};

/// An upstream's stream as its client reads it. It ends well only where the upstream's did.
pub(super) struct TranslatedBody {
    /// `None` once it is over.
    upstream: Option<AnswerBody>,
    translator: Translator,
}

enum Translator {
    /// Into another dialect.
    Dialect(Box<StreamTranslator>),
    /// Anthropic's events out of Amazon's frames.
    Frames(ChunkReader),
    /// The other way round.
    Events(ChunkWriter),
}

impl Translator {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TranslateError> {
        match self {
            Self::Dialect(stream) => stream.push(bytes, out),
            Self::Frames(frames) => frames.push(bytes, out),
            Self::Events(events) => events.push(bytes, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), CallFailure> {
        match self {
            // What reads the events finds out whether the last one came.
            Self::Frames(_) | Self::Events(_) => Ok(()),
            Self::Dialect(stream) => match stream.finish(out) {
                Completeness::Complete | Completeness::Failed => Ok(()),
                Completeness::Truncated => Err(CallFailure::new(
                    Outcome::BrokenOff,
                    "the upstream's stream ended before its last event",
                )),
            },
        }
    }
}

impl TranslatedBody {
    pub(super) fn new(upstream: AnswerBody, stream: StreamTranslator) -> Self {
        Self {
            upstream: Some(upstream),
            translator: Translator::Dialect(Box::new(stream)),
        }
    }

    /// A stream of Anthropic's events in Amazon's frames.
    pub(super) fn reframed(upstream: AnswerBody) -> Self {
        Self {
            upstream: Some(upstream),
            translator: Translator::Frames(ChunkReader::default()),
        }
    }

    /// A stream of Anthropic's events as such frames.
    pub(super) fn in_frames(upstream: AnswerBody) -> Self {
        Self {
            upstream: Some(upstream),
            translator: Translator::Events(ChunkWriter::default()),
        }
    }

    /// What `frame` becomes, if anything yet.
    fn take(&mut self, frame: Frame<Bytes>) -> Result<Vec<u8>, CallFailure> {
        let mut out = Vec::new();
        if let Ok(data) = frame.into_data() {
            let pushed = self.translator.push(&data, &mut out);
            pushed.map_err(super::unreadable)?;
        }
        Ok(out)
    }
}

impl Body for TranslatedBody {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallFailure>>> {
        let this = &mut *self;
        loop {
            let Some(upstream) = &mut this.upstream else {
                return Poll::Ready(None);
            };
            let next = ready!(Pin::new(upstream).poll_frame(context));
            let is_last = next.as_ref().is_none_or(Result::is_err);
            if is_last {
                this.upstream = None;
            }
            let out = match next {
                Some(Ok(frame)) => this.take(frame),
                Some(Err(failure)) => Err(failure),
                None => {
                    let mut out = Vec::new();
                    this.translator.finish(&mut out).map(|()| out)
                }
            };
            match out {
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Poll::Ready(Some(Ok(Frame::data(out.into())))),
                Err(failure) => {
                    this.upstream = None;
                    return Poll::Ready(Some(Err(failure)));
                }
            }
        }
    }
}
