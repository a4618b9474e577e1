//! The bytes of a connection, plain or TLS.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is read at once, at the most.
pub(super) const READ_BYTES: usize = 64 * 1_024;

thread_local! {
    /// Where every connection of a thread reads into, so that none holds a buffer while it waits.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// A connection as it is opened.
pub(in crate::upstream) type UpstreamStream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection to an upstream.
pub(in crate::upstream) enum Wire {
    Plain(TcpStream),
    Tls(Box<TokioIo<UpstreamStream>>),
    #[cfg(test)]
    Test(tokio::io::DuplexStream),
}

impl From<UpstreamStream> for Wire {
    fn from(stream: UpstreamStream) -> Self {
        match stream {
            MaybeHttpsStream::Http(stream) => Self::Plain(stream.into_inner()),
            tls @ MaybeHttpsStream::Https(_) => Self::Tls(Box::new(TokioIo::new(tls))),
        }
    }
}

impl Wire {
    /// Appends what has come to `incoming`, at most [`READ_BYTES`]; zero is the end.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        incoming: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let read = match self {
                Self::Plain(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                Self::Tls(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                #[cfg(test)]
                Self::Test(stream) => Pin::new(stream).poll_read(context, &mut buffer),
            };
            ready!(read)?;
            let read = buffer.filled();
            if incoming.is_empty() {
                // Memory of its own, of just this size: the last piece keeps none.
                *incoming = BytesMut::from(read);
            } else {
                incoming.extend_from_slice(read);
            }
            Poll::Ready(Ok(read.len()))
        })
    }

    /// Writes what it can of `slices`, some of which are empty.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            #[cfg(test)]
            Self::Test(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    /// Sends what was written: TLS holds it until then.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Plain(_) => Poll::Ready(Ok(())),
            #[cfg(test)]
            Self::Test(_) => Poll::Ready(Ok(())),
        }
    }
}
