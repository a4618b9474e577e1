//! A stream whose first bytes can be inspected before they are read.
//!
//! They are read from the socket and replayed to the reader, instead of being peeked at: a peek returns at once
//! for as long as a byte is buffered, so that waiting for the next one would be polling.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What is read at once while the first bytes are looked at.
const READ_BYTES: usize = 256;

/// A stream with bytes that were looked at in front.
#[derive(Debug)]
pub struct Replayed<S> {
    seen: Vec<u8>,
    stream: S,
}

impl<S> Replayed<S> {
    /// `stream`, of which nothing was looked at.
    pub const fn new(stream: S) -> Self {
        Self {
            seen: Vec::new(),
            stream,
        }
    }

    /// The bytes that were looked at and not read.
    pub fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// Takes the first `count` bytes of [`Replayed::seen`] away, or all where there are fewer.
    pub fn skip(&mut self, count: usize) {
        self.seen.drain(..count.min(self.seen.len()));
    }
}

impl<S: AsyncRead + Unpin> Replayed<S> {
    /// Waits for at least one more byte to look at. The caller bounds how many it asks for.
    ///
    /// # Errors
    /// When the stream fails or ends.
    pub async fn look(&mut self) -> io::Result<()> {
        self.seen.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.seen).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.seen.len().min(buffer.remaining());
        buffer.put_slice(&self.seen[..count]);
        self.skip(count);
        if self.seen.is_empty() {
            self.seen = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    #[tokio::test]
    async fn bytes_that_were_looked_at_are_read_first_and_once() {
        let (ours, mut theirs) = duplex(64);
        let mut ours = Replayed::new(ours);
        theirs.write_all(b"headbody").await.expect("room");
        ours.look().await.expect("bytes");
        assert_eq!(ours.seen(), b"headbody");
        ours.skip(4);
        theirs.write_all(b"rest").await.expect("room");
        drop(theirs);
        let mut text = String::new();
        ours.read_to_string(&mut text).await.expect("text");
        assert_eq!(text, "bodyrest");
    }

    #[tokio::test]
    async fn end_of_the_stream_is_an_error_to_the_caller_of_look() {
        let (ours, theirs) = duplex(64);
        drop(theirs);
        let error = Replayed::new(ours).look().await.expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
