//! The one QUIC endpoint of a node: it dials and is dialled on the same port.
//!
//! The numbers are measured, not chosen: see each constant. The reset key and the key of connection
//! ids derive from the node's private key, so that a peer notices a restart with the first packet
//! instead of after the idle timeout; that needs both.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::link::{CALLS_MAX, INSIDE_CALLS_MAX, KEEP_ALIVE, LOST};
use quinn::congestion::BbrConfig;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;

use super::credentials::Credentials;
use super::runtime::MeshRuntime;
use super::socket::DATAGRAM_MAX;
use super::tls::{self, PeerTlsError};

/// A connection without a packet for this long is lost, and with it all that runs over it. What must be
/// detected sooner is detected above QUIC.
pub const IDLE_TIMEOUT: Duration = LOST;

/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// The round trip assumed before one is measured: a lost first packet costs 0.3 s, not 1 s.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Streams of forwarded requests and calls to the inside on one connection. QUIC's wait beyond it is
/// silent, so admission is decided above it, and this is more than admission ever lets in: an eighth that
/// the peer learns of later (quinn announces freed streams in such steps), and streams that are over and not
/// yet acknowledged. Each costs its connection some 40 bytes, used or not.
pub const STREAMS_MAX: u32 = 14_000;

const _: () = assert!(
    CALLS_MAX + INSIDE_CALLS_MAX + STREAMS_MAX / 8 + 1_000 <= STREAMS_MAX,
    "admission stays below the limit of streams"
);

/// Gossip messages, rumors and the greeting in flight on one connection.
pub const MESSAGES_MAX: u32 = 256;

/// What a reader that stalls makes its peer hold for one stream.
const STREAM_WINDOW_BYTES: u32 = 256 * 1_024;

/// The same for all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1_024 * 1_024;

/// Bytes sent and not yet acknowledged on one connection.
const SEND_WINDOW_BYTES: u64 = 8 * 1_024 * 1_024;

/// Handshakes waiting to be accepted; more are dropped by the endpoint.
const INCOMING_MAX: usize = 256;

/// Bytes that one waiting handshake, and all of them together, may buffer.
const INCOMING_BYTES_MAX: u64 = 64 * 1_024;
const INCOMING_BYTES_TOTAL_MAX: u64 = 4 * 1_024 * 1_024;

/// Bytes of datagrams on their way out; older ones are dropped for newer.
const DATAGRAM_BYTES_MAX: usize = 256 * 1_024;

/// Why the endpoint cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The credentials cannot be used.
    #[error(transparent)]
    Tls(#[from] PeerTlsError),
    /// The port cannot be opened.
    #[error(
        "mesh.listen: cannot listen on {address}: {source}; choose another with --mesh-listen, or stop what \
         listens there"
    )]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Opens the endpoint on `listen` within the current tokio runtime, which drives it.
///
/// # Errors
/// See [`EndpointError`].
pub fn open(listen: SocketAddr, credentials: &Credentials) -> Result<Endpoint, EndpointError> {
    let bind_error = |source| EndpointError::Bind {
        address: listen,
        source,
    };
    let server = server_config(credentials)?;
    let socket = UdpSocket::bind(listen).map_err(bind_error)?;
    Endpoint::new(
        endpoint_config(credentials),
        Some(server),
        socket,
        Arc::new(MeshRuntime),
    )
    .map_err(bind_error)
}

/// How connections are taken in.
///
/// # Errors
/// When the credentials cannot be used.
pub fn server_config(credentials: &Credentials) -> Result<quinn::ServerConfig, PeerTlsError> {
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls::server(credentials)?));
    config
        .transport_config(Arc::new(transport()))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    Ok(config)
}

/// How peers are dialled.
///
/// # Errors
/// When the credentials cannot be used.
pub fn client_config(credentials: &Credentials) -> Result<quinn::ClientConfig, PeerTlsError> {
    let mut config = quinn::ClientConfig::new(Arc::new(tls::client(credentials)?));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

/// As [`server_config`], for connections of a mesh too large to be linked whole: most of them serve one exchange of
/// gossip. The search for the largest packet that a path carries costs each end up to 48 kB, many times the
/// handshake, so it is left out: packets stay at QUIC's 1,200 bytes.
///
/// # Errors
/// When the credentials cannot be used.
pub fn brief_server(credentials: &Credentials) -> Result<quinn::ServerConfig, PeerTlsError> {
    let mut config = server_config(credentials)?;
    config.transport_config(Arc::new(brief_transport()));
    Ok(config)
}

/// As [`brief_server`], for a dial that gossip or a single request asked for.
pub fn brief_client(config: &quinn::ClientConfig) -> quinn::ClientConfig {
    let mut config = config.clone();
    config.transport_config(Arc::new(brief_transport()));
    config
}

fn brief_transport() -> TransportConfig {
    let mut config = transport();
    config.mtu_discovery_config(None);
    config
}

fn transport() -> TransportConfig {
    let idle = VarInt::from_u32(u32::try_from(IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX));
    let mut config = TransportConfig::default();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(DATAGRAM_MAX);
    config
        .mtu_discovery_config(Some(discovery))
        .max_idle_timeout(Some(IdleTimeout::from(idle)))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(MESSAGES_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_send_buffer_size(DATAGRAM_BYTES_MAX)
        .congestion_controller_factory(Arc::new(BbrConfig::default()));
    config
}

fn endpoint_config(credentials: &Credentials) -> EndpointConfig {
    let key = credentials.private_key().secret_pkcs8_der();
    let root = hmac::Key::new(hmac::HMAC_SHA256, key);
    let reset = hmac::sign(&root, b"grapevine quic stateless reset");
    let ids = hmac::sign(&root, b"grapevine quic connection ids");
    let mut first = [0; 8];
    first.copy_from_slice(&ids.as_ref()[..8]);
    let id_key = u64::from_le_bytes(first);
    let mut config =
        EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref())));
    config
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)))
        .max_udp_payload_size(DATAGRAM_MAX)
        .expect("more than the least that QUIC asks for");
    config
}
