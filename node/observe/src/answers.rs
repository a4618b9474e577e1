//! Answers on their way to clients, read at each scrape.

use std::sync::OnceLock;

use grapevine_base::families::Families;
use grapevine_core::limit::RetryBudget;
use grapevine_core::outcome::RequestEnd;
use grapevine_core::request::HedgeResult;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::labels::{EndLabels, ResultLabels};
use super::recent::RecentFamily;
use super::record::RequestRecord;

/// Shows what the budget that it is given once counts.
#[derive(Debug)]
pub(super) struct AnswerMetrics {
    budget: OnceLock<RetryBudget>,
    held: Gauge,
    hedges: Family<ResultLabels, Counter>,
    ended: RecentFamily<EndLabels, Counter>,
}

impl AnswerMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let metrics = Self {
            budget: OnceLock::new(),
            held: Gauge::default(),
            hedges: Family::default(),
            ended: RecentFamily::new(Family::default()),
        };
        families.register(
            "requests_ended",
            "Requests finished at this node, by how they ended for their clients: failed and broken_off are failures",
            metrics.ended.family().clone(),
        );
        for end in RequestEnd::ALL.map(RequestEnd::as_str) {
            drop(metrics.ended.family().get_or_create(&EndLabels { end }));
        }
        families.register(
            "answers_held",
            "Answers of up to 64 KiB that are kept until they are whole; at most 512",
            metrics.held.clone(),
        );
        families.register(
            "hedges",
            "Second attempts that were due beside late ones, by what became of them",
            metrics.hedges.clone(),
        );
        for result in HedgeResult::ALL.map(HedgeResult::as_str) {
            drop(metrics.hedges.get_or_create(&ResultLabels { result }));
        }
        metrics
    }

    /// Shows `budget` from now on; later calls change nothing.
    pub(super) fn show(&self, budget: RetryBudget) {
        // A node has one for its lifetime.
        let _ = self.budget.set(budget);
    }

    /// Counts how a request ended, and what became of its second attempt.
    pub(super) fn request(&self, record: &RequestRecord) {
        let end = record.end().as_str();
        let labels = || EndLabels { end };
        let is_its = |known: &EndLabels| known.end == end;
        self.ended.count(is_its, labels, Counter::inc);
        if let Some(hedge) = &record.hedge {
            let result = hedge.result.as_str();
            self.hedges.get_or_create(&ResultLabels { result }).inc();
        }
    }

    pub(super) fn read(&self) {
        let held = self.budget.get().map_or(0, RetryBudget::rests);
        self.held.set(held.into());
    }
}
