//! The states of a task: how each call changes its record. Every engine asks here, so that no two differ.
//!
//! Pure: the time is handed in, nothing is stored. Whether the call counts at all (the fence) is for the
//! engine to check, in the same transaction that keeps what comes out.

use std::time::Duration;

use super::End;
use crate::task::{FinishedAttempt, LOSSES_MAX, LOST, Task, TaskFault, TaskState, Timestamp};

/// The outcome for a task whose lease ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterLoss {
    /// It waits for another worker.
    Waits,
    /// That was its last attempt.
    Dead,
    /// Somebody wanted it cancelled, and no worker is left to report that.
    Cancelled,
}

/// An attempt begins: the task is `worker`'s until `now + span`.
pub fn begin(task: &mut Task, worker: &str, now: Timestamp, span: Duration) {
    task.state = TaskState::Running;
    task.attempts = task.attempts.saturating_add(1);
    task.worker = Some(worker.to_owned());
    task.lease_until = Some(now.after(span));
    task.started_at.get_or_insert(now);
}

/// Attempt `attempt` ended, as its worker reports it. A task that was to be cancelled is then cancelled,
/// whatever the report; its output is kept.
pub fn end(task: &mut Task, attempt: u32, end: End, now: Timestamp) {
    let wanted = task.cancel_requested;
    match end {
        End::Completed(output) => {
            task.output = Some(output);
            match wanted {
                true => close(task, attempt, "cancelled", TaskState::Cancelled, now),
                false => close(task, attempt, "completed", TaskState::Completed, now),
            }
        }
        End::Cancelled => close(task, attempt, "cancelled", TaskState::Cancelled, now),
        End::Returned if wanted => close(task, attempt, "cancelled", TaskState::Cancelled, now),
        End::Returned => {
            task.attempts = task.attempts.saturating_sub(1);
            wait(task, now);
        }
        End::Failed { fault, retry_after } => {
            task.fault = Some(fault);
            match retry_after {
                _ if wanted => close(task, attempt, "cancelled", TaskState::Cancelled, now),
                Some(delay) if task.attempts < task.new.attempts_max => {
                    remember(task, attempt, "failed", now);
                    wait(task, now.after(delay));
                }
                _ => close(task, attempt, "failed", TaskState::Dead, now),
            }
        }
    }
}

/// The lease of attempt `attempt` ran out: its worker died, or cannot renew it. It counts as an
/// attempt, since the task may be why. One that had got the task further is the first of a new count, so that a
/// long batch whose nodes are replaced now and then comes to its end; a task that ends its worker gets no
/// further. Lost [`LOSSES_MAX`] times in a row it is given up before it takes more workers with it.
pub fn lose(task: &mut Task, attempt: u32, now: Timestamp) -> AfterLoss {
    if task.cancel_requested {
        close(task, attempt, LOST, TaskState::Cancelled, now);
        return AfterLoss::Cancelled;
    }
    if task.got_further() {
        task.attempts = 1;
    }
    let is_given_up = task.losses() + 1 >= LOSSES_MAX;
    if is_given_up {
        let message = format!(
            "its worker died or fell silent {LOSSES_MAX} times in a row while it ran this: \
             look for why before it is requeued"
        );
        task.fault = Some(TaskFault::new("worker_lost", message));
    }
    if is_given_up || task.attempts >= task.new.attempts_max {
        close(task, attempt, LOST, TaskState::Dead, now);
        return AfterLoss::Dead;
    }
    remember(task, attempt, LOST, now);
    wait(task, now);
    AfterLoss::Waits
}

/// The task's time is over. One that runs as `attempt` loses its lease.
pub fn expire(task: &mut Task, attempt: u32, now: Timestamp) {
    close(task, attempt, "expired", TaskState::Expired, now);
}

