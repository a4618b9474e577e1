//! The body of an answer, read from its connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use grapevine_base::http1::{Chunk, ChunkDecoder, ChunkError, take};

use super::{Framing, Http1, Http1Error};

/// The body that follows a head. Whoever reads it also writes what is left of its request.
#[derive(Debug)]
pub(in crate::upstream) struct Http1Body {
    /// `None` once it is given back, or broke.
    connection: Option<Box<Http1>>,
    rest: Rest,
    /// Whether the connection may be used again.
    is_kept: bool,
}

/// What is left of the body.
#[derive(Debug)]
pub(super) enum Rest {
    Length(u64),
    Chunked(ChunkDecoder),
    Close,
    Over,
}

impl Rest {
    /// A body that has not begun.
    pub(super) const fn of(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::Over,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(ChunkDecoder::Size),
            Framing::Close => Self::Close,
        }
    }

    /// Takes what is at hand from the beginning of `incoming`; `None` where the body is over, or more must come.
    ///
    /// # Errors
    /// The body is broken.
    pub(super) fn take(
        &mut self,
        incoming: &mut BytesMut,
    ) -> Result<Option<Frame<Bytes>>, ChunkError> {
        match self {
            Self::Chunked(decoder) => match decoder.next(incoming)? {
                Chunk::Data(data) => return Ok(Some(Frame::data(data))),
                Chunk::Trailers(trailers) => {
                    *self = Self::Over;
                    return Ok(Some(Frame::trailers(trailers)));
                }
                Chunk::End => *self = Self::Over,
                Chunk::Unfinished => {}
            },
            Self::Length(_) | Self::Close if incoming.is_empty() => {}
            Self::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX);
                let data = take(incoming, here.min(incoming.len()));
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Self::Over;
                }
                return Ok(Some(Frame::data(data)));
            }
            Self::Close => return Ok(Some(Frame::data(std::mem::take(incoming).freeze()))),
            Self::Over => {}
        }
        Ok(None)
    }
}

impl Http1Body {
    /// A body that comes on `connection`, which is used again if `is_kept`.
    pub(in crate::upstream) const fn new(
        connection: Box<Http1>,
        framing: Framing,
        is_kept: bool,
    ) -> Self {
        Self {
            connection: Some(connection),
            rest: Rest::of(framing),
            is_kept,
        }
    }

    /// No body. The connection is closed: some servers send one all the same, and it would be read as the answer to
    /// another request.
    pub(in crate::upstream) const fn none() -> Self {
        Self {
            connection: None,
            rest: Rest::Over,
            is_kept: false,
        }
    }

    /// The connection, once the body is over and where another request may follow.
    pub(in crate::upstream) fn take_connection(&mut self) -> Option<Box<Http1>> {
        if !self.is_end_stream() {
            return None;
        }
        let connection = self.connection.take()?;
        (self.is_kept && connection.is_clean()).then_some(connection)
    }

    /// The memory in which bytes wait to be read.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let held = |connection: &Http1| connection.incoming.capacity();
        self.connection.as_deref().map_or(0, held)
    }
}

impl Body for Http1Body {
    type Data = Bytes;
    type Error = Http1Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        let this = &mut *self;
        loop {
            let Some(connection) = &mut this.connection else {
                return Poll::Ready(None);
            };
            if let Some(frame) = this.rest.take(&mut connection.incoming)? {
                return Poll::Ready(Some(Ok(frame)));
            }
            if matches!(this.rest, Rest::Over) {
                return Poll::Ready(None);
            }
            // An upstream may answer while it reads.
            let _ = connection.poll_write(context);
            if ready!(connection.poll_fill(context))? > 0 {
                continue;
            }
            let is_end = matches!(this.rest, Rest::Close);
            (this.connection, this.rest) = (None, Rest::Over);
            return Poll::Ready((!is_end).then_some(Err(Http1Error::Closed)));
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.rest, Rest::Over)
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Length(left) => SizeHint::with_exact(left),
            Rest::Over => SizeHint::with_exact(0),
            Rest::Chunked(_) | Rest::Close => SizeHint::default(),
        }
    }
}
