//! What a SQLite store does when its disk is full, its file locked, damaged, or gone.

use std::fs;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use grapevine_core::ids::ServiceKey;
use grapevine_node::tasks::id::{Id, Kind};
use grapevine_node::tasks::store::open::OpenError;
use grapevine_node::tasks::store::sql::SqlStore;
use grapevine_node::tasks::store::{Added, PIECE_BYTES, Store, StoreError, TaskQuery};
use grapevine_node::tasks::task::{CheckedText, NewTask, Submitter, TaskPriority};
use grapevine_tests::scratch::Scratch;
use grapevine_tests::wait::must;
use grapevine_tests::{wait_until, within};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row};

/// Longer than any store tries.
const LIMIT: Duration = Duration::from_secs(20);

/// Names the folder for a test of this file that runs once more as a child.
const FOLDER: &str = "GRAPEVINE_TEST_STORE";

fn task(bytes: usize) -> NewTask {
    NewTask {
        id: Id::new(Kind::Task, None),
        service: CheckedText(must("naming", ServiceKey::new("faults"))),
        payload: json!("x".repeat(bytes)),
        priority: TaskPriority(0),
        attempts_max: 3,
        delay: Duration::ZERO,
        expires_after: None,
        idempotency_key: None,
        submitter: Submitter::default(),
        regions: Vec::new(),
    }
}

async fn open(path: &Path) -> SqlStore {
    must("opening a store", SqlStore::sqlite(path).await)
}

async fn refused(path: &Path) -> OpenError {
    match SqlStore::sqlite(path).await {
        Ok(_) => panic!("opened {}", path.display()),
        Err(error) => error,
    }
}

/// Adds a task, which has to end one way or the other.
async fn add(store: &SqlStore, task: NewTask) -> Result<Added, StoreError> {
    within("an answer to add", LIMIT, store.add(task)).await
}

/// The detail of the error for a store that cannot be used now.
fn unavailable<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Err(StoreError::Unavailable { detail }) => detail,
        other => panic!("not unavailable: {other:?}"),
    }
}

