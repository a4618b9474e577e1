//! The mesh CA: makes itself, and issues certificates to nodes.
//!
//! The CA's key is ECDSA P-256, which every TLS tool can check; nodes' keys are Ed25519 (see
//! [`super::identity`]). Its certificate holds the mesh's name, so that issuing needs no other source.

use std::time::Duration;

use grapevine_core::ids::{MeshName, NodeName};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::clock;

/// How long a mesh CA is valid: ten years.
pub const AUTHORITY_VALID: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How long a node's certificate is valid unless asked otherwise: about two years.
pub const NODE_VALID: Duration = Duration::from_secs(825 * 86_400);

/// Certificates are valid from this much before they are made: nodes' clocks differ.
const CLOCK_SKEW: Duration = Duration::from_secs(3_600);

/// DNS names of a node's certificate beyond the one all nodes share.
pub const DNS_NAMES_MAX: usize = 16;

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The CA's certificate and key cannot be read.
    #[error("CA certificate or key cannot be read: {0}")]
    Unreadable(rcgen::Error),
    /// The CA's certificate does not say which mesh it is for.
    #[error("CA certificate holds no URI spiffe://<mesh>; make one with `grapevine ca init`")]
    NoMesh,
    /// A DNS name is not one.
    #[error("{name:?} is not a DNS name")]
    BadDnsName {
        /// The name.
        name: String,
    },
    /// More than [`DNS_NAMES_MAX`] DNS names.
    #[error("at most {DNS_NAMES_MAX} DNS names are allowed")]
    TooManyDnsNames,
    /// The certificate could not be made.
    #[error("certificate could not be made: {0}")]
    Unmakeable(rcgen::Error),
}

/// A certificate and its key, as PEM texts.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key. A secret.
    pub key: String,
}

/// A mesh CA that can issue certificates.
pub struct Authority {
    mesh: MeshName,
    issuer: Issuer<'static, KeyPair>,
}

