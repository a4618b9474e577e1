//! Why the mesh did not start.

use std::io;

use grapevine_core::ids::NodeName;
use grapevine_proto::frame::EncodeError;

use crate::credentials::CredentialsError;
use crate::endpoint::EndpointError;
use crate::identity::IdentityError;
use crate::tls::PeerTlsError;

/// Why the mesh did not start.
#[derive(Debug, thiserror::Error)]
pub enum MeshStartError {
    /// The endpoint cannot be opened.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The credentials cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The certificates cannot be used for TLS.
    #[error(transparent)]
    Tls(#[from] PeerTlsError),
    /// The certificate is another node's.
    #[error("certificate is for node {certified}, node.name is {configured}")]
    OtherNode {
        /// The name in the certificate.
        certified: NodeName,
        /// As configured.
        configured: NodeName,
    },
    /// The advertised address cannot be resolved.
    #[error("mesh.advertise {host:?} cannot be resolved: {source}")]
    Advertise {
        /// As configured.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// The advertised address is too long.
    #[error("mesh.advertise: {0}")]
    Greeting(#[from] EncodeError),
}

impl From<IdentityError> for MeshStartError {
    fn from(error: IdentityError) -> Self {
        Self::Credentials(error.into())
    }
}
