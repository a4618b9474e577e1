//! Each row of the table of states, and the fence around running tasks.

use std::time::Duration;

use grapevine_base::testing::{must, wait_until};
use serde_json::json;

use super::{Bench, KEEP, LONG, SHORT, SOON, failed, hows};
use crate::store::{End, LeaseAsk, LeaseHold, Note};
use crate::task::{HISTORY_MAX, NewTask, TaskState};

pub(super) async fn added_task_waits_as_it_was_asked_for(bench: Bench) {
    let asked = bench.task();
    let id = bench.add(asked.clone()).await;
    let task = bench.get(&id).await;
    assert_eq!(task.new, asked);
    assert_eq!((task.state, task.attempts), (TaskState::Waiting, 0));
    assert!(task.created_at.0 > 0 && task.started_at.is_none() && task.ended_at.is_none());
    assert!(task.worker.is_none() && task.output.is_none() && task.history.is_empty());
    let unknown = bench.task().id;
    assert_eq!(must("getting", bench.store.get(&unknown).await), None);
    assert_eq!(must("cancelling", bench.store.cancel(&unknown).await), None);
    assert_eq!(
        must("requeueing", bench.store.requeue(&unknown).await),
        None
    );
}

pub(super) async fn waiting_task_is_leased_and_runs(bench: Bench) {
    let id = bench.add(bench.task()).await;
    let (lease, given) = bench.take().await;
    assert_eq!((&lease.id, lease.attempt), (&id, 1));
    assert_eq!(lease.service, bench.service);
    let task = bench.get(&id).await;
    assert_eq!(given, task);
    assert_eq!((task.state, task.attempts), (TaskState::Running, 1));
    assert_eq!(task.worker.as_deref(), Some("worker-1"));
    assert!(task.started_at.is_some() && task.lease_until > task.started_at);
    assert!(bench.lease(&bench.ask(8)).await.is_empty(), "it is leased");
}

pub(super) async fn running_task_completes(bench: Bench) {
    let (id, lease) = bench.running(bench.task()).await;
    let output = json!({"answer": [1, "two"]});
    let held = bench.finish(&lease, End::Completed(output.clone())).await;
    assert_eq!(held, LeaseHold::Kept);
    let task = bench.get(&id).await;
    assert_eq!(
        (task.state, task.output.as_ref()),
        (TaskState::Completed, Some(&output))
    );
    assert!(task.ended_at.is_some() && task.worker.is_none() && task.lease_until.is_none());
    assert_eq!(hows(&task), ["completed"]);
    assert_eq!(
        (task.history[0].attempt, task.history[0].worker.as_str()),
        (1, "worker-1")
    );
    assert!(bench.lease(&bench.ask(8)).await.is_empty());
}

pub(super) async fn failed_task_waits_again_and_then_is_dead(bench: Bench) {
    let asked = NewTask {
        attempts_max: 2,
        ..bench.task()
    };
    let (id, lease) = bench.running(asked).await;
    let retry = Some(Duration::ZERO);
    assert_eq!(bench.finish(&lease, failed(retry)).await, LeaseHold::Kept);
    let task = bench.get(&id).await;
    assert_eq!((task.state, task.attempts), (TaskState::Waiting, 1));
    let fault = task.fault.expect("the fault that it failed with");
    assert_eq!(fault.code, "upstream_error");
    let (lease, _) = bench.take().await;
    assert_eq!(lease.attempt, 2);
    bench.finish(&lease, failed(retry)).await;
    let task = bench.get(&id).await;
    assert_eq!((task.state, task.attempts), (TaskState::Dead, 2));
    assert_eq!(hows(&task), ["failed", "failed"]);
    assert!(task.ended_at.is_some());
    assert!(bench.lease(&bench.ask(8)).await.is_empty());
}

pub(super) async fn fault_without_retry_is_a_dead_letter_at_once(bench: Bench) {
    let (id, lease) = bench.running(bench.task()).await;
    bench.finish(&lease, failed(None)).await;
    let task = bench.get(&id).await;
    assert_eq!((task.state, task.attempts), (TaskState::Dead, 1));
}

