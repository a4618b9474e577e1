//! Many tasks, many workers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grapevine_base::testing::{must, wait_until};
use serde_json::json;

use super::{Bench, KEEP, SHORT, SOON};
use crate::store::{End, LeaseAsk, LeaseHold, TaskQuery};
use crate::task::{LOSSES_MAX, NewTask, TaskState};

/// Workers at once.
const WORKERS: usize = 16;

/// Concurrent adders in [`fill`].
const ADDERS: usize = 64;

/// Adds `number` tasks concurrently: each adder takes every `ADDERS`-th number, one after the other.
async fn fill(bench: &Bench, number: usize) {
    let adders: Vec<_> = (0..ADDERS)
        .map(|adder| {
            let bench = bench.clone();
            tokio::spawn(async move {
                for index in (adder..number).step_by(ADDERS) {
                    let task = NewTask {
                        payload: json!(index),
                        attempts_max: 20,
                        ..bench.task()
                    };
                    bench.add(task).await;
                }
            })
        })
        .collect();
    for adder in adders {
        must("adding many", adder.await);
    }
}

pub(super) async fn no_task_is_leased_twice_under_many_leasers(bench: Bench) {
    const TASKS: usize = 600;
    fill(&bench, TASKS).await;
    let leasers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let bench = bench.clone();
            tokio::spawn(async move {
                let ask = LeaseAsk {
                    worker: format!("leaser-{worker}"),
                    ..bench.ask(1 + worker % 5)
                };
                let mut mine = Vec::new();
                loop {
                    let given = bench.lease(&ask).await;
                    assert!(given.len() <= ask.max);
                    if given.is_empty() {
                        return mine;
                    }
                    mine.extend(given.into_iter().map(|(lease, _)| lease.id));
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for leaser in leasers {
        all.extend(must("leasing", leaser.await));
    }
    let once: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), once.len()), (TASKS, TASKS));
}

pub(super) async fn end_and_cancellation_at_once_agree(bench: Bench) {
    const TASKS: usize = 48;
    fill(&bench, TASKS).await;
    let given = bench.lease(&bench.ask(TASKS)).await;
    assert_eq!(given.len(), TASKS);
    let racing = given.into_iter().map(|(lease, _)| {
        let (store, ender) = (bench.store.clone(), bench.store.clone());
        let id = lease.id.clone();
        let ending = tokio::spawn(async move {
            let end = End::Completed(json!(null));
            must("ending", ender.finish(&lease, end).await)
        });
        let cancelling = tokio::spawn(async move { must("cancelling", store.cancel(&id).await) });
        (ending, cancelling)
    });
    for (ending, cancelling) in racing.collect::<Vec<_>>() {
        let held = must("joining", ending.await);
        let seen = must("joining", cancelling.await).expect("the task");
        let ended = bench.get(&seen.new.id).await;
        let wanted = match held {
            LeaseHold::Kept => TaskState::Completed,
            LeaseHold::CancelRequested => TaskState::Cancelled,
            LeaseHold::Lost => panic!("{} was not lost", seen.new.id),
        };
        assert_eq!((ended.state, ended.history.len()), (wanted, 1));
        // The cancellation came first or changed nothing.
        assert_eq!(seen.cancel_requested, held == LeaseHold::CancelRequested);
    }
}

pub(super) async fn every_task_ends_once_under_workers_that_die(bench: Bench) {
    const TASKS: usize = 160;
    fill(&bench, TASKS).await;
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let bench = bench.clone();
            tokio::spawn(async move { work_badly(&bench, worker).await })
        })
        .collect();
    wait_until("all tasks completed", Duration::from_secs(90), async || {
        must("sweeping", bench.store.sweep(KEEP).await);
        let counts = must("counting", bench.store.counts().await);
        match counts.get(&bench.service) {
            None => Ok(()),
            Some(counts) => Err(format!("{counts:?}")),
        }
    })
    .await;
    let mut ends: BTreeMap<_, usize> = BTreeMap::new();
    for worker in workers {
        for id in must("working", worker.await) {
            *ends.entry(id).or_default() += 1;
        }
    }
    assert_eq!(ends.len(), TASKS);
    assert!(ends.values().all(|times| *times == 1), "none ended twice");
}

/// Works until there is nothing more, drops every third lease silently, and reports late for it.
async fn work_badly(bench: &Bench, worker: usize) -> Vec<String> {
    let ask = LeaseAsk {
        worker: format!("worker-{worker}"),
        span: SHORT,
        ..bench.ask(2)
    };
    let (mut ended, mut dropped, mut number) = (Vec::new(), Vec::new(), worker);
    loop {
        let given = bench.lease(&ask).await;
        if given.is_empty() {
            let counts = must("counting", bench.store.counts().await);
            if !counts.contains_key(&bench.service) {
                break;
            }
            bench.store.wait(&bench.service.0, SHORT).await;
        }
        for (lease, task) in given {
            number += 1;
            // One that is lost more often is a dead letter.
            if number % 3 == 0 && task.losses() < LOSSES_MAX - 1 {
                dropped.push(lease);
                continue;
            }
            let held = bench.finish(&lease, End::Completed(json!(worker))).await;
            if held == LeaseHold::Kept {
                ended.push(lease.id.to_string());
            }
        }
    }
    for late in dropped {
        let held = bench.finish(&late, End::Completed(json!("late"))).await;
        assert_eq!(held, LeaseHold::Lost);
    }
    ended
}

pub(super) async fn ten_thousand_tasks_are_listed_page_by_page(bench: Bench) {
    const TASKS: usize = 10_000;
    fill(&bench, TASKS).await;
    let mut query = TaskQuery {
        service: Some(bench.service.clone()),
        state: Some(TaskState::Waiting),
        max: 10_000,
        ..TaskQuery::default()
    };
    let mut seen = BTreeSet::new();
    loop {
        let page = bench.waits_at_most(bench.store.list(&query)).await;
        let page = must("listing", page);
        assert!(page.len() <= 100, "{} on one page", page.len());
        let Some(last) = page.last() else { break };
        query.before = Some(last.new.id.clone());
        let numbers = page.iter().map(|task| task.new.payload.to_string());
        numbers.for_each(|index| assert!(seen.insert(index), "listed twice"));
    }
    assert_eq!(seen.len(), TASKS);
    let counts = must("counting", bench.store.counts().await);
    assert_eq!(counts[&bench.service].waiting, TASKS as u64);
    // Leaves nothing for later sweeps to scan.
    let (given, _) = wait_until("a lease among many", SOON, async || {
        let given = bench.lease(&bench.ask(64)).await;
        if given.len() == 64 {
            Ok(given)
        } else {
            Err(format!("{}", given.len()))
        }
    })
    .await;
    // Of those that were added at once any may be the older; one after the other was not.
    let mut given_of = [0; ADDERS];
    for (_, task) in given {
        let index = task.new.payload.as_u64().expect("a number") as usize;
        let before = &mut given_of[index % ADDERS];
        assert_eq!(index / ADDERS, *before, "given out of turn: {index}");
        *before += 1;
    }
}
