//! WebSockets, read at each scrape.

use std::sync::atomic::Ordering::Relaxed;

use grapevine_base::families::Families;
use grapevine_base::websocket::counts::{TunnelCounts, TunnelOutcome};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::labels::KindLabels;

/// Shows its counts.
#[derive(Debug, Default)]
pub(super) struct TunnelMetrics {
    pub(super) counts: TunnelCounts,
    open: Gauge,
    ended: Family<KindLabels, Counter>,
    bytes: Family<KindLabels, Counter>,
}

impl TunnelMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let metrics = Self::default();
        families.register(
            "websockets_open",
            "WebSockets of this node's clients that are open",
            metrics.open.clone(),
        );
        families.register(
            "websockets_ended",
            "WebSockets of this node's clients that ended, by how",
            metrics.ended.clone(),
        );
        families.register(
            "websocket_bytes",
            "Bytes that passed through WebSockets, received from clients and sent to them",
            metrics.bytes.clone(),
        );
        metrics.read();
        metrics
    }

    pub(super) fn read(&self) {
        let counts = &self.counts;
        self.open
            .set(i64::try_from(counts.open_now()).unwrap_or(i64::MAX));
        for outcome in TunnelOutcome::ALL {
            let kind = outcome.as_str();
            let counter = self.ended.get_or_create(&KindLabels { kind }).clone();
            counter.inner().store(counts.ended(outcome), Relaxed);
        }
        let (received, sent) = counts.bytes();
        for (kind, bytes) in [("received", received), ("sent", sent)] {
            let counter = self.bytes.get_or_create(&KindLabels { kind }).clone();
            counter.inner().store(bytes, Relaxed);
        }
    }
}
