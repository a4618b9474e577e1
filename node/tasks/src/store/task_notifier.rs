//! Wakes those who wait for tasks: notified when a task can be leased, at no cost when nobody waits.
//!
//! A wake-up may be lost (the task was added by another process, its delay ended, its region is another),
//! so nobody waits longer than [`POLL`] without looking again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// The longest wait between two looks.
pub(super) const POLL: Duration = Duration::from_millis(500);

/// Slots; services share one when their hashes collide, which costs a useless look.
const SLOTS: usize = 64;

/// One slot for every few services.
pub(super) struct TaskNotifier {
    slots: [ServiceNotify; SLOTS],
}

#[derive(Default)]
struct ServiceNotify {
    /// How often it was notified.
    count: AtomicU64,
    /// How many of these notifications were followed by a look that found nothing.
    found_empty: AtomicU64,
    waiting: Notify,
}

impl TaskNotifier {
    pub(super) fn new() -> Self {
        Self {
            slots: std::array::from_fn(|_| ServiceNotify::default()),
        }
    }

    /// A task of `service` can be leased now.
    pub(super) fn notify(&self, service: &str) {
        self.slot(service).notify();
    }

    /// Tasks of any service can be.
    pub(super) fn notify_all(&self) {
        self.slots.iter().for_each(ServiceNotify::notify);
    }

    /// How often it was notified for `service`: to be read before a look.
    pub(super) fn count(&self, service: &str) -> u64 {
        self.slot(service).count.load(Ordering::Acquire)
    }

    /// A look that began after `count` notifications found nothing.
    pub(super) fn found_nothing(&self, service: &str, count: u64) {
        let slot = self.slot(service);
        slot.found_empty.fetch_max(count, Ordering::AcqRel);
    }

    /// Returns when it was notified after the last look that found nothing, or after `at_most`, or after [`POLL`].
    pub(super) async fn wait(&self, service: &str, at_most: Duration) {
        let slot = self.slot(service);
        let waiting = slot.waiting.notified();
        tokio::pin!(waiting);
        waiting.as_mut().enable();
        if slot.count.load(Ordering::Acquire) > slot.found_empty.load(Ordering::Acquire) {
            return;
        }
        // Over in time or not: the caller looks again either way.
        let _ = timeout(at_most.min(POLL), waiting).await;
    }

    fn slot(&self, service: &str) -> &ServiceNotify {
        let mut hasher = DefaultHasher::new();
        service.hash(&mut hasher);
        let index = hasher.finish() % SLOTS as u64;
        &self.slots[index as usize]
    }
}

impl ServiceNotify {
    fn notify(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.waiting.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn notification_before_the_wait_is_not_lost() {
        let notifier = TaskNotifier::new();
        let count = notifier.count("a");
        notifier.notify("a");
        notifier.found_nothing("a", count);
        let began = tokio::time::Instant::now();
        notifier.wait("a", LONG).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn wait_without_a_notification_looks_again_after_the_poll() {
        let notifier = TaskNotifier::new();
        notifier.notify("a");
        notifier.found_nothing("a", notifier.count("a"));
        let began = tokio::time::Instant::now();
        notifier.wait("a", LONG).await;
        assert_eq!(began.elapsed(), POLL);
    }
}
