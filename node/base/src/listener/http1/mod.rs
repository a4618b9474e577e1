//! Serves HTTP/1.1 on a connection: one request after another, each in the connection's own task.
//!
//! A request that arrived whole costs one read, and an answer that is whole one write. A connection that waits, for a
//! request or for more of an answer, holds no buffer. hyper's server keeps 16 KiB for that.
//!
//! Invariants:
//! - What RFC 9112 calls an error in where a body ends is refused, see [`head`]; a refused connection is closed.
//! - A client that goes away ends the work for it: the request's future is dropped. So does one that closes its side
//!   alone, while its request is answered.
//! - An answer that breaks is never ended as a whole one: no last chunk, fewer bytes than announced.
//! - No answer begins before the one to the request before it was written.
//!
//! Bound per connection: a head within its limits, 64 KiB of a request's body, and what is pending of an answer: no more
//! of it is taken while that is 64 KiB or longer.

mod answer;
mod body;
mod exchange;
mod head;
pub mod probes;
#[cfg(test)]
mod tests;
mod upgrade;
mod upload;

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::HeaderMap;
use http::{Request, Response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::head_lines::{HeadLines, IntoReply};
use crate::http1::{ChunkDecoder, fill, names_option};
use answer::{Framing, Pending, Terms};
pub use body::{ArrivingBody, PeekedBody, RequestBody};
use exchange::Exchange;
use head::{HeadReader, Refused, RequestHead};
use upload::{Rest, Upload};

/// What a request's head may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    pub(super) count_max: usize,
    pub(super) bytes_max: usize,
}

/// A connection whose requests `respond` answers; a future that ends with it.
pub(super) struct Connection<S, R, F, B> {
    stream: S,
    limits: HeadLimits,
    respond: R,
    /// What arrived and was not read yet.
    incoming: BytesMut,
    pending: Pending,
    state: State<F, B>,
    /// Whether it closes after the answer in flight.
    is_ending: bool,
}

enum State<F, B> {
    Waiting(HeadReader),
    Answering(F, Exchange),
    /// The body, and how it is sent.
    Sending(B, Framing, Exchange),
    /// All of the answer is pending.
    Finishing(Exchange),
    Closing,
}

/// Nothing in it is pinned in its place: the request's future sees to its own memory.
impl<S, R, F, B> Unpin for Connection<S, R, F, B> {}

impl<S, R, F, B> Connection<S, R, F, B> {
    pub(super) fn new(stream: S, limits: HeadLimits, respond: R) -> Self {
        Self {
            stream,
            limits,
            respond,
            incoming: BytesMut::new(),
            pending: Pending::default(),
            state: State::Waiting(HeadReader::default()),
            is_ending: false,
        }
    }

    /// Closes it as soon as no request is in flight; it is to be polled afterwards.
    pub(super) fn end(self: Pin<&mut Self>) {
        self.get_mut().is_ending = true;
    }
}