async fn works_again(store: &SqlStore) {
    wait_until("the store to work again", LIMIT, async || {
        store.check().await.map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(add(store, task(10)).await, Ok(Added::New));
}

#[tokio::test]
async fn new_file_is_for_its_owner_alone() {
    let scratch = Scratch::new("mode");
    let path = scratch.path().join("tasks.db");
    let store = open(&path).await;
    must("adding", add(&store, task(10)).await);
    for name in ["tasks.db", "tasks.db-wal", "tasks.db-shm"] {
        let file = must(name, fs::metadata(scratch.path().join(name)));
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn tasks_outlive_the_store() {
    let scratch = Scratch::new("durable");
    let path = scratch.path().join("tasks.db");
    let kept = task(10);
    let store = open(&path).await;
    must("adding", add(&store, kept.clone()).await);
    drop(store);
    let store = open(&path).await;
    let found = must("getting", store.get(&kept.id).await);
    assert_eq!(found.map(|task| task.new), Some(kept));
}

#[tokio::test]
async fn locked_file_refuses_and_works_again_when_it_is_free() {
    let scratch = Scratch::new("locked");
    let path = scratch.path().join("tasks.db");
    let store = open(&path).await;
    must("adding", add(&store, task(10)).await);
    let options = SqliteConnectOptions::new().filename(&path);
    let mut other = must("another connection", options.connect().await);
    must(
        "locking",
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await,
    );
    let lost = task(10);
    let detail = unavailable(add(&store, lost.clone()).await);
    assert!(
        detail.contains("locked") && detail.contains("tasks.db"),
        "{detail}"
    );
    unavailable(within("an answer to check", LIMIT, store.check()).await);
    let listed = store
        .list(&TaskQuery {
            max: 10,
            ..TaskQuery::default()
        })
        .await;
    assert_eq!(must("listing while it is locked", listed).len(), 1);
    // A store that starts while the file is locked works once it is free, too.
    let second = open(&path).await;
    unavailable(add(&second, task(10)).await);
    must(
        "unlocking",
        sqlx::query("ROLLBACK").execute(&mut other).await,
    );
    works_again(&store).await;
    works_again(&second).await;
    assert_eq!(
        must("getting", store.get(&lost.id).await),
        None,
        "it was refused"
    );
}

#[tokio::test]
async fn damaged_file_is_refused_at_start_with_its_path_and_the_remedy() {
    let scratch = Scratch::new("damaged");
    let path = scratch.path().join("tasks.db");
    let store = open(&path).await;
    for _ in 0..50 {
        must("adding", add(&store, task(5_000)).await);
    }
    drop(store);
    write_out(&path).await;
    overwrite(&path, 8);
    let message = refused(&path).await.to_string();
    for part in ["tasks.queue", "tasks.db", "stop the node", "move it away"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    let other = scratch.path().join("notes.txt");
    must(
        "writing",
        fs::write(&other, "no database, but a long enough text ".repeat(99)),
    );
    let message = refused(&other).await.to_string();
    assert!(
        message.contains("notes.txt") && message.contains("not a database"),
        "{message}"
    );
    let kept = must("reading", fs::read_to_string(&other));
    assert!(kept.starts_with("no database"), "it was left as it was");
}

#[tokio::test]
async fn file_damaged_while_open_is_reported_as_damage() {
    let scratch = Scratch::new("broken");
    let path = scratch.path().join("tasks.db");
    let store = open(&path).await;
    for _ in 0..100 {
        must("adding", add(&store, task(100_000)).await);
    }
    write_out(&path).await;
    overwrite(&path, 1);
    let query = TaskQuery {
        max: 100,
        ..TaskQuery::default()
    };
    let (detail, _) = wait_until("the damage to be seen", LIMIT, async || {
        match store.list(&query).await {
            Err(StoreError::Damaged { detail }) => Ok(detail),
            other => Err(format!("{:?}", other.map(|tasks| tasks.len()))),
        }
    })
    .await;
    assert!(
        detail.contains("tasks.db") && detail.contains("move it away"),
        "{detail}"
    );
    assert!(
        add(&store, task(10)).await.is_err(),
        "nothing is added to a damaged file"
    );
}

#[tokio::test]
async fn file_that_is_gone_takes_nothing_until_it_is_back() {
    let scratch = Scratch::new("gone");
    let path = scratch.path().join("tasks.db");
    let away = scratch.path().join("away.db");
    let store = open(&path).await;
    must("adding", add(&store, task(10)).await);
    must("moving", fs::rename(&path, &away));
    let detail = unavailable(add(&store, task(10)).await);
    assert!(detail.contains("removed or replaced"), "{detail}");
    must("writing", fs::write(&path, ""));
    unavailable(add(&store, task(10)).await);
    must("moving back", fs::rename(&away, &path));
    works_again(&store).await;
}

#[tokio::test]
async fn file_that_cannot_be_made_is_refused_at_start() {
    let scratch = Scratch::new("nowhere");
    let missing = scratch.path().join("no/such/folder/tasks.db");
    let unwritable = PathBuf::from("/proc/tasks.db");
    for path in [missing, scratch.path().to_owned(), unwritable] {
        let error = refused(&path).await;
        assert!(matches!(error, OpenError::Path { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains("tasks.queue") && message.contains(&path.display().to_string()));
    }
}

#[tokio::test]
async fn file_of_a_later_version_is_refused_at_start() {
    let scratch = Scratch::new("later");
    let path = scratch.path().join("tasks.db");
    drop(open(&path).await);
    let options = SqliteConnectOptions::new().filename(&path);
    let mut other = must("another connection", options.connect().await);
    let newer = sqlx::query("UPDATE schema_version SET version = 99").execute(&mut other);
    must("writing a version", newer.await);
    must("closing", other.close().await);
    let message = refused(&path).await.to_string();
    assert!(
        message.contains("later version") && message.contains("99"),
        "{message}"
    );
}

#[test]
fn full_disk_refuses_and_works_again_when_there_is_room() {
    let scratch = Scratch::new("full");
    let mount = format!(
        "mount -t tmpfs -o size=4m none {0} && exec \"$1\" --exact --ignored --nocapture store_sqlite::on_a_small_disk",
        scratch.path().display()
    );
    let program = must("finding this program", std::env::current_exe());
    let ran = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &mount, "sh"])
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

#[tokio::test]
#[ignore = "run by full_disk_refuses_and_works_again_when_there_is_room, on a disk of its own"]
async fn on_a_small_disk() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("set by the test that runs this"));
    let store = open(&folder.join("tasks.db")).await;
    let mut kept = Vec::new();
    let detail = loop {
        let task = task(50_000);
        let id = task.id.clone();
        match add(&store, task).await {
            Ok(_) => kept.push(id),
            refused => break unavailable(refused),
        }
        assert!(kept.len() < 1_000, "the disk never was full");
    };
    assert!(
        detail.contains("full") && detail.contains("tasks.db"),
        "{detail}"
    );
    assert!(!kept.is_empty(), "there was room first");
    let filler = folder.join("filler");
    drop(fs::write(&filler, vec![0; 8 * 1_024 * 1_024]));
    unavailable(add(&store, task(50_000)).await);
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
    assert_eq!(add(&store, task(50_000)).await, Ok(Added::New));
}

#[test]
fn what_was_accepted_is_there_after_a_kill() {
    let scratch = Scratch::new("killed");
    let program = must("finding this program", std::env::current_exe());
    let mut accepted = Vec::new();
    for _ in 0..3 {
        let mut adding = must(
            "starting a child",
            Command::new(&program)
                .args([
                    "--exact",
                    "--ignored",
                    "--nocapture",
                    "store_sqlite::adding_until_killed",
                ])
                .env(FOLDER, scratch.path())
                .stdout(Stdio::piped())
                .spawn(),
        );
        let printed = BufReader::new(adding.stdout.take().expect("it is piped"));
        let ids = printed.lines().map_while(Result::ok);
        let ids = ids.filter_map(|line| Some(line.strip_prefix("accepted ")?.to_owned()));
        accepted.extend(ids.take(200));
        must("killing", adding.kill());
        must("waiting", adding.wait());
    }
    let runtime = must("a runtime", tokio::runtime::Runtime::new());
    runtime.block_on(async {
        let store = open(&scratch.path().join("tasks.db")).await;
        for id in &accepted {
            let id = must("reading an id", id.parse());
            assert!(
                must("getting", store.get(&id).await).is_some(),
                "{id} was accepted"
            );
        }
        works_again(&store).await;
    });
    assert_eq!(accepted.len(), 600);
}

#[tokio::test]
#[ignore = "run by what_was_accepted_is_there_after_a_kill, until it is killed"]
async fn adding_until_killed() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("set by the test that runs this"));
    let store = std::sync::Arc::new(open(&folder.join("tasks.db")).await);
    let adders = (0..8).map(|_| {
        let store = std::sync::Arc::clone(&store);
        tokio::spawn(async move {
            loop {
                let task = task(100);
                let id = task.id.clone();
                must("adding", store.add(task).await);
                // In one write each: lines of several adders must not mix.
                let line = format!("\naccepted {id}\n");
                if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        })
    });
    for adder in adders.collect::<Vec<_>>() {
        must("adding", adder.await);
    }
}

/// Moves everything from the log into the file.
async fn write_out(path: &Path) {
    let options = SqliteConnectOptions::new().filename(path);
    let mut other = must("another connection", options.connect().await);
    let moved = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut other);
    let busy: i64 = must("writing out", moved.await).get(0);
    assert_eq!(busy, 0, "the log was written out");
    must("closing", other.close().await);
}

/// Writes noise over every page from `first` on.
fn overwrite(path: &Path, first: u64) {
    const PAGE: u64 = 4_096;
    let pages = must("looking at the file", fs::metadata(path)).len() / PAGE;
    assert!(pages > first + 4, "{pages} pages are too few");
    let mut file = must(
        "opening the file",
        fs::OpenOptions::new().write(true).open(path),
    );
    must("seeking", file.seek(SeekFrom::Start(first * PAGE)));
    for page in first..pages {
        let noise = [(page % 251) as u8 ^ 0xA5; PAGE as usize];
        must("overwriting", file.write_all(&noise));
    }
    must("syncing", file.sync_all());
}

/// What a refused upload took is given back to the disk, not kept for a day.
#[tokio::test]
async fn discarded_upload_gives_its_room_back() {
    const PIECES: u32 = 64;
    let scratch = Scratch::new("room");
    let path = scratch.path().join("tasks.db");
    let store = open(&path).await;
    let file = Id::new(Kind::File, None);
    for number in 0..PIECES {
        let put = store.put_piece(&file, number, vec![7; PIECE_BYTES].into());
        must("putting a piece", put.await);
    }
    let full = pages(&path).await;
    assert!(full > 64 * 64, "{full} pages");
    must("discarding", store.discard_file(&file).await);
    wait_until("the pages to be given back", LIMIT, async || {
        must("sweeping", store.sweep(LIMIT).await);
        match pages(&path).await {
            left if left < full / 20 => Ok(()),
            left => Err(format!("{left} of {full} pages")),
        }
    })
    .await;
}

/// Pages that the file has.
async fn pages(path: &Path) -> i64 {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut link = must("looking in", options.connect().await);
    let row = sqlx::query("PRAGMA page_count").fetch_one(&mut link).await;
    must("counting", must("counting", row).try_get(0))
}
