//! The mesh CA: makes itself, and issues certificates to nodes.
//!
//! The CA's key is ECDSA P-256, which every TLS tool can check; nodes' keys are Ed25519, since
//! gossiped values are signed with them. Its certificate holds the mesh's name, so that issuing needs no other source.

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
    /// The CA's certificate names no mesh.
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

    /// Issues a certificate with a new key to `node`, valid for `valid`; `dns_names` are added to the
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

    /// The same with a certificate that is valid from `now` on, as the time since the Unix epoch.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn issue_at(
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
