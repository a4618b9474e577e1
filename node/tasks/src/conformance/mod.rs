//! What every engine of the task store has to do, written once and run against each.
//!
//! ```no_run
//! # async fn example(store: std::sync::Arc<dyn grapevine_tasks::store::Store>) {
//! grapevine_tasks::conformance::suite(store).await;
//! # }
//! ```
//!
//! Each case has a service of its own, so the cases share one store; they run one after another, since a
//! sweep touches everything.

mod files;
mod many;
mod notes;
mod queue;
mod states;
mod suspects;
mod turns;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use grapevine_base::testing::{must, wait_until, within};
use grapevine_core::ids::{RegionName, ServiceKey};
use serde_json::json;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::id::{Id, Kind};
use crate::store::{Added, End, Lease, LeaseAsk, LeaseHold, Store, TaskQuery};
use crate::task::{
    CheckedText, NewTask, ServiceKeyText, Submitter, Task, TaskFault, TaskPriority, TaskState,
};

/// A lease that no test outlives.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// The shortest lease there is.
pub(crate) const SHORT: Duration = Duration::from_secs(1);

/// A retention that no test outlives.
pub(crate) const KEEP: Duration = Duration::from_secs(24 * 3_600);

/// How long one case may take.
const CASE_LIMIT: Duration = Duration::from_secs(180);

/// How long something that is to happen may take.
pub(crate) const SOON: Duration = Duration::from_secs(20);

type Run = fn(Bench) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        [$((
            concat!(stringify!($module), "::", stringify!($name)),
            (|bench| Box::pin($module::$name(bench))) as Run,
        )),*]
    };
}

/// Runs every case against `store`, and reports all that failed.
///
/// # Panics
///
/// When a case failed.
pub async fn suite(store: Arc<dyn Store>) {
    let mut failed = Vec::new();
    let cases = all();
    let number = cases.len();
    for (name, run) in cases {
        let bench = Bench::new(Arc::clone(&store), name);
        // On this thread: a panic ends one case, and the conditions it waits for may borrow.
        let alone = LocalSet::new();
        let case = alone.spawn_local(timeout(CASE_LIMIT, run(bench)));
        match alone.run_until(case).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => failed.push(format!("{name}: not within {CASE_LIMIT:?}")),
            Err(error) => failed.push(format!("{name}: {}", message(error))),
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {number} cases failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

fn all() -> Vec<(&'static str, Run)> {
    cases![
        states::added_task_waits_as_it_was_asked_for,
        states::waiting_task_is_leased_and_runs,
        states::running_task_completes,
        states::failed_task_waits_again_and_then_is_dead,
        states::fault_without_retry_is_a_dead_letter_at_once,
        states::returned_task_waits_without_a_spent_attempt,
        states::lost_lease_waits_again_and_then_is_dead,
        states::renewed_lease_is_not_lost,
        suspects::second_loss_makes_it_suspect_and_the_fourth_a_dead_letter,
        suspects::suspect_is_given_to_who_asks_for_one_and_alone,
        suspects::loss_after_progress_is_the_first_of_a_new_count,
        states::waiting_task_is_cancelled_at_once,
        states::running_task_is_cancelled_by_its_worker,
        states::returned_or_failed_task_that_was_to_be_cancelled_is_cancelled,
        states::lost_task_that_was_to_be_cancelled_is_cancelled,
        states::ended_task_is_not_cancelled,
        states::task_whose_time_is_over_expires,
        states::sweep_names_what_it_ended,
        states::requeued_task_begins_again,
        states::waiting_and_completed_tasks_are_not_requeued,
        states::late_words_of_an_earlier_attempt_change_nothing,
        states::ended_task_takes_no_words,
        states::history_keeps_the_latest,
        queue::same_idempotency_key_is_the_same_task,
        queue::idempotency_key_belongs_to_its_service,
        queue::many_adds_with_one_key_make_one_task,
        queue::higher_priority_goes_first_then_the_oldest,
        queue::delayed_task_waits_for_its_time,
        queue::task_is_given_and_listed_in_its_regions_only,
        queue::other_services_tasks_are_not_given,
        queue::list_filters_and_pages_newest_first,
        queue::counts_show_what_waits_runs_and_died,
        queue::wait_returns_when_a_task_is_added,
        queue::wait_returns_when_there_is_none,
        queue::what_is_too_long_is_refused_and_not_kept,
        queue::any_text_comes_back_as_it_was,
        queue::ended_tasks_are_removed_after_their_retention,
        notes::notes_come_back_in_order_and_the_first_stays,
        notes::notes_survive_attempts_and_requeues,
        notes::long_notes_come_in_pages,
        notes::progress_is_taken_along,
        files::file_is_visible_whole_or_not_at_all,
        files::complete_file_does_not_change,
        files::file_without_bytes_is_a_file,
        files::files_are_listed_by_key_newest_first,
        files::deleted_and_expired_files_are_gone,
        files::file_beyond_its_limits_is_refused,
        files::discarded_file_is_gone_and_takes_no_pieces,
        files::usage_counts_what_waits_and_what_is_stored,
        turns::backlog_of_one_account_delays_another_by_one_turn,
        turns::accounts_take_turns_in_rounds,
        turns::many_leases_at_once_are_shared_out,
        turns::account_whose_tasks_may_not_run_here_holds_nobody_up,
        many::no_task_is_leased_twice_under_many_leasers,
        many::end_and_cancellation_at_once_agree,
        many::every_task_ends_once_under_workers_that_die,
        many::ten_thousand_tasks_are_listed_page_by_page,
    ]
    .into()
}

fn message(error: tokio::task::JoinError) -> String {
    let panic = match error.try_into_panic() {
        Ok(panic) => panic,
        Err(error) => return error.to_string(),
    };
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "panicked".to_owned())
}

/// The fixture of a case.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) service: ServiceKeyText,
}

