//! The settings of the public listener.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_base::listener::metrics::ConnectionMetrics;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate that can be replaced while the listener runs.
pub type TlsHandle = Arc<ArcSwap<ServerConfig>>;

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// The public address; port 0 takes a free one.
    pub address: SocketAddr,
    /// Threads, each with a listener.
    pub workers: NonZeroUsize,
    /// `None` is plain HTTP.
    pub tls: Option<TlsHandle>,
    /// The most header lines of a request.
    pub header_count_max: usize,
    /// The largest request head in bytes.
    pub header_bytes_max: usize,
    /// How long a client may take for the TLS handshake with what precedes it, then for its first head, and for
    /// each further one from its first byte on.
    pub header_timeout: Duration,
    /// How long a connection is kept between two requests.
    pub idle_timeout: Duration,
    /// How long a client may read none of an answer.
    pub stall_timeout: Duration,
    /// Open connections over all threads.
    pub connections_max: usize,
    /// What is counted of them.
    pub metrics: ConnectionMetrics,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListenTlsError {
    /// The PEM text holds no usable certificates or key.
    #[error("the certificate or key is not readable PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The key does not belong to the certificate, or is of an unknown kind.
    #[error("the certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The server's side of TLS for a PEM certificate chain, leaf first, and its key: HTTP/2 and HTTP/1.1.
///
/// # Errors
/// When they cannot be read or do not belong together.
pub fn tls_config(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, ListenTlsError> {
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
