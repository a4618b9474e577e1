//! How commands call a node of this machine.

/// A client for plain HTTP on loopback, past any proxy that the environment names.
///
/// # Errors
/// When none can be made, as on a machine without file descriptors.
pub fn client() -> reqwest::Result<reqwest::Client> {
    // An error means that a provider was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .build()
}
