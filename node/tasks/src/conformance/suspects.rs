//! Tasks that are lost with their workers: how often they are given again, to whom, and with which others.

use grapevine_base::testing::must;

use super::{Bench, LONG, SHORT, hows};
use crate::id::Id;
use crate::store::LeaseAsk;
use crate::task::{LOSSES_MAX, NewTask, SUSPECT_LOSSES, TaskProgress, TaskState};

/// Leases whatever waits, and lets the leases run out, until `id` was lost `losses` times more.
async fn lose(bench: &Bench, id: &Id, losses: u32) {
    for lost in 1..=losses {
        let ask = LeaseAsk {
            span: SHORT,
            ..bench.ask(8)
        };
        let given = bench.lease(&ask).await;
        assert!(
            given.iter().any(|(lease, _)| lease.id == *id),
            "loss {lost}"
        );
        bench.swept_to(id, TaskState::Waiting).await;
    }
}

fn long_lived(bench: &Bench) -> NewTask {
    NewTask {
        attempts_max: 100,
        ..bench.task()
    }
}

pub(super) async fn second_loss_makes_it_suspect_and_the_fourth_a_dead_letter(bench: Bench) {
    let id = bench.add(long_lived(&bench)).await;
    lose(&bench, &id, SUSPECT_LOSSES - 1).await;
    assert!(!bench.get(&id).await.is_suspect());
    lose(&bench, &id, LOSSES_MAX - SUSPECT_LOSSES).await;
    assert!(bench.get(&id).await.is_suspect());
    let (lease, given) = bench.take_for(SHORT).await;
    assert!(lease.id == id && given.is_suspect());
    let task = bench.swept_to(&id, TaskState::Dead).await;
    assert_eq!(hows(&task), ["lost"; LOSSES_MAX as usize]);
    let fault = task.fault.expect("why it is a dead letter");
    assert_eq!(fault.code, "worker_lost");
}

pub(super) async fn suspect_is_given_to_who_asks_for_one_and_alone(bench: Bench) {
    let mut suspects = Vec::new();
    for _ in 0..3 {
        suspects.push(bench.add(long_lived(&bench)).await);
    }
    // Together, as a worker loses them: they all are suspect then.
    for _ in 0..SUSPECT_LOSSES {
        let ask = LeaseAsk {
            span: SHORT,
            ..bench.ask(8)
        };
        assert_eq!(bench.lease(&ask).await.len(), 3);
        for id in &suspects {
            bench.swept_to(id, TaskState::Waiting).await;
        }
    }
    let honest = bench.add(bench.task()).await;
    let counts = must("counting", bench.store.counts().await);
    assert_eq!(counts[&bench.service].waiting, 4);
    let without = LeaseAsk {
        suspects: false,
        ..bench.ask(8)
    };
    let given = bench.lease(&without).await;
    assert_eq!(given.len(), 1, "no suspect is among them");
    assert_eq!(given[0].0.id, honest);
    let late = bench.add(bench.task()).await;
    let given = bench.lease(&bench.ask(8)).await;
    let ids: Vec<&Id> = given.iter().map(|(lease, _)| &lease.id).collect();
    assert_eq!(
        ids,
        [&suspects[0], &late],
        "one, the oldest, and before all others"
    );
    assert_eq!(bench.lease(&bench.ask(8)).await.len(), 1);
    assert_eq!(bench.lease(&bench.ask(8)).await.len(), 1);
    assert!(bench.lease(&bench.ask(8)).await.is_empty());
}

pub(super) async fn loss_after_progress_is_the_first_of_a_new_count(bench: Bench) {
    let asked = NewTask {
        attempts_max: 2,
        ..bench.task()
    };
    let id = bench.add(asked).await;
    for completed in 1..=2 {
        let (lease, _) = bench.take_for(LONG).await;
        let progress = TaskProgress {
            completed,
            failed: 0,
            total: 10,
        };
        let renewed = bench.store.renew(&lease, SHORT, Some(progress)).await;
        must("reporting the progress", renewed);
        let task = bench.swept_to(&id, TaskState::Waiting).await;
        assert_eq!((task.attempts, task.losses()), (1, 1));
    }
    bench.take_for(SHORT).await;
    let task = bench.swept_to(&id, TaskState::Dead).await;
    assert_eq!(
        hows(&task),
        ["lost"; 3],
        "the attempt that got no further is its last"
    );
}