pub(super) async fn returned_task_waits_without_a_spent_attempt(bench: Bench) {
    let asked = NewTask {
        attempts_max: 1,
        ..bench.task()
    };
    let (id, lease) = bench.running(asked).await;
    bench.finish(&lease, End::Returned).await;
    let task = bench.get(&id).await;
    assert_eq!((task.state, task.attempts), (TaskState::Waiting, 0));
    assert!(task.history.is_empty());
    let (again, _) = bench.take().await;
    assert_eq!(again.attempt, 2, "the fence counts on");
    assert_eq!(bench.finish(&lease, End::Returned).await, LeaseHold::Lost);
    assert_eq!(bench.state(&id).await, TaskState::Running);
}

pub(super) async fn lost_lease_waits_again_and_then_is_dead(bench: Bench) {
    let asked = NewTask {
        attempts_max: 2,
        ..bench.task()
    };
    let id = bench.add(asked).await;
    bench.take_for(SHORT).await;
    let task = bench.swept_to(&id, TaskState::Waiting).await;
    assert_eq!((hows(&task), task.attempts), (vec!["lost"], 1));
    let (lease, _) = bench.take_for(SHORT).await;
    assert_eq!(lease.attempt, 2);
    let task = bench.swept_to(&id, TaskState::Dead).await;
    assert_eq!(hows(&task), ["lost", "lost"]);
    assert!(task.ended_at.is_some() && task.worker.is_none());
}

pub(super) async fn renewed_lease_is_not_lost(bench: Bench) {
    let renewed = bench.add(bench.task()).await;
    let (lease, _) = bench.take_for(SHORT).await;
    let held = must("renewing", bench.store.renew(&lease, LONG, None).await);
    assert_eq!(held, LeaseHold::Kept);
    // Another one with the same short lease shows that the time is over.
    let other = bench.add(bench.task()).await;
    bench.take_for(SHORT).await;
    bench.swept_to(&other, TaskState::Waiting).await;
    assert_eq!(bench.state(&renewed).await, TaskState::Running);
}

pub(super) async fn waiting_task_is_cancelled_at_once(bench: Bench) {
    let id = bench.add(bench.task()).await;
    assert_eq!(bench.cancel(&id).await.state, TaskState::Cancelled);
    let task = bench.get(&id).await;
    assert!(task.state == TaskState::Cancelled && task.ended_at.is_some());
    assert!(bench.lease(&bench.ask(8)).await.is_empty());
}

pub(super) async fn running_task_is_cancelled_by_its_worker(bench: Bench) {
    let (id, lease) = bench.running(bench.task()).await;
    let asked = bench.cancel(&id).await;
    assert_eq!(
        (asked.state, asked.cancel_requested),
        (TaskState::Running, true)
    );
    let held = must("renewing", bench.store.renew(&lease, LONG, None).await);
    assert_eq!(held, LeaseHold::CancelRequested);
    let note = Note {
        number: 1,
        content: "kept".into(),
    };
    let held = must("saving", bench.store.save(&lease, &[note]).await);
    assert_eq!(held, LeaseHold::CancelRequested);
    assert_eq!(must("notes", bench.store.notes(&id, 0).await).len(), 1);
    assert_ne!(bench.finish(&lease, End::Cancelled).await, LeaseHold::Lost);
    let task = bench.get(&id).await;
    assert_eq!(
        (task.state, hows(&task)),
        (TaskState::Cancelled, vec!["cancelled"])
    );
    assert!(!task.cancel_requested && task.ended_at.is_some());
}

pub(super) async fn returned_or_failed_task_that_was_to_be_cancelled_is_cancelled(bench: Bench) {
    let ends = [
        End::Returned,
        failed(Some(Duration::ZERO)),
        failed(None),
        End::Completed(json!("partial")),
    ];
    for end in ends {
        let (id, lease) = bench.running(bench.task()).await;
        bench.cancel(&id).await;
        assert_ne!(bench.finish(&lease, end.clone()).await, LeaseHold::Lost);
        let task = bench.get(&id).await;
        assert_eq!(task.state, TaskState::Cancelled, "after {end:?}");
        let is_kept = matches!(end, End::Completed(_));
        assert_eq!(task.output.is_some(), is_kept, "what it gave is kept");
    }
}

