//! Observers of running tasks: metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_core::ids::ServiceKey;
use grapevine_core::quota::QuotaExceeded;

use super::store::{Swept, TaskCounts};
use super::task::ServiceKeyText;

/// Sees what happens to tasks; must not block.
pub trait Watcher: Send + Sync + 'static {
    /// A task was accepted, after the store took this long.
    fn enqueued(&self, service: &ServiceKey, took: Duration) {
        let _ = (service, took);
    }

    /// An attempt that is not the task's first began.
    fn began_again(&self, service: &ServiceKey) {
        let _ = service;
    }

    /// An attempt ended after this long: `completed`, `failed`, `cancelled`, `lost` or `returned`.
    fn ended(&self, service: &ServiceKey, how: &'static str, took: Duration) {
        let _ = (service, how, took);
    }

    /// The own store holds this much.
    fn counted(&self, counts: &BTreeMap<ServiceKeyText, TaskCounts>) {
        let _ = counts;
    }

    /// Somebody wanted more than a quota permits.
    fn refused(&self, over: QuotaExceeded) {
        let _ = over;
    }

    /// The store was swept.
    fn swept(&self, swept: &Swept) {
        let _ = swept;
    }
}

/// Observes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Watcher for Nobody {}
