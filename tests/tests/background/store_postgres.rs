//! What a Postgres store does when its server is away, killed, frozen, locked or read-only.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use grapevine_core::ids::{RegionName, ServiceKey};
use grapevine_node::config::secret::Secret;
use grapevine_node::tasks::id::{Id, Kind};
use grapevine_node::tasks::store::sql::SqlStore;
use grapevine_node::tasks::store::{Added, LeaseAsk, Store, StoreError};
use grapevine_node::tasks::task::{CheckedText, NewTask, Submitter, TaskPriority};
use grapevine_tests::postgres::{PASSWORD, Postgres};
use grapevine_tests::scratch::Scratch;
use grapevine_tests::wait::must;
use grapevine_tests::{Signal, wait_until, within};
use serde_json::json;
use sqlx::{Connection, PgConnection};

/// Longer than any store tries.
const LIMIT: Duration = Duration::from_secs(20);

/// Names the small disk for a test of this file that runs once more as a child.
const FOLDER: &str = "GRAPEVINE_TEST_STORE";

fn service() -> ServiceKey {
    must("naming", ServiceKey::new("faults"))
}

fn task() -> NewTask {
    NewTask {
        id: Id::new(Kind::Task, None),
        service: CheckedText(service()),
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

fn store(url: &str) -> Arc<SqlStore> {
    Arc::new(must(
        "opening a store",
        SqlStore::postgres(&Secret::new(url)),
    ))
}

/// The error of `store` while it cannot be used: in time, and without the password.
async fn is_away(store: &SqlStore) -> String {
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

async fn works_again(store: &SqlStore) {
    wait_until("the store to work again", LIMIT, async || {
        store.check().await.map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(store.add(task()).await, Ok(Added::New));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_starts_without_its_server_and_works_when_it_comes() {
    let server = Postgres::start("pg-away").await;
    server.stop().await;
    let store = store(&server.url());
    let detail = is_away(&store).await;
    assert!(detail.contains(&server.address().to_string()), "{detail}");
    server.start_again().await;
    works_again(&store).await;
    server.stop().await;
    is_away(&store).await;
    server.start_again().await;
    works_again(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_there_after_the_server_was_killed() {
    let server = Postgres::start("pg-killed").await;
    let store = store(&server.url());
    works_again(&store).await;
    let ends = Arc::new(AtomicBool::new(false));
    let adders: Vec<_> = (0..8)
        .map(|_| {
            let (store, ends) = (Arc::clone(&store), Arc::clone(&ends));
            tokio::spawn(async move {
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
            })
        })
        .collect();
    for _ in 0..3 {
        let before = number(&store).await;
        wait_until("tasks to be added", LIMIT, async || {
            match number(&store).await {
                now if now >= before + 50 => Ok(()),
                now => Err(format!("{now}")),
            }
        })
        .await;
        server.kill();
        server.start_again().await;
        wait_until("the store to work again", LIMIT, async || {
            store.check().await.map_err(|error| error.to_string())
        })
        .await;
    }
    ends.store(true, Ordering::Relaxed);
    let (mut accepted, mut refused) = (0, 0);
    for adder in adders {
        let (ids, not) = must("adding", adder.await);
        refused += not;
        accepted += ids.len();
        for id in ids {
            assert!(
                must("getting", store.get(&id).await).is_some(),
                "{id} was accepted"
            );
        }
    }
    assert!(
        accepted >= 150 && refused > 0,
        "{accepted} accepted, {refused} refused"
    );
}

async fn number(store: &SqlStore) -> u64 {
    let counts = wait_until("counts", LIMIT, async || {
        store.counts().await.map_err(|error| error.to_string())
    });
    counts.await.0.values().map(|counts| counts.waiting).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_server_and_wrong_passwords_are_reported_in_time() {
    let server = Postgres::start("pg-frozen").await;
    let wrong = server.url().replace(PASSWORD, "wr0ng-s3cret");
    let detail = is_away(&store(&wrong)).await;
    assert!(
        detail.contains("password") && !detail.contains("wr0ng"),
        "{detail}"
    );
    let demanding = format!("{}?sslmode=require", server.url());
    let detail = is_away(&store(&demanding)).await;
    assert!(detail.to_lowercase().contains("tls"), "{detail}");
    server.signal(Signal::Stop);
    let late = store(&server.url());
    is_away(&late).await;
    server.signal(Signal::Continue);
    works_again(&late).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locked_table_refuses_in_time_and_nothing_is_added_later() {
    let server = Postgres::start("pg-locked").await;
    let store = store(&server.url());
    works_again(&store).await;
    let mut other = must("connecting", PgConnection::connect(&server.url()).await);
    let mut holding = must("beginning", other.begin().await);
    let locked = sqlx::query("LOCK TABLE grapevine.tasks").execute(&mut *holding);
    must("locking", locked.await);
    let lost = task();
    let refused = within("an answer to add", LIMIT, store.add(lost.clone())).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable { .. })),
        "{refused:?}"
    );
    must("unlocking", holding.rollback().await);
    works_again(&store).await;
    assert_eq!(
        must("getting", store.get(&lost.id).await),
        None,
        "it was refused"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_takes_no_writes_is_reported_and_works_again() {
    let server = Postgres::start("pg-read-only").await;
    let store = store(&server.url());
    works_again(&store).await;
    let set = "ALTER SYSTEM SET default_transaction_read_only TO";
    assert_eq!(server.sql(&format!("{set} on")), "");
    server.stop().await;
    server.start_again().await;
    let detail = is_away(&store).await;
    assert!(detail.contains("read-only"), "{detail}");
    assert_eq!(server.sql(&format!("{set} off")), "");
    server.stop().await;
    server.start_again().await;
    works_again(&store).await;
}

#[test]
fn full_disk_refuses_and_works_again_when_there_is_room() {
    let scratch = Scratch::new("pg-full");
    let mount = format!(
        "mount -t tmpfs -o size=4m none {0} && exec \"$1\" --exact --ignored --nocapture store_postgres::on_a_small_disk",
        scratch.path().display()
    );
    // The server refuses to be root, also where that is root of this namespace alone.
    let mut unshare = Command::new("unshare");
    if !is_root() {
        unshare.args(["--map-current-user", "--keep-caps"]);
    }
    let program = must("finding this program", std::env::current_exe());
    let ran = unshare
        .args(["--mount", "sh", "-c", &mount, "sh"])
        .arg(&program)
        .env(FOLDER, scratch.path())
        .output();
    let ran = must("running unshare", ran);
    let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        ran.status.success() && printed.contains("1 passed"),
        "{printed}\n{ran:?}"
    );
}

/// The tables lie on the small disk. The server's log does not: without room for that it stops, and what the
/// store does then is what it does for any server that is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by full_disk_refuses_and_works_again_when_there_is_room, on a disk of its own"]
async fn on_a_small_disk() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("set by the test that runs this"));
    let server = Postgres::start("pg-small").await;
    if is_root() {
        let given = Command::new("chown").arg("postgres").arg(&folder).status();
        assert!(must("running chown", given).success());
        // The folder above is for its owner alone.
        let above = folder.parent().expect("a folder above");
        let open = std::fs::Permissions::from_mode(0o711);
        must("opening a folder", std::fs::set_permissions(above, open));
    }
    let small = format!("CREATE TABLESPACE small LOCATION '{}'", folder.display());
    assert_eq!(server.sql(&small), "");
    assert_eq!(
        server.sql("ALTER SYSTEM SET default_tablespace TO small"),
        ""
    );
    assert_eq!(server.sql("SELECT pg_reload_conf()"), "t");
    let store = store(&server.url());
    let mut kept = Vec::new();
    let detail = loop {
        let task = long_task();
        let id = task.id.clone();
        match within("an answer to add", LIMIT, store.add(task)).await {
            Ok(_) => kept.push(id),
            Err(StoreError::Unavailable { detail }) => break detail,
            Err(other) => panic!("not unavailable: {other:?}"),
        }
        assert!(kept.len() < 1_000, "the disk never was full");
    };
    assert!(
        detail.contains("disk is full") && detail.contains(&server.address().to_string()),
        "{detail}"
    );
    assert!(!kept.is_empty(), "there was room first");
    let lost = long_task();
    let refused = within("an answer to add", LIMIT, store.add(lost.clone())).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable { .. })),
        "{refused:?}"
    );
    for id in &kept {
        assert!(
            must("getting", store.get(id).await).is_some(),
            "{id} was accepted"
        );
    }
    // More room, as an operator makes it.
    let bigger = Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(&folder)
        .status();
    assert!(must("remounting", bigger).success());
    works_again(&store).await;
    assert_eq!(store.add(long_task()).await, Ok(Added::New));
    assert_eq!(
        must("getting", store.get(&lost.id).await),
        None,
        "it was refused"
    );
    assert_eq!(number(&store).await, kept.len() as u64 + 2);
}

/// A task with a payload that hardly compresses.
fn long_task() -> NewTask {
    let noise: String = (0..1_000)
        .map(|_| Id::new(Kind::Task, None).to_string())
        .collect();
    NewTask {
        payload: json!(noise),
        ..task()
    }
}

fn is_root() -> bool {
    let user = must("running id", Command::new("id").arg("-u").output());
    user.stdout.trim_ascii() == b"0"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_make_the_tables_at_once() {
    let server = Postgres::start("pg-many").await;
    let url = server.url();
    let starting: Vec<_> = (0..8)
        .map(|_| {
            let store = store(&url);
            tokio::spawn(async move { store.add(task()).await })
        })
        .collect();
    for started in starting {
        assert_eq!(must("joining", started.await), Ok(Added::New));
    }
    assert_eq!(server.sql("SELECT count(*) FROM grapevine.tasks"), "8");
    assert_eq!(
        server.sql("SELECT count(*) FROM grapevine.schema_version"),
        "1"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_added_at_one_node_wakes_another() {
    const ROUNDS: u32 = 20;
    let server = Postgres::start("pg-wake").await;
    let (here, there) = (store(&server.url()), store(&server.url()));
    works_again(&here).await;
    let ask = LeaseAsk {
        service: CheckedText(service()),
        worker: "there".to_owned(),
        region: CheckedText(must("naming", RegionName::new("sgp"))),
        span: LIMIT,
        max: 64,
        suspects: false,
    };
    wait_until("the listener", LIMIT, async || {
        match server
            .sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
            .as_str()
        {
            "2" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    must("leasing", there.lease(&ask).await);
    let began = Instant::now();
    for _ in 0..ROUNDS {
        let waiting = {
            let (there, ask) = (Arc::clone(&there), ask.clone());
            tokio::spawn(async move {
                loop {
                    let given = must("leasing", there.lease(&ask).await);
                    if !given.is_empty() {
                        return;
                    }
                    there.wait(&service(), LIMIT).await;
                }
            })
        };
        must("adding", here.add(task()).await);
        must(
            "waiting",
            within("the other node's lease", LIMIT, waiting).await,
        );
    }
    // Without a notification they would look again after half a second each.
    let each = began.elapsed() / ROUNDS;
    assert!(each < Duration::from_millis(250), "{each:?} for each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_is_checked_as_the_url_demands() {
    let server = Postgres::start("pg-tls").await;
    let certificate = server.serve_tls().await;
    let root = certificate.display();
    let checked = format!("{}?sslmode=verify-full&sslrootcert={root}", server.url());
    works_again(&store(&checked)).await;
    let encrypted = "SELECT count(*) > 0 FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
        WHERE s.ssl AND a.application_name = 'grapevine'";
    assert_eq!(server.sql(encrypted), "t");
    // No authority that this machine trusts signed it.
    let unknown = format!("{}?sslmode=verify-full", server.url());
    is_away(&store(&unknown)).await;
    works_again(&store(&format!("{}?sslmode=require", server.url()))).await;
}