/// Makes a CA for `mesh`.
///
/// # Errors
/// When the certificate cannot be made.
pub fn create(mesh: &MeshName) -> Result<Issued, AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Unmakeable)?;
    let mut params = params(clock::wall(), AUTHORITY_VALID)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let subject = format!("grapevine mesh {mesh} CA");
    params
        .distinguished_name
        .push(DnType::CommonName, subject.as_str());
    params.subject_alt_names = vec![uri(&mesh.uri())?];
    let certificate = params
        .self_signed(&key)
        .map_err(AuthorityError::Unmakeable)?;
    Ok(Issued {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

impl Authority {
    /// Reads a CA from the PEM texts that [`create`] made.
    ///
    /// # Errors
    /// When they cannot be read or do not name a mesh.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key).map_err(AuthorityError::Unreadable)?;
        let mesh = mesh_name(certificate).ok_or(AuthorityError::NoMesh)?;
        let issuer =
            Issuer::from_ca_cert_pem(certificate, key).map_err(AuthorityError::Unreadable)?;
        Ok(Self { mesh, issuer })
    }

    /// The mesh it is for.
    pub const fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// Issues a certificate with a new key to `node`, valid for `valid`; `dns_names` come beside the
    /// name that all nodes share.
    ///
    /// # Errors
    /// When a DNS name is none or there are too many.
    pub fn issue(
        &self,
        node: &NodeName,
        dns_names: &[String],
        valid: Duration,
    ) -> Result<Issued, AuthorityError> {
        self.issue_at(clock::wall(), node, dns_names, valid)
    }

    fn issue_at(
        &self,
        now: Duration,
        node: &NodeName,
        dns_names: &[String],
        valid: Duration,
    ) -> Result<Issued, AuthorityError> {
        if dns_names.len() > DNS_NAMES_MAX {
            return Err(AuthorityError::TooManyDnsNames);
        }
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(AuthorityError::Unmakeable)?;
        let mut params = params(now, valid)?;
        params
            .distinguished_name
            .push(DnType::CommonName, node.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.subject_alt_names = vec![
            uri(&self.mesh.node_uri(node))?,
            dns(&self.mesh.common_dns_name())?,
        ];
        for name in dns_names {
            params.subject_alt_names.push(dns(name)?);
        }
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(AuthorityError::Unmakeable)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// Parameters that every certificate shares.
fn params(now: Duration, valid: Duration) -> Result<CertificateParams, AuthorityError> {
    let mut params =
        CertificateParams::new(Vec::<String>::new()).map_err(AuthorityError::Unmakeable)?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + now + valid;
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params)
}

fn uri(text: &str) -> Result<SanType, AuthorityError> {
    let text = text.try_into().map_err(AuthorityError::Unmakeable)?;
    Ok(SanType::URI(text))
}

fn dns(name: &str) -> Result<SanType, AuthorityError> {
    let bad = || AuthorityError::BadDnsName {
        name: name.to_owned(),
    };
    rustls::pki_types::DnsName::try_from(name).map_err(|_| bad())?;
    Ok(SanType::DnsName(name.try_into().map_err(|_| bad())?))
}

/// The mesh that a CA's certificate names.
fn mesh_name(certificate: &str) -> Option<MeshName> {
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
    let parsed = webpki::EndEntityCert::try_from(&der).ok()?;
    let name = parsed
        .valid_uri_names()
        .find_map(|uri| uri.strip_prefix("spiffe://"))?;
    MeshName::new(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::credentials::{Credentials, CredentialsError};
    use crate::mesh::identity::{IdentityError, Signer, Verifier};

    const DAY: Duration = Duration::from_secs(86_400);

    struct Mesh {
        name: MeshName,
        ca: Issued,
    }

    fn mesh(name: &str) -> Mesh {
        let name = MeshName::new(name).expect("a valid name");
        let ca = create(&name).expect("a CA");
        Mesh { name, ca }
    }

    impl Mesh {
        fn issue(&self, node: &str) -> Issued {
            let authority = Authority::from_pem(&self.ca.certificate, &self.ca.key).expect("a CA");
            let node = NodeName::new(node).expect("a valid name");
            let issued = authority.issue(&node, &["sgp.example.net".into()], NODE_VALID);
            issued.expect("a certificate")
        }

        fn credentials(&self, issued: &Issued) -> Result<Credentials, CredentialsError> {
            Credentials::from_pem(
                self.name.clone(),
                self.ca.certificate.as_bytes(),
                issued.certificate.as_bytes(),
                issued.key.as_bytes(),
            )
        }

        fn verifier(&self) -> Verifier {
            let own = self.credentials(&self.issue("own")).expect("credentials");
            Verifier::new(self.name.clone(), own.authorities()).expect("a verifier")
        }
    }

    #[test]
    fn issued_certificate_names_its_node_and_verifies_its_signatures() {
        let mesh = mesh("m1");
        let credentials = mesh.credentials(&mesh.issue("sgp-1")).expect("credentials");
        let signing = Signer::new(&credentials).expect("a signer").current();
        let signature = signing.sign(b"up.primary");
        let certified = mesh
            .verifier()
            .check(signing.certificate())
            .expect("a valid certificate");
        assert_eq!(certified.node().as_str(), "sgp-1");
        assert_eq!(certified.verify(b"up.primary", &signature), Ok(()));
        assert_eq!(
            certified.verify(b"up.second", &signature),
            Err(IdentityError::BadSignature)
        );
        assert_eq!(
            certified.verify(b"up.primary", b"short"),
            Err(IdentityError::BadSignature)
        );
    }

    #[test]
    fn certificate_of_another_ca_of_the_same_mesh_name_is_refused() {
        let (ours, theirs) = (mesh("m1"), mesh("m1"));
        let credentials = theirs.credentials(&theirs.issue("a")).expect("credentials");
        let error = ours
            .verifier()
            .check(&credentials.chain()[0])
            .expect_err("another CA");
        assert!(matches!(error, IdentityError::Untrusted { .. }), "{error}");
    }

    #[test]
    fn certificate_for_another_mesh_of_the_same_ca_is_refused() {
        let mesh = mesh("m1");
        let issued = mesh.issue("a");
        let renamed = Mesh {
            name: MeshName::new("m2").expect("a valid name"),
            ca: mesh.ca.clone(),
        };
        let error = renamed.credentials(&issued).expect_err("another mesh");
        assert!(
            matches!(
                &error,
                CredentialsError::Identity(IdentityError::OtherMesh { found, .. }) if found == "m1"
            ),
            "{error}"
        );
    }

    #[test]
    fn expired_certificate_is_refused() {
        let mesh = mesh("m1");
        let authority = Authority::from_pem(&mesh.ca.certificate, &mesh.ca.key).expect("a CA");
        let node = NodeName::new("a").expect("a valid name");
        let issued = authority
            .issue_at(clock::wall() - 2 * DAY, &node, &[], DAY)
            .expect("a certificate");
        let error = mesh.credentials(&issued).expect_err("expired");
        assert!(error.to_string().contains("xpired"), "{error}");
    }

    #[test]
    fn key_of_another_certificate_is_refused() {
        let mesh = mesh("m1");
        let mixed = Issued {
            key: mesh.issue("b").key,
            ..mesh.issue("a")
        };
        let error = mesh.credentials(&mixed).expect_err("another key");
        assert_eq!(error, CredentialsError::KeyMismatch);
    }

    #[test]
    fn garbage_is_no_certificate() {
        let verifier = mesh("m1").verifier();
        for garbage in [&b""[..], b"\x30\x82\xff\xff", &[0x30; 5_000]] {
            assert_eq!(verifier.check(garbage), Err(IdentityError::Unreadable));
        }
    }
}
