//! What is saved up and spent, by many threads.

use std::sync::atomic::{AtomicI64, Ordering};

/// A balance. An addition to a full one, and a payment that it does not cover, leave it as it is.
#[derive(Debug, Default)]
pub(crate) struct TokenBucket(AtomicI64);

impl TokenBucket {
    /// Adds `amount`, up to `max`.
    pub(crate) fn add(&self, amount: i64, max: i64) {
        let add = |balance: i64| (balance < max).then(|| (balance + amount).min(max));
        // A full one: nothing to report.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes `cost`; false where there is less.
    pub(crate) fn take(&self, cost: i64) -> bool {
        let spend = |balance: i64| (balance >= cost).then(|| balance - cost);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        taken.is_ok()
    }
}
