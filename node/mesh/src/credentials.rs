//! A node's certificate, its key and the mesh CA, as read from files and checked against each other.

use std::fmt;
use std::sync::Arc;

use grapevine_core::ids::{MeshName, NodeName};
use ring::signature::Ed25519KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::identity::{IdentityError, Verifier};

/// Why a node's certificate and key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// A file holds no PEM of the right kind.
    #[error("{what} holds no readable PEM {kind}")]
    NotPem {
        /// Which file.
        what: &'static str,
        /// What it should hold.
        kind: &'static str,
    },
    /// The key is not Ed25519.
    #[error("key must be Ed25519 in PKCS #8; issue it with `grapevine ca issue`")]
    OtherKey,
    /// The key is not that of the certificate.
    #[error("key does not belong to the certificate")]
    KeyMismatch,
    /// The certificate is not accepted.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Everything a node needs to prove its identity: the mesh's CA, its own certificate and key.
#[derive(Clone)]
pub struct Credentials {
    mesh: MeshName,
    node: NodeName,
    authorities: Vec<CertificateDer<'static>>,
    /// Never empty: the node's own comes first.
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivatePkcs8KeyDer<'static>>,
}

impl Credentials {
    /// Reads PEM texts: the CA (one certificate, or several while it is being replaced), the node's
    /// certificate, and its PKCS #8 key. Checks that the three belong together and are valid now.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub fn from_pem(
        mesh: MeshName,
        ca: &[u8],
        certificate: &[u8],
        key: &[u8],
    ) -> Result<Self, CredentialsError> {
        let authorities = certificates(ca, "mesh.tls.ca")?;
        let chain = certificates(certificate, "mesh.tls.cert")?;
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(PrivateKeyDer::Pkcs8(key)) => key,
            Ok(_) => return Err(CredentialsError::OtherKey),
            Err(_) => {
                return Err(CredentialsError::NotPem {
                    what: "mesh.tls.key",
                    kind: "private key",
                });
            }
        };
        let verifier = Verifier::new(mesh.clone(), &authorities)?;
        let certified = verifier.check(&chain[0])?;
        let credentials = Self {
            mesh,
            node: certified.node().clone(),
            authorities,
            chain,
            key: Arc::new(key),
        };
        let pair = credentials.key_pair()?;
        if ring::signature::KeyPair::public_key(&pair).as_ref() != certified.public_key() {
            return Err(CredentialsError::KeyMismatch);
        }
        Ok(credentials)
    }

    /// The mesh they are for.
    pub const fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// The node they are for.
    pub const fn node(&self) -> &NodeName {
        &self.node
    }

    /// The certificates of the mesh CA.
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// The node's certificate, and those between it and the CA.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The node's own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// The node's private key.
    pub fn private_key(&self) -> &PrivatePkcs8KeyDer<'static> {
        &self.key
    }

    /// The key pair behind [`Credentials::private_key`].
    pub(super) fn key_pair(&self) -> Result<Ed25519KeyPair, CredentialsError> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(self.key.secret_pkcs8_der())
            .map_err(|_| CredentialsError::OtherKey)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("mesh", &self.mesh)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

fn certificates(
    pem: &[u8],
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(CredentialsError::NotPem {
            what,
            kind: "certificate",
        }),
    }
}
