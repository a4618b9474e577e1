//! The files that the node runs by, for its operator: which configuration, and until when its certificates are valid.

use std::path::Path;
use std::time::Duration;

use grapevine_base::clock;
use grapevine_base::own_files::{CertificateExpiry, OwnFiles};
use grapevine_base::readiness::Readiness;
use grapevine_config::{Config, ConfigProblem};
use grapevine_observe::metrics::Metrics;
use tracing::warn;

/// What certificates are used for, as metrics and answers name it.
const MESH: &str = "mesh";
const MESH_CA: &str = "mesh_ca";
const PUBLIC: &str = "public";

/// Publishes what a node starts with.
pub(super) fn show(config: &Config, readiness: &Readiness, metrics: &Metrics) {
    taken(config, Vec::new(), readiness.files());
    metrics.show_files(readiness.files().clone());
}

/// Publishes that `config` is in use, but for the keys that wait for a restart.
pub(super) fn taken(config: &Config, pending_restart: Vec<String>, files: &OwnFiles) {
    let (certificates, wall) = (certificates(config), clock::wall());
    for warning in ending(&certificates, wall) {
        warn!(%warning, "configuration");
    }
    let hash = config.file_hash.clone();
    files.loaded(hash, pending_restart, certificates, wall);
}

/// The warning for each of `certificates` that has expired at `wall`, or does soon.
pub(crate) fn ending(certificates: &[CertificateExpiry], wall: Duration) -> Vec<ConfigProblem> {
    let ending = certificates.iter().filter(|it| it.is_ending(wall));
    let warnings = ending.map(|certificate| {
        let problem = format!("holds a certificate that {}", certificate.when(wall));
        let remedy = "renew it; a node reads the new file by itself".to_owned();
        ConfigProblem::of_value(key_of(certificate.used_for), problem, remedy)
    });
    warnings.collect()
}

/// The key that names the file of certificates with this use.
fn key_of(used_for: &str) -> &'static str {
    match used_for {
        MESH => "mesh.tls.cert",
        MESH_CA => "mesh.tls.ca",
        _ => "tls.cert",
    }
}

/// Certificates in use, those of the mesh first. Files that cannot be read are left out: the check of the
/// configuration and the start report them.
pub(crate) fn certificates(config: &Config) -> Vec<CertificateExpiry> {
    let mesh = config.mesh.as_ref().map(|mesh| &mesh.tls);
    let public = config.tls.as_ref();
    let files: [(&'static str, Option<&Path>); 3] = [
        (MESH, mesh.map(|tls| tls.cert.as_path())),
        (MESH_CA, mesh.map(|tls| tls.ca.as_path())),
        (PUBLIC, public.map(|tls| tls.cert.as_path())),
    ];
    let files = files.into_iter();
    let files = files.filter_map(|(used_for, path)| Some((used_for, std::fs::read(path?).ok()?)));
    files
        .filter_map(|(used_for, pem)| CertificateExpiry::of(used_for, &pem))
        .collect()
}