pub(super) async fn lost_task_that_was_to_be_cancelled_is_cancelled(bench: Bench) {
    let id = bench.add(bench.task()).await;
    bench.take_for(SHORT).await;
    bench.cancel(&id).await;
    let task = bench.swept_to(&id, TaskState::Cancelled).await;
    assert_eq!(hows(&task), ["lost"]);
}

pub(super) async fn ended_task_is_not_cancelled(bench: Bench) {
    let (completed, lease) = bench.running(bench.task()).await;
    bench.finish(&lease, End::Completed(json!(1))).await;
    assert_eq!(bench.cancel(&completed).await.state, TaskState::Completed);
    let (dead, lease) = bench.running(bench.task()).await;
    bench.finish(&lease, failed(None)).await;
    assert_eq!(bench.cancel(&dead).await.state, TaskState::Dead);
    assert_eq!(bench.state(&completed).await, TaskState::Completed);
    assert_eq!(bench.state(&dead).await, TaskState::Dead);
}

pub(super) async fn task_whose_time_is_over_expires(bench: Bench) {
    let asked = |bench: &Bench| NewTask {
        expires_after: Some(Duration::from_secs(1)),
        ..bench.task()
    };
    let running = bench.add(asked(&bench)).await;
    let (lease, _) = bench.take().await;
    let waiting = bench.add(asked(&bench)).await;
    let task = bench.swept_to(&waiting, TaskState::Expired).await;
    assert!(task.ended_at.is_some() && task.history.is_empty());
    let task = bench.swept_to(&running, TaskState::Expired).await;
    assert_eq!(hows(&task), ["expired"]);
    let held = bench.finish(&lease, End::Completed(json!(1))).await;
    assert_eq!(held, LeaseHold::Lost);
    assert_eq!(bench.state(&running).await, TaskState::Expired);
    // Its time restarts at the requeue, or it would be over at once again.
    assert_eq!(bench.requeue(&waiting).await.state, TaskState::Waiting);
    let (lease, _) = bench.take().await;
    assert_eq!(lease.id, waiting);
}

pub(super) async fn sweep_names_what_it_ended(bench: Bench) {
    let once = NewTask {
        attempts_max: 1,
        ..bench.task()
    };
    let dead = bench.add(once).await;
    bench.take_for(SHORT).await;
    let waiting = bench.add(bench.task()).await;
    bench.take_for(SHORT).await;
    let cancelled = bench.add(bench.task()).await;
    bench.take_for(SHORT).await;
    bench.cancel(&cancelled).await;
    let brief = NewTask {
        expires_after: Some(SHORT),
        ..bench.task()
    };
    let expired = bench.add(brief).await;
    let mut named = Vec::new();
    let wanted = [
        (&dead, TaskState::Dead),
        (&waiting, TaskState::Waiting),
        (&cancelled, TaskState::Cancelled),
        (&expired, TaskState::Expired),
    ];
    wait_until("the ends of all", SOON, async || {
        let swept = must("sweeping", bench.store.sweep(KEEP).await);
        named.extend(swept.ended);
        for (id, state) in wanted {
            let found = bench.state(id).await;
            if found != state {
                return Err(format!("{id} is {}", found.as_str()));
            }
        }
        Ok(())
    })
    .await;
    let mut ended = vec![dead.clone(), cancelled.clone(), expired.clone()];
    ended.sort();
    // Other cases leave tasks behind, too.
    named.retain(|id| wanted.iter().any(|(own, _)| *own == id));
    named.sort();
    assert_eq!(named, ended, "each once, and no other");
}

