//! The load that upstreams report of themselves: from the view at each scrape.

use std::sync::atomic::AtomicU64;

use grapevine_base::families::Families;
use grapevine_core::view::UpstreamStatus;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::super::labels::UpstreamLabels;

/// What runs and waits at own upstreams, and how long requests wait at any.
#[derive(Debug, Default)]
pub(super) struct ReportedMetrics {
    running: Family<UpstreamLabels, Gauge>,
    waiting: Family<UpstreamLabels, Gauge>,
    cache: Family<UpstreamLabels, Gauge<f64, AtomicU64>>,
    wait: Family<UpstreamLabels, Gauge<f64, AtomicU64>>,
}

impl ReportedMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let metrics = Self::default();
        families.register(
            "upstream_reported_running",
            "Requests that an own upstream runs, from all of its clients, as it reports them",
            metrics.running.clone(),
        );
        families.register(
            "upstream_reported_waiting",
            "Requests that wait at an own upstream, from all of its clients, as it reports them",
            metrics.waiting.clone(),
        );
        families.register(
            "upstream_reported_cache_ratio",
            "The share of an own upstream's cache that running requests use, as it reports it",
            metrics.cache.clone(),
        );
        families.register_seconds(
            "upstream_wait_expected",
            "How long a request would wait at an upstream that reports its load before it is begun",
            metrics.wait.clone(),
        );
        metrics
    }

    /// What is not in the view any more is dropped.
    pub(super) fn clear(&self) {
        self.running.clear();
        self.waiting.clear();
        self.cache.clear();
        self.wait.clear();
    }

    /// An upstream that reports nothing has no line.
    pub(super) fn read(&self, labels: &UpstreamLabels, status: &UpstreamStatus) {
        if let Some(engine) = status.engine {
            let counts = [
                (&self.running, engine.running),
                (&self.waiting, engine.waiting),
            ];
            for (family, count) in counts {
                family.get_or_create(labels).set(count.into());
            }
            if let Some(usage) = engine.cache_usage {
                self.cache.get_or_create(labels).set(usage.get());
            }
        }
        let slots = status.fact.in_flight_max;
        let load = status.fact.further.load.as_deref();
        if let Some(wait) = load.and_then(|load| load.wait(status.in_flight, slots)) {
            self.wait.get_or_create(labels).set(wait.as_secs_f64());
        }
    }
}