impl<S, R, F, B> Connection<S, R, F, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: Fn(Request<RequestBody>) -> F,
    F: Future<Output: IntoReply<Body = B>> + Unpin,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    /// Looks for a request in what arrived, and reads on.
    fn poll_waiting(
        &mut self,
        context: &mut Context<'_>,
        mut reader: HeadReader,
    ) -> Poll<io::Result<State<F, B>>> {
        let HeadLimits {
            count_max,
            bytes_max,
        } = self.limits;
        loop {
            match reader.take(&mut self.incoming, count_max, bytes_max) {
                Ok(Some(head)) => return Poll::Ready(Ok(self.begin(head))),
                Ok(None) => {}
                Err(refused) => return Poll::Ready(Ok(self.refuse(refused))),
            }
            if self.is_ending && self.incoming.is_empty() {
                return Poll::Ready(Ok(State::Closing));
            }
            match fill(&mut self.stream, context, &mut self.incoming) {
                Poll::Ready(Ok(0)) if self.incoming.is_empty() => {
                    return Poll::Ready(Ok(State::Closing));
                }
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.state = State::Waiting(reader);
                    return Poll::Pending;
                }
            }
        }
    }

    fn begin(&mut self, head: RequestHead) -> State<F, B> {
        let RequestHead {
            mut request,
            framing,
            is_kept,
            is_upgrade,
            awaits_continue,
        } = head;
        let is_http10 = request.version() == http::Version::HTTP_10;
        let terms = Terms::new(request.method(), is_http10);
        let is_offered = is_upgrade && upgrade::offer(&mut request, framing);
        let (body, upload) = match is_offered {
            true => upgrade::body(),
            false => self.body(framing, awaits_continue),
        };
        let future = (self.respond)(request.map(|()| body));
        let exchange = Exchange {
            terms,
            is_kept,
            upload,
            is_cut: false,
            is_offered,
        };
        State::Answering(future, exchange)
    }

    /// The body of a request: at once where all of it is at hand.
    fn body(
        &mut self,
        framing: head::Framing,
        awaits_continue: bool,
    ) -> (RequestBody, Option<Upload>) {
        let (length, rest) = match framing {
            head::Framing::Length(0) => return (RequestBody::empty(), None),
            head::Framing::Length(length) => {
                if let Ok(here) = usize::try_from(length)
                    && here <= self.incoming.len()
                {
                    let body = crate::http1::take(&mut self.incoming, here);
                    return (RequestBody::Whole(body), None);
                }
                (Some(length), Rest::Length(length))
            }
            head::Framing::Chunked => (None, Rest::Chunked(ChunkDecoder::default())),
        };
        let (body, source) = body::arriving(length);
        let upload = Upload {
            source,
            rest,
            awaits_continue,
        };
        (body, Some(upload))
    }

    fn refuse(&mut self, refused: Refused) -> State<F, B> {
        let exchange = Exchange::refused();
        let headers = (&HeaderMap::new(), &HeadLines::default());
        let framing = Framing::Length(0);
        let head = answer::head(refused.0, headers, exchange.terms, framing, false);
        self.pending.push_head(head);
        State::Finishing(exchange)
    }

    fn poll_answering(
        &mut self,
        context: &mut Context<'_>,
        mut future: F,
        mut exchange: Exchange,
    ) -> Poll<io::Result<State<F, B>>> {
        loop {
            if let Poll::Ready(reply) = Pin::new(&mut future).poll(context) {
                drop(future);
                return Poll::Ready(Ok(self.answer(context, reply.into_reply(), exchange)));
            }
            if exchange
                .poll_request(
                    context,
                    &mut self.stream,
                    &mut self.incoming,
                    &mut self.pending,
                )?
                .is_pending()
            {
                self.state = State::Answering(future, exchange);
                return Poll::Pending;
            }
        }
    }

    /// Begins to send `response`, with `lines` in its head.
    fn answer(
        &mut self,
        context: &Context<'_>,
        (response, lines): (Response<B>, HeadLines),
        mut exchange: Exchange,
    ) -> State<F, B> {
        let (parts, body) = response.into_parts();
        exchange.is_kept &= !self.is_ending && !names_option(&parts.headers, "close");
        if let Some(upload) = &mut exchange.upload {
            let is_expected = !upload.awaits_continue;
            match is_expected && upload.skip(context, &mut self.incoming) {
                true => exchange.upload = None,
                // What its client still sends would be read as a request.
                false => exchange.is_kept = false,
            }
        }
        let length = body.size_hint().exact();
        let (terms, status) = (exchange.terms, parts.status);
        let framing = match exchange.takes_up(status) {
            true => Framing::Upgraded,
            false => terms.framing(status, (&parts.headers, &lines), length),
        };
        exchange.is_kept &= !matches!(framing, Framing::Close | Framing::Upgraded);
        let headers = (&parts.headers, &lines);
        let head = answer::head(status, headers, terms, framing, exchange.is_kept);
        self.pending.push_head(head);
        match framing {
            Framing::None | Framing::Length(0) => State::Finishing(exchange),
            framing => State::Sending(body, framing, exchange),
        }
    }

    fn poll_sending(
        &mut self,
        context: &mut Context<'_>,
        mut body: B,
        mut framing: Framing,
        mut exchange: Exchange,
    ) -> Poll<io::Result<State<F, B>>> {
        loop {
            match self.take_body(context, &mut body, &mut framing) {
                Ok(false) => {}
                Ok(true) => return Poll::Ready(Ok(State::Finishing(exchange))),
                Err(error) => {
                    // What was there before reaches the client, as far as it goes at once.
                    let _ = self.pending.poll_write(context, &mut self.stream);
                    return Poll::Ready(Err(error));
                }
            }
            let was_full = !self.pending.has_room();
            let written = self.pending.poll_write(context, &mut self.stream)?;
            if written.is_ready() && was_full {
                continue;
            }
            if exchange
                .poll_request(
                    context,
                    &mut self.stream,
                    &mut self.incoming,
                    &mut self.pending,
                )?
                .is_pending()
            {
                self.state = State::Sending(body, framing, exchange);
                return Poll::Pending;
            }
        }
    }

    /// Takes what is ready of the answer's body while there is room; whether that is all of it.
    fn take_body(
        &mut self,
        context: &mut Context<'_>,
        body: &mut B,
        framing: &mut Framing,
    ) -> io::Result<bool> {
        while self.pending.has_room() {
            let data = match Pin::new(&mut *body).poll_frame(context) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Some(Err(error))) => return Err(io::Error::other(error)),
                // Nobody asked for trailers: `TE` is not passed on.
                Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Poll::Ready(None) => return self.end_body(*framing).map(|()| true),
            };
            match framing {
                Framing::Length(left) => {
                    let length = data.len() as u64;
                    *left = left.checked_sub(length).ok_or_else(unannounced)?;
                    self.pending.push(data);
                }
                Framing::Chunked => self.pending.push_chunk(data),
                Framing::Close | Framing::Upgraded => self.pending.push(data),
                Framing::None => {}
            }
            if *framing == Framing::Length(0) || body.is_end_stream() {
                return self.end_body(*framing).map(|()| true);
            }
        }
        Ok(false)
    }

    fn end_body(&mut self, framing: Framing) -> io::Result<()> {
        match framing {
            Framing::Chunked => self.pending.push_text(b"0\r\n\r\n"),
            Framing::Length(left) if left > 0 => return Err(unannounced()),
            Framing::Length(_) | Framing::Close | Framing::Upgraded | Framing::None => {}
        }
        Ok(())
    }

    /// Writes the last of an answer; then what follows it.
    fn poll_finishing(
        &mut self,
        context: &mut Context<'_>,
        exchange: Exchange,
    ) -> Poll<io::Result<State<F, B>>> {
        if self
            .pending
            .poll_write(context, &mut self.stream)?
            .is_pending()
        {
            self.state = State::Finishing(exchange);
            return Poll::Pending;
        }
        let is_kept = exchange.is_kept && exchange.upload.is_none() && !self.is_ending;
        Poll::Ready(Ok(match is_kept {
            true => State::Waiting(HeadReader::default()),
            false => State::Closing,
        }))
    }
}

impl<S, R, F, B> Future for Connection<S, R, F, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: Fn(Request<RequestBody>) -> F,
    F: Future<Output: IntoReply<Body = B>> + Unpin,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            // Each puts its state back where it must wait.
            let next = match std::mem::replace(&mut this.state, State::Closing) {
                State::Waiting(reader) => this.poll_waiting(context, reader),
                State::Answering(future, exchange) => {
                    this.poll_answering(context, future, exchange)
                }
                State::Sending(body, framing, exchange) => {
                    this.poll_sending(context, body, framing, exchange)
                }
                State::Finishing(exchange) => this.poll_finishing(context, exchange),
                State::Closing => return Pin::new(&mut this.stream).poll_shutdown(context),
            };
            this.state = ready!(next)?;
        }
    }
}

/// A body that is longer or shorter than its head says.
fn unannounced() -> io::Error {
    io::Error::other("the answer's body is not of the length that was announced")
}
