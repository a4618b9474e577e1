//! The files that a node runs by, as an operator must know them: whether the configuration on disk is the one that
//! runs, and until when the certificates in use are valid.
//!
//! Published by whoever reads the files, at the start and at each reload; read by readiness, metrics and the admin
//! port. Times are those of the wall clock since the Unix epoch, since the dates in certificates are.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_core::date::CalendarDay;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use serde_json::{Value, json};
use webpki::{EndEntityCert, KeyUsage};

/// What is left of a certificate when warnings begin. It is the remainder at which ACME clients renew those of 90 days.
pub const CERTIFICATE_WARNING: Duration = Duration::from_secs(30 * 86_400);

/// The longest text of a failed reload that is kept, in bytes.
const ERROR_BYTES_MAX: usize = 2_048;

/// What is known of the files. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct OwnFiles(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    config: ArcSwap<ConfigStatus>,
    certificates: ArcSwap<Vec<CertificateExpiry>>,
}

/// The configuration that runs, and what the last reload found on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigStatus {
    /// The short hash of the file that runs; `None` without a file.
    pub file_hash: Option<String>,
    /// When it was taken up, at the start or by a reload.
    pub loaded_at: Duration,
    /// The last reload, where it failed.
    pub failed: Option<FailedReload>,
    /// Keys whose value on disk differs from the one that runs until the node is restarted.
    pub pending_restart: Vec<String>,
}

/// A reload that changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedReload {
    /// When it was tried.
    pub at: Duration,
    /// Why it failed, at most [`ERROR_BYTES_MAX`] bytes. Without secrets.
    pub error: String,
    /// The short hash of the file that was tried; `None` where it could not be read.
    pub file_hash: Option<String>,
}

/// Until when the certificates of one file are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateExpiry {
    /// What they are used for: `mesh`, `mesh_ca` or `public`.
    pub used_for: &'static str,
    /// The end of the first one of the file that expires.
    pub not_after: Duration,
}

impl OwnFiles {
    /// The configuration, as of the last reload.
    pub fn config(&self) -> Arc<ConfigStatus> {
        self.0.config.load_full()
    }

    /// The certificates in use.
    pub fn certificates(&self) -> Arc<Vec<CertificateExpiry>> {
        self.0.certificates.load_full()
    }

    /// A configuration was taken up at `at`, with these certificates; these keys of it wait for a restart.
    pub fn loaded(
        &self,
        file_hash: Option<String>,
        pending_restart: Vec<String>,
        certificates: Vec<CertificateExpiry>,
        at: Duration,
    ) {
        self.0.certificates.store(Arc::new(certificates));
        self.0.config.store(Arc::new(ConfigStatus {
            file_hash,
            loaded_at: at,
            failed: None,
            pending_restart,
        }));
    }

    /// A reload at `at` failed.
    pub fn refused(&self, file_hash: Option<String>, error: &str, at: Duration) {
        let failed = FailedReload {
            at,
            error: error[..error.floor_char_boundary(ERROR_BYTES_MAX)].to_owned(),
            file_hash,
        };
        self.0.config.store(Arc::new(ConfigStatus {
            failed: Some(failed),
            ..(*self.config()).clone()
        }));
    }

    /// What an operator should know of the files at `wall`, as code and text.
    pub fn warnings(&self, wall: Duration) -> Vec<(&'static str, String)> {
        let config = self.config();
        let mut warnings: Vec<_> = config.warnings().map(|text| ("config", text)).collect();
        let certificates = self.certificates();
        let ending = certificates.iter().filter(|it| it.is_ending(wall));
        warnings.extend(ending.map(|it| ("certificate", it.describe(wall))));
        warnings
    }

    /// Whether there are [`Self::warnings`] of `config`, and of `certificate`: what a summary of codes depends on.
    pub(crate) fn has_warnings(&self, wall: Duration) -> [bool; 2] {
        let certificates = self.0.certificates.load();
        [
            self.0.config.load().warnings().next().is_some(),
            certificates.iter().any(|it| it.is_ending(wall)),
        ]
    }

