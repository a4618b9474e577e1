//! Fairness: no account's backlog delays another's task by more than a round.

use serde_json::json;

use super::{Bench, LONG};
use crate::store::End;
use crate::task::{NewTask, Submitter, Task, TaskPriority};

/// Tasks of the account that has too many.
const BACKLOG: usize = 120;

async fn add(bench: &Bench, key: &str, count: usize) {
    for _ in 0..count {
        bench.add(task(bench, key)).await;
    }
}

fn task(bench: &Bench, key: &str) -> NewTask {
    NewTask {
        submitter: Submitter {
            key: Some(key.into()),
            ..Submitter::default()
        },
        ..bench.task()
    }
}

fn key(task: &Task) -> &str {
    task.new.submitter.key.as_deref().unwrap_or_default()
}

/// Leases `max` and ends them; returns their owners, in their order.
async fn run(bench: &Bench, max: usize) -> Vec<String> {
    let given = bench.lease(&bench.ask(max)).await;
    let mut keys = Vec::new();
    for (lease, task) in given {
        keys.push(key(&task).to_owned());
        bench.finish(&lease, End::Completed(json!(1))).await;
    }
    keys
}

/// Runs one task at a time until one of `wanted` ran; how many ran before it.
async fn turns_until(bench: &Bench, wanted: &str) -> usize {
    for turns in 0..BACKLOG {
        if run(bench, 1).await == [wanted] {
            return turns;
        }
    }
    panic!("no task of {wanted} in {BACKLOG} turns");
}

pub(super) async fn backlog_of_one_account_delays_another_by_one_turn(bench: Bench) {
    add(&bench, "greedy", BACKLOG).await;
    for newcomer in ["a", "z", "greedy-2"] {
        add(&bench, newcomer, 1).await;
        let turns = turns_until(&bench, newcomer).await;
        assert!(turns <= 1, "{newcomer} waited for {turns} turns");
    }
    // What it calls urgent is urgent among its own.
    let urgent = NewTask {
        priority: TaskPriority(100),
        ..task(&bench, "greedy")
    };
    bench.add(urgent).await;
    add(&bench, "calm", 1).await;
    assert!(turns_until(&bench, "calm").await <= 1);
}

pub(super) async fn accounts_take_turns_in_rounds(bench: Bench) {
    let keys = ["a", "b", "c"];
    for key in keys {
        add(&bench, key, 4).await;
    }
    for _ in 0..4 {
        let mut round = Vec::new();
        for _ in keys {
            round.extend(run(&bench, 1).await);
        }
        round.sort();
        assert_eq!(round, keys);
    }
    assert!(run(&bench, 1).await.is_empty());
}

pub(super) async fn many_leases_at_once_are_shared_out(bench: Bench) {
    add(&bench, "greedy", BACKLOG).await;
    add(&bench, "few", 3).await;
    let given = run(&bench, 8).await;
    let few = given.iter().filter(|key| *key == "few").count();
    assert_eq!((given.len(), few), (8, 3), "{given:?}");
    // Alone, it gets all slots.
    assert_eq!(run(&bench, 8).await, ["greedy"; 8]);
}

pub(super) async fn account_whose_tasks_may_not_run_here_holds_nobody_up(bench: Bench) {
    for number in 0..20 {
        let fenced = NewTask {
            regions: vec![super::region("deu")],
            ..task(&bench, &format!("fenced-{number:02}"))
        };
        bench.add(fenced).await;
        let later = NewTask {
            delay: LONG,
            ..task(&bench, &format!("later-{number:02}"))
        };
        bench.add(later).await;
    }
    add(&bench, "free", 1).await;
    assert_eq!(run(&bench, 8).await, ["free"]);
    add(&bench, "a", 1).await;
    assert_eq!(run(&bench, 1).await, ["a"]);
}
