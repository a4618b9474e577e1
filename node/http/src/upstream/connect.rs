//! Opens connections to upstreams, TLS included, within their time.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

use super::dial::{RememberedAddresses, ResolveHost, SystemResolver, TcpDialer};
use super::http1::UpstreamStream;
use super::target::UpstreamTargets;

/// Verifies upstreams by the system's certificate authorities. Where the system has none, every `https`
/// upstream is refused and the reason is logged; plain ones keep working.
///
/// # Errors
/// When the cryptography offers no common TLS version, which this build's does.
pub fn tls_config() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()
    };
    match builder()?.try_with_platform_verifier() {
        Ok(builder) => Ok(builder.with_no_client_auth()),
        Err(error) => {
            tracing::warn!(%error, "no certificate authorities found, https upstreams will fail");
            let none = RootCertStore::empty();
            Ok(builder()?
                .with_root_certificates(none)
                .with_no_client_auth())
        }
    }
}

/// How tests encrypt calls: no certificate is accepted.
///
/// # Panics
/// When the cryptography offers no common TLS version.
#[cfg(test)]
pub(crate) fn tls_without_roots() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

/// Opening the connection took too long.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no connection within {0:?}")]
pub(super) struct ConnectTimedOut(pub(super) Duration);

/// Opens plain and TLS connections, each within the time that its upstream allows.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<TcpDialer>,
    /// The same for HTTP/1.1 alone.
    https1: HttpsConnector<TcpDialer>,
    targets: UpstreamTargets,
    remembered: RememberedAddresses,
}

impl Connector {
    /// `tls` without ALPN protocols: they are chosen here.
    pub(super) fn new(targets: UpstreamTargets, tls: ClientConfig) -> Self {
        Self::with_resolver(targets, tls, Arc::new(SystemResolver))
    }

    /// The same with another resolver than the system's.
    pub(super) fn with_resolver(
        targets: UpstreamTargets,
        tls: ClientConfig,
        resolver: Arc<dyn ResolveHost>,
    ) -> Self {
        let dialer = TcpDialer::new(targets.clone(), resolver);
        let remembered = dialer.remembered().clone();
        let https1 = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(dialer.clone());
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(dialer);
        Self {
            https,
            https1,
            targets,
            remembered,
        }
    }
}

/// Why there is none.
pub(super) type ConnectError = Box<dyn Error + Send + Sync>;

impl Connector {
    /// Connects to the host of `uri`.
    ///
    /// # Errors
    /// When that fails, or takes longer than its upstream allows.
    pub(super) async fn connect(&self, uri: Uri) -> Result<UpstreamStream, ConnectError> {
        self.connect_by(&self.https, uri).await
    }

    /// The same for HTTP/1.1 alone: what changes into another protocol there.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub(super) async fn connect_http1(&self, uri: Uri) -> Result<UpstreamStream, ConnectError> {
        self.connect_by(&self.https1, uri).await
    }

    async fn connect_by(
        &self,
        https: &HttpsConnector<TcpDialer>,
        uri: Uri,
    ) -> Result<UpstreamStream, ConnectError> {
        let allowed = self.targets.connect_timeout(&uri);
        let authority = uri.authority().cloned();
        // Cloned since a service is called mutably; it holds handles.
        let mut https = https.clone();
        let connected = tokio::time::timeout(allowed, https.call(uri)).await;
        if let Some(authority) = authority {
            match &connected {
                Ok(Ok(_)) => self.remembered.worked(&authority),
                Ok(Err(_)) | Err(_) => self.remembered.failed(&authority),
            }
        }
        match connected {
            Ok(connected) => connected,
            Err(_) => Err(ConnectTimedOut(allowed).into()),
        }
    }
}