    /// For the operator, as of `wall`: the parts `config` and `certificates` of the node's own answers.
    pub fn to_json(&self, wall: Duration) -> [(&'static str, Value); 2] {
        let certificates = self.certificates();
        let certificates = certificates.iter().map(|it| it.to_json(wall));
        [
            ("config", self.config().to_json(wall)),
            ("certificates", certificates.collect()),
        ]
    }
}

impl ConfigStatus {
    /// When the last reload was, or the start.
    pub fn last_reload_at(&self) -> Duration {
        self.failed.as_ref().map_or(self.loaded_at, |it| it.at)
    }

    fn warnings(&self) -> impl Iterator<Item = String> {
        let failed = self.failed.iter().map(|failed| {
            let first = failed.error.lines().next().unwrap_or_default();
            format!(
                "the last reload failed, so the old one stays in use and the next restart may fail: {first}"
            )
        });
        let pending = (!self.pending_restart.is_empty()).then(|| {
            let keys = self.pending_restart.join(", ");
            format!("changes on disk wait for a restart: {keys}")
        });
        failed.chain(pending)
    }

    fn to_json(&self, wall: Duration) -> Value {
        let ago = |at: Duration| json!(wall.saturating_sub(at).as_millis());
        let failed = self.failed.as_ref().map(|failed| {
            json!({"error": failed.error, "ms_ago": ago(failed.at), "file_hash": failed.file_hash})
        });
        json!({
            "file_hash": self.file_hash,
            "loaded_ms_ago": ago(self.loaded_at),
            "last_reload_at": self.last_reload_at().as_secs(),
            "last_reload_failed": failed,
            "pending_restart": self.pending_restart,
        })
    }
}

impl CertificateExpiry {
    /// Of the certificates in `pem`; `None` where none can be read.
    pub fn of(used_for: &'static str, pem: &[u8]) -> Option<Self> {
        let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
        let not_after = certificates.filter_map(|it| not_after(&it)).min()?;
        Some(Self {
            used_for,
            not_after,
        })
    }

    /// Whether it has expired, or ends within [`CERTIFICATE_WARNING`].
    pub fn is_ending(&self, wall: Duration) -> bool {
        self.not_after <= wall + CERTIFICATE_WARNING
    }

    /// Its end in words, such as `mesh expires on 2027-01-31, in 3d`.
    pub fn describe(&self, wall: Duration) -> String {
        format!("{} {}", self.used_for, self.when(wall))
    }

    /// The same without what it is used for.
    pub fn when(&self, wall: Duration) -> String {
        expiry_text(self.not_after, wall)
    }

    fn to_json(self, wall: Duration) -> Value {
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        json!({
            "used_for": self.used_for,
            "not_after": self.not_after.as_secs(),
            "expires_in_ms": millis(self.not_after) - millis(wall),
            "ending": self.is_ending(wall),
        })
    }
}

/// The end of a certificate in words, such as `expires on 2027-01-31, in 3d`.
pub fn expiry_text(not_after: Duration, wall: Duration) -> String {
    let day = CalendarDay::of(not_after);
    match not_after.checked_sub(wall) {
        Some(left) => format!("expires on {day}, in {}", rough(left)),
        None => {
            let ago = rough(wall.saturating_sub(not_after));
            format!("expired on {day}, {ago} ago")
        }
    }
}

/// A span in the largest unit of which it holds two or more, rounded down: `47h`, `3d`.
pub fn rough(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60)];
    let fit = units.into_iter().find(|(_, size)| seconds >= 2 * size);
    let (unit, size) = fit.unwrap_or(("s", 1));
    format!("{}{unit}", seconds / size)
}

