//! A connection to an upstream that says how it ended, loses no answer, and can be closed from outside.
//!
//! hyper takes an answer without a body to be over with its head, and reuses the connection. What an upstream
//! wrongly sends after such a head would then be read as the answer to another request. So the code that
//! checks the head closes a connection that can no longer be trusted: its reader then sees the end.
//!
//! hyper gives a connection up when it cannot write, also where the upstream answered before it had read the
//! request, as with 413, and then closed: the answer waits to be read. So what can no longer be written is
//! dropped here, and reading ends the connection.
//!
//! Invariant: a byte that the upstream sent is read before the connection's end is reported.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A request on a connection that the upstream has closed already gets its end after one round trip, and not
/// after the time that an upstream works on a request before it fails.
const STALE_WITHIN: Duration = Duration::from_secs(1);

/// One connection to an upstream. Every answer carries its own among its extensions, and so does the failure of
/// a request.
#[derive(Clone, Debug, Default)]
pub(super) struct UpstreamConnection(Arc<UpstreamConnectionState>);

#[derive(Debug, Default)]
struct UpstreamConnectionState {
    is_given_up: AtomicBool,
    reader: AtomicWaker,
    /// When something came for the last time, where the upstream then closed the connection soon after
    /// something was sent.
    closed_after: OnceLock<Instant>,
}

impl UpstreamConnection {
    /// From now on nothing is read from the connection, and so it is closed.
    pub(super) fn give_up(&self) {
        self.0.is_given_up.store(true, Ordering::Release);
        self.0.reader.wake();
    }

    fn is_given_up(&self) -> bool {
        self.0.is_given_up.load(Ordering::Acquire)
    }

    /// Whether it was in use before a call that began at `began`, nothing came for that call, and the upstream
    /// closed it as soon as the call was sent: it was closed before, and the call was not processed.
    pub(super) fn was_stale(&self, began: Instant) -> bool {
        let closed_after = self.0.closed_after.get();
        closed_after.is_some_and(|read_at| *read_at < began)
    }
}

/// The stream of an [`UpstreamConnection`].
pub(super) struct Guarded<T> {
    stream: T,
    connection: UpstreamConnection,
    /// When something came for the last time.
    read_at: Option<Instant>,
    /// When something was written for the first time since.
    written_at: Option<Instant>,
    /// Why nothing can be written any more.
    write_error: Option<io::Error>,
}

impl<T> Guarded<T> {
    pub(super) fn new(stream: T) -> Self {
        Self {
            stream,
            connection: UpstreamConnection::default(),
            read_at: None,
            written_at: None,
            write_error: None,
        }
    }

    /// The upstream ended its side, with or without an error.
    fn ended(&self) {
        if let (Some(read_at), Some(written_at)) = (self.read_at, self.written_at)
            && written_at.elapsed() <= STALE_WITHIN
        {
            let _ = self.connection.0.closed_after.set(read_at);
        }
    }

    /// What came of reading, after `count` bytes.
    fn after_read(&mut self, read: io::Result<()>, count: usize) -> io::Result<()> {
        if read.is_ok() && count > 0 {
            self.read_at = Some(Instant::now());
            self.written_at = None;
            return read;
        }
        self.ended();
        match self.write_error.take_if(|_| self.read_at.is_none()) {
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

    fn writes(&mut self) {
        self.written_at.get_or_insert_with(Instant::now);
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
        if self.connection.is_given_up() {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                let count = buffer.filled().len() - before;
                Poll::Ready(self.after_read(read, count))
            }
            Poll::Pending => {
                self.connection.0.reader.register(context.waker());
                if self.connection.is_given_up() {
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending
            }
        }
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
        self.writes();
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
        self.writes();
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.after_write(written, length)
    }
}

impl<T: Connection> Connection for Guarded<T> {
    fn connected(&self) -> Connected {
        // Replaces the addresses of the inner stream, which are not used.
        let connected = Connected::new().extra(self.connection.clone());
        if self.stream.connected().is_negotiated_h2() {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}
