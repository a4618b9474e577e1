//! A connection to an upstream over HTTP/1.1: sends a request, reads the head of its answer, then its body.
//!
//! One task does it all: whoever waits for the answer writes what is left of the request and reads what has come. So
//! a request costs no switch between tasks, and its connection holds no memory while nothing comes.
//!
//! Strict where two readers could differ (RFC 9112, 6.3 and 7.1): see [`Framing`] and [`ChunkDecoder`](grapevine_base::http1::ChunkDecoder). An
//! upstream may answer before it has read the request, as with 413, and then close: what can no longer be written is
//! dropped, and the answer is read all the same.
//!
//! Bound: an answer's head of [`head::HEAD_BYTES_MAX`], interim answers of [`head::INTERIM_BYTES_MAX`] before it, and
//! one piece of at most [`READ_BYTES`](grapevine_base::http1::READ_BYTES) of its body.

mod body;
mod head;
pub mod probes;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use grapevine_base::http1::ChunkError;

pub(super) use body::Http1Body;
use head::HeadReader;
pub(super) use head::{AnswerHead, Framing, RequestHead};
pub(super) use wire::{UpstreamStream, Wire};

/// The pieces of a request: its head, and its body in up to five.
const PIECES: usize = 6;

/// Why there is no answer, or no more of one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Http1Error {
    #[error("the connection was closed before the answer was whole")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    #[error("the request could not be written: {0}")]
    NotWritten(#[source] io::Error),
    #[error("the answer's head is not HTTP/1: {0}")]
    Head(&'static str),
    #[error("interim answers (1xx) without an end")]
    Interim,
    #[error("the answer's chunks are not as HTTP has them: {0}")]
    Chunks(#[from] ChunkError),
}

/// One connection.
pub(super) struct Http1 {
    wire: Wire,
    /// What has come and was not read yet.
    incoming: BytesMut,
    /// What has come, over all answers.
    read_bytes: u64,
    outgoing: Outgoing,
    /// Why nothing can be written any more.
    write_error: Option<io::Error>,
}

impl fmt::Debug for Http1 {
    /// Without what it carries: the credential is in it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Http1")
            .field("read_bytes", &self.read_bytes)
            .finish_non_exhaustive()
    }
}

/// What is still to be written.
struct Outgoing {
    pieces: [Bytes; PIECES],
    /// The first that is not written.
    next: usize,
    /// Whether any of it was written.
    is_begun: bool,
    is_flushed: bool,
}

impl Http1 {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            incoming: BytesMut::new(),
            read_bytes: 0,
            outgoing: Outgoing::NONE,
            write_error: None,
        }
    }

    /// The bytes themselves, once another protocol follows, and what has come of them.
    pub(super) fn into_wire(self) -> (Wire, BytesMut) {
        (self.wire, self.incoming)
    }

    /// What has come over this connection, in bytes.
    pub(super) const fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Whether nothing of the last request was written.
    pub(super) const fn is_untouched(&self) -> bool {
        !self.outgoing.is_begun
    }

    /// Whether it may be used for another request: the upstream has neither closed it nor sent what nobody asked for.
    pub(super) fn is_open(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.poll_fill(&mut context).is_pending()
    }

    /// Sends a request and waits for the head of its answer, past interim ones.
    ///
    /// # Errors
    /// The connection is of no use afterwards.
    pub(super) fn ask(
        &mut self,
        head: RequestHead,
        body: [Bytes; PIECES - 1],
    ) -> impl Future<Output = Result<AnswerHead, Http1Error>> {
        let [a, b, c, d, e] = body;
        self.outgoing = Outgoing {
            pieces: [head.into(), a, b, c, d, e],
            next: 0,
            is_begun: false,
            is_flushed: false,
        };
        let mut reader = HeadReader::default();
        poll_fn(move |context| self.poll_head(context, &mut reader))
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut HeadReader,
    ) -> Poll<Result<AnswerHead, Http1Error>> {
        // An answer may come before all is written.
        let _ = self.poll_write(context);
        loop {
            if let Some(head) = reader.take(&mut self.incoming)? {
                return Poll::Ready(Ok(head));
            }
            if ready!(self.poll_fill(context))? == 0 {
                return Poll::Ready(Err(Http1Error::Closed));
            }
        }
    }

    /// Reads what has come; zero is the end of the connection.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, Http1Error>> {
        let read = ready!(self.wire.poll_read(context, &mut self.incoming));
        let is_over = !matches!(read, Ok(count) if count > 0);
        if is_over && self.read_bytes == 0 {
            // Of a connection that never worked, what went wrong first explains more.
            if let Some(error) = self.write_error.take() {
                return Poll::Ready(Err(Http1Error::NotWritten(error)));
            }
        }
        let count = read.map_err(Http1Error::Broken)?;
        self.read_bytes += count as u64;
        Poll::Ready(Ok(count))
    }

    /// Writes what is left of the request. What cannot be written is dropped: an answer may be there all the same.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.outgoing.is_done() {
            let slices = self.outgoing.slices();
            match ready!(self.wire.poll_write(context, &slices)) {
                Ok(0) => self.give_up_writing(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.outgoing.advance(count),
                Err(error) => self.give_up_writing(error),
            }
        }
        if !self.outgoing.is_flushed {
            if let Err(error) = ready!(self.wire.poll_flush(context)) {
                self.give_up_writing(error);
            }
            self.outgoing.is_flushed = true;
        }
        Poll::Ready(())
    }

    fn give_up_writing(&mut self, error: io::Error) {
        self.write_error = Some(error);
        self.outgoing.clear();
    }

    /// Whether another request may follow, now that an answer has ended.
    fn is_clean(&self) -> bool {
        self.outgoing.is_flushed && self.write_error.is_none() && self.incoming.is_empty()
    }
}

impl Outgoing {
    const NONE: Self = Self {
        pieces: [const { Bytes::new() }; PIECES],
        next: PIECES,
        is_begun: false,
        is_flushed: true,
    };

    const fn is_done(&self) -> bool {
        self.next >= PIECES
    }

    fn slices(&self) -> [IoSlice<'_>; PIECES] {
        self.pieces.each_ref().map(|piece| IoSlice::new(piece))
    }

    /// So many bytes were written: they are let go.
    fn advance(&mut self, mut count: usize) {
        self.is_begun |= count > 0;
        while let Some(piece) = self.pieces.get_mut(self.next) {
            if count < piece.len() {
                let _ = piece.split_to(count);
                return;
            }
            count -= piece.len();
            *piece = Bytes::new();
            self.next += 1;
        }
    }

    fn clear(&mut self) {
        let is_begun = self.is_begun;
        *self = Self {
            is_begun,
            ..Self::NONE
        };
    }
}
