//! Why a node did not start or did not keep running, for the program that started it.

use std::net::SocketAddr;
use std::path::PathBuf;

use grapevine_base::vital::VitalTaskEnded;
use grapevine_console::admin::AdminError;
use grapevine_geo::GeoError;
use grapevine_http::{ingress, upstream};

/// Why a node ended without a request to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] NodeStartError),
    /// A vital task has ended; the node was drained, and must be restarted.
    #[error("{0}; the node has drained and ends: start it again, and report the panic in its log")]
    TaskEnded(VitalTaskEnded),
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeStartError {
    /// The log cannot be set up.
    #[error("log.level: {0}")]
    Log(#[from] tracing_subscriber::filter::ParseError),
    /// A file of the configuration cannot be read any more.
    #[error("{key}: cannot read {}: {source}", path.display())]
    File {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The mesh cannot start.
    #[error("mesh: {0}")]
    Mesh(#[from] grapevine_mesh::MeshStartError),
    /// The mesh's certificates cannot be used.
    #[error("mesh.tls: {0}")]
    Credentials(#[from] grapevine_mesh::CredentialsError),
    /// The operator's port cannot be opened.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The public certificate cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] ingress::ListenTlsError),
    /// The public address cannot be opened.
    #[error(
        "listen: cannot listen on {address}: {source}; {}",
        another("--listen", address)
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The DNS server's address cannot be opened.
    #[error(
        "dns.listen: cannot listen on {address}: {source}; {}",
        another("dns.listen", address)
    )]
    Dns {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// An upstream cannot be used.
    #[error(transparent)]
    Upstream(#[from] upstream::SettingsError),
    /// The TLS of upstreams or probes cannot be set up.
    #[error("outgoing TLS: {0}")]
    OutgoingTls(String),
    /// The location database cannot be used.
    #[error("geo.database: {0}")]
    Geo(#[from] GeoError),
    /// Signals cannot be listened to.
    #[error("signals: {0}")]
    Signals(std::io::Error),
}

/// Ports that only a privileged process may open.
const PRIVILEGED_PORTS: std::ops::Range<u16> = 1..1_024;

/// What to do where `address` cannot be listened on.
fn another(choice: &str, address: &SocketAddr) -> String {
    let other = format!("choose another with {choice}, or stop what listens there");
    match PRIVILEGED_PORTS.contains(&address.port()) {
        true => format!("a port below 1024 needs CAP_NET_BIND_SERVICE; else {other}"),
        false => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_in_use_has_a_remedy() {
        let error = |port: u16| NodeStartError::Listen {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            source: std::io::ErrorKind::AddrInUse.into(),
        };
        assert_eq!(
            error(8080).to_string(),
            "listen: cannot listen on 127.0.0.1:8080: address in use; choose another with --listen, \
             or stop what listens there"
        );
        assert!(error(80).to_string().contains("needs CAP_NET_BIND_SERVICE"));
    }
}
