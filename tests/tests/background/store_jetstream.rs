//! What a JetStream store does when its server is away, killed, frozen or full, and with leaf nodes whose
//! hub is killed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grapevine_core::ids::{NodeName, RegionName, ServiceKey};
use grapevine_node::config::secret::Secret;
use grapevine_node::tasks::id::{Id, Kind};
use grapevine_node::tasks::store::jetstream::JetStore;
use grapevine_node::tasks::store::{
    Added, End, LeaseAsk, LeaseHold, Store, StoreError, TaskQuery, open,
};
use grapevine_node::tasks::task::{CheckedText, NewTask, Submitter, TaskPriority, TaskState};
use grapevine_tests::nats::{Nats, PASSWORD};
use grapevine_tests::wait::must;
use grapevine_tests::{Signal, wait_until, within};
use serde_json::json;

/// Longer than any store tries.
const LIMIT: Duration = Duration::from_secs(20);

/// Longer than all tasks of a test take.
const ALL_LIMIT: Duration = Duration::from_secs(120);

fn service() -> ServiceKey {
    must("naming", ServiceKey::new("faults:x.y"))
}

fn task() -> NewTask {
    NewTask {
        id: Id::new(Kind::Task, None),
        service: CheckedText(service()),
        payload: json!({"n": 1}),
        priority: TaskPriority(0),
        attempts_max: 50,
        delay: Duration::ZERO,
        expires_after: None,
        idempotency_key: None,
        submitter: Submitter::default(),
        regions: Vec::new(),
    }
}

async fn store(url: &str) -> Arc<JetStore> {
    let store = JetStore::open(&Secret::new(url)).await;
    Arc::new(must("opening a store", store))
}

/// The error of `store` while it cannot be used: in time, and without the password.
async fn is_away(store: &JetStore) -> String {
    let checked = within("an answer to check", LIMIT, store.check()).await;
    let added = within("an answer to add", LIMIT, store.add(task())).await;
    for outcome in [checked, added.map(drop)] {
        match outcome {
            Err(StoreError::Unavailable { detail }) => {
                assert!(!detail.contains(PASSWORD), "the password is shown");
            }
            other => panic!("not unavailable: {other:?}"),
        }
    }
    store.check().await.expect_err("it is away").to_string()
}

async fn is_there(store: &JetStore) {
    wait_until("the store to work", LIMIT, async || {
        store.check().await.map_err(|error| error.to_string())
    })
    .await;
}

async fn works_again(store: &JetStore) {
    is_there(store).await;
    assert_eq!(store.add(task()).await, Ok(Added::New));
}

fn ask(worker: &str) -> LeaseAsk {
    LeaseAsk {
        service: CheckedText(service()),
        worker: worker.to_owned(),
        region: CheckedText(must("naming", RegionName::new("sgp"))),
        span: Duration::from_secs(1),
        max: 4,
        suspects: true,
    }
}

/// Adds tasks until `ends`; those that were accepted, and how many were not.
async fn add_until(store: Arc<JetStore>, ends: Arc<AtomicBool>) -> (Vec<Id>, usize) {
    let (mut accepted, mut refused) = (Vec::new(), 0);
    while !ends.load(Ordering::Relaxed) {
        let task = task();
        let id = task.id.clone();
        match within("an answer to add", LIMIT, store.add(task)).await {
            Ok(_) => accepted.push(id),
            Err(StoreError::Unavailable { .. }) => refused += 1,
            Err(other) => panic!("not unavailable: {other:?}"),
        }
    }
    (accepted, refused)
}

/// Leases and completes tasks until `ends`; the ids it completed, as often as the store confirmed them.
async fn work_until(store: Arc<JetStore>, name: String, ends: Arc<AtomicBool>) -> Vec<Id> {
    let mut completed = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        let given = within("a lease", LIMIT, store.lease(&ask(&name))).await;
        let given = given.unwrap_or_default();
        if given.is_empty() {
            store.wait(&service(), Duration::from_millis(100)).await;
        }
        for (lease, _) in given {
            let done = End::Completed(json!({"by": name, "attempt": lease.attempt}));
            if store.finish(&lease, done).await == Ok(LeaseHold::Kept) {
                completed.push(lease.id);
            }
        }
    }
    completed
}

async fn number(store: &JetStore) -> u64 {
    let counts = wait_until("counts", LIMIT, async || {
        store.counts().await.map_err(|error| error.to_string())
    });
    counts.await.0.values().map(|counts| counts.waiting).sum()
}

