//! Requests that wait for a slot, read at each scrape.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use grapevine_base::families::Families;
use grapevine_base::queue::{QueueHandle, QueueRefusal};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::labels::KindLabels;

/// Shows the queue that it is given once.
#[derive(Debug, Default)]
pub(super) struct QueueMetrics {
    queue: OnceLock<QueueHandle>,
    waiting: Gauge,
    served: Counter,
    refusals: Family<KindLabels, Counter>,
}

impl QueueMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let metrics = Self::default();
        families.register(
            "queue_waiting",
            "Requests that wait until one of those in flight ends (limits.in_flight)",
            metrics.waiting.clone(),
        );
        families.register(
            "queue_served",
            "Requests that were let in after they had waited",
            metrics.served.clone(),
        );
        families.register(
            "queue_refusals",
            "Requests refused at an overloaded node, by why",
            metrics.refusals.clone(),
        );
        metrics.read();
        metrics
    }

    /// Shows `queue` from now on; later calls change nothing.
    pub(super) fn show(&self, queue: QueueHandle) {
        // A node has one for its lifetime.
        let _ = self.queue.set(queue);
    }

    pub(super) fn read(&self) {
        let queue = self.queue.get();
        self.waiting
            .set(queue.map_or(0, QueueHandle::waiting).into());
        let served = queue.map_or(0, QueueHandle::served);
        self.served.inner().store(served, Relaxed);
        for by in QueueRefusal::ALL {
            let refused = queue.map_or(0, |queue| queue.refused(by));
            let kind = by.as_str();
            let counter = self.refusals.get_or_create(&KindLabels { kind }).clone();
            counter.inner().store(refused, Relaxed);
        }
    }
}
