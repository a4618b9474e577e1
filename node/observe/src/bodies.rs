//! The memory that request bodies hold, read at each scrape.

use std::sync::OnceLock;

use prometheus_client::metrics::gauge::Gauge;

use grapevine_base::bodies::BodyBudget;
use grapevine_base::families::Families;

/// Shows the budget that it is given once.
#[derive(Debug, Default)]
pub(super) struct BodyMemory {
    budget: OnceLock<BodyBudget>,
    held: Gauge,
    limit: Gauge,
}

impl BodyMemory {
    pub(super) fn register(families: &mut Families) -> Self {
        let memory = Self::default();
        families.register(
            "body_memory_bytes",
            "Memory that request bodies hold at this node, clients' and forwarded ones",
            memory.held.clone(),
        );
        families.register(
            "body_memory_limit_bytes",
            "Memory that request bodies may hold at this node: limits.body_memory",
            memory.limit.clone(),
        );
        memory
    }

    /// Shows `budget` from now on; later calls change nothing.
    pub(super) fn show(&self, budget: BodyBudget) {
        // A node has one for its lifetime.
        let _ = self.budget.set(budget);
    }

    pub(super) fn read(&self) {
        if let Some(budget) = self.budget.get() {
            let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            self.held.set(gauge(budget.held()));
            self.limit.set(gauge(budget.limit()));
        }
    }
}
