//! The limits of keys, read at each scrape.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use grapevine_base::families::Families;
use grapevine_base::limits::{LimitFault, LimitKind, LimitsHandle};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::labels::KindLabels;

/// Shows the limits that it is given once.
#[derive(Debug, Default)]
pub(super) struct LimitMetrics {
    limits: OnceLock<LimitsHandle>,
    refusals: Family<KindLabels, Counter>,
    overruns: Family<KindLabels, Counter>,
    waits: Counter,
    faults: Family<KindLabels, Counter>,
    keys: Gauge,
}

impl LimitMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let metrics = Self::default();
        families.register(
            "key_limit_refusals",
            "Requests refused at a limit of their key, by what the limit counts",
            metrics.refusals.clone(),
        );
        families.register(
            "key_limit_overruns",
            "Streams that used more tokens or money than the limits of their key had left, by what the limit counts",
            metrics.overruns.clone(),
        );
        families.register(
            "key_limit_waits",
            "Requests admitted after they had waited for rights of other nodes",
            metrics.waits.clone(),
        );
        families.register(
            "key_limit_faults",
            "Times that something kept this node from spending its rights of budgets, by what it was",
            metrics.faults.clone(),
        );
        families.register(
            "limited_keys",
            "Keys with limits, and models with limits of a key, that this node served within the last ten minutes",
            metrics.keys.clone(),
        );
        metrics.read();
        metrics
    }

    /// Shows `limits` from now on; later calls change nothing.
    pub(super) fn show(&self, limits: LimitsHandle) {
        // A node has one for its lifetime.
        let _ = self.limits.set(limits);
    }

    pub(super) fn read(&self) {
        let limits = self.limits.get();
        for of in LimitKind::ALL {
            let refused = limits.map_or(0, |limits| limits.refused(of));
            let kind = of.as_str();
            let counter = self.refusals.get_or_create(&KindLabels { kind }).clone();
            counter.inner().store(refused, Relaxed);
            let overruns = limits.map_or(0, |limits| limits.overruns(of));
            let counter = self.overruns.get_or_create(&KindLabels { kind }).clone();
            counter.inner().store(overruns, Relaxed);
        }
        for fault in LimitFault::ALL {
            let found = limits.map_or(0, |limits| limits.faults(fault));
            let kind = fault.as_str();
            let counter = self.faults.get_or_create(&KindLabels { kind }).clone();
            counter.inner().store(found, Relaxed);
        }
        let Some(limits) = limits else { return };
        self.waits.inner().store(limits.waited(), Relaxed);
        let keys = limits.table().len();
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }
}
