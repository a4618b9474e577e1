//! The bytes of a connection, plain or TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use grapevine_base::http1;
use grapevine_base::websocket::upload::TunnelUpload;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

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
    /// Its directions by themselves. It is closed when both are dropped; the end of the second one is sent by finishing it.
    pub(in crate::upstream) fn split(self) -> (Box<dyn AsyncRead + Send + Unpin>, TunnelUpload) {
        match self {
            Self::Plain(stream) => {
                let (reading, writing) = stream.into_split();
                (Box::new(reading), TunnelUpload::new(writing))
            }
            Self::Tls(stream) => {
                let (reading, writing) = tokio::io::split(*stream);
                (Box::new(reading), TunnelUpload::new(writing))
            }
            #[cfg(test)]
            Self::Test(stream) => {
                let (reading, writing) = tokio::io::split(stream);
                (Box::new(reading), TunnelUpload::new(writing))
            }
        }
    }

    /// Appends what has come to `incoming`, at most [`READ_BYTES`](http1::READ_BYTES); zero is the end.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        incoming: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => http1::fill(stream, context, incoming),
            Self::Tls(stream) => http1::fill(stream, context, incoming),
            #[cfg(test)]
            Self::Test(stream) => http1::fill(stream, context, incoming),
        }
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
