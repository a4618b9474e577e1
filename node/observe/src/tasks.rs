//! What Prometheus sees of background work.
//!
//! Clients may name any service: the first [`SERVICES_MAX`] have labels of their own, the others share one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grapevine_core::view::View;
use grapevine_core::work;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use grapevine_base::families::Families;

/// Services with labels of their own.
pub const SERVICES_MAX: usize = 64;

/// The label of all others.
const OTHER: &str = "other";

/// The label of a store that is this node's alone.
const OWN: &str = "own";

/// Metrics of tasks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TaskMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    services: Mutex<BTreeSet<String>>,
    tasks: Family<StateLabels, Gauge>,
    ended: Family<EndLabels, Counter>,
    again: Family<ServiceLabels, Counter>,
    unserved: Family<QueueLabels, Gauge>,
    lost: Counter,
    refused: Family<QuotaLabels, Counter>,
    enqueue: Family<ServiceLabels, Histogram>,
    run: Family<ServiceLabels, Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServiceLabels {
    service: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QuotaLabels {
    quota: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QueueLabels {
    service: String,
    store: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    service: String,
    state: &'static str,
    store: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EndLabels {
    service: String,
    how: &'static str,
}

/// Tasks of one service, by state.
pub type StateCounts = [(&'static str, u64); 4];

fn seconds() -> Histogram {
    // 1 ms to 18 h: from a line in a local file to a batch.
    Histogram::new(exponential_buckets(0.001, 4.0, 14))
}

impl TaskMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let inner = Inner {
            services: Mutex::default(),
            tasks: Family::default(),
            ended: Family::default(),
            again: Family::default(),
            unserved: Family::default(),
            lost: Counter::default(),
            refused: Family::default(),
            enqueue: Family::new_with_constructor(seconds),
            run: Family::new_with_constructor(seconds),
        };
        families.register(
            "tasks",
            "Tasks in this node's store, by service, state and store, as of the last sweep. Nodes that share a \
             store all report the same tasks: sum over what is max by (store, service, state), and over \
             nodes only where store is own",
            inner.tasks.clone(),
        );
        families.register(
            "tasks_ended",
            "Attempts that ended at this node, by service and how",
            inner.ended.clone(),
        );
        families.register(
            "tasks_run_again",
            "Attempts begun at this node that were not their task's first",
            inner.again.clone(),
        );
        families.register(
            "tasks_unserved",
            "Tasks that wait at this node while no live node serves them, by service and store. Nodes that share \
             a store all report the same tasks: sum over nodes only where store is own",
            inner.unserved.clone(),
        );
        families.register(
            "task_leases_lost",
            "Leases in this node's store that ran out: their tasks wait again or are dead letters",
            inner.lost.clone(),
        );
        families.register(
            "task_quota_refusals",
            "Tasks and files that were refused since their client had as much as it may have, by quota",
            inner.refused.clone(),
        );
        families.register_seconds(
            "task_enqueue",
            "Time until an accepted task was durable",
            inner.enqueue.clone(),
        );
        families.register_seconds("task_run", "Time that an attempt took", inner.run.clone());
        Self(Arc::new(inner))
    }

    /// Sets the counts of tasks that no node serves, from `view`.
    pub(super) fn read(&self, view: &View) {
        self.0.unserved.clear();
        let unserved = work::unserved(view).into_iter();
        for tasks in unserved.filter(|tasks| *tasks.node == view.node) {
            let store = tasks.store.map(|store| store.as_str());
            let labels = QueueLabels {
                service: self.labels(tasks.service.as_str()).service,
                store: store.unwrap_or(OWN).to_owned(),
            };
            self.0
                .unserved
                .get_or_create(&labels)
                .inc_by(tasks.waiting.into());
        }
    }

    /// A task was accepted.
    pub fn enqueued(&self, service: &str, took: Duration) {
        let labels = self.labels(service);
        let histogram = self.0.enqueue.get_or_create(&labels);
        histogram.observe(took.as_secs_f64());
    }

    /// An attempt began that is not its task's first.
    pub fn began_again(&self, service: &str) {
        self.0.again.get_or_create(&self.labels(service)).inc();
    }

    /// An attempt ended.
    pub fn ended(&self, service: &str, how: &'static str, took: Duration) {
        let labels = self.labels(service);
        let histogram = self.0.run.get_or_create(&labels);
        histogram.observe(took.as_secs_f64());
        let service = labels.service;
        self.0
            .ended
            .get_or_create(&EndLabels { service, how })
            .inc();
    }

    /// A request exceeded the quota of this name.
    pub fn refused(&self, quota: &'static str) {
        self.0.refused.get_or_create(&QuotaLabels { quota }).inc();
    }

    /// Leases ran out.
    pub fn lost(&self, leases: u64) {
        self.0.lost.inc_by(leases);
    }

    /// Sets what the store holds, which has a name where nodes share it; what is no longer in it is dropped.
    pub fn counted(
        &self,
        store: Option<&str>,
        counts: impl IntoIterator<Item = (String, StateCounts)>,
    ) {
        self.0.tasks.clear();
        for (service, states) in counts {
            let service = self.labels(&service).service;
            for (state, count) in states {
                let labels = StateLabels {
                    service: service.clone(),
                    state,
                    store: store.unwrap_or(OWN).to_owned(),
                };
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                self.0.tasks.get_or_create(&labels).inc_by(count);
            }
        }
    }

    fn labels(&self, service: &str) -> ServiceLabels {
        let mut services = self
            .0
            .services
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if services.len() < SERVICES_MAX {
            services.insert(service.to_owned());
        }
        let service = match services.contains(service) {
            true => service,
            false => OTHER,
        };
        ServiceLabels {
            service: service.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_beyond_the_limit_share_a_label() {
        let metrics = TaskMetrics::register(&mut Families::default());
        for number in 0..SERVICES_MAX {
            metrics.began_again(&format!("s:{number}"));
        }
        let label = |service: &str| metrics.labels(service).service;
        assert_eq!((&*label("s:0"), &*label("t:1")), ("s:0", OTHER));
    }
}
