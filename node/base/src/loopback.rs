//! What commands share that ask a node of this machine: the client, and how an error reads.

/// An error with its causes, on one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A client for plain HTTP on loopback, past any proxy that the environment names.
///
/// # Errors
/// When none can be made, as on a machine without file descriptors.
pub fn client() -> reqwest::Result<reqwest::Client> {
    // An error says that a provider was chosen before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .build()
}
