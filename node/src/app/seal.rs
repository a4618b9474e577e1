//! The keys of sealed ids.

use std::path::Path;

use grapevine_config::checked::SealSource;
use grapevine_http::ingress::SealKeys;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tracing::warn;

/// The keys as configured. Those of a mesh follow from the certificates of its CA, in their order in the file: all
/// nodes have them, and clients do not.
pub(super) fn keys(source: &SealSource) -> SealKeys {
    match source {
        SealSource::Written(secrets) => {
            SealKeys::of_secrets(secrets.iter().map(|secret| secret.expose().as_bytes()))
        }
        SealSource::Kept(path) => SealKeys::kept_at(path.clone()),
        SealSource::Authority(path) => of_authority(path),
    }
}

fn of_authority(path: &Path) -> SealKeys {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<CertificateDer<'static>> = certificates.unwrap_or_else(|error| {
        // It was readable when the configuration was checked.
        warn!(path = %path.display(), %error, "the certificate of the mesh's CA cannot be read again: ids are not sealed");
        Vec::new()
    });
    SealKeys::of_secrets(certificates.iter().map(AsRef::as_ref))
}
