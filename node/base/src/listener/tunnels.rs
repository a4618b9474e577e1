//! WebSockets over HTTP/2 (RFC 8441): a stream that `CONNECT` with `:protocol websocket` opened carries bytes both ways.
//!
//! Whoever answers sees the same as over HTTP/1.1: an [`UpgradeOffer`], a body that must not be read before the answer, an answer
//! of 101 whose body goes back. Here the answer becomes the 200 of RFC 8441, and a task carries its body.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::activity::OpenBody;
use super::http1::RequestBody;
use crate::http1::fill;
use crate::websocket::UpgradeOffer;

type Stream = TokioIo<Upgraded>;

/// What a client sends through a stream, once that is a tunnel.
#[derive(Debug)]
pub struct StreamBody {
    opened: oneshot::Receiver<ReadHalf<Stream>>,
    reading: Option<ReadHalf<Stream>>,
}

impl StreamBody {
    /// The next bytes; `None` at their end.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        let reading = match &mut self.reading {
            Some(reading) => reading,
            empty => match ready!(Pin::new(&mut self.opened).poll(context)) {
                Ok(reading) => empty.insert(reading),
                Err(_) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            },
        };
        let mut read = BytesMut::new();
        let count = ready!(fill(reading, context, &mut read))?;
        Poll::Ready((count > 0).then(|| Ok(read.freeze())))
    }
}

/// The stream of an offer, before it is a tunnel.
pub(super) struct OfferedStream {
    upgrade: OnUpgrade,
    opened: oneshot::Sender<ReadHalf<Stream>>,
}

/// The request, and the stream that it offers to make a tunnel, if it does.
pub(super) fn offered(
    mut request: Request<Incoming>,
) -> (Request<RequestBody>, Option<OfferedStream>) {
    let protocol = request.extensions().get::<Protocol>();
    let is_offer = *request.method() == Method::CONNECT
        && protocol.is_some_and(|it| it.as_str().eq_ignore_ascii_case("websocket"));
    if !is_offer {
        return (request.map(RequestBody::Http2), None);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    request
        .extensions_mut()
        .insert(UpgradeOffer { fault: None });
    let (opened, opened_out) = oneshot::channel();
    let body = StreamBody {
        opened: opened_out,
        reading: None,
    };
    let request = request.map(|_| RequestBody::Tunnel(Box::new(body)));
    (request, Some(OfferedStream { upgrade, opened }))
}

impl OfferedStream {
    /// The answer as HTTP/2 has it. One that takes up the offer has its body carried by a task, which ends where the client reads none of
    /// it for `stall`.
    pub(super) fn answer<B>(
        self,
        reply: Response<OpenBody<B>>,
        stall: Duration,
    ) -> Response<StreamReply<B>>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + Send + 'static,
    {
        if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
            return reply.map(StreamReply::some);
        }
        let (mut head, body) = reply.into_parts();
        head.status = StatusCode::OK;
        tokio::spawn(async move {
            // A client that goes away ends both directions: this one where the upgrade or a write fails.
            let Ok(upgraded) = self.upgrade.await else {
                return;
            };
            let (reading, writing) = tokio::io::split(TokioIo::new(upgraded));
            if self.opened.send(reading).is_ok() {
                carry(body, writing, stall).await;
            }
        });
        Response::from_parts(head, StreamReply(None))
    }
}

/// Sends what `body` brings. One that breaks off ends the stream without an end of its own.
async fn carry<B>(mut body: B, mut writing: WriteHalf<Stream>, stall: Duration)
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    // Of a failure nothing is kept across a wait.
    while let Some(frame) = body.frame().await.map(Result::ok) {
        let Some(frame) = frame else { return };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let sent = async {
            writing.write_all(&data).await?;
            writing.flush().await
        };
        if !matches!(timeout(stall, sent).await, Ok(Ok(()))) {
            return;
        }
    }
    // The client has gone where this fails.
    let _ = writing.shutdown().await;
}

/// The body of an answer over HTTP/2; `None` within where it goes through a tunnel.
pub(super) struct StreamReply<B>(Option<OpenBody<B>>);

impl<B> StreamReply<B> {
    pub(super) fn some(body: OpenBody<B>) -> Self {
        Self(Some(body))
    }
}

impl<B: Body + Unpin> Body for StreamReply<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