/// Cancels a waiting task; asks the worker of a running one to; leaves others as they are.
pub fn cancel(task: &mut Task, now: Timestamp) {
    match task.state {
        TaskState::Waiting => {
            task.state = TaskState::Cancelled;
            task.ended_at = Some(now);
        }
        TaskState::Running => task.cancel_requested = true,
        TaskState::Completed | TaskState::Dead | TaskState::Cancelled | TaskState::Expired => {}
    }
}

/// Lets a dead, cancelled or expired task wait again, its attempts counted from zero; whether it was one.
pub fn requeue(task: &mut Task, now: Timestamp) -> bool {
    let is_requeued = matches!(
        task.state,
        TaskState::Dead | TaskState::Cancelled | TaskState::Expired
    );
    if is_requeued {
        task.attempts = 0;
        task.ended_at = None;
        task.output = None;
        wait(task, now);
    }
    is_requeued
}

fn wait(task: &mut Task, not_before: Timestamp) {
    task.state = TaskState::Waiting;
    task.not_before = not_before;
    release(task);
}

/// Ends the task; its running attempt, where there is one, ends with it.
fn close(task: &mut Task, attempt: u32, how: &str, state: TaskState, now: Timestamp) {
    if task.state == TaskState::Running {
        remember(task, attempt, how, now);
    }
    task.state = state;
    task.ended_at = Some(now);
    release(task);
}

fn release(task: &mut Task) {
    task.worker = None;
    task.lease_until = None;
    task.cancel_requested = false;
}