impl Bench {
    fn new(store: Arc<dyn Store>, case: &str) -> Self {
        let own: String = case
            .rsplit("::")
            .next()
            .unwrap_or(case)
            .chars()
            .take(60)
            .collect();
        let service = must("naming a service", ServiceKey::new(&own));
        Self {
            store,
            service: CheckedText(service),
        }
    }

    /// The same bench with another service.
    pub(crate) fn other(&self, name: &str) -> Self {
        Self::new(Arc::clone(&self.store), name)
    }

    /// A task that was not added yet.
    pub(crate) fn task(&self) -> NewTask {
        NewTask {
            id: Id::new(Kind::Task, None),
            service: self.service.clone(),
            payload: json!({"n": 1}),
            priority: TaskPriority(0),
            attempts_max: 3,
            delay: Duration::ZERO,
            expires_after: None,
            idempotency_key: None,
            submitter: Submitter::default(),
            regions: Vec::new(),
        }
    }

    /// Adds a task, which must be new.
    pub(crate) async fn add(&self, task: NewTask) -> Id {
        let id = task.id.clone();
        let added = must("adding a task", self.store.add(task).await);
        assert_eq!(added, Added::New);
        id
    }

    pub(crate) async fn get(&self, id: &Id) -> Task {
        let task = must("getting a task", self.store.get(id).await);
        task.unwrap_or_else(|| panic!("{id} is not there"))
    }

    pub(crate) async fn state(&self, id: &Id) -> TaskState {
        self.get(id).await.state
    }

    pub(crate) fn ask(&self, max: usize) -> LeaseAsk {
        LeaseAsk {
            service: self.service.clone(),
            worker: "worker-1".to_owned(),
            region: region("sgp"),
            span: LONG,
            max,
            suspects: true,
        }
    }

    pub(crate) async fn lease(&self, ask: &LeaseAsk) -> Vec<(Lease, Task)> {
        must("leasing", self.store.lease(ask).await)
    }

    /// Leases the one task there is.
    pub(crate) async fn take(&self) -> (Lease, Task) {
        self.take_for(LONG).await
    }

    /// The same for `span`.
    pub(crate) async fn take_for(&self, span: Duration) -> (Lease, Task) {
        let ask = LeaseAsk {
            span,
            ..self.ask(1)
        };
        let mut given = self.lease(&ask).await;
        given.pop().unwrap_or_else(|| panic!("nothing to lease"))
    }

    /// Adds a task and leases it.
    pub(crate) async fn running(&self, task: NewTask) -> (Id, Lease) {
        let id = self.add(task).await;
        let (lease, _) = self.take().await;
        assert_eq!(lease.id, id);
        (id, lease)
    }

    pub(crate) async fn finish(&self, lease: &Lease, end: End) -> LeaseHold {
        must("finishing", self.store.finish(lease, end).await)
    }

    pub(crate) async fn cancel(&self, id: &Id) -> Task {
        let task = must("cancelling", self.store.cancel(id).await);
        task.unwrap_or_else(|| panic!("{id} is not there"))
    }

    pub(crate) async fn requeue(&self, id: &Id) -> Task {
        let task = must("requeueing", self.store.requeue(id).await);
        task.unwrap_or_else(|| panic!("{id} is not there"))
    }

    /// Sweeps until `id` is in `state`.
    pub(crate) async fn swept_to(&self, id: &Id, state: TaskState) -> Task {
        let what = format!("sweeping a task to {}", state.as_str());
        let swept = wait_until(&what, SOON, async || {
            must("sweeping", self.store.sweep(KEEP).await);
            let task = self.get(id).await;
            match task.state == state {
                true => Ok(task),
                false => Err(task.state.as_str().to_owned()),
            }
        });
        swept.await.0
    }

    /// This service's tasks, as many as fit a page.
    pub(crate) async fn listed(&self, state: Option<TaskState>) -> Vec<Task> {
        let query = TaskQuery {
            service: Some(self.service.clone()),
            state,
            max: 100,
            ..TaskQuery::default()
        };
        must("listing", self.store.list(&query).await)
    }

    pub(crate) async fn waits_at_most<T>(&self, future: impl Future<Output = T>) -> T {
        within("an answer of the store", SOON, future).await
    }
}

pub(crate) fn region(name: &str) -> CheckedText<RegionName> {
    CheckedText(must("naming a region", RegionName::new(name)))
}

/// A fault that another attempt may fix, `after` this long.
pub(crate) fn failed(after: Option<Duration>) -> End {
    End::Failed {
        fault: TaskFault::new("upstream_error", "it did not work"),
        retry_after: after,
    }
}

/// How the attempts of a task ended.
pub(crate) fn hows(task: &Task) -> Vec<&str> {
    task.history
        .iter()
        .map(|ended| ended.how.as_str())
        .collect()
}
