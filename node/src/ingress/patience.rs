//! Tells a client that is slow with a request's head from one that has nothing to ask just now.
//!
//! Hyper knows one wait for both. But a client that trickles a head holds a connection for nothing and
//! should go within seconds, while an idle connection should be kept for longer than the balancer in
//! front keeps it: whoever closes first while the other sends loses a request.
//!
//! So a connection counts its open requests, and a head is under way when bytes have come while none
//! is open. The clock is read once for each head, and a timer is set only when one comes in parts.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::outgoing::{BrokenOff, ReplyBody};

/// The requests of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Open(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Those whose head came.
    begun: AtomicUsize,
    /// Those that are answered whole.
    ended: AtomicUsize,
}

/// One of them, not answered whole until it is dropped.
#[derive(Debug)]
pub(super) struct OpenGuard(Open);

impl Open {
    /// One more, until the guard is dropped.
    pub(super) fn enter(&self) -> OpenGuard {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        OpenGuard(self.clone())
    }

    /// How many requests there were; `None` while one is open.
    fn past(&self) -> Option<usize> {
        let begun = self.0.begun.load(Ordering::Relaxed);
        (begun == self.0.ended.load(Ordering::Relaxed)).then_some(begun)
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream whose reader gives up when a head takes too long.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    open: Open,
    head_time: Duration,
    /// When the first bytes of the last head came, and after how many requests; that head is still
    /// under way while there are no more of them.
    head_began: Option<(Instant, usize)>,
    /// Set for a head that came in parts.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// `stream`, whose open requests are counted in `open`, and each of whose heads may take `head_time`.
    pub(super) fn new(stream: S, open: Open, head_time: Duration) -> Self {
        Self {
            stream,
            open,
            head_time,
            head_began: None,
            timer: None,
        }
    }

    /// Nothing more has come: ready when the head under way has taken too long.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let past = self.open.past();
        let under_way = self.head_began.filter(|(_, after)| Some(*after) == past);
        let Some((began_at, _)) = under_way else {
            self.timer = None;
            return Poll::Pending;
        };
        let due = began_at + self.head_time;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        timer.as_mut().poll(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            if buffer.filled().len() > before
                && let Some(past) = self.open.past()
                && self.head_began.is_none_or(|(_, after)| after != past)
            {
                self.head_began = Some((Instant::now(), past));
            }
            return Poll::Ready(read);
        }
        let too_slow = |()| Err(io::ErrorKind::TimedOut.into());
        self.poll_head(context).map(too_slow)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// An answer's body that keeps its request open until it is dropped.
#[derive(Debug)]
pub(super) struct OpenBody {
    pub(super) body: ReplyBody,
    pub(super) _open: OpenGuard,
}

impl Body for OpenBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
