//! Answers on their way to clients, read at each scrape.

use std::sync::OnceLock;

use grapevine_base::families::Families;
use grapevine_core::limit::RetryBudget;
use prometheus_client::metrics::gauge::Gauge;

/// Shows what the budget that it is given once counts.
#[derive(Debug, Default)]
pub(super) struct AnswerMetrics {
    budget: OnceLock<RetryBudget>,
    held: Gauge,
}

impl AnswerMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let metrics = Self::default();
        families.register(
            "answers_held",
            "Answers of up to 64 KiB that are kept until they are whole; at most 512",
            metrics.held.clone(),
        );
        metrics
    }

    /// Shows `budget` from now on; later calls change nothing.
    pub(super) fn show(&self, budget: RetryBudget) {
        // A node has one for its lifetime.
        let _ = self.budget.set(budget);
    }

    pub(super) fn read(&self) {
        let held = self.budget.get().map_or(0, RetryBudget::rests);
        self.held.set(held.into());
    }
}
