//! One attempt at a task: runs the service, keeps the lease, and reports to the store how it ended.
//!
//! The service runs in a task of its own, so that a panic ends this attempt and nothing else. A lease that
//! could not be renewed in time is given up by this side too: somebody else may hold the next one already.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::ServiceKey;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::admission;
use super::hub::Hub;
use super::pace::jittered;
use super::service::{Service, ServicePolicy, Signals, TaskError, Work};
use super::store::{End, LeaseHold};
use super::taking::Taken;
use super::task::{OUTPUT_BYTES_MAX, TaskFault, TaskProgress};

/// A lease is renewed this many times within its span.
const RENEWALS: u32 = 3;

/// The wait after a renewal that the store could not do, as a part of the lease's span.
const RENEW_AGAIN: u32 = 10;

/// How long a service may continue after the cancellation of its task was signalled.
const CANCEL_GRACE: Duration = Duration::from_secs(30);

/// How long beyond its lease an attempt tries to report its end.
const FINISH_PATIENCE: Duration = Duration::from_secs(60);

/// The first wait before the end of an attempt is reported again; doubles up to `FINISH_PAUSE_MAX`.
const FINISH_PAUSE: Duration = Duration::from_millis(100);
const FINISH_PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long at most a suspect task keeps other suspects waiting at its node. A task that ends its worker usually
/// does so at once; without a limit a thousand slow suspects would wait for one another for days.
const ALONE_MAX: Duration = Duration::from_secs(60);

/// What a runner signals to its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Work goes on.
    Running,
    /// What runs may end, nothing new begins.
    Draining,
    /// What runs is given back.
    Ending,
}

/// One attempt.
pub(super) struct Attempt {
    pub(super) hub: Hub,
    pub(super) service: Arc<dyn Service>,
    pub(super) policy: ServicePolicy,
    pub(super) taken: Taken,
    /// When the lease was asked for: it holds at least from then on.
    pub(super) leased_at: Instant,
    pub(super) stage: watch::Receiver<Stage>,
    /// The node's only permit for suspect tasks, while this task is suspect.
    pub(super) alone: Option<OwnedSemaphorePermit>,
}

/// How an attempt came to its end.
enum Conclusion {
    /// The service returned, or panicked.
    Returned(Result<Result<Value, TaskError>, JoinError>),
    /// The lease is another's, or may be.
    Lost,
    /// The service did not end after its cancellation was signalled.
    CancelOverdue,
    /// The node ends.
    Ending,
}

