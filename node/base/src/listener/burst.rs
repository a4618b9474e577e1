//! One log line when many events of a kind begin, and one with their number when they have ended.
//!
//! What strangers can cause must not fill the log, or it hides everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// A burst has ended when nothing of the kind happened for this long.
const QUIET: Duration = Duration::from_secs(10);

/// Events of one kind. Copies count together.
#[derive(Clone, Debug, Default)]
pub struct Burst(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_on: AtomicBool,
    count: AtomicU64,
}

impl Burst {
    /// Counts an event. The first of a burst calls `begin` at once, and `end` with the number of all when no more
    /// have happened for a while. Must run within a tokio runtime, which keeps the time.
    pub fn hit(&self, begin: impl FnOnce(), end: impl FnOnce(u64) + Send + 'static) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        if self.0.is_on.swap(true, Ordering::AcqRel) {
            return;
        }
        begin();
        let state = Arc::clone(&self.0);
        tokio::spawn(async move {
            end(state.ended(QUIET).await);
        });
    }
}

impl State {
    /// Waits for the end; how many there were.
    async fn ended(&self, quiet: Duration) -> u64 {
        loop {
            let before = self.count.load(Ordering::Relaxed);
            sleep(quiet).await;
            if self.count.load(Ordering::Relaxed) == before {
                break;
            }
        }
        let count = self.count.swap(0, Ordering::Relaxed);
        self.is_on.store(false, Ordering::Release);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn burst_begins_once_and_ends_with_its_number() {
        let burst = Burst::default();
        let (log, mut lines) = mpsc::channel(8);
        for _ in 0..2 {
            for _ in 0..100 {
                let (begun, ended) = (log.clone(), log.clone());
                burst.hit(
                    move || begun.try_send(0).expect("room"),
                    move |count| ended.try_send(count).expect("room"),
                );
            }
            assert_eq!(lines.recv().await, Some(0));
            assert_eq!(lines.recv().await, Some(100));
        }
        assert!(lines.is_empty());
    }
}
