//! An upstream's answer over HTTP/1.1, after a first byte that says in which pieces it comes.

use std::cell::LazyCell;
use std::io::Cursor;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use grapevine_node::upstream::probes::{ReadAnswer, answer};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: LazyCell<Runtime> =
        LazyCell::new(|| Builder::new_current_thread().build().expect("a runtime"));
}

/// An answer is the same in whatever pieces it comes, and hyper reads the same.
pub(crate) fn target(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = answer([bytes]);
    let pieces = answer(bytes.chunks(usize::from(*size).max(1)));
    match (&whole, &pieces) {
        (Err(_), Err(_)) => {}
        _ => assert_eq!(whole, pieces),
    }
    if let Ok(Some(ours)) = whole
        && is_comparable(&ours)
    {
        let theirs = RUNTIME.with(|runtime| runtime.block_on(by_hyper(bytes)));
        let theirs = theirs.unwrap_or_else(|error| panic!("{error}, and here: {ours:?}"));
        assert_eq!(
            theirs,
            (
                ours.is_whole != Some(false),
                ours.status,
                ours.headers,
                ours.body
            )
        );
    }
}

/// Whether the answer reaches a client, which other checks decide, with the body that hyper would see.
fn is_comparable(ours: &ReadAnswer) -> bool {
    let all = |name: &str| -> Vec<_> {
        let named = ours.headers.iter().filter(|header| header.0 == name);
        named.map(|header| header.1.to_ascii_lowercase()).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let is_framed = match (&lengths[..], &codings[..]) {
        ([], []) => true,
        ([length], []) => length.iter().all(u8::is_ascii_digit),
        ([], [coding]) => coding == b"chunked",
        _ => false,
    };
    is_framed && !matches!(ours.status, 101 | 204 | 304)
}

type Theirs = (bool, u16, Vec<(String, Vec<u8>)>, Vec<u8>);

/// What hyper reads: whether the body ends well, and what comes of it.
async fn by_hyper(bytes: &[u8]) -> hyper::Result<Theirs> {
    let wire = TokioIo::new(Wire {
        bytes: Cursor::new(bytes.to_vec()),
        is_asked: false,
        reader: None,
    });
    let mut builder = hyper::client::conn::http1::Builder::new();
    let handshake = builder.max_headers(128).handshake(wire);
    let (mut sender, connection) = handshake.await?;
    let exchange = async {
        let mut answer = sender
            .send_request(http::Request::new(Empty::<Bytes>::new()))
            .await?;
        let (mut body, mut is_whole) = (Vec::new(), true);
        while let Some(frame) = answer.body_mut().frame().await {
            match frame {
                Ok(frame) => body.extend(frame.into_data().unwrap_or_default()),
                Err(_) => is_whole = false,
            }
        }
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        Ok((is_whole, answer.status().as_u16(), headers.collect(), body))
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        exchanged = &mut exchange => exchanged,
        // Its error is the exchange's too.
        _ = &mut connection => exchange.await,
    }
}

/// Bytes that are sent once something was asked, before the connection is closed. What is written is dropped.
struct Wire {
    bytes: Cursor<Vec<u8>>,
    is_asked: bool,
    reader: Option<Waker>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.is_asked {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.bytes).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.is_asked = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
