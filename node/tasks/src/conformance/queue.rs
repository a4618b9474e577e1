//! What is accepted, and which worker gets which task, in which order.

use std::time::{Duration, Instant};

use grapevine_base::testing::{must, wait_until};
use serde_json::json;

use super::{Bench, LONG, SOON, failed, region};
use crate::id::Id;
use crate::store::{Added, End, LeaseAsk, StoreError, TaskCounts, TaskQuery};
use crate::task::{
    IDEMPOTENCY_KEY_BYTES_MAX, NewTask, OUTPUT_BYTES_MAX, PAYLOAD_BYTES_MAX, Submitter,
    TaskPriority, TaskState,
};

fn keyed(bench: &Bench, key: &str) -> NewTask {
    NewTask {
        idempotency_key: Some(key.to_owned()),
        ..bench.task()
    }
}

pub(super) async fn same_idempotency_key_is_the_same_task(bench: Bench) {
    let first = bench.add(keyed(&bench, "once")).await;
    let again = must("adding again", bench.store.add(keyed(&bench, "once")).await);
    assert_eq!(again, Added::Same(first.clone()));
    let other = NewTask {
        payload: json!({"n": 2}),
        ..keyed(&bench, "once")
    };
    let refused = bench.store.add(other).await;
    assert_eq!(refused, Err(StoreError::Conflict { id: first.clone() }));
    assert_eq!(bench.listed(None).await.len(), 1);
    // An ended task keeps its key: what was done is not done again.
    let (lease, _) = bench.take().await;
    bench.finish(&lease, End::Completed(json!(1))).await;
    let again = must("adding again", bench.store.add(keyed(&bench, "once")).await);
    assert_eq!(again, Added::Same(first));
}

pub(super) async fn idempotency_key_belongs_to_its_service(bench: Bench) {
    bench.add(keyed(&bench, "shared")).await;
    let other = bench.other("idempotency:other");
    other.add(keyed(&other, "shared")).await;
    bench.add(keyed(&bench, "another")).await;
    bench.add(bench.task()).await;
    bench.add(bench.task()).await;
}

pub(super) async fn many_adds_with_one_key_make_one_task(bench: Bench) {
    let adders: Vec<_> = (0..16)
        .map(|_| {
            let (store, task) = (bench.store.clone(), keyed(&bench, "race"));
            tokio::spawn(async move { store.add(task).await })
        })
        .collect();
    let mut new = 0;
    for adder in adders {
        let added = must("joining", adder.await);
        new += usize::from(must("adding", added) == Added::New);
    }
    assert_eq!((new, bench.listed(None).await.len()), (1, 1));
}

