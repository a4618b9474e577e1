//! Tunnels over a hop: what a client sends follows the head of its call on the same stream, as it is, to its end.
//!
//! What comes back is an answer's body. Both are bounded by the windows of the stream: a side that does not read stops the other.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{Answer, AnswerBody};
use grapevine_base::websocket::closing::{ClosingBody, TunnelEnd};
use grapevine_base::websocket::upload::TunnelUpload;
use quinn::RecvStream;
use tokio::io::AsyncWrite;

use super::answer::AnswerStream;
use super::halves::SendHalf;
use super::relay::Relay;
use super::streams::CallStream;

/// The stream of a tunnel's answer, and where its client's bytes go.
pub(super) fn upload(stream: CallStream) -> (AnswerStream, Option<TunnelUpload>) {
    let (send, recv, rest) = stream.into_halves();
    let stream = AnswerStream {
        recv,
        send: None,
        rest,
    };
    let upload = PeerUpload {
        send,
        // Another task than the answer's body: it needs a way of its own.
        relay: Relay::of_this_thread(),
    };
    (stream, Some(TunnelUpload::new(upload)))
}

/// The sending half of a tunnel's stream. Dropped before its end, it resets the stream, and the peer closes the upstream's connection.
#[derive(Debug)]
struct PeerUpload {
    send: SendHalf,
    relay: Option<Relay>,
}

impl PeerUpload {
    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut quinn::SendStream>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let send = Pin::new(&mut *self.send);
        match &self.relay {
            Some(relay) => poll(send, &mut relay.context(context)),
            None => poll(send, context),
        }
    }
}

impl AsyncWrite for PeerUpload {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(context, |send, context| {
            AsyncWrite::poll_write(send, context, bytes)
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.poll(context, AsyncWrite::poll_shutdown);
        if ended.is_ready() {
            self.send.complete();
        }
        ended
    }
}

/// Where what a client sends goes, and whether it has left.
pub(super) type TakenTunnel = (TunnelUpload, Arc<AtomicBool>);

/// Takes the tunnel out of `answer`, where that is one: its body then ends with a Close frame where this node drains.
pub(super) fn taken(driver: &DriverHandle, mut answer: Answer) -> (Answer, Option<TakenTunnel>) {
    let Some(upload) = answer.upload.take() else {
        return (answer, None);
    };
    let is_left = Arc::new(AtomicBool::new(false));
    let driver = driver.clone();
    let draining = async move {
        driver.draining().await;
        TunnelEnd::RESTART
    };
    let body = ClosingBody::new(answer.body, Box::pin(draining), Arc::clone(&is_left));
    let body = AnswerBody::new(body);
    (Answer { body, ..answer }, Some((upload, is_left)))
}

/// Passes on what the client sends, while `relayed` passes on what comes back; ends when that does.
pub(super) async fn both<T>(
    received: (&mut RecvStream, Bytes),
    tunnel: Option<TakenTunnel>,
    relayed: impl Future<Output = T>,
) -> T {
    let Some((upload, is_left)) = tunnel else {
        return relayed.await;
    };
    let passing = async {
        pass(received, upload, &is_left).await;
        // What comes back may go on.
        std::future::pending().await
    };
    tokio::select! {
        biased;
        ended = relayed => ended,
        () = passing => unreachable!("it never ends"),
    }
}

/// Passes on what the client sends, to its end. Where it breaks off, the upstream's connection is closed.
async fn pass(
    (recv, rest): (&mut RecvStream, Bytes),
    mut upload: TunnelUpload,
    is_left: &AtomicBool,
) {
    let mut next = Some(rest).filter(|rest| !rest.is_empty());
    loop {
        let piece = match next.take() {
            Some(piece) => piece,
            None => match recv.read_chunk(usize::MAX, true).await {
                Ok(Some(chunk)) => chunk.bytes,
                Ok(None) => {
                    is_left.store(true, Ordering::Release);
                    // An upstream that is gone needs no end.
                    let _ = upload.finish().await;
                    // Both directions share a connection: what comes back goes on until the upstream ends it.
                    return std::future::pending().await;
                }
                // The caller went away, which its stream shows too.
                Err(_) => return is_left.store(true, Ordering::Release),
            },
        };
        if upload.send(&piece).await.is_err() {
            return;
        }
    }
}