/// Sweeps until every task of `store` ended, and returns how many attempts were made beyond one each.
async fn all_end_once(store: &JetStore, accepted: &[Id]) -> usize {
    wait_until("the end of all tasks", ALL_LIMIT, async || {
        let swept = store.sweep(Duration::from_secs(3_600)).await;
        swept.map_err(|error| error.to_string())?;
        let counts = store.counts().await.map_err(|error| error.to_string())?;
        match counts.is_empty() {
            true => Ok(()),
            false => Err(format!("{counts:?}")),
        }
    })
    .await;
    let mut repeated = 0;
    for id in accepted {
        let task = must("getting", store.get(id).await);
        let task = task.unwrap_or_else(|| panic!("{id} was accepted and is lost"));
        assert_eq!(task.state, TaskState::Completed, "{id}: {:?}", task.history);
        let completed = task.history.iter().filter(|ended| ended.how == "completed");
        assert_eq!(completed.count(), 1, "{id}");
        repeated += task.history.len() - 1;
    }
    repeated
}

/// The ids of all tasks in `store`.
async fn all_ids(store: &JetStore) -> BTreeSet<Id> {
    let mut ids = BTreeSet::new();
    let mut query = TaskQuery {
        max: 100,
        ..TaskQuery::default()
    };
    loop {
        let page = must("listing", store.list(&query).await);
        let Some(last) = page.last() else { return ids };
        query.before = Some(last.new.id.clone());
        ids.extend(page.into_iter().map(|task| task.new.id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_starts_without_its_server_and_works_when_it_comes() {
    let server = Nats::start("js-away").await;
    server.signal(Signal::Kill);
    let store = store(&server.url()).await;
    let detail = is_away(&store).await;
    assert!(detail.contains(&server.address().to_string()), "{detail}");
    server.start_again().await;
    works_again(&store).await;
    server.signal(Signal::Kill);
    is_away(&store).await;
    server.start_again().await;
    works_again(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_task_ends_once_though_the_server_is_killed() {
    let server = Nats::start("js-killed").await;
    let nodes = [store(&server.url()).await, store(&server.url()).await];
    for node in &nodes {
        works_again(node).await;
    }
    let ends = Arc::new(AtomicBool::new(false));
    let adders: Vec<_> = (0..4)
        .map(|adder| add_until(Arc::clone(&nodes[adder % 2]), Arc::clone(&ends)))
        .map(tokio::spawn)
        .collect();
    let workers_end = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (node, name) = (Arc::clone(&nodes[worker % 2]), format!("worker-{worker}"));
            tokio::spawn(work_until(node, name, Arc::clone(&workers_end)))
        })
        .collect();
    for _ in 0..3 {
        let before = all_ids(&nodes[0]).await.len();
        wait_until("tasks to be added", LIMIT, async || {
            match all_ids(&nodes[0]).await.len() {
                now if now >= before + 30 => Ok(()),
                now => Err(format!("{now}")),
            }
        })
        .await;
        server.signal(Signal::Kill);
        server.start_again().await;
        for node in &nodes {
            is_there(node).await;
        }
    }
    ends.store(true, Ordering::Relaxed);
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for adder in adders {
        let (ids, not) = must("adding", adder.await);
        accepted.extend(ids);
        refused += not;
    }
    let repeated = all_end_once(&nodes[1], &accepted).await;
    workers_end.store(true, Ordering::Relaxed);
    let mut completed = BTreeSet::new();
    for worker in workers {
        for id in must("working", worker.await) {
            assert!(completed.insert(id.clone()), "{id} completed twice");
        }
    }
    assert!(accepted.len() >= 90, "{} accepted", accepted.len());
    assert!(
        completed.len() <= accepted.len() + refused,
        "nobody asked for more"
    );
    // An attempt is repeated when its worker's report was lost: its lease ran out. Not each of them was.
    assert!(repeated < accepted.len(), "{repeated} attempts repeated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_server_and_wrong_passwords_are_reported_in_time() {
    let server = Nats::start("js-frozen").await;
    let wrong = server.url().replace(PASSWORD, "wr0ng-s3cret");
    let detail = is_away(&*store(&wrong).await).await;
    assert!(!detail.contains("wr0ng"), "{detail}");
    let store = store(&server.url()).await;
    works_again(&store).await;
    server.signal(Signal::Stop);
    is_away(&store).await;
    server.signal(Signal::Continue);
    works_again(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_server_refuses_and_keeps_what_it_accepted() {
    let server = Nats::start_small("js-full", 256 * 1_024).await;
    let store = store(&server.url()).await;
    works_again(&store).await;
    let mut accepted = Vec::new();
    let refused = loop {
        let task = NewTask {
            payload: json!("x".repeat(900)),
            ..task()
        };
        let id = task.id.clone();
        match store.add(task).await {
            Ok(_) => accepted.push(id),
            Err(error) => break error,
        }
        assert!(accepted.len() < 2_000, "it never gets full");
    };
    assert!(
        matches!(refused, StoreError::Unavailable { .. }),
        "{refused:?}"
    );
    assert!(accepted.len() > 20, "{} accepted", accepted.len());
    for id in &accepted {
        assert!(must("getting", store.get(id).await).is_some(), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_share_one_stream() {
    let server = Nats::start("js-many").await;
    let node = must("naming", NodeName::new("n-1"));
    let mut nodes = Vec::new();
    for _ in 0..8 {
        nodes.push(must(
            "opening",
            open::open(&Secret::new(&server.url()), &node).await,
        ));
    }
    let adds = nodes.iter().map(|node| {
        let node = Arc::clone(node);
        tokio::spawn(async move { node.add(task()).await })
    });
    for add in adds.collect::<Vec<_>>() {
        assert_eq!(must("joining", add.await), Ok(Added::New));
    }
    let mut leased = BTreeSet::new();
    wait_until("all to be leased", LIMIT, async || {
        for node in &nodes {
            let given = must("leasing", node.lease(&ask("w")).await);
            for (lease, _) in given {
                assert!(leased.insert(lease.id), "leased twice");
            }
        }
        match leased.len() {
            8 => Ok(()),
            some => Err(format!("{some}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_urls_are_refused_without_revealing_the_password() {
    let node = must("naming", NodeName::new("n-1"));
    for url in [
        "nats://me:s3cret@127.0.0.1:1?creds=/nowhere/x.creds",
        "nats://me:s3cret@127.0.0.1:1?replicas=9",
        "nats://me:s3cret@",
        "tls://me:s3cret@127.0.0.1:1?what=1",
    ] {
        match open::open(&Secret::new(url), &node).await {
            Ok(_) => panic!("{url} was taken"),
            Err(error) => assert!(!error.to_string().contains("s3cret"), "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_go_on_without_their_hub_and_lose_and_double_nothing() {
    let hub = Nats::start_hub("hub").await;
    let leaves = [
        Nats::start_leaf("sgp", &hub).await,
        Nats::start_leaf("deu", &hub).await,
    ];
    let at_hub = store(&hub.url()).await;
    works_again(&at_hub).await;
    let regions = [store(&leaves[0].url()).await, store(&leaves[1].url()).await];
    let mut accepted = [Vec::new(), Vec::new()];
    let add_some = async |accepted: &mut [Vec<Id>; 2]| {
        for (region, accepted) in regions.iter().zip(accepted) {
            for _ in 0..50 {
                let task = task();
                let id = task.id.clone();
                assert_eq!(region.add(task).await, Ok(Added::New));
                accepted.push(id);
            }
        }
    };
    add_some(&mut accepted).await;
    hub.signal(Signal::Kill);
    is_away(&at_hub).await;
    add_some(&mut accepted).await;
    // Half of the work is done without the hub, the other half during and after its return.
    let ends = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for region in &regions {
        let (store, ends) = (Arc::clone(region), Arc::clone(&ends));
        workers.push(tokio::spawn(work_until(store, "w".to_owned(), ends)));
    }
    for region in &regions {
        wait_until("work without the hub", LIMIT, async || {
            match number(region).await {
                left if left <= 50 => Ok(()),
                left => Err(format!("{left} wait")),
            }
        })
        .await;
    }
    hub.start_again().await;
    add_some(&mut accepted).await;
    works_again(&at_hub).await;
    for (region, accepted) in regions.iter().zip(&accepted) {
        all_end_once(region, accepted).await;
        let accepted: BTreeSet<Id> = accepted.iter().cloned().collect();
        assert_eq!(all_ids(region).await, accepted, "no other region's");
    }
    ends.store(true, Ordering::Relaxed);
    for worker in workers {
        let completed = must("working", worker.await);
        let once: BTreeSet<_> = completed.iter().collect();
        assert_eq!((completed.len(), once.len()), (150, 150));
    }
    // The hub has its own two tasks only, and sees each region's by its domain, through the leaf's link.
    assert_eq!(all_ids(&at_hub).await.len(), 2);
    for (domain, accepted) in ["sgp", "deu"].iter().zip(&accepted) {
        let through = store(&format!("{}?domain={domain}", hub.url())).await;
        is_there(&through).await;
        assert_eq!(all_ids(&through).await.len(), accepted.len(), "{domain}");
    }
}