pub(super) async fn higher_priority_goes_first_then_the_oldest(bench: Bench) {
    let mut wanted = Vec::new();
    for (number, priority) in [(3, 0), (5, -9), (1, 100), (4, 0), (2, 7)] {
        let task = NewTask {
            priority: TaskPriority(priority),
            ..bench.task()
        };
        wanted.push((number, bench.add(task).await));
        // So that two of them never have one time.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    wanted.sort();
    let mut given = Vec::new();
    given.extend(bench.lease(&bench.ask(2)).await);
    given.extend(bench.lease(&bench.ask(8)).await);
    let given: Vec<_> = given.into_iter().map(|(lease, _)| lease.id).collect();
    let wanted: Vec<_> = wanted.into_iter().map(|(_, id)| id).collect();
    assert_eq!(given, wanted);
}

pub(super) async fn delayed_task_waits_for_its_time(bench: Bench) {
    let delay = Duration::from_millis(700);
    let began = Instant::now();
    let delayed = bench
        .add(NewTask {
            delay,
            ..bench.task()
        })
        .await;
    let far = bench
        .add(NewTask {
            delay: LONG,
            ..bench.task()
        })
        .await;
    let waited = wait_until("a delayed task", SOON, async || {
        let given = bench.lease(&bench.ask(8)).await;
        given.into_iter().next().ok_or_else(|| "nothing".to_owned())
    });
    let ((lease, task), _) = waited.await;
    assert!(began.elapsed() >= delay, "after {:?}", began.elapsed());
    assert_eq!(lease.id, delayed);
    assert!(task.not_before >= task.created_at.after(delay));
    // A retry waits as well.
    bench.finish(&lease, failed(Some(LONG))).await;
    assert!(bench.lease(&bench.ask(8)).await.is_empty());
    assert_eq!(bench.state(&far).await, TaskState::Waiting);
}

pub(super) async fn task_is_given_and_listed_in_its_regions_only(bench: Bench) {
    let fenced = NewTask {
        regions: vec![region("deu"), region("fra_1")],
        ..bench.task()
    };
    let id = bench.add(fenced).await;
    for elsewhere in ["sgp", "de", "deu-1", "fraX1"] {
        let ask = LeaseAsk {
            region: region(elsewhere),
            ..bench.ask(8)
        };
        assert!(bench.lease(&ask).await.is_empty(), "in {elsewhere}");
        assert!(
            listed_in(&bench, elsewhere).await.is_empty(),
            "in {elsewhere}"
        );
    }
    assert_eq!(listed_in(&bench, "fra_1").await, std::slice::from_ref(&id));
    let ask = LeaseAsk {
        region: region("fra_1"),
        ..bench.ask(8)
    };
    assert_eq!(bench.lease(&ask).await[0].0.id, id);
}

async fn listed_in(bench: &Bench, name: &str) -> Vec<Id> {
    let query = TaskQuery {
        service: Some(bench.service.clone()),
        region: Some(region(name)),
        max: 100,
        ..TaskQuery::default()
    };
    let tasks = must("listing", bench.store.list(&query).await);
    tasks.into_iter().map(|task| task.new.id).collect()
}

pub(super) async fn other_services_tasks_are_not_given(bench: Bench) {
    bench.add(bench.task()).await;
    let other = bench.other("not:given");
    assert!(other.lease(&other.ask(8)).await.is_empty());
    assert_eq!(bench.lease(&bench.ask(8)).await.len(), 1);
}

pub(super) async fn list_filters_and_pages_newest_first(bench: Bench) {
    let mut ids = Vec::new();
    for number in 0..5 {
        let key = if number % 2 == 0 { "even" } else { "odd" };
        let task = NewTask {
            submitter: Submitter {
                network: None,
                key: Some(key.into()),
                origin: Some("SG".to_owned()),
                models: None,
                limits: None,
            },
            ..bench.task()
        };
        ids.push(bench.add(task).await);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    ids.reverse();
    let query = TaskQuery {
        service: Some(bench.service.clone()),
        max: 2,
        ..TaskQuery::default()
    };
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let query = TaskQuery {
            before: before.clone(),
            ..query.clone()
        };
        let page = must("listing", bench.store.list(&query).await);
        let Some(last) = page.last() else { break };
        before = Some(last.new.id.clone());
        seen.extend(page.into_iter().map(|task| task.new.id));
    }
    assert_eq!(seen, ids);
    let odd = TaskQuery {
        key: Some("odd".to_owned()),
        max: 100,
        ..query.clone()
    };
    let odd = must("listing", bench.store.list(&odd).await);
    assert_eq!(odd.len(), 2);
    bench.cancel(&ids[0]).await;
    let cancelled = bench.listed(Some(TaskState::Cancelled)).await;
    assert_eq!((cancelled.len(), &cancelled[0].new.id), (1, &ids[0]));
    assert_eq!(bench.listed(Some(TaskState::Waiting)).await.len(), 4);
}

pub(super) async fn counts_show_what_waits_runs_and_died(bench: Bench) {
    for _ in 0..2 {
        let (_, lease) = bench.running(bench.task()).await;
        bench.finish(&lease, failed(None)).await;
    }
    let (_, lease) = bench.running(bench.task()).await;
    bench.finish(&lease, End::Completed(json!(1))).await;
    bench.running(bench.task()).await;
    for _ in 0..3 {
        bench.add(bench.task()).await;
    }
    let delayed = NewTask {
        delay: LONG,
        ..bench.task()
    };
    bench.add(delayed).await;
    let counts = must("counting", bench.store.counts().await);
    let wanted = TaskCounts {
        waiting: 3,
        delayed: 1,
        running: 1,
        dead: 2,
    };
    assert_eq!(counts.get(&bench.service), Some(&wanted));
}

pub(super) async fn wait_returns_when_a_task_is_added(bench: Bench) {
    assert!(bench.lease(&bench.ask(1)).await.is_empty());
    let worker = bench.clone();
    let waiting = tokio::spawn(async move {
        loop {
            worker.store.wait(&worker.service.0, LONG).await;
            let given = worker.lease(&worker.ask(1)).await;
            if !given.is_empty() {
                return given;
            }
        }
    });
    let id = bench.add(bench.task()).await;
    let given = bench.waits_at_most(waiting).await;
    assert_eq!(must("joining", given)[0].0.id, id);
}

pub(super) async fn wait_returns_when_there_is_none(bench: Bench) {
    let at_most = Duration::from_millis(50);
    bench
        .waits_at_most(bench.store.wait(&bench.service.0, at_most))
        .await;
}

pub(super) async fn what_is_too_long_is_refused_and_not_kept(bench: Bench) {
    let is_too_long = |refused: &StoreError| matches!(refused, StoreError::TooLong { .. });
    let long_payload = NewTask {
        payload: json!("x".repeat(PAYLOAD_BYTES_MAX - 1)),
        ..bench.task()
    };
    let long_key = keyed(&bench, &"k".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1));
    for task in [long_payload, long_key] {
        let refused = bench.store.add(task).await.expect_err("too long");
        assert!(is_too_long(&refused), "{refused:?}");
    }
    assert_eq!(bench.listed(None).await.len(), 0);
    let longest = NewTask {
        payload: json!("x".repeat(PAYLOAD_BYTES_MAX - 2)),
        idempotency_key: Some("k".repeat(IDEMPOTENCY_KEY_BYTES_MAX)),
        ..bench.task()
    };
    let (id, lease) = bench.running(longest.clone()).await;
    assert_eq!(bench.get(&id).await.new, longest);
    let output = End::Completed(json!("x".repeat(OUTPUT_BYTES_MAX - 1)));
    let refused = bench
        .store
        .finish(&lease, output)
        .await
        .expect_err("too long");
    assert!(is_too_long(&refused), "{refused:?}");
    assert_eq!(bench.state(&id).await, TaskState::Running);
    let ask = LeaseAsk {
        worker: "w".repeat(129),
        ..bench.ask(1)
    };
    let refused = bench.store.lease(&ask).await.expect_err("too long");
    assert!(is_too_long(&refused), "{refused:?}");
}