/// The end of a certificate's validity, since the Unix epoch. It is asked of the parser that checks certificates
/// elsewhere: at a time when every one has expired it refuses this one, and says since when.
fn not_after(certificate: &CertificateDer<'_>) -> Option<Duration> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let judged = certificate.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &[],
        &[],
        end_of_time,
        KeyUsage::server_auth(),
        None,
        None,
    );
    match judged {
        Err(webpki::Error::CertExpired { not_after, .. }) => {
            Some(Duration::from_secs(not_after.as_secs()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{Authority, create};
    use grapevine_core::ids::{MeshName, NodeName};

    const NOW: Duration = Duration::from_secs(1_790_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn expiry(not_after: Duration) -> CertificateExpiry {
        CertificateExpiry {
            used_for: "mesh",
            not_after,
        }
    }

    #[test]
    fn end_of_nodes_and_of_authorities_is_read_and_the_first_counts() {
        let ca = create(&MeshName::new("m").expect("a name")).expect("an authority");
        let authority = Authority::from_pem(&ca.certificate, &ca.key).expect("an authority");
        let name = NodeName::new("sgp").expect("a name");
        let issued = authority.issue(&name, &[], 3 * DAY).expect("a certificate");
        let now = crate::clock::wall();
        let days = |pem: &str| {
            let found = CertificateExpiry::of("mesh", pem.as_bytes()).expect("a certificate");
            // The certificate was made a moment ago: what is left has lost a part of a second.
            (found.not_after.saturating_sub(now) + Duration::from_secs(60)).as_secs() / 86_400
        };
        assert_eq!(days(&ca.certificate), 3_650);
        assert_eq!(days(&issued.certificate), 3);
        assert_eq!(days(&(ca.certificate + &issued.certificate)), 3);
        assert_eq!(CertificateExpiry::of("mesh", b"no certificate"), None);
    }

    #[test]
    fn certificate_is_warned_of_from_thirty_days_on_and_after_its_end() {
        let warnings = |not_after| {
            let files = OwnFiles::default();
            files.loaded(None, Vec::new(), vec![expiry(not_after)], NOW);
            let warnings = files.warnings(NOW).into_iter();
            warnings
                .map(|(code, text)| format!("{code}: {text}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(warnings(NOW + 30 * DAY + Duration::from_secs(1)), [""; 0]);
        assert_eq!(
            warnings(NOW + 30 * DAY),
            ["certificate: mesh expires on 2026-10-21, in 30d"]
        );
        assert_eq!(
            warnings(NOW - 2 * DAY),
            ["certificate: mesh expired on 2026-09-19, 2d ago"]
        );
    }

    #[test]
    fn failed_reload_is_said_until_one_succeeds_and_changes_that_wait_until_they_are_gone() {
        let files = OwnFiles::default();
        let hash = |text: &str| Some(text.to_owned());
        files.loaded(hash("aaa"), Vec::new(), Vec::new(), NOW);
        assert!(files.warnings(NOW).is_empty());
        files.refused(
            hash("bbb"),
            "c.yaml:3: listen: is wrong\nand more",
            NOW + DAY,
        );
        let warnings = files.warnings(NOW);
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].0 == "config"
                && warnings[0]
                    .1
                    .ends_with("may fail: c.yaml:3: listen: is wrong"),
            "{warnings:?}"
        );
        let [(_, shown), _] = files.to_json(NOW + DAY + DAY);
        assert_eq!(shown["file_hash"], "aaa", "the one that runs");
        assert_eq!(shown["last_reload_failed"]["file_hash"], "bbb");
        assert_eq!(shown["last_reload_failed"]["ms_ago"], 86_400_000);
        files.loaded(
            hash("ccc"),
            vec!["mesh".into(), "tasks".into()],
            Vec::new(),
            NOW,
        );
        let warnings = files.warnings(NOW);
        assert_eq!(
            warnings,
            [(
                "config",
                "changes on disk wait for a restart: mesh, tasks".to_owned()
            )]
        );
        files.loaded(hash("ddd"), Vec::new(), Vec::new(), NOW);
        assert!(files.warnings(NOW).is_empty());
    }

    #[test]
    fn error_is_cut_at_a_letter() {
        let files = OwnFiles::default();
        files.refused(None, &"é".repeat(ERROR_BYTES_MAX), NOW);
        let kept = files.config().failed.clone().expect("a failure").error;
        assert_eq!(kept.len(), ERROR_BYTES_MAX);
    }
}
