//! Tells the mesh what background work this node does, and what waits in its store.

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

/// Figures are told this often at most, and the store is looked at this often at least.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// A pause after each look, so that a store with many tasks a second is not asked for each of them.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Tells what this node serves and what waits in its own `store`: at once when a service appears, or its
/// queue begins or ceases to be empty; else once a second where the figures changed. Looks whenever
/// `nudges` says that something was added or taken. `shared` names the engine where other nodes have the same
/// queue. Runs until dropped.
pub async fn run(
    desk: DriverHandle,
    store: Arc<dyn Store>,
    shared: Option<StoreName>,
    mut serves: watch::Receiver<BTreeSet<ServiceKey>>,
    nudges: Arc<Notify>,
) {
    let mut told: Option<(ServicesFact, Instant)> = None;
    let mut was_well = true;
    loop {
        let known = told.as_ref().map(|(fact, _)| &fact.waiting);
        let counts = store.counts().await;
        complain(&counts, &mut was_well);
        let fact = ServicesFact {
            serves: serves.borrow_and_update().clone(),
            waiting: match counts {
                Ok(counts) => work::waiting_told(&desk.view(), waiting(&counts)),
                // Nothing is known: what was told stays, rather than that all queues were empty.
                Err(_) => known.cloned().unwrap_or_default(),
            },
            store: shared.clone(),
        };
        if is_due(&fact, told.as_ref()) {
            desk.tell(Event::ServicesChanged(fact.clone())).await;
            told = Some((fact, Instant::now()));
        }
        sleep(LOOK_PAUSE).await;
        tokio::select! {
            () = sleep(TELL_INTERVAL) => {}
            () = nudges.notified() => {}
            Ok(()) = serves.changed() => {}
        }
    }
}

fn is_due(fact: &ServicesFact, told: Option<&(ServicesFact, Instant)>) -> bool {
    let Some((last, at)) = told else {
        return true;
    };
    match fact.change_since(last) {
        FactChange::Transition => true,
        FactChange::Figures => at.elapsed() >= TELL_INTERVAL,
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

/// Tells the operator once when the store ceases to answer.
fn complain<T>(counts: &Result<T, StoreError>, was_well: &mut bool) {
    if let Err(error) = counts
        && *was_well
    {
        warn!(%error, "what waits in the task store cannot be counted");
    }
    *was_well = counts.is_ok();
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
    async fn figures_are_told_once_a_second_and_transitions_at_once() {
        let told = (fact(10), Instant::now());
        assert!(is_due(&fact(10), None));
        assert!(!is_due(&fact(20), Some(&told)));
        assert!(is_due(&ServicesFact::default(), Some(&told)));
        tokio::time::advance(TELL_INTERVAL).await;
        assert!(is_due(&fact(20), Some(&told)));
        assert!(!is_due(&fact(11), Some(&told)), "a tenth is not told");
    }

    #[test]
    fn only_what_waits_now_is_told() {
        let counts = |waiting| TaskCounts {
            waiting,
            delayed: 3,
            running: 4,
            dead: 5,
        };
        let all = [("a:x", 0), ("b:y", 7), ("c:z", u64::MAX)];
        let all =
            all.map(|(text, tasks)| (super::super::task::CheckedText(key(text)), counts(tasks)));
        let told = waiting(&all.into_iter().collect());
        let wanted = [(key("b:y"), 7), (key("c:z"), u32::MAX)];
        assert_eq!(told, wanted.into_iter().collect());
    }
}