pub(super) async fn requeued_task_begins_again(bench: Bench) {
    let asked = NewTask {
        attempts_max: 1,
        ..bench.task()
    };
    let (id, lease) = bench.running(asked).await;
    bench.finish(&lease, failed(Some(Duration::ZERO))).await;
    assert_eq!(bench.state(&id).await, TaskState::Dead);
    let task = bench.requeue(&id).await;
    assert_eq!((task.state, task.attempts), (TaskState::Waiting, 0));
    assert!(task.ended_at.is_none());
    let (lease, _) = bench.take().await;
    assert_eq!(lease.attempt, 2, "the fence counts over requeues");
    bench.finish(&lease, End::Completed(json!("late"))).await;
    let task = bench.get(&id).await;
    assert_eq!((task.state, task.attempts), (TaskState::Completed, 1));
    let cancelled = bench.add(bench.task()).await;
    bench.cancel(&cancelled).await;
    assert_eq!(bench.requeue(&cancelled).await.state, TaskState::Waiting);
    assert_eq!(bench.take().await.0.id, cancelled);
}

pub(super) async fn waiting_and_completed_tasks_are_not_requeued(bench: Bench) {
    let (id, lease) = bench.running(bench.task()).await;
    assert_eq!(bench.requeue(&id).await.state, TaskState::Running);
    bench.finish(&lease, End::Completed(json!(7))).await;
    let before = bench.get(&id).await;
    assert_eq!(bench.requeue(&id).await, before);
    assert_eq!(bench.get(&id).await, before);
    let waiting = bench.add(bench.task()).await;
    assert_eq!(bench.requeue(&waiting).await.state, TaskState::Waiting);
}

pub(super) async fn late_words_of_an_earlier_attempt_change_nothing(bench: Bench) {
    let id = bench.add(bench.task()).await;
    let (late, _) = bench.take_for(SHORT).await;
    bench.swept_to(&id, TaskState::Waiting).await;
    all_words_are_lost(&bench, &late).await;
    // The same worker, by name, holds the next attempt.
    let (now, _) = bench.take().await;
    assert_eq!((now.attempt, late.attempt), (2, 1));
    let before = bench.get(&id).await;
    all_words_are_lost(&bench, &late).await;
    assert_eq!(bench.get(&id).await, before);
    assert_eq!(must("notes", bench.store.notes(&id, 0).await), []);
    let held = bench.finish(&now, End::Completed(json!("second"))).await;
    assert_eq!(held, LeaseHold::Kept);
    all_words_are_lost(&bench, &late).await;
    assert_eq!(bench.get(&id).await.output, Some(json!("second")));
}

pub(super) async fn ended_task_takes_no_words(bench: Bench) {
    let (id, lease) = bench.running(bench.task()).await;
    bench.finish(&lease, End::Completed(json!("first"))).await;
    let before = bench.get(&id).await;
    all_words_are_lost(&bench, &lease).await;
    assert_eq!(bench.get(&id).await, before);
}

async fn all_words_are_lost(bench: &Bench, lease: &crate::store::Lease) {
    let note = Note {
        number: 9,
        content: "late".into(),
    };
    let renewed = must("renewing", bench.store.renew(lease, LONG, None).await);
    let saved = must("saving", bench.store.save(lease, &[note]).await);
    assert_eq!((renewed, saved), (LeaseHold::Lost, LeaseHold::Lost));
    for end in [
        End::Completed(json!("late")),
        failed(None),
        End::Cancelled,
        End::Returned,
    ] {
        assert_eq!(bench.finish(lease, end).await, LeaseHold::Lost);
    }
}

pub(super) async fn history_keeps_the_latest(bench: Bench) {
    let attempts = HISTORY_MAX as u32 + 3;
    let asked = NewTask {
        attempts_max: attempts,
        ..bench.task()
    };
    let id = bench.add(asked).await;
    for attempt in 1..=attempts {
        let ask = LeaseAsk {
            worker: format!("worker-{attempt}"),
            ..bench.ask(1)
        };
        let given = bench.lease(&ask).await;
        bench
            .finish(&given[0].0, failed(Some(Duration::ZERO)))
            .await;
    }
    let task = bench.get(&id).await;
    assert_eq!(
        (task.state, task.history.len()),
        (TaskState::Dead, HISTORY_MAX)
    );
    let last = task.history.last().expect("it has some");
    assert_eq!(
        (last.attempt, last.worker.clone()),
        (attempts, format!("worker-{attempts}"))
    );
}
