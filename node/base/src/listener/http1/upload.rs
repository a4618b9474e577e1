//! The body of a request, as its connection reads it.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncRead;

use super::body::{BodySource, Demand};
use crate::http1::{Chunk, ChunkDecoder, fill, fill_at_most, take};

/// What is left of a body.
#[derive(Debug)]
pub(super) enum Rest {
    Length(u64),
    Chunked(ChunkDecoder),
    /// What follows an upgrade, to the end of the connection.
    Raw,
}

/// What a body continues with.
pub(super) enum Next {
    Data(Bytes),
    End,
    /// More must arrive.
    Unfinished,
}

impl Rest {
    pub(super) fn next(&mut self, incoming: &mut BytesMut) -> io::Result<Next> {
        match self {
            Self::Length(0) => Ok(Next::End),
            Self::Length(_) | Self::Raw if incoming.is_empty() => Ok(Next::Unfinished),
            Self::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX);
                let data = take(incoming, here.min(incoming.len()));
                *left -= data.len() as u64;
                Ok(Next::Data(data))
            }
            Self::Raw => Ok(Next::Data(take(incoming, incoming.len()))),
            Self::Chunked(decoder) => match decoder.next(incoming) {
                Ok(Chunk::Data(data)) => Ok(Next::Data(data)),
                Ok(Chunk::End | Chunk::Trailers(_)) => Ok(Next::End),
                Ok(Chunk::Unfinished) => Ok(Next::Unfinished),
                Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            },
        }
    }

    const fn is_over(&self) -> bool {
        matches!(self, Self::Length(0))
    }
}

/// A body that did not arrive with its head.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) source: BodySource,
    pub(super) rest: Rest,
    /// Whether its client waits to be told to send it.
    pub(super) awaits_continue: bool,
}

/// How an upload goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The reader has something new.
    Handed,
    /// The same, and it was the last.
    Over,
    /// It broke: nothing after it can be read.
    Broken,
    /// Its client waits for leave to send it.
    Continue,
}

impl Upload {
    /// Reads as much as its reader wants.
    pub(super) fn poll_step<S: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
        incoming: &mut BytesMut,
    ) -> Poll<Step> {
        if self.source.demand(context) != Demand::More {
            return Poll::Pending;
        }
        loop {
            match self.rest.next(incoming) {
                Ok(Next::Data(data)) => {
                    self.source.put(context, Ok(Some(data)));
                    return Poll::Ready(match self.rest.is_over() {
                        true => Step::Over,
                        false => Step::Handed,
                    });
                }
                Ok(Next::End) => {
                    self.source.put(context, Ok(None));
                    return Poll::Ready(Step::Over);
                }
                Ok(Next::Unfinished) => {}
                Err(error) => {
                    self.source.put(context, Err(error));
                    return Poll::Ready(Step::Broken);
                }
            }
            if std::mem::take(&mut self.awaits_continue) {
                return Poll::Ready(Step::Continue);
            }
            let read = match self.rest {
                // Into memory of just this size, once.
                Rest::Length(left) => fill_at_most(stream, context, incoming, left),
                Rest::Chunked(_) | Rest::Raw => fill(stream, context, incoming),
            };
            let error = match ready!(read) {
                Ok(0) if matches!(self.rest, Rest::Raw) => {
                    self.source.put(context, Ok(None));
                    return Poll::Ready(Step::Over);
                }
                Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => continue,
                Err(error) => error,
            };
            self.source.put(context, Err(error));
            return Poll::Ready(Step::Broken);
        }
    }

    /// Whether it follows an upgrade.
    pub(super) const fn is_raw(&self) -> bool {
        matches!(self.rest, Rest::Raw)
    }

    /// Passes over what nobody reads any more; whether all of that is at hand.
    pub(super) fn skip(&mut self, context: &Context<'_>, incoming: &mut BytesMut) -> bool {
        // What would follow an upgrade is no request, whoever reads it.
        if matches!(self.rest, Rest::Raw) || self.source.demand(context) != Demand::Gone {
            return false;
        }
        loop {
            match self.rest.next(incoming) {
                Ok(Next::Data(_)) => {}
                Ok(Next::End) => return true,
                Ok(Next::Unfinished) | Err(_) => return false,
            }
        }
    }
}
