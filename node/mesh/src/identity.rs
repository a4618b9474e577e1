//! Who a node is: the name in its certificate, and signatures by that certificate's key.
//!
//! A node's name is the one URI `spiffe://<mesh>/node/<name>` of a certificate that the mesh CA
//! issued. Its key is Ed25519, so that the key that answers for a connection also signs what the node
//! gossips: peers relay each other's values, and only the signature proves who wrote them.
//!
//! What it does not know: connections and gossip.

use std::sync::Arc;

use arc_swap::ArcSwap;
use grapevine_core::ids::{MeshName, NodeName};
use ring::digest;
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};

/// Length of a signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// The longest certificate that is parsed; those of `grapevine ca` take about 500 bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 4_096;

/// What precedes the 32 bytes of an Ed25519 key in its DER form (RFC 8410, section 4).
const ED25519_SPKI_PREFIX: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Which algorithms a mesh CA may sign with.
const CA_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::ring::ED25519,
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA512,
];

/// Why a certificate, or a signature with it, is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a certificate, or one longer than [`CERTIFICATE_BYTES_MAX`].
    #[error("not a certificate that can be read")]
    Unreadable,
    /// Not issued by the mesh CA, expired, or not yet valid; see `cause`.
    #[error("certificate is not valid in this mesh: {cause}")]
    Untrusted {
        /// What is wrong with it.
        cause: String,
    },
    /// It does not name exactly one node.
    #[error("certificate must hold exactly one URI spiffe://<mesh>/node/<name>; it holds {found}")]
    NotOneNode {
        /// How many URIs it holds.
        found: usize,
    },
    /// Its URI is not that of a node.
    #[error("certificate's URI {uri:?} is not spiffe://<mesh>/node/<name>")]
    BadUri {
        /// The URI.
        uri: String,
    },
    /// It was issued for another mesh.
    #[error("certificate is for mesh {found:?}, this is mesh {expected:?}")]
    OtherMesh {
        /// The mesh it is for.
        found: String,
        /// This mesh.
        expected: String,
    },
    /// Its key is not Ed25519.
    #[error("certificate's key must be Ed25519; issue it with `grapevine ca issue`")]
    OtherKey,
    /// The signature is not by that key.
    #[error("signature is not by the certificate's key")]
    BadSignature,
}

/// Checks other nodes' certificates and signatures. Clones share the CA, and see it replaced.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<ArcSwap<Trust>>);

#[derive(Debug)]
struct Trust {
    mesh: MeshName,
    fingerprints: String,
    anchors: Vec<TrustAnchor<'static>>,
}

/// A node as its certificate names it: chained to the mesh CA and valid when it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedNode {
    node: NodeName,
    public_key: [u8; 32],
}

impl Verifier {
    /// Trusts what one of `authorities` issued for `mesh`.
    ///
    /// # Errors
    /// When one of them is not a certificate.
    pub fn new(
        mesh: MeshName,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Self, IdentityError> {
        let trust = Trust::new(mesh, authorities)?;
        Ok(Self(Arc::new(ArcSwap::from_pointee(trust))))
    }

    /// Trusts other authorities from now on, in every clone.
    ///
    /// # Errors
    /// When one of them is not a certificate; then the old ones stay.
    pub fn replace(
        &self,
        mesh: MeshName,
        authorities: &[CertificateDer<'static>],
    ) -> Result<(), IdentityError> {
        let trust = Trust::new(mesh, authorities)?;
        self.0.store(Arc::new(trust));
        Ok(())
    }

    /// The starts of the authorities' SHA-256 fingerprints, for an operator to compare.
    pub fn fingerprints(&self) -> String {
        self.0.load().fingerprints.clone()
    }

    /// The node of a certificate, which must be issued by the mesh CA, valid now, and name one node of this mesh.
    ///
    /// Costs a signature check of about 100 us; keep the result beside the certificate, and check
    /// again from time to time, since certificates expire.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn check(&self, certificate: &[u8]) -> Result<CertifiedNode, IdentityError> {
        if certificate.len() > CERTIFICATE_BYTES_MAX {
            return Err(IdentityError::Unreadable);
        }
        let der = CertificateDer::from(certificate);
        let parsed =
            webpki::EndEntityCert::try_from(&der).map_err(|_| IdentityError::Unreadable)?;
        let trust = self.0.load();
        parsed
            .verify_for_usage(
                CA_ALGORITHMS,
                &trust.anchors,
                &[],
                UnixTime::now(),
                webpki::KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(|error| IdentityError::Untrusted {
                cause: error.to_string(),
            })?;
        let node = node_name(&parsed, &trust.mesh)?;
        let spki = parsed.subject_public_key_info();
        let public_key = spki
            .as_ref()
            .strip_prefix(ED25519_SPKI_PREFIX)
            .and_then(|key| key.try_into().ok())
            .ok_or(IdentityError::OtherKey)?;
        Ok(CertifiedNode { node, public_key })
    }
}

impl Trust {
    fn new(mesh: MeshName, authorities: &[CertificateDer<'static>]) -> Result<Self, IdentityError> {
        let anchor = |certificate: &CertificateDer<'static>| {
            webpki::anchor_from_trusted_cert(certificate)
                .map(|anchor| anchor.to_owned())
                .map_err(|_| IdentityError::Unreadable)
        };
        let anchors = authorities.iter().map(anchor).collect::<Result<_, _>>()?;
        let fingerprints: Vec<String> = authorities.iter().map(fingerprint).collect();
        Ok(Self {
            mesh,
            fingerprints: fingerprints.join(" "),
            anchors,
        })
    }
}

/// The start of a CA's SHA-256 fingerprint, for an operator to compare between nodes.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    const SHOWN_BYTES: usize = 8;
    let digest = digest::digest(&digest::SHA256, certificate);
    let shown = &digest.as_ref()[..SHOWN_BYTES];
    shown.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl CertifiedNode {
    /// The node's name.
    pub const fn node(&self) -> &NodeName {
        &self.node
    }

    /// The node's Ed25519 public key.
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// Checks that the node signed `message`. Costs about 60 us.
    ///
    /// # Errors
    /// [`IdentityError::BadSignature`] when it did not.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), IdentityError> {
        UnparsedPublicKey::new(&ED25519, &self.public_key)
            .verify(message, signature)
            .map_err(|_| IdentityError::BadSignature)
    }
}

/// The one node that a certificate of `mesh` names.
fn node_name(
    certificate: &webpki::EndEntityCert<'_>,
    mesh: &MeshName,
) -> Result<NodeName, IdentityError> {
    let uris: Vec<&str> = certificate.valid_uri_names().collect();
    let [uri] = uris[..] else {
        return Err(IdentityError::NotOneNode { found: uris.len() });
    };
    let bad = || IdentityError::BadUri {
        uri: uri.to_owned(),
    };
    let (found, node) = uri
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once("/node/"))
        .ok_or_else(bad)?;
    if found != mesh.as_str() {
        return Err(IdentityError::OtherMesh {
            found: found.to_owned(),
            expected: mesh.to_string(),
        });
    }
    NodeName::new(node).map_err(|_| bad())
}
