//! Answers whose end is the end of the connection: those to HTTP/1.0 without a length.
//!
//! There, a broken answer would end as a whole one does. Nothing in the protocol tells the two apart, so the
//! connection is reset: what the client had not read yet may be lost with it, and it sees an error. Chunked answers, those
//! with a length and those of HTTP/2 are unfinished by themselves when they break off.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::broken::BrokenOff;

/// Whether a connection is to end with a reset.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaking(Arc<AtomicBool>);

impl Breaking {
    fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection that ends with a reset once it breaks.
pub(super) struct Breakable {
    stream: TcpStream,
    breaking: Breaking,
}

impl Breakable {
    pub(super) fn new(stream: TcpStream, breaking: Breaking) -> Self {
        Self { stream, breaking }
    }

    fn check(&self) -> io::Result<()> {
        match self.breaking.has_begun() {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }
}

impl Drop for Breakable {
    fn drop(&mut self) {
        if self.breaking.has_begun() {
            // Where that fails the connection ends in order, which is all there is left.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Breakable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Breakable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Sends the end of the connection, which is a clean one.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// An answer's body, which breaks its connection when it fails.
pub(super) struct BreakingBody<B> {
    pub(super) body: B,
    /// `None` where a broken answer is unfinished by itself.
    pub(super) breaking: Option<Breaking>,
}

impl<B: Body<Data = Bytes, Error = BrokenOff> + Unpin> Body for BreakingBody<B> {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(Some(Err(_))))
            && let Some(breaking) = &self.breaking
        {
            breaking.begin();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