/// The service's task; ends with this.
struct Running(JoinHandle<Result<Value, TaskError>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Attempt {
    /// Runs the attempt to its end.
    pub(super) async fn run(mut self) {
        let key = self.taken.task.new.service.0.clone();
        let began = Instant::now();
        if self.taken.lease.attempt > 1 {
            self.hub.watcher().began_again(&key);
        }
        let signals = watch::Sender::new(Signals::default());
        let progress = watch::Sender::new(None);
        let mut updates = progress.subscribe();
        let work = Work::new(
            self.taken.lease.clone(),
            Arc::clone(&self.taken.store),
            Arc::clone(self.hub.api()),
            signals.subscribe(),
            progress,
        );
        let (service, task) = (Arc::clone(&self.service), self.taken.task.clone());
        let services = self.hub.services().clone();
        let run = async move {
            admission::check(&services, &task.new, work.store().as_ref()).await?;
            service.run(&task, &work).await
        };
        let running = Running(tokio::spawn(run));
        let mut held_until = self.leased_at + self.policy.lease;
        let conclusion = self
            .follow(running, &signals, &mut updates, &mut held_until)
            .await;
        let (end, how) = self.end(&key, conclusion);
        self.hub.watcher().ended(&key, how, began.elapsed());
        if let Some(end) = end {
            self.report_progress(&mut updates).await;
            self.finish(end, held_until).await;
        }
    }

    /// Keeps the lease while the service runs.
    async fn follow(
        &mut self,
        mut running: Running,
        signals: &watch::Sender<Signals>,
        updates: &mut watch::Receiver<Option<TaskProgress>>,
        held_until: &mut Instant,
    ) -> Conclusion {
        let span = self.policy.lease;
        let mut renew_at = self.leased_at + span / RENEWALS;
        let mut cancel_by = None;
        let cancel = self.hub.cancels().listen(&self.taken.lease.id);
        loop {
            tokio::select! {
                biased;
                result = &mut running.0 => return Conclusion::Returned(result),
                _ = self.stage.wait_for(|stage| *stage == Stage::Ending) => {
                    return Conclusion::Ending;
                }
                () = sleep_until(cancel_by.unwrap_or(renew_at)), if cancel_by.is_some() => {
                    return Conclusion::CancelOverdue;
                }
                () = cancel.notified() => {}
                () = sleep_until(renew_at) => {}
            }
            let asked_at = Instant::now();
            let progress = fresh(updates);
            let renewed = self
                .taken
                .store
                .renew(&self.taken.lease, span, progress)
                .await;
            match renewed {
                Ok(LeaseHold::Lost) => return Conclusion::Lost,
                Ok(held) => {
                    *held_until = asked_at + span;
                    renew_at = asked_at + span / RENEWALS;
                    self.release_permit(asked_at, progress);
                    if held == LeaseHold::CancelRequested && cancel_by.is_none() {
                        cancel_by = Some(asked_at + CANCEL_GRACE);
                        signals.send_replace(Signals { cancel: true });
                    }
                }
                Err(error) => {
                    let now = Instant::now();
                    warn!(task.id = %self.taken.lease.id, %error, "a lease could not be renewed");
                    if now >= *held_until {
                        return Conclusion::Lost;
                    }
                    renew_at = (now + jittered(span / RENEW_AGAIN)).min(*held_until);
                    if progress.is_some() {
                        updates.mark_changed();
                    }
                }
            }
        }
    }

    /// Lets the next suspect run once this one has made progress or has run for long.
    fn release_permit(&mut self, now: Instant, progress: Option<TaskProgress>) {
        let ended = self.taken.task.history.last();
        let before = ended.map_or(0, |ended| ended.done);
        let got_further = progress.is_some_and(|progress| progress.done() > before);
        if got_further || now >= self.leased_at + ALONE_MAX {
            self.alone = None;
        }
    }

    /// What is reported to the store, and the same in one word for metrics.
    fn end(&self, key: &ServiceKey, conclusion: Conclusion) -> (Option<End>, &'static str) {
        let id = &self.taken.lease.id;
        let error = match conclusion {
            Conclusion::Returned(Ok(Ok(output))) => return completed(output),
            Conclusion::Returned(Ok(Err(error))) => error,
            Conclusion::Returned(Err(panicked)) => {
                warn!(task.id = %id, task.service = %key, %panicked, "a service panicked");
                TaskError::Retry(TaskFault::new("panicked", "the service panicked"))
            }
            Conclusion::Lost => TaskError::Lost,
            Conclusion::CancelOverdue => TaskError::Cancelled,
            Conclusion::Ending => return (Some(End::Returned), "returned"),
        };
        let backoff = || jittered(self.policy.backoff_after(self.taken.task.attempts));
        let (fault, retry_after) = match error {
            TaskError::Cancelled => return (Some(End::Cancelled), "cancelled"),
            TaskError::Lost => {
                warn!(task.id = %id, task.service = %key, "a lease was lost, its work is dropped");
                return (None, "lost");
            }
            TaskError::Retry(fault) => (fault, Some(backoff())),
            TaskError::RetryAfter(fault, wait) => (fault, Some(wait)),
            TaskError::Fatal(fault) => (fault, None),
            TaskError::Store(error) => {
                (TaskFault::new("store", error.to_string()), Some(backoff()))
            }
        };
        (Some(End::Failed { fault, retry_after }), "failed")
    }

    /// Reports the last progress of a service that ended before the next renewal.
    async fn report_progress(&self, updates: &mut watch::Receiver<Option<TaskProgress>>) {
        if let Some(progress) = fresh(updates) {
            let renewed =
                self.taken
                    .store
                    .renew(&self.taken.lease, self.policy.lease, Some(progress));
            if let Err(error) = renewed.await {
                warn!(task.id = %self.taken.lease.id, %error, "progress of a task could not be reported");
            }
        }
    }

    /// Reports the end to the store, and retries while the store cannot be used.
    async fn finish(&self, end: End, held_until: Instant) {
        let lease = &self.taken.lease;
        let mut pause = FINISH_PAUSE;
        loop {
            let error = match self.taken.store.finish(lease, end.clone()).await {
                Ok(LeaseHold::Kept | LeaseHold::CancelRequested) => return,
                Ok(LeaseHold::Lost) => {
                    warn!(task.id = %lease.id, "an attempt ended after its lease: its end does not count");
                    return;
                }
                Err(error) => error,
            };
            let is_over = Instant::now() >= held_until + FINISH_PATIENCE;
            if !error.passes() || is_over || *self.stage.borrow() == Stage::Ending {
                warn!(task.id = %lease.id, %error, "end of an attempt could not be reported: it will run again");
                return;
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(FINISH_PAUSE_MAX);
        }
    }
}

/// The progress that was not reported yet.
fn fresh(updates: &mut watch::Receiver<Option<TaskProgress>>) -> Option<TaskProgress> {
    // A service that ended dropped the sender: its last value is still there.
    match updates.has_changed() {
        Ok(false) => None,
        Ok(true) | Err(_) => *updates.borrow_and_update(),
    }
}

fn completed(output: Value) -> (Option<End>, &'static str) {
    // Writing a value to a string cannot fail.
    let length = serde_json::to_string(&output).map_or(0, |text| text.len());
    if length <= OUTPUT_BYTES_MAX {
        return (Some(End::Completed(output)), "completed");
    }
    let message = format!("the output has {length} bytes, more than the {OUTPUT_BYTES_MAX} kept");
    let fault = TaskFault::new("output_too_long", message);
    let end = End::Failed {
        fault,
        retry_after: None,
    };
    (Some(end), "failed")
}
