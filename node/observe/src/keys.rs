//! Statements about keys, read at each scrape.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use grapevine_base::clock;
use grapevine_base::families::Families;
use grapevine_keys::ring::KeyRing;
use grapevine_keys::statement::KeyStatement;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::labels::KindLabels;

const KINDS: [&str; 3] = ["revoked", "put", "removed"];

/// Shows the ring that it is given once.
#[derive(Debug, Default)]
pub(super) struct KeyMetrics {
    ring: OnceLock<KeyRing>,
    statements: Family<KindLabels, Gauge>,
    compared: Gauge<f64, AtomicU64>,
    provider_keys: Gauge,
    provider_keys_age: Gauge<f64, AtomicU64>,
}

impl KeyMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let metrics = Self::default();
        families.register(
            "key_statements",
            "Statements about keys that this node knows, by what they say",
            metrics.statements.clone(),
        );
        families.register(
            "key_statements_compared_seconds",
            "Time since this node last compared its statements about keys with a peer's; 0 where it accepts no issued keys",
            metrics.compared.clone(),
        );
        families.register(
            "oidc_keys",
            "Keys of the identity provider that this node knows; 0 without a provider",
            metrics.provider_keys.clone(),
        );
        families.register(
            "oidc_keys_age_seconds",
            "Time since this node last fetched the keys of the identity provider; 0 without a provider",
            metrics.provider_keys_age.clone(),
        );
        metrics
    }

    /// Shows `ring` from now on; later calls change nothing.
    pub(super) fn show(&self, ring: KeyRing) {
        // A node has one for its lifetime.
        let _ = self.ring.set(ring);
    }

    pub(super) fn read(&self) {
        let Some(ring) = self.ring.get() else { return };
        let mut counts = [0; KINDS.len()];
        for statement in ring.known().iter() {
            let kind = match &statement.said {
                KeyStatement::Revoke { .. } => 0,
                KeyStatement::Put(_) => 1,
                KeyStatement::Remove { .. } => 2,
            };
            counts[kind] += 1;
        }
        for (kind, count) in KINDS.into_iter().zip(counts) {
            let labels = KindLabels { kind };
            self.statements.get_or_create(&labels).set(count);
        }
        let age = match ring.has_issuers() {
            true => ring.age(clock::wall()).as_secs_f64(),
            false => 0.0,
        };
        self.compared.set(age);
        let (keys, age) = match ring.provider_keys() {
            Some((keys, fetched_at)) => (keys, clock::wall().saturating_sub(fetched_at)),
            None => Default::default(),
        };
        self.provider_keys
            .set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.provider_keys_age.set(age.as_secs_f64());
    }
}
