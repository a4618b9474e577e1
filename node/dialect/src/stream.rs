//! Streams from one dialect to another, as they come.

use crate::dialect::Dialect;
use crate::error::TranslateError;
use crate::fields::ReadError;
use crate::framing::{EventReader, Framing};
use crate::grammar::{AnswerTerms, StreamEnding, StreamReader, StreamWriter};
use crate::hub::error::{ErrorKind, ReportedError};
use crate::hub::stream::{StreamEvent, StreamFrame};
use crate::loss::{Loss, LossList};
use crate::rest::Rest;

pub use crate::sse::EVENT_BYTES_MAX;

/// How the upstream's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// The answer is complete, and the client has been sent its end.
    Complete,
    /// The upstream reported an error, and the client has been sent it.
    Failed,
    /// The upstream stopped before the answer was complete. The client has been sent no end, and must see the
    /// connection break.
    Truncated,
}

/// Translates one stream.
pub struct StreamTranslator {
    events: EventReader,
    reader: Box<dyn StreamReader>,
    writer: Box<dyn StreamWriter>,
    upstream: Dialect,
    client: Dialect,
    terms: AnswerTerms,
    losses: LossList,
    is_broken: bool,
}

impl StreamTranslator {
    /// Reads what `reader` does, of an upstream of `upstream`, and writes what `writer` does to a client of `client`.
    pub(crate) fn new(
        reader: Box<dyn StreamReader>,
        upstream: Dialect,
        writer: Box<dyn StreamWriter>,
        client: Dialect,
        terms: AnswerTerms,
    ) -> Self {
        Self {
            events: EventReader::new(Framing::of(upstream)),
            reader,
            writer,
            upstream,
            client,
            terms,
            losses: LossList::default(),
            is_broken: false,
        }
    }

    /// Takes bytes in the framing of the upstream's dialect, cut anywhere, and appends what they become in that of the
    /// client's.
    ///
    /// # Errors
    ///
    /// If an event is too large, its frame broken, or it is none of the upstream's dialect; everything after it is
    /// refused too.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TranslateError> {
        self.check()?;
        let mut events = Vec::new();
        let pushed = self.events.push(bytes, &mut events);
        for event in events {
            self.read(event.name.as_deref(), &event.data, out)?;
        }
        self.is_broken |= pushed.is_err();
        pushed
    }

    /// Takes one event that came in another framing: its type, if it has one, and its JSON.
    ///
    /// # Errors
    ///
    /// If it is none of the upstream's dialect; everything after it is refused too.
    pub fn push_event(
        &mut self,
        name: Option<&str>,
        json: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), TranslateError> {
        self.check()?;
        if json.len() > EVENT_BYTES_MAX {
            self.is_broken = true;
            return Err(TranslateError::EventTooLarge);
        }
        self.read(name, json, out)
    }

    /// The upstream's body has ended: appends what was held back, if the answer is complete. A stream that was cut
    /// is given no end.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Completeness {
        if self.is_broken {
            return Completeness::Truncated;
        }
        match self.reader.finish() {
            StreamEnding::Complete => Completeness::Complete,
            StreamEnding::CompleteWith(frame) => {
                self.write(frame, out);
                Completeness::Complete
            }
            StreamEnding::Failed => Completeness::Failed,
            StreamEnding::Truncated => Completeness::Truncated,
        }
    }

    /// Appends an error of the caller's own in the client's dialect, such as that the upstream's stream broke. Nothing
    /// may follow it.
    pub fn fail(&mut self, kind: ErrorKind, message: &str, out: &mut Vec<u8>) {
        self.is_broken = true;
        let error = ReportedError::new(kind, message, self.upstream);
        let events = vec![StreamEvent::Error(Box::new(error))];
        let frame = StreamFrame::new(events, Rest::new(self.upstream, ""));
        self.write(frame, out);
    }

    /// What the client's dialect could not say so far.
    pub fn losses(&self) -> &[Loss] {
        self.losses.as_slice()
    }

    fn check(&self) -> Result<(), TranslateError> {
        if self.is_broken {
            Err(TranslateError::StreamFailed)
        } else {
            Ok(())
        }
    }

    fn read(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), TranslateError> {
        let frame = self.reader.read(name, data).map_err(|error: ReadError| {
            self.is_broken = true;
            TranslateError::Unreadable(error)
        })?;
        self.write(frame, out);
        Ok(())
    }

    fn write(&mut self, mut frame: StreamFrame, out: &mut Vec<u8>) {
        let mut events = Vec::new();
        if self.client != self.upstream {
            for event in &mut frame.events {
                if let StreamEvent::Start(answer) = event {
                    self.terms.complete(answer);
                }
            }
        }
        self.writer.write(frame, &mut events, &mut self.losses);
        let framing = Framing::of(self.client);
        for event in &events {
            if framing.write(event, out).is_err() {
                self.losses
                    .add("", "the event is too large for the client's framing");
            }
        }
    }
}
