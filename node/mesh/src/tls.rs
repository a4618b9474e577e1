//! Mutual TLS 1.3 between nodes, for QUIC.
//!
//! Sessions are never resumed: a resumed session would outlive the check of its certificate, and a
//! handshake costs about a millisecond of CPU. 0-RTT is off with it, so nothing is ever replayed.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::credentials::Credentials;

/// The protocol and its version, as TLS negotiates it.
pub const ALPN: &[u8] = b"grapevine/1";

/// Why credentials cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum PeerTlsError {
    /// A certificate of the CA cannot be used.
    #[error("CA certificate cannot be used: {0}")]
    Authority(String),
    /// The certificate and key cannot be used.
    #[error("node certificate cannot be used: {0}")]
    Node(rustls::Error),
}

/// What a node presents and demands when it is dialled.
///
/// # Errors
/// See [`PeerTlsError`].
pub fn server(credentials: &Credentials) -> Result<QuicServerConfig, PeerTlsError> {
    let provider = provider();
    let roots = Arc::new(roots(credentials)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .map_err(|error| PeerTlsError::Authority(error.to_string()))?;
    let (chain, key) = identity(credentials);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(PeerTlsError::Node)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(PeerTlsError::Node)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    QuicServerConfig::try_from(config).map_err(|error| PeerTlsError::Authority(error.to_string()))
}

/// What a node presents and demands when it dials.
///
/// # Errors
/// See [`PeerTlsError`].
pub fn client(credentials: &Credentials) -> Result<QuicClientConfig, PeerTlsError> {
    let (chain, key) = identity(credentials);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(PeerTlsError::Node)?
        .with_root_certificates(roots(credentials)?)
        .with_client_auth_cert(chain, key)
        .map_err(PeerTlsError::Node)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|error| PeerTlsError::Authority(error.to_string()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(credentials: &Credentials) -> Result<RootCertStore, PeerTlsError> {
    let mut roots = RootCertStore::empty();
    for authority in credentials.authorities() {
        roots
            .add(authority.clone())
            .map_err(|error| PeerTlsError::Authority(error.to_string()))?;
    }
    Ok(roots)
}

fn identity(credentials: &Credentials) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = PrivateKeyDer::Pkcs8(credentials.private_key().clone_key());
    (credentials.chain().to_vec(), key)
}
