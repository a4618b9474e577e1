//! Credentials that are issued for a time, as an operator sees them: times and reasons, nothing of what is issued.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use grapevine_base::families::Families;
use grapevine_core::ids::UpstreamName;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};

use super::labels::{CredentialLabels, RenewalLabels};
use super::milliseconds;

/// The credential of one own upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialReport {
    /// The upstream.
    pub upstream: UpstreamName,
    /// Who issues it: `entra`, `aws` or `google`.
    pub kind: &'static str,
    /// The end of the one at hand; `None` where there is none, or it lasts.
    pub expires_at: Option<SystemTime>,
    /// The last renewal that succeeded.
    pub renewed_at: Option<SystemTime>,
    /// The last one that failed, and the word for why.
    pub last_failure: Option<(SystemTime, &'static str)>,
    /// Renewals that succeeded, and that failed, since the start.
    pub renewals: (u64, u64),
}

impl CredentialReport {
    /// For the operator, as of `now`.
    pub fn to_json(&self, now: SystemTime) -> Value {
        let ago = |at: SystemTime| milliseconds(now.duration_since(at).unwrap_or_default());
        let left = |at: SystemTime| milliseconds(at.duration_since(now).unwrap_or_default());
        json!({
            "kind": self.kind,
            "expires_in_ms": self.expires_at.map(left),
            "renewed_ms_ago": self.renewed_at.map(ago),
            "last_failure": self.last_failure.map(|(at, reason)| json!({"reason": reason, "ms_ago": ago(at)})),
        })
    }
}

/// The metrics of credentials.
#[derive(Debug)]
pub(super) struct CredentialMetrics {
    expires: Family<CredentialLabels, Gauge<f64, AtomicU64>>,
    renewals: Family<RenewalLabels, Counter>,
}

impl CredentialMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let metrics = Self {
            expires: Family::default(),
            renewals: Family::default(),
        };
        families.register_seconds(
            "credential_expires",
            "Time until the issued credential of an own upstream expires, zero once it has; absent without one",
            metrics.expires.clone(),
        );
        families.register(
            "credential_renewals",
            "Renewals of the issued credential of an own upstream, by result: renewed or failed",
            metrics.renewals.clone(),
        );
        metrics
    }

    pub(super) fn read(&self, reports: &[CredentialReport], now: SystemTime) {
        self.expires.clear();
        for report in reports {
            let (upstream, kind) = (report.upstream.to_string(), report.kind);
            if let Some(expires_at) = report.expires_at {
                let left: Duration = expires_at.duration_since(now).unwrap_or_default();
                let labels = CredentialLabels {
                    upstream: upstream.clone(),
                    kind,
                };
                self.expires.get_or_create(&labels).set(left.as_secs_f64());
            }
            let (renewed, failed) = report.renewals;
            for (result, count) in [("renewed", renewed), ("failed", failed)] {
                let labels = RenewalLabels {
                    upstream: upstream.clone(),
                    kind,
                    result,
                };
                let counter = self.renewals.get_or_create(&labels);
                counter.inner().store(count, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_holds_times_and_a_reason() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let report = CredentialReport {
            upstream: UpstreamName::new("azure").expect("a name"),
            kind: "entra",
            expires_at: Some(now + Duration::from_secs(60)),
            renewed_at: Some(now - Duration::from_secs(2)),
            last_failure: Some((now - Duration::from_secs(3), "refused")),
            renewals: (1, 2),
        };
        let expected = json!({"kind": "entra", "expires_in_ms": 60_000.0, "renewed_ms_ago": 2_000.0,
            "last_failure": {"reason": "refused", "ms_ago": 3_000.0}});
        assert_eq!(report.to_json(now), expected);
        let later = report.to_json(now + Duration::from_secs(90));
        assert_eq!(later["expires_in_ms"], 0.0, "it has expired");
    }
}
