//! What this node signs with.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use grapevine_core::ids::NodeName;
use ring::signature::Ed25519KeyPair;
use rustls::pki_types::CertificateDer;

use super::credentials::{Credentials, CredentialsError};
use super::identity::SIGNATURE_BYTES;

/// Signs with the node's private key. Clones share the key, and see it replaced.
#[derive(Clone, Debug)]
pub struct Signer(Arc<ArcSwap<SigningIdentity>>);

/// One certificate with its private key.
pub struct SigningIdentity {
    node: NodeName,
    certificate: CertificateDer<'static>,
    key: Ed25519KeyPair,
}

impl Signer {
    /// Signs with the key of `credentials`.
    ///
    /// # Errors
    /// When the key is not Ed25519.
    pub fn new(credentials: &Credentials) -> Result<Self, CredentialsError> {
        let identity = SigningIdentity::new(credentials)?;
        Ok(Self(Arc::new(ArcSwap::from_pointee(identity))))
    }

    /// The current certificate and key; take both from one call, since they may be replaced.
    pub fn current(&self) -> Arc<SigningIdentity> {
        self.0.load_full()
    }

    /// Signs with another key from now on, in every clone.
    ///
    /// # Errors
    /// When the key is not Ed25519; then the old one stays.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), CredentialsError> {
        self.0.store(Arc::new(SigningIdentity::new(credentials)?));
        Ok(())
    }
}

impl SigningIdentity {
    fn new(credentials: &Credentials) -> Result<Self, CredentialsError> {
        Ok(Self {
            node: credentials.node().clone(),
            certificate: credentials.certificate().clone(),
            key: credentials.key_pair()?,
        })
    }

    /// The node that signs.
    pub const fn node(&self) -> &NodeName {
        &self.node
    }

    /// The certificate that proves the signatures, as DER.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs `message` (Ed25519, RFC 8032).
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(self.key.sign(message).as_ref());
        signature
    }
}

impl fmt::Debug for SigningIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SigningIdentity")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
