//! What every platform has in common.

use std::path::{Path, PathBuf};

use super::config;
use super::files::PlannedFile;
use super::mesh::{CLIENT_KEY, PlannedMesh};
use crate::cli::ca::{CA_CERTIFICATE, CA_KEY};

/// The files of every platform: the authority, the client's key, and each node's configuration and certificate.
pub(super) fn files(mesh: &PlannedMesh) -> Vec<PlannedFile> {
    let mut files = vec![
        PlannedFile::plain(Path::new("ca").join(CA_CERTIFICATE), &*mesh.ca.certificate),
        PlannedFile::secret(Path::new("ca").join(CA_KEY), &*mesh.ca.key),
        PlannedFile::secret(CLIENT_KEY, format!("{}\n", mesh.client_key)),
    ];
    for node in &mesh.nodes {
        let folder = PathBuf::from(node.name.as_str());
        let certificates = folder.join("mesh");
        let named = |end: &str| certificates.join(format!("{}.{end}", node.name));
        files.extend([
            PlannedFile::plain(folder.join(mesh.config_name()), config::text(mesh, node)),
            PlannedFile::plain(certificates.join(CA_CERTIFICATE), &*mesh.ca.certificate),
            PlannedFile::plain(named("pem"), &*node.certificate.certificate),
            PlannedFile::secret(named("key"), &*node.certificate.key),
        ]);
    }
    files
}
