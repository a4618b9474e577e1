//! Publishes to the mesh which services this node serves and what waits in its store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use grapevine_base::driver::DriverHandle;
use grapevine_core::engine::Event;
use grapevine_core::fact::{FactChange, ServicesFact};
use grapevine_core::ids::{ServiceKey, StoreName};
use grapevine_core::work;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::store::{Store, StoreError, TaskCounts};
use super::task::ServiceKeyText;

/// Figures are published this often at most, and the store is read this often at least.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

/// A pause after each read, so that a store with many tasks a second is not read for each of them.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// Publishes what this node serves and what waits in its own `store`: at once when a service appears, or its
/// queue begins or ceases to be empty; else once a second where the figures changed. Reads the store whenever
/// `store_changed` is notified. `shared` names the engine where other nodes have the same queue. Runs until
/// dropped.
pub async fn run(
    driver: DriverHandle,
    store: Arc<dyn Store>,
    shared: Option<StoreName>,
    mut serves: watch::Receiver<BTreeSet<ServiceKey>>,
    store_changed: Arc<Notify>,
) {
    let mut published: Option<(ServicesFact, Instant)> = None;
    let mut was_available = true;
    loop {
        let known = published.as_ref().map(|(fact, _)| &fact.waiting);
        let counts = store.counts().await;
        log_failure(&counts, &mut was_available);
        let fact = ServicesFact {
            serves: serves.borrow_and_update().clone(),
            waiting: match counts {
                Ok(counts) => work::waiting_published(&driver.view(), waiting(&counts)),
                // Nothing is known: what was published stays, rather than that all queues are empty.
                Err(_) => known.cloned().unwrap_or_default(),
            },
            store: shared.clone(),
        };
        if is_due(&fact, published.as_ref()) {
            driver.send(Event::ServicesChanged(fact.clone())).await;
            published = Some((fact, Instant::now()));
        }
        sleep(READ_PAUSE).await;
        tokio::select! {
            () = sleep(PUBLISH_INTERVAL) => {}
            () = store_changed.notified() => {}
            Ok(()) = serves.changed() => {}
        }
    }
}

fn is_due(fact: &ServicesFact, published: Option<&(ServicesFact, Instant)>) -> bool {
    let Some((last, at)) = published else {
        return true;
    };
    match fact.change_since(last) {
        FactChange::Transition => true,
        FactChange::Figures => at.elapsed() >= PUBLISH_INTERVAL,
        FactChange::Little => false,
    }
}

/// The tasks that wait for a worker now, by service.
fn waiting(counts: &BTreeMap<ServiceKeyText, TaskCounts>) -> BTreeMap<ServiceKey, u32> {
    let some = counts.iter().filter(|(_, counts)| counts.waiting > 0);
    some.map(|(key, counts)| {
        let waiting = u32::try_from(counts.waiting).unwrap_or(u32::MAX);
        (key.0.clone(), waiting)
    })
    .collect()
}

/// Logs once when the store ceases to answer.
fn log_failure<T>(counts: &Result<T, StoreError>, was_available: &mut bool) {
    if let Err(error) = counts
        && *was_available
    {
        warn!(%error, "waiting tasks of the store cannot be counted");
    }
    *was_available = counts.is_ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ServiceKey {
        ServiceKey::new(text).expect("a key")
    }

    fn fact(tasks: u32) -> ServicesFact {
        ServicesFact {
            serves: BTreeSet::new(),
            waiting: [(key("a:x"), tasks)].into_iter().collect(),
            store: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn figures_are_published_once_a_second_and_transitions_at_once() {
        let published = (fact(10), Instant::now());
        assert!(is_due(&fact(10), None));
        assert!(!is_due(&fact(20), Some(&published)));
        assert!(is_due(&ServicesFact::default(), Some(&published)));
        tokio::time::advance(PUBLISH_INTERVAL).await;
        assert!(is_due(&fact(20), Some(&published)));
        assert!(
            !is_due(&fact(11), Some(&published)),
            "a tenth is not published"
        );
    }

    #[test]
    fn only_what_waits_now_is_published() {
        let counts = |waiting| TaskCounts {
            waiting,
            delayed: 3,
            running: 4,
            dead: 5,
        };
        let all = [("a:x", 0), ("b:y", 7), ("c:z", u64::MAX)];
        let all =
            all.map(|(text, tasks)| (super::super::task::CheckedText(key(text)), counts(tasks)));
        let published = waiting(&all.into_iter().collect());
        let wanted = [(key("b:y"), 7), (key("c:z"), u32::MAX)];
        assert_eq!(published, wanted.into_iter().collect());
    }
}
