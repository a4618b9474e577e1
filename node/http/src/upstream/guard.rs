//! A connection to an upstream that can be closed from outside.
//!
//! hyper takes an answer without a body to be over with its head, and reuses the connection. What an upstream
//! wrongly sends after such a head would then be read as the answer to another request. So the code that
//! checks the head closes a connection that can no longer be trusted: its reader then sees the end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};

/// Closes a connection. Every answer carries the one of its connection among its extensions.
#[derive(Clone, Debug, Default)]
pub(super) struct GiveUp(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_given_up: AtomicBool,
    reader: AtomicWaker,
}

impl GiveUp {
    /// From now on nothing is read from the connection, and so it is closed.
    pub(super) fn give_up(&self) {
        self.0.is_given_up.store(true, Ordering::Release);
        self.0.reader.wake();
    }

    fn is_given_up(&self) -> bool {
        self.0.is_given_up.load(Ordering::Acquire)
    }
}

/// A connection that can be given up.
pub(super) struct Guarded<T> {
    stream: T,
    give_up: GiveUp,
}

impl<T> Guarded<T> {
    pub(super) fn new(stream: T) -> Self {
        Self {
            stream,
            give_up: GiveUp::default(),
        }
    }
}

impl<T: Read + Unpin> Read for Guarded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.give_up.is_given_up() {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_pending() {
            self.give_up.0.reader.register(context.waker());
            if self.give_up.is_given_up() {
                return Poll::Ready(Ok(()));
            }
        }
        polled
    }
}

impl<T: Write + Unpin> Write for Guarded<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

impl<T: Connection> Connection for Guarded<T> {
    fn connected(&self) -> Connected {
        // Replaces the addresses of the inner stream, which are not used.
        let connected = Connected::new().extra(self.give_up.clone());
        if self.stream.connected().is_negotiated_h2() {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}
