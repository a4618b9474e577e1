//! One client's connection: finds out what it speaks, and serves it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use grapevine_base::exchange::{CallLocal, CallPeer};
use grapevine_base::listener::ConnectionEntry;
use grapevine_base::listener::activity::{Farewell, Protocol};
use grapevine_base::listener::replayed::Replayed;
use grapevine_base::listener::serving::{self, HttpLimits};
use grapevine_config::checked::ProxyProtocol;
use grapevine_core::connection::{CloseReason, Patience};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::introduction::IntroductionError;
use super::listen_settings::ListenSettings;
use super::service::{self, Late};
use super::{Context, introduction};

/// How an HTTP/2 connection without TLS begins (RFC 9113 3.4).
const HTTP2_PREFACE: &[u8; 4] = b"PRI ";

/// What serving a client takes.
pub(super) struct ConnectionService<L, P> {
    pub(super) context: Arc<Context<L, P>>,
    /// The address of the connection, or of whom a balancer stands for.
    pub(super) peer: SocketAddr,
    pub(super) entry: ConnectionEntry,
    /// Connections closed for the lack of a good PROXY header.
    pub(super) unintroduced: Arc<AtomicU64>,
    /// It came after the node was told to stop.
    pub(super) is_late: bool,
}

/// A connection on which requests can come.
enum Opened {
    Plain(Replayed<TcpStream>, Protocol),
    Tls(Box<TlsStream<Replayed<TcpStream>>>, Protocol),
}

/// Finds out what the client speaks, and serves it.
pub(super) async fn greet<L: CallLocal, P: CallPeer>(
    stream: TcpStream,
    settings: Arc<ListenSettings>,
    mut client: ConnectionService<L, P>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let activity = Arc::clone(client.entry.activity());
    let opened = tokio::select! {
        opened = open(stream, &settings, &mut client) => opened?,
        farewell = activity.told() => {
            if farewell == Farewell::Shed {
                client.entry.closed(CloseReason::Shed);
            }
            return Ok(());
        }
    };
    match opened {
        Some(Opened::Plain(stream, protocol)) => serve(stream, protocol, &settings, client).await,
        Some(Opened::Tls(stream, protocol)) => serve(*stream, protocol, &settings, client).await,
        None => {}
    }
    Ok(())
}

/// Everything before the first request; `None` when it did not come in time, or not as it must.
async fn open<L: CallLocal, P: CallPeer>(
    stream: TcpStream,
    settings: &ListenSettings,
    client: &mut ConnectionService<L, P>,
) -> io::Result<Option<Opened>> {
    let patience = settings.header_timeout;
    let deadline = Instant::now() + patience;
    let mut stream = Replayed::new(stream);
    if !introduced(&mut stream, deadline, client).await? {
        return Ok(None);
    }
    if let Some(tls) = &settings.tls {
        let acceptor = TlsAcceptor::from(tls.load_full());
        let Ok(accepted) = timeout_at(deadline, acceptor.accept(stream)).await else {
            client.entry.closed(CloseReason::Handshake);
            return Ok(None);
        };
        let stream = accepted?;
        client.entry.activity().await_first();
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            Some(_) | None => Protocol::Http1,
        };
        return Ok(Some(Opened::Tls(Box::new(stream), protocol)));
    }
    client.entry.activity().await_first();
    let Ok(protocol) = timeout(patience, protocol(&mut stream)).await else {
        client.entry.closed(CloseReason::Head);
        return Ok(None);
    };
    Ok(Some(Opened::Plain(stream, protocol?)))
}

/// Finds out who is at the other end; false when the connection is of no use.
async fn introduced<L: CallLocal, P: CallPeer>(
    stream: &mut Replayed<TcpStream>,
    deadline: Instant,
    client: &mut ConnectionService<L, P>,
) -> io::Result<bool> {
    let door = client.context.settings.load_full();
    if door.proxy_protocol == ProxyProtocol::Off {
        return Ok(true);
    }
    let introduced = introduction::client(stream, client.peer, &door);
    let introduced = timeout_at(deadline, introduced).await;
    match introduced.unwrap_or(Err(IntroductionError::TooSlow)) {
        Ok(peer) => {
            client.peer = peer;
            Ok(true)
        }
        // Balancers look whether the port is open by no more than connecting.
        Err(IntroductionError::Ended(error)) => Err(error),
        Err(error) => {
            if matches!(error, IntroductionError::TooSlow) {
                client.entry.closed(CloseReason::Handshake);
            }
            client.unintroduced.fetch_add(1, Ordering::Relaxed);
            debug!(peer.address = %client.peer, %error, "connection closed");
            Ok(false)
        }
    }
}

/// What the client speaks, by its first bytes, which stay to be read.
async fn protocol(stream: &mut Replayed<TcpStream>) -> io::Result<Protocol> {
    loop {
        let seen = stream.seen();
        let common = seen.len().min(HTTP2_PREFACE.len());
        if seen[..common] != HTTP2_PREFACE[..common] {
            return Ok(Protocol::Http1);
        }
        if common == HTTP2_PREFACE.len() {
            return Ok(Protocol::Http2);
        }
        stream.look().await?;
    }
}

async fn serve<S, L, P>(
    stream: S,
    protocol: Protocol,
    settings: &ListenSettings,
    client: ConnectionService<L, P>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    L: CallLocal,
    P: CallPeer,
{
    let ConnectionService {
        context,
        peer,
        entry,
        is_late,
        ..
    } = client;
    let limits = HttpLimits {
        header_count_max: settings.header_count_max,
        header_bytes_max: settings.header_bytes_max,
        patience: Patience {
            head: settings.header_timeout,
            idle: settings.idle_timeout,
        },
        stall: settings.stall_timeout,
    };
    let respond = move |mut request: Request<_>| {
        if is_late {
            request.extensions_mut().insert(Late);
        }
        let context = Arc::clone(&context);
        async move { service::serve(&context, request, peer).await }
    };
    serving::serve(stream, protocol, limits, &entry, respond).await;
}
