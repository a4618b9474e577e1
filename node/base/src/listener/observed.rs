//! A connection's stream, observed for its [`Activity`]: heads that arrive, answers that leave.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Activity;
use super::activity::Protocol;
use super::frames::Frames;
use super::stall::Unstalled;

/// A stream that reports to an [`Activity`] what passes.
#[derive(Debug)]
pub(super) struct Observed<S> {
    stream: Unstalled<S>,
    activity: Arc<Activity>,
    /// The frames in each direction, for protocols with frames.
    frames: Option<(Frames, Frames)>,
}

impl<S> Observed<S> {
    /// `stream`, whose writes may each wait for `stall`.
    pub(super) fn new(
        stream: S,
        protocol: Protocol,
        activity: Arc<Activity>,
        stall: Duration,
    ) -> Self {
        let is_framed = protocol == Protocol::Http2;
        Self {
            stream: Unstalled::new(stream, stall),
            activity,
            frames: is_framed.then(|| (Frames::of_a_client(), Frames::of_a_server())),
        }
    }

    /// Follows what was written of `pieces`.
    fn wrote<'a>(
        &mut self,
        written: io::Result<usize>,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<usize> {
        let mut left = self.checked(written)?;
        let count = left;
        let Some((_, sent)) = &mut self.frames else {
            if count > 0 {
                self.activity.answered();
            }
            return Ok(count);
        };
        let mut has_data = false;
        for piece in pieces {
            let part = left.min(piece.len());
            has_data |= sent.follow(&piece[..part]);
            left -= part;
        }
        if has_data {
            self.activity.answered();
        }
        Ok(count)
    }

    /// Notes a client that reads nothing.
    fn checked<T>(&self, result: io::Result<T>) -> io::Result<T> {
        let is_stall = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        if result.as_ref().is_err_and(is_stall) {
            self.activity.stalled();
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        if !came.is_empty() {
            let head_in_parts = self.frames.as_mut().map(|(received, _)| {
                received.follow(came);
                received.is_in_head()
            });
            self.activity.received(head_in_parts);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        Poll::Ready(self.wrote(written, std::iter::once(bytes)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, pieces));
        Poll::Ready(self.wrote(written, pieces.iter().map(|piece| &**piece)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
        Poll::Ready(self.checked(flushed))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
