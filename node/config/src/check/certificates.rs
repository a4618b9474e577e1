//! Checks of certificate files: readable, of one pair, signed by the mesh, and naming this node.

use std::path::Path;

use grapevine_core::ids::{MeshName, NodeName};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::Checker;

/// The URI of a node's certificate, in front of the mesh's name.
const SPIFFE: &str = "spiffe://";

/// The node's identity in a mesh certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) mesh: MeshName,
    pub(super) node: NodeName,
}

impl Identity {
    /// The identity in `uri`, such as `spiffe://production/node/sgp-1`.
    fn parse(uri: &str) -> Option<Self> {
        let (mesh, node) = uri.strip_prefix(SPIFFE)?.split_once("/node/")?;
        Some(Self {
            mesh: mesh.parse().ok()?,
            node: node.parse().ok()?,
        })
    }
}

/// The identity of the first certificate in `chain`; `None` when it names no node of a mesh.
pub(super) fn identity(chain: &[CertificateDer<'static>]) -> Option<Identity> {
    let leaf = EndEntityCert::try_from(chain.first()?).ok()?;
    leaf.valid_uri_names().find_map(Identity::parse)
}

/// Reports a leaf outside its validity period.
pub(super) fn leaf_is_current(
    checker: &mut Checker<'_>,
    key: &str,
    chain: &[CertificateDer<'static>],
) {
    let Some(leaf) = chain.first() else { return };
    // The leaf as its own anchor: clients judge the rest of its chain.
    let Ok(anchor) = anchor_from_trusted_cert(leaf) else {
        return;
    };
    if let Err(webpki::Error::CertExpired { .. }) =
        verify(chain, &[anchor], KeyUsage::server_auth())
    {
        checker.problem(key, "holds a certificate that has expired", "renew it");
    }
}

fn verify(
    chain: &[CertificateDer<'static>],
    anchors: &[TrustAnchor<'_>],
    usage: KeyUsage,
) -> Result<(), webpki::Error> {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(webpki::Error::UnknownIssuer);
    };
    let leaf = EndEntityCert::try_from(leaf)?;
    let now = UnixTime::now();
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        anchors,
        intermediates,
        now,
        usage,
        None,
        None,
    )
    .map(|_| ())
}

impl Checker<'_> {
    /// The certificates in the PEM file at `path`; at least one.
    pub(super) fn chain(&mut self, key: &str, path: &Path) -> Option<Vec<CertificateDer<'static>>> {
        let chain =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match chain {
            Ok(chain) if chain.is_empty() => {
                self.bad_pem(key, path, "certificate", &PemError::NoItemsFound);
                None
            }
            Ok(chain) => Some(chain),
            Err(error) => {
                self.bad_pem(key, path, "certificate", &error);
                None
            }
        }
    }

    /// Checks that the PEM file at `path` holds a private key, and that of the first certificate in `chain`, where
    /// that could be read.
    pub(super) fn private_key(
        &mut self,
        key: &str,
        path: &Path,
        chain: Option<&[CertificateDer<'static>]>,
    ) {
        let private = match PrivateKeyDer::from_pem_file(path) {
            Ok(private) => private,
            Err(error) => {
                self.bad_pem(key, path, "private key", &error);
                return;
            }
        };
        let provider = rustls::crypto::ring::default_provider();
        let Ok(signer) = provider.key_provider.load_private_key(private) else {
            let problem = format!("{} holds a private key of an unknown kind", path.display());
            self.problem(key, problem, "use Ed25519, ECDSA P-256 or P-384, or RSA");
            return;
        };
        let Some(chain) = chain else { return };
        if CertifiedKey::new(chain.to_vec(), signer)
            .keys_match()
            .is_err()
        {
            let problem = format!("{} is not the key of the certificate", path.display());
            self.problem(
                key,
                problem,
                "name the key and the certificate that were made together",
            );
        }
    }

    /// Checks that a certificate of `ca` signed `chain` for the mesh.
    pub(super) fn signed_by(
        &mut self,
        key: &str,
        chain: &[CertificateDer<'static>],
        ca: &[CertificateDer<'static>],
    ) {
        let anchors: Vec<_> = ca
            .iter()
            .filter_map(|ca| anchor_from_trusted_cert(ca).ok())
            .collect();
        let usages = [KeyUsage::server_auth(), KeyUsage::client_auth()];
        let error = usages
            .into_iter()
            .find_map(|usage| verify(chain, &anchors, usage).err());
        let problem = match error {
            None => return,
            Some(webpki::Error::CertExpired { .. }) => {
                "holds a certificate that has expired".to_owned()
            }
            Some(webpki::Error::CertNotValidYet { .. }) => {
                "holds a certificate that is not valid yet; this machine's clock may be wrong"
                    .to_owned()
            }
            // The second is an authority of the same name and another key: one made anew.
            Some(webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey) => {
                "was not signed by mesh.tls.ca".to_owned()
            }
            Some(error) => format!("holds a certificate that nodes would refuse ({error})"),
        };
        self.problem(key, problem, "make one with: grapevine ca issue");
    }

    fn bad_pem(&mut self, key: &str, path: &Path, what: &str, error: &PemError) {
        let path = path.display();
        let (problem, remedy) = match error {
            PemError::Io(error) => (
                format!("{path} cannot be read: {error}"),
                "check the path and its permissions",
            ),
            PemError::NoItemsFound => (
                format!("{path} holds no {what}"),
                "name a PEM file that does",
            ),
            _ => (
                format!("{path} is not a PEM file"),
                "name a PEM file, with its BEGIN and END lines",
            ),
        };
        self.problem(key, problem, remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_read_from_a_spiffe_uri_alone() {
        let identity = Identity::parse("spiffe://production/node/sgp-1").expect("a good URI");
        assert_eq!(
            (identity.mesh.as_str(), identity.node.as_str()),
            ("production", "sgp-1")
        );
        for uri in [
            "spiffe://production/service/x",
            "https://production/node/a",
            "spiffe:///node/a",
            "spiffe://m/node/",
        ] {
            assert_eq!(Identity::parse(uri), None, "{uri}");
        }
    }
}
