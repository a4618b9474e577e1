//! Attacks by background work.

use std::time::Duration;

use grapevine_tests::client::{Answer, http, whole};
use grapevine_tests::wait::must;
use grapevine_tests::wait_until;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Tally;
use super::requests::post_all;
use super::tally::{end_of, end_of_any};
use crate::world::{HONEST_KEY, HOSTILE_WORKER_KEY, SERVICE, WAITING_MAX, WORKER_KEY, World};

/// Concurrent polls of one worker's key: more than there are slots for the polls of all.
const POLLS: usize = 300;

/// How long the polls ask to wait.
const POLL_SECONDS: u64 = 60;

const LIMIT: Duration = Duration::from_secs(20);

/// Tasks that no node serves.
pub(crate) async fn made_up_services(world: &World) -> Tally {
    let task = |index: usize| json!({"service": format!("made-up-{index}:process"), "payload": {}});
    post_all(world, "/tasks", (0..3_000).map(task).collect()).await
}

/// Work for a built-in service that bypasses its own route.
pub(crate) async fn raw_batches(world: &World) -> Tally {
    let batch = json!({"service": "async-task:process", "payload": {
        "job": "batch", "input_file_id": "file-0", "endpoint": "/admin/delete",
        "completion_window": "24h", "window_seconds": 86_400, "metadata": null,
    }});
    post_all(world, "/tasks", vec![batch; 10]).await
}

/// More tasks of one key than may wait, and then one of another key.
pub(crate) async fn flood(world: &World) -> Tally {
    let task = |payload: &str| json!({"service": SERVICE, "payload": payload});
    let flood = vec![task("flood"); WAITING_MAX + 100];
    let mut tally = post_all(world, "/tasks", flood).await;
    let added = ask(world, HONEST_KEY, "/tasks", task("honest")).await;
    tally.check(
        added.status == 202,
        format!("the other key's task: {}", end_of(&added)),
    );
    let turns = [turn(world).await, turn(world).await];
    let is_next = turns.contains(&Some("honest".to_owned()));
    tally.check(is_next, format!("the worker was lent {turns:?}"));
    tally
}

/// Polls of a worker for tasks that do not come.
pub(crate) async fn idle_polls(world: &World) -> Tally {
    let client = http();
    let poll = json!({"service": SERVICE, "worker": "w", "wait_seconds": POLL_SECONDS});
    let mut polls = JoinSet::new();
    for _ in 0..POLLS {
        let poll = client.post(world.url("/tasks/lease")).json(&poll);
        polls.spawn(whole(poll.bearer_auth(HOSTILE_WORKER_KEY)));
    }
    let mut tally = Tally::default();
    // Polls without a slot end at once, the first of them because the share is full.
    let first = must(
        "a refused poll",
        tokio::time::timeout(LIMIT, polls.join_next()).await,
    );
    first
        .into_iter()
        .flatten()
        .for_each(|poll| tally.add(end_of_any(&poll)));
    let now = json!({"service": SERVICE, "worker": "w"});
    let other = ask(world, WORKER_KEY, "/tasks/lease", now.clone()).await;
    tally.check(
        other.status == 200,
        format!("another worker's poll: {}", end_of(&other)),
    );
    while let Some(ended) = polls.try_join_next() {
        ended
            .into_iter()
            .for_each(|poll| tally.add(end_of_any(&poll)));
    }
    tally.sent += polls.len();
    tally.ended("held", polls.len());
    drop(polls);
    wait_until("slots to come back", LIMIT, async || {
        match ask(world, HOSTILE_WORKER_KEY, "/tasks/lease", now.clone()).await {
            answer if answer.status == 200 => Ok(()),
            answer => Err(end_of(&answer)),
        }
    })
    .await;
    tally
}

async fn ask(world: &World, key: &str, path: &str, body: Value) -> Answer {
    let request = http().post(world.url(path)).bearer_auth(key).json(&body);
    must(path, whole(request).await)
}

/// Leases one task and ends it; returns its owner, by its payload.
async fn turn(world: &World) -> Option<String> {
    let wanted = json!({"service": SERVICE, "worker": "w"});
    let lent = ask(world, WORKER_KEY, "/tasks/lease", wanted).await.json();
    let lent = lent["data"].get(0)?.clone();
    let id = lent["task"]["id"].as_str()?;
    let done = json!({"lease": lent["lease"]});
    ask(world, WORKER_KEY, &format!("/tasks/{id}/complete"), done).await;
    lent["task"]["payload"].as_str().map(str::to_owned)
}
