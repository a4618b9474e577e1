//! One client's connection: detects its protocol, and serves it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use grapevine_base::exchange::{CallLocal, CallPeer};
use grapevine_base::listener::ConnectionEntry;
use grapevine_base::listener::activity::{Protocol, ShutdownReason};
use grapevine_base::listener::replayed::Replayed;
use grapevine_base::listener::serving::{self, HttpLimits};
use grapevine_config::checked::ProxyProtocol;
use grapevine_core::connection::{CloseReason, Patience};
use http::{Request, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::breakable::{Breakable, Breaking, BreakingBody};
use super::listen_settings::ListenSettings;
use super::proxy_header::ProxyHeaderError;
use super::reply::Reply;
use super::service::{self, Late};
use super::{Context, proxy_header};

/// How an HTTP/2 connection without TLS begins (RFC 9113 3.4).
const HTTP2_PREFACE: &[u8; 4] = b"PRI ";

/// Everything that serving a client needs.
pub(super) struct ConnectionService<L, P> {
    pub(super) context: Arc<Context<L, P>>,
    /// The address of the connection, or of the client behind a balancer.
    pub(super) peer: SocketAddr,
    pub(super) entry: ConnectionEntry,
    /// Connections closed for the lack of a good PROXY header.
    pub(super) without_proxy_header: Arc<AtomicU64>,
    /// It was accepted after the node began to stop.
    pub(super) is_late: bool,
}

/// A connection that is ready for requests.
enum Opened {
    Plain(Replayed<Breakable>, Protocol),
    Tls(Box<TlsStream<Replayed<Breakable>>>, Protocol),
}

/// Detects the client's protocol, and serves it.
pub(super) async fn greet<L: CallLocal, P: CallPeer>(
    stream: TcpStream,
    settings: Arc<ListenSettings>,
    mut client: ConnectionService<L, P>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let activity = Arc::clone(client.entry.activity());
    let breaking = Breaking::default();
    let stream = Breakable::new(stream, breaking.clone());
    let opened = tokio::select! {
        // Boxed, as what follows is: a connection holds no room for what is over.
        opened = Box::pin(open(stream, &settings, &mut client)) => opened?,
        reason = activity.shutdown_requested() => {
            if reason == ShutdownReason::Shed {
                client.entry.closed(CloseReason::Shed);
            }
            return Ok(());
        }
    };
    match opened {
        Some(Opened::Plain(stream, protocol)) => {
            Box::pin(serve(stream, protocol, breaking, &settings, client)).await;
        }
        Some(Opened::Tls(stream, protocol)) => {
            Box::pin(serve(*stream, protocol, breaking, &settings, client)).await;
        }
        None => {}
    }
    Ok(())
}

/// Everything before the first request; `None` when that was late or invalid.
async fn open<L: CallLocal, P: CallPeer>(
    stream: Breakable,
    settings: &ListenSettings,
    client: &mut ConnectionService<L, P>,
) -> io::Result<Option<Opened>> {
    let patience = settings.header_timeout;
    let deadline = Instant::now() + patience;
    let mut stream = Replayed::new(stream);
    if !client_address(&mut stream, deadline, client).await? {
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

/// Determines the client's address; false when the connection cannot be used.
async fn client_address<L: CallLocal, P: CallPeer>(
    stream: &mut Replayed<Breakable>,
    deadline: Instant,
    client: &mut ConnectionService<L, P>,
) -> io::Result<bool> {
    let settings = client.context.settings.load_full();
    if settings.proxy_protocol == ProxyProtocol::Off {
        return Ok(true);
    }
    let resolved = proxy_header::client(stream, client.peer, &settings);
    let resolved = timeout_at(deadline, resolved).await;
    match resolved.unwrap_or(Err(ProxyHeaderError::TooSlow)) {
        Ok(peer) => {
            client.peer = peer;
            Ok(true)
        }
        // Balancers check the port by connecting alone.
        Err(ProxyHeaderError::Ended(error)) => Err(error),
        Err(error) => {
            if matches!(error, ProxyHeaderError::TooSlow) {
                client.entry.closed(CloseReason::Handshake);
            }
            client.without_proxy_header.fetch_add(1, Ordering::Relaxed);
            debug!(peer.address = %client.peer, %error, "connection closed");
            Ok(false)
        }
    }
}

/// The client's protocol, by its first bytes, which are not consumed.
async fn protocol(stream: &mut Replayed<Breakable>) -> io::Result<Protocol> {
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
    breaking: Breaking,
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
        let ends_with_connection = request.version() < Version::HTTP_11;
        let breaking = ends_with_connection.then(|| breaking.clone());
        let (head, body) = request.into_parts();
        let head = Box::new(head);
        async move {
            let served = service::serve(&context, (head, body), peer).await;
            let Reply { response, lines } = served;
            let response = response.map(|body| BreakingBody { body, breaking });
            (response, lines)
        }
    };
    serving::serve(stream, protocol, limits, &entry, respond).await;
}
