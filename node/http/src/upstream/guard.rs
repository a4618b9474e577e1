//! An HTTP/2 connection to an upstream that says how it ended, and loses no answer.
//!
//! hyper gives a connection up when it cannot write, also where the upstream answered before it had read the
//! request, as with 413, and then closed: the answer waits to be read. So what can no longer be written is
//! dropped here, and reading ends the connection.
//!
//! Invariant: a byte that the upstream sent is read before the connection's end is reported.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes have been read from a connection, shared by its stream and by what sends requests on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading(Arc<AtomicU64>);

impl Reading {
    /// The bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// The stream of a connection.
pub(super) struct Guarded<T> {
    stream: T,
    reading: Reading,
    /// Why nothing can be written any more.
    write_error: Option<io::Error>,
}

impl<T> Guarded<T> {
    pub(super) fn new(stream: T) -> Self {
        Self {
            stream,
            reading: Reading::default(),
            write_error: None,
        }
    }

    pub(super) fn reading(&self) -> &Reading {
        &self.reading
    }

    /// What came of reading, after `count` bytes.
    fn after_read(&mut self, read: io::Result<()>, count: usize) -> io::Result<()> {
        if read.is_ok() && count > 0 {
            self.reading.add(count);
            return read;
        }
        let is_first = self.reading.bytes() == 0;
        match self.write_error.take_if(|_| is_first) {
            Some(error) => Err(error),
            // The end of an answer is an end, whatever became of its request.
            None => read,
        }
    }

    /// What came of writing `length` bytes: those that can no longer be written are taken all the same.
    fn after_write(
        &mut self,
        written: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) if is_closed(&error) => {
                self.write_error = Some(error);
                Poll::Ready(Ok(length))
            }
            written => written,
        }
    }
}

/// Whether the other side closed the connection.
fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
    )
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) else {
            return Poll::Pending;
        };
        let count = buffer.filled().len() - before;
        Poll::Ready(self.after_read(read, count))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.write_error.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.after_write(written, bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_error.is_some() {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.after_write(flushed.map_ok(|()| 0), 0).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.write_error.is_some() {
            return Poll::Ready(Ok(length));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.after_write(written, length)
    }
}

impl<T: Connection> Connection for Guarded<T> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}
