//! The configuration on disk and the certificates in use, read at each scrape.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use grapevine_base::families::Families;
use grapevine_base::own_files::OwnFiles;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::labels::{HashLabels, UseLabels};

/// The label of a node that runs without a file.
const NO_FILE: &str = "none";

/// Shows the files that it is given once.
#[derive(Debug, Default)]
pub(super) struct FileMetrics {
    files: OnceLock<OwnFiles>,
    success: Gauge,
    reloaded_at: Gauge,
    pending: Gauge,
    info: Family<HashLabels, Gauge>,
    expiry: Family<UseLabels, Gauge<f64, AtomicU64>>,
}

impl FileMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let metrics = Self::default();
        families.register(
            "config_last_reload_success",
            "Whether the last reload of the configuration succeeded (1) or was refused (0); 1 after a start",
            metrics.success.clone(),
        );
        families.register_seconds(
            "config_last_reload_timestamp",
            "When the configuration was last read, at the start or by a reload, whether or not it succeeded, in Unix time",
            metrics.reloaded_at.clone(),
        );
        families.register(
            "config_pending_restart",
            "Whether the configuration on disk has changes that wait for a restart (1) or not (0)",
            metrics.pending.clone(),
        );
        families.register(
            "config_info",
            "The first 12 hexadecimal digits of the SHA-256 of the file that runs, none without a file; always 1",
            metrics.info.clone(),
        );
        families.register_seconds(
            "certificate_expiry_timestamp",
            "When the first certificate of a file in use expires, by use: mesh, mesh_ca or public, in Unix time",
            metrics.expiry.clone(),
        );
        metrics
    }

    /// Shows `files` from now on; later calls change nothing.
    pub(super) fn show(&self, files: OwnFiles) {
        // A node has one for its lifetime.
        let _ = self.files.set(files);
    }

    pub(super) fn read(&self) {
        let Some(files) = self.files.get() else {
            return;
        };
        let config = files.config();
        let seconds = |at: std::time::Duration| i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        self.success.set(i64::from(config.failed.is_none()));
        self.reloaded_at.set(seconds(config.last_reload_at()));
        self.pending
            .set(i64::from(!config.pending_restart.is_empty()));
        self.info.clear();
        let hash = config.file_hash.as_deref().unwrap_or(NO_FILE).to_owned();
        self.info.get_or_create(&HashLabels { hash }).set(1);
        self.expiry.clear();
        for certificate in files.certificates().iter() {
            let labels = UseLabels {
                r#use: certificate.used_for,
            };
            let expiry = self.expiry.get_or_create(&labels);
            expiry.set(certificate.not_after.as_secs_f64());
        }
    }
}
