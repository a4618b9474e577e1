//! One client's connection: finds out what it speaks, and serves it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::introduction::IntroductionError;
use super::listen::ListenSettings;
use super::patience::{Open, OpenBody, Patient};
use super::stall::Unstalled;
use super::{Context, introduction, service};
use crate::config::checked::ProxyProtocol;
use crate::exchange::{CallLocal, CallPeer};

/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// The time between two pings on an HTTP/2 connection, and the wait for the answer to one.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// How long a client may take none of an answer: nginx's `send_timeout`.
const STALL_MAX: Duration = Duration::from_secs(60);

/// A connection that asks nothing for this long is closed. Longer than the minute for which load
/// balancers keep theirs, so that it is they who close (nginx's default).
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What a connection reads, or holds to be written, at once. hyper's own limit of 408 KiB is reached by one
/// large body, and an idle connection keeps the last buffer that it read into.
const BUFFER_BYTES: usize = 64 * 1_024;

/// How an HTTP/2 connection without TLS begins (RFC 9113 3.4).
const HTTP2_PREFACE: &[u8; 4] = b"PRI ";

/// What serving a client takes.
pub(super) struct Client<L, P> {
    pub(super) context: Arc<Context<L, P>>,
    /// The address of the connection, or of whom a balancer stands for.
    pub(super) peer: SocketAddr,
    pub(super) watcher: Watcher,
    /// Connections closed for the lack of a good PROXY header.
    pub(super) unintroduced: Arc<AtomicU64>,
    /// It came after the node was told to stop.
    pub(super) is_late: bool,
}

/// Marks requests of clients that came after the node was told to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Late;

/// Finds out what the client speaks, and serves it.
pub(super) async fn greet<L: CallLocal, P: CallPeer>(
    mut stream: TcpStream,
    settings: Arc<ListenSettings>,
    mut client: Client<L, P>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let patience = settings.header_timeout;
    let door = client.context.settings.load_full();
    if door.proxy_protocol != ProxyProtocol::Off {
        let introduced = introduction::client(&mut stream, client.peer, &door);
        let introduced = timeout(patience, introduced).await;
        match introduced.unwrap_or(Err(IntroductionError::TooSlow)) {
            Ok(peer) => client.peer = peer,
            // Balancers look whether the port is open by no more than connecting.
            Err(IntroductionError::Ended(error)) => return Err(error),
            Err(error) => {
                client.unintroduced.fetch_add(1, Ordering::Relaxed);
                debug!(peer.address = %client.peer, %error, "connection closed");
                return Ok(());
            }
        }
    }
    drop(door);
    match &settings.tls {
        Some(tls) => {
            let acceptor = TlsAcceptor::from(tls.load_full());
            let stream = timeout(patience, acceptor.accept(stream)).await??;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            serve(stream, is_http2, &settings, client).await;
        }
        None => {
            let is_http2 = timeout(patience, begins_http2(&stream)).await??;
            serve(stream, is_http2, &settings, client).await;
        }
    }
    Ok(())
}

/// Whether the client begins with HTTP/2's preface, without taking anything from the stream.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; HTTP2_PREFACE.len()];
    loop {
        let count = stream.peek(&mut seen).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if count == seen.len() || !HTTP2_PREFACE.starts_with(&seen[..count]) {
            return Ok(seen == *HTTP2_PREFACE);
        }
        // One to three bytes that could still be either: rare enough to look again in a moment.
        sleep(Duration::from_millis(1)).await;
    }
}

async fn serve<S, L, P>(stream: S, is_http2: bool, settings: &ListenSettings, client: Client<L, P>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    L: CallLocal,
    P: CallPeer,
{
    let open = Open::default();
    let counting = open.clone();
    let Client {
        context,
        peer,
        watcher,
        is_late,
        ..
    } = client;
    let service = service_fn(move |mut request: Request<Incoming>| {
        if is_late {
            request.extensions_mut().insert(Late);
        }
        let context = Arc::clone(&context);
        let guard = counting.enter();
        async move {
            let reply = service::serve(&context, request, peer).await;
            Ok::<_, Infallible>(reply.map(|body| OpenBody { body, _open: guard }))
        }
    });
    // A connection ends in an error when its client goes away or breaks the protocol; hyper has
    // answered what can be answered, and the requests on it were dropped.
    if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(settings.header_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(HTTP2_PING)
            .keep_alive_timeout(HTTP2_PING)
            .adaptive_window(true)
            .serve_connection(TokioIo::new(Unstalled::new(stream, STALL_MAX)), service);
        let _ = watcher.watch(connection).await;
    } else {
        let stream = Unstalled::new(stream, STALL_MAX);
        let stream = Patient::new(stream, open, settings.header_timeout);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(KEEP_ALIVE.max(settings.header_timeout))
            .max_headers(settings.header_count_max)
            .max_header_size(settings.header_bytes_max)
            .max_buf_size(BUFFER_BYTES.max(settings.header_bytes_max))
            .serve_connection(TokioIo::new(stream), service);
        let _ = watcher.watch(connection).await;
    }
}
