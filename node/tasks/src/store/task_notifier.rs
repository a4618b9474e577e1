//! Wakes those who wait for tasks: rung when a task can be leased, at no cost when nobody waits.
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

/// Bells; services share one when their hashes meet, which costs a look in vain.
const BELLS: usize = 64;

/// One bell for every few services.
pub(super) struct TaskNotifier {
    bells: [ServiceNotify; BELLS],
}

#[derive(Default)]
struct ServiceNotify {
    /// How often it was rung.
    rung: AtomicU64,
    /// What of that was followed by a look that found nothing.
    answered: AtomicU64,
    waiting: Notify,
}

impl TaskNotifier {
    pub(super) fn new() -> Self {
        Self {
            bells: std::array::from_fn(|_| ServiceNotify::default()),
        }
    }

    /// A task of `service` can be leased now.
    pub(super) fn ring(&self, service: &str) {
        self.bell(service).ring();
    }

    /// Tasks of any service can be.
    pub(super) fn ring_all(&self) {
        self.bells.iter().for_each(ServiceNotify::ring);
    }

    /// How often it was rung for `service`: to be read before a look.
    pub(super) fn rung(&self, service: &str) -> u64 {
        self.bell(service).rung.load(Ordering::Acquire)
    }

    /// A look that began after `rung` rings found nothing.
    pub(super) fn answer(&self, service: &str, rung: u64) {
        let bell = self.bell(service);
        bell.answered.fetch_max(rung, Ordering::AcqRel);
    }

    /// Returns when it was rung after the last look in vain, or after `at_most`, or after [`POLL`].
    pub(super) async fn wait(&self, service: &str, at_most: Duration) {
        let bell = self.bell(service);
        let waiting = bell.waiting.notified();
        tokio::pin!(waiting);
        waiting.as_mut().enable();
        if bell.rung.load(Ordering::Acquire) > bell.answered.load(Ordering::Acquire) {
            return;
        }
        // Over in time or not: the caller looks again either way.
        let _ = timeout(at_most.min(POLL), waiting).await;
    }

    fn bell(&self, service: &str) -> &ServiceNotify {
        let mut hasher = DefaultHasher::new();
        service.hash(&mut hasher);
        let slot = hasher.finish() % BELLS as u64;
        &self.bells[slot as usize]
    }
}

impl ServiceNotify {
    fn ring(&self) {
        self.rung.fetch_add(1, Ordering::AcqRel);
        self.waiting.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn ring_before_the_wait_is_not_lost() {
        let bell = TaskNotifier::new();
        let rung = bell.rung("a");
        bell.ring("a");
        bell.answer("a", rung);
        let began = tokio::time::Instant::now();
        bell.wait("a", LONG).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn wait_without_a_ring_looks_again_after_the_poll() {
        let bell = TaskNotifier::new();
        bell.ring("a");
        bell.answer("a", bell.rung("a"));
        let began = tokio::time::Instant::now();
        bell.wait("a", LONG).await;
        assert_eq!(began.elapsed(), POLL);
    }
}