fn remember(task: &mut Task, attempt: u32, how: &str, now: Timestamp) {
    let worker = task.worker.clone().unwrap_or_default();
    task.remember(FinishedAttempt {
        attempt,
        worker,
        at: now,
        how: how.to_owned(),
        done: task.done(),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::id::{Id, Kind};
    use crate::task::{CheckedText, NewTask, Submitter, TaskPriority, TaskProgress};

    const NOW: Timestamp = Timestamp(5_000);

    fn running(attempts: u32, attempts_max: u32) -> Task {
        let service = "a:b".parse().expect("a key");
        let mut task = Task {
            new: NewTask {
                id: Id::new(Kind::Task, None),
                service: CheckedText(service),
                payload: Value::Null,
                priority: TaskPriority(0),
                attempts_max,
                delay: Duration::ZERO,
                expires_after: None,
                idempotency_key: None,
                submitter: Submitter::default(),
                regions: Vec::new(),
            },
            state: TaskState::Waiting,
            created_at: Timestamp(1),
            started_at: None,
            ended_at: None,
            not_before: Timestamp(1),
            attempts: attempts - 1,
            worker: None,
            lease_until: None,
            cancel_requested: false,
            progress: None,
            output: None,
            fault: None,
            history: Vec::new(),
        };
        begin(&mut task, "w", Timestamp(2), Duration::from_secs(1));
        assert_eq!(task.lease_until, Some(Timestamp(1_002)));
        task
    }

    fn failed(retry_after: Option<Duration>) -> End {
        End::Failed {
            fault: TaskFault::new("code", "message"),
            retry_after,
        }
    }

    #[test]
    fn failure_waits_for_its_delay_while_attempts_are_left() {
        let delay = Some(Duration::from_secs(3));
        let mut task = running(1, 2);
        end(&mut task, 1, failed(delay), NOW);
        assert_eq!(
            (task.state, task.not_before),
            (TaskState::Waiting, Timestamp(8_000))
        );
        let mut task = running(2, 2);
        end(&mut task, 2, failed(delay), NOW);
        assert_eq!((task.state, task.ended_at), (TaskState::Dead, Some(NOW)));
    }

    /// Loses the task's attempts until there are `lost`, `done` parts being done in each.
    fn lost(task: &mut Task, lost: u32, done: u64) -> AfterLoss {
        let mut after = AfterLoss::Waits;
        for attempt in 1..=lost {
            if task.state == TaskState::Waiting {
                begin(task, "w", NOW, Duration::from_secs(1));
            }
            let completed = task.done() + done;
            task.progress = Some(TaskProgress {
                completed,
                ..TaskProgress::default()
            });
            after = lose(task, attempt, NOW);
        }
        after
    }

    #[test]
    fn task_is_suspect_from_the_second_loss_and_dead_after_the_fourth() {
        let mut task = running(1, 100);
        for (losses, is_suspect) in [(1, false), (2, true), (3, true)] {
            assert_eq!(lost(&mut task, 1, 0), AfterLoss::Waits);
            assert_eq!((task.losses(), task.is_suspect()), (losses, is_suspect));
            begin(&mut task, "w", NOW, Duration::from_secs(1));
            assert_eq!((task.losses(), task.is_suspect()), (losses, is_suspect));
        }
        assert_eq!(lost(&mut task, 1, 0), AfterLoss::Dead);
        assert_eq!(task.state, TaskState::Dead);
        assert_eq!(
            task.fault.as_ref().map(|it| it.code.as_str()),
            Some("worker_lost")
        );
        assert!(requeue(&mut task, NOW));
        assert_eq!((task.losses(), task.is_suspect()), (0, false));
    }

    #[test]
    fn loss_after_progress_is_the_first_of_a_new_count() {
        let mut task = running(1, 3);
        assert_eq!(lost(&mut task, 40, 1), AfterLoss::Waits);
        assert_eq!((task.attempts, task.losses()), (1, 1));
        assert_eq!(lost(&mut task, 1, 0), AfterLoss::Waits);
        assert!(task.is_suspect());
        assert_eq!(
            lost(&mut task, 1, 0),
            AfterLoss::Dead,
            "its attempts are spent"
        );
    }

    #[test]
    fn task_whose_worker_reports_its_failure_is_not_suspect() {
        let mut task = running(1, 100);
        lost(&mut task, 2, 0);
        begin(&mut task, "w", NOW, Duration::from_secs(1));
        end(&mut task, 3, failed(Some(Duration::ZERO)), NOW);
        assert_eq!((task.state, task.losses()), (TaskState::Waiting, 0));
    }

    #[test]
    fn returned_task_is_as_suspect_as_before() {
        let mut task = running(1, 100);
        lost(&mut task, 2, 0);
        begin(&mut task, "w", NOW, Duration::from_secs(1));
        end(&mut task, 3, End::Returned, NOW);
        assert!(task.is_suspect());
    }

    #[test]
    fn what_was_to_be_cancelled_ends_cancelled_whatever_is_reported() {
        for reported in [
            End::Completed(json!(1)),
            failed(None),
            End::Returned,
            End::Cancelled,
        ] {
            let mut task = running(1, 5);
            cancel(&mut task, NOW);
            assert!(task.cancel_requested && task.state == TaskState::Running);
            end(&mut task, 1, reported, NOW);
            assert!(!task.cancel_requested && task.state == TaskState::Cancelled);
        }
        let mut task = running(1, 5);
        cancel(&mut task, NOW);
        assert_eq!(lose(&mut task, 1, NOW), AfterLoss::Cancelled);
        assert_eq!(task.state, TaskState::Cancelled);
    }

    #[test]
    fn nobody_holds_a_task_that_does_not_run() {
        for reported in [
            End::Completed(json!(1)),
            failed(None),
            End::Returned,
            End::Cancelled,
        ] {
            let mut task = running(1, 1);
            end(&mut task, 1, reported, NOW);
            assert!(task.worker.is_none() && task.lease_until.is_none());
            assert_eq!(task.ended_at.is_some(), task.state.is_final());
        }
    }

    #[test]
    fn requeue_begins_anew_but_never_twice() {
        let mut task = running(1, 1);
        assert_eq!(lose(&mut task, 1, NOW), AfterLoss::Dead);
        assert!(requeue(&mut task, Timestamp(9_000)));
        assert_eq!(
            (task.state, task.attempts, task.ended_at),
            (TaskState::Waiting, 0, None)
        );
        assert!(!requeue(&mut task, Timestamp(9_999)));
        assert_eq!(task.not_before, Timestamp(9_000));
    }
}
