//! The body of a request, whatever its protocol.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::super::tunnels::StreamBody;

/// The body of a request.
#[derive(Debug)]
pub enum RequestBody {
    /// All of it, where it arrived with its head; taken by the first who reads it.
    Whole(Bytes),
    /// HTTP/1.1: what is still to arrive.
    Arriving(ArrivingBody),
    /// HTTP/2.
    Http2(Incoming),
    /// What comes through a stream of HTTP/2 that is a tunnel.
    Tunnel(Box<StreamBody>),
    /// One whose beginning was looked at.
    Peeked(Box<PeekedBody>),
}

/// A body whose beginning was looked at, and the rest.
#[derive(Debug)]
pub struct PeekedBody {
    /// What was taken.
    pub taken: Bytes,
    /// What is still to come.
    pub rest: RequestBody,
}

/// A body that its connection reads when somebody wants more of it.
#[derive(Debug)]
pub struct ArrivingBody {
    shared: Arc<Shared>,
    /// What is left, where the head states a length.
    left: Option<u64>,
    is_over: bool,
}

/// What a body and its connection share. A lock that nobody waits for: both are in one task, nearly always, and it is
/// there only for bodies that did not arrive with their heads.
#[derive(Debug, Default)]
struct Shared(Mutex<Exchange>);

#[derive(Debug, Default)]
struct Exchange {
    /// What arrived and was not taken yet; `None` within is the end.
    arrived: Option<io::Result<Option<Bytes>>>,
    is_wanted: bool,
    /// The reader, while it waits.
    reader: Option<Waker>,
    /// The connection, while nobody wants more.
    connection: Option<Waker>,
    is_dropped: bool,
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut Exchange) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The connection's end of a body.
#[derive(Debug)]
pub(super) struct BodySource(Arc<Shared>);

/// What the reader of a body wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    More,
    /// Nothing at the moment.
    Nothing,
    /// It has gone away.
    Gone,
}

/// A body of `length` bytes, where that is known, and the end that feeds it.
pub(super) fn arriving(length: Option<u64>) -> (RequestBody, BodySource) {
    let shared = Arc::new(Shared::default());
    let body = ArrivingBody {
        shared: Arc::clone(&shared),
        left: length,
        is_over: false,
    };
    (RequestBody::Arriving(body), BodySource(shared))
}

impl BodySource {
    /// What is wanted now; `context` is woken when that changes.
    pub(super) fn demand(&self, context: &Context<'_>) -> Demand {
        self.0.with(|exchange| {
            if exchange.is_dropped {
                return Demand::Gone;
            }
            if exchange.is_wanted {
                return Demand::More;
            }
            let waker = context.waker();
            match &mut exchange.connection {
                Some(before) => before.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
            Demand::Nothing
        })
    }

    /// Hands over what was wanted; `None` is the end. `context` is the connection's, which polls the reader again if
    /// that is in the same task.
    pub(super) fn put(&self, context: &Context<'_>, arrived: io::Result<Option<Bytes>>) {
        let reader = self.0.with(|exchange| {
            exchange.arrived = Some(arrived);
            exchange.is_wanted = false;
            exchange.reader.take()
        });
        if let Some(reader) = reader
            && !reader.will_wake(context.waker())
        {
            reader.wake();
        }
    }
}

impl Drop for BodySource {
    /// The connection has ended.
    fn drop(&mut self) {
        let reader = self.0.with(|exchange| {
            let closed = || Err(io::ErrorKind::UnexpectedEof.into());
            exchange.arrived.get_or_insert_with(closed);
            exchange.reader.take()
        });
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl ArrivingBody {
    fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let (arrived, connection) = self.shared.with(|exchange| {
            let arrived = exchange.arrived.take();
            if arrived.is_some() {
                return (arrived, None);
            }
            exchange.reader = Some(context.waker().clone());
            exchange.is_wanted = true;
            (None, exchange.connection.take())
        });
        if let Some(connection) = connection
            && !connection.will_wake(context.waker())
        {
            connection.wake();
        }
        match arrived {
            None => Poll::Pending,
            Some(Ok(Some(data))) => {
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                self.is_over = self.left == Some(0);
                Poll::Ready(Some(Ok(data)))
            }
            Some(end) => {
                self.is_over = true;
                Poll::Ready(end.err().map(Err))
            }
        }
    }
}

impl Drop for ArrivingBody {
    fn drop(&mut self) {
        let connection = self.shared.with(|exchange| {
            exchange.is_dropped = true;
            exchange.connection.take()
        });
        if let Some(connection) = connection {
            connection.wake();
        }
    }
}

impl RequestBody {
    /// A body without content.
    pub const fn empty() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Arriving(body) => {
                let next = body.poll_next(context);
                next.map(|next| next.map(|data| data.map(Frame::data)))
            }
            Self::Tunnel(body) => {
                let next = body.poll_next(context);
                next.map(|next| next.map(|data| data.map(Frame::data)))
            }
            Self::Peeked(body) if body.taken.is_empty() => {
                Pin::new(&mut body.rest).poll_frame(context)
            }
            Self::Peeked(body) => {
                let taken = std::mem::take(&mut body.taken);
                Poll::Ready(Some(Ok(Frame::data(taken))))
            }
            Self::Http2(body) => {
                let next = Pin::new(body).poll_frame(context);
                next.map(|next| next.map(|frame| frame.map_err(io::Error::other)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Arriving(body) => body.is_over,
            Self::Peeked(body) => body.taken.is_empty() && body.rest.is_end_stream(),
            Self::Tunnel(_) => false,
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Arriving(body) => body
                .left
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Tunnel(_) => SizeHint::default(),
            // Nobody relies on the length of one that is read again.
            Self::Peeked(_) => SizeHint::default(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
