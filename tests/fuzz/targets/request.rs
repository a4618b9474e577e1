//! A client's requests over HTTP/1.1, after a first byte that says in which pieces they arrive.

use std::cell::{LazyCell, RefCell};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use grapevine_node::listener::http1::probes::{ReadRequest, requests};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

/// Headers of a request, and bytes of a head.
const LIMITS: (usize, usize) = (100, 64 * 1_024);

/// Longer input reaches limits that hyper has otherwise.
const BYTES_MAX: usize = 16 * 1_024;

thread_local! {
    static RUNTIME: LazyCell<Runtime> =
        LazyCell::new(|| Builder::new_current_thread().build().expect("a runtime"));
}

/// Requests are the same in whatever pieces they arrive, and hyper reads the same ones, unless one is refused.
pub(crate) fn target(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let bytes = &bytes[..bytes.len().min(BYTES_MAX)];
    let (ours, refused) = requests([bytes], LIMITS);
    let pieces = requests(bytes.chunks(usize::from(*size).max(1)), LIMITS);
    assert_eq!((&ours, refused), (&pieces.0, pieces.1));
    let theirs = RUNTIME.with(|runtime| runtime.block_on(by_hyper(bytes)));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        if ours.is_whole {
            assert_eq!(ours, theirs);
        }
    }
    let whole = ours.iter().filter(|request| request.is_whole).count();
    let theirs = theirs.iter().filter(|request| request.is_whole).count();
    assert!(
        theirs <= whole || refused.is_some(),
        "{theirs} by hyper, {whole} here"
    );
}

/// The requests that hyper reads.
async fn by_hyper(bytes: &[u8]) -> Vec<ReadRequest> {
    let read = RefCell::new(Vec::new());
    let serve = service_fn(async |request: Request<Incoming>| {
        let (head, mut body) = request.into_parts();
        let (mut content, mut is_whole) = (Vec::new(), true);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => content.extend(frame.into_data().unwrap_or_default()),
                Err(_) => is_whole = false,
            }
        }
        let mut headers: Vec<_> = head.headers.iter().collect();
        let mut has_length = false;
        // A length that is stated twice alike stands once here.
        headers.retain(|(name, _)| {
            *name != "content-length" || !std::mem::replace(&mut has_length, true)
        });
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        read.borrow_mut().push(ReadRequest {
            method: head.method.to_string(),
            target: head.uri.to_string(),
            headers: headers.collect(),
            body: content,
            is_whole,
        });
        let mut response = Response::new(Empty::<Bytes>::new());
        // One that a tunnel could begin with would end the reading of requests.
        *response.status_mut() = StatusCode::NOT_FOUND;
        Ok::<_, Infallible>(response)
    });
    let wire = TokioIo::new(Wire(bytes.to_vec()));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .half_close(true)
        .max_headers(LIMITS.0)
        .max_buf_size(LIMITS.1);
    // An error is the end of what it reads.
    let _ = builder.serve_connection(wire, serve).await;
    read.into_inner()
}

/// Bytes that are there at once, before the client closes its side. What is written is dropped.
struct Wire(Vec<u8>);

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let length = self.0.len().min(buffer.remaining());
        buffer.put_slice(&self.0[..length]);
        self.0.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
