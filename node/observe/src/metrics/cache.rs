//! How much of their prompts upstreams read from their caches: from the view at each scrape.

use std::sync::atomic::Ordering;

use grapevine_base::families::Families;
use grapevine_core::cache_meter::{CacheMeter, CachedTokens};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::super::labels::UpstreamLabels;

/// Tokens of prompts that this node sent.
#[derive(Debug, Default)]
pub(super) struct CacheMetrics {
    prompt: Family<UpstreamLabels, Counter>,
    cached: Family<UpstreamLabels, Counter>,
}

impl CacheMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let metrics = Self::default();
        families.register(
            "upstream_prompt_tokens",
            "Tokens of prompts that this node sent to an upstream, as it reported them",
            metrics.prompt.clone(),
        );
        families.register(
            "upstream_cached_tokens",
            "Tokens of prompts that came from an upstream's prompt cache, as it reported them",
            metrics.cached.clone(),
        );
        metrics
    }

    /// What is not in the view any more is dropped.
    pub(super) fn clear(&self) {
        self.prompt.clear();
        self.cached.clear();
    }

    /// An upstream without a prompt has no line.
    pub(super) fn read(&self, labels: &UpstreamLabels, meter: &CacheMeter) {
        let CachedTokens { input, cached } = meter.totals();
        if input > 0 {
            // Set and not added: two scrapes at once count nothing twice.
            let counts = [(&self.prompt, input), (&self.cached, cached)];
            for (family, count) in counts {
                let counter = family.get_or_create(labels);
                counter.inner().store(count, Ordering::Relaxed);
            }
        }
    }
}