pub(super) async fn any_text_comes_back_as_it_was(bench: Bench) {
    let odd = "Grüße, 日本語 🎉 \u{0} \u{1} \" \\ ' -- ; \u{202E} \u{FFFF} $1 @now % _ ,sgp,";
    let asked = NewTask {
        payload: json!({odd: [odd, 0.1, 1.5e300, u64::MAX, i64::MIN, null, true]}),
        idempotency_key: Some(odd.to_owned()),
        submitter: Submitter {
            network: None,
            key: Some("ключ".into()),
            origin: None,
            models: None,
            limits: None,
        },
        ..bench.task()
    };
    let id = bench.add(asked.clone()).await;
    let ask = LeaseAsk {
        worker: "工人 '; DROP TABLE tasks; --".to_owned(),
        ..bench.ask(1)
    };
    let (lease, task) = bench.lease(&ask).await.remove(0);
    assert_eq!((&task.new, &task.worker), (&asked, &Some(ask.worker)));
    bench.finish(&lease, End::Completed(json!(odd))).await;
    let task = bench.get(&id).await;
    assert_eq!(
        (task.new.clone(), task.output),
        (asked.clone(), Some(json!(odd)))
    );
    let twin = NewTask {
        id: bench.task().id,
        ..asked
    };
    assert_eq!(must("adding", bench.store.add(twin).await), Added::Same(id));
}

pub(super) async fn ended_tasks_are_removed_after_their_retention(bench: Bench) {
    let (ended, lease) = bench.running(keyed(&bench, "kept")).await;
    let note = crate::store::Note {
        number: 0,
        content: "x".into(),
    };
    must("saving", bench.store.save(&lease, &[note]).await);
    bench.finish(&lease, End::Completed(json!(1))).await;
    let waiting = bench.add(bench.task()).await;
    must("sweeping", bench.store.sweep(LONG).await);
    assert_eq!(bench.state(&ended).await, TaskState::Completed);
    wait_until("the end of the retention", SOON, async || {
        must("sweeping", bench.store.sweep(Duration::ZERO).await);
        match must("getting", bench.store.get(&ended).await) {
            None => Ok(()),
            Some(task) => Err(task.state.as_str().to_owned()),
        }
    })
    .await;
    assert_eq!(must("notes", bench.store.notes(&ended, 0).await), []);
    assert_eq!(bench.state(&waiting).await, TaskState::Waiting);
    // The key is free again.
    bench.add(keyed(&bench, "kept")).await;
}
