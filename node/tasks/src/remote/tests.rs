//! Every call of a store, sent to its owner and back.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{CallFailure, ServeInside};
use grapevine_core::engine::Event;
use grapevine_core::fact::ServicesFact;
use grapevine_core::ids::RegionName;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::behalf::RecordedClient;
use crate::hub::Hub;
use crate::id::Kind;
use crate::owner::TaskOwner;
use crate::question::{BEHALF_BYTES_MAX, TREE_BYTES_MAX};
use crate::task::{FinishedAttempt, TaskFault, TaskPriority, TaskState, Timestamp};
use crate::tests::support;

const SERVICE: &str = "a:x";

/// Records what it is asked, and answers the same each time, or with an error.
#[derive(Default)]
struct Fake {
    asked: Mutex<Vec<String>>,
    error: Mutex<Option<StoreError>>,
    tasks: Mutex<Vec<Task>>,
    notes: Mutex<Vec<Note>>,
    waiting: Mutex<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fake {
    fn did<T>(&self, asked: impl Debug, answer: T) -> Result<T, StoreError> {
        lock(&self.asked).push(format!("{asked:?}"));
        match lock(&self.error).clone() {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }
}

#[async_trait]
impl Store for Fake {
    async fn add(&self, task: NewTask) -> Result<Added, StoreError> {
        let id = task.id.clone();
        self.did(("add", task), Added::Same(id))
    }

    async fn get(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        self.did(("get", id), Some(task(1)))
    }

    async fn list(&self, query: &TaskQuery) -> Result<Vec<Task>, StoreError> {
        let tasks = lock(&self.tasks).clone();
        let after = |before: &Id| tasks.iter().position(|task| task.new.id == *before);
        let from = query.before.as_ref().and_then(after).map_or(0, |at| at + 1);
        let page = tasks[from..].iter().take(query.max).cloned().collect();
        self.did(("list", query), page)
    }

    async fn lease(&self, ask: &LeaseAsk) -> Result<Vec<(Lease, Task)>, StoreError> {
        self.did(("lease", ask), vec![(lease(), task(2))])
    }

    async fn wait(&self, service: &ServiceKey, at_most: Duration) {
        let _ = self.did(("wait", service, at_most), ());
    }

    async fn renew(
        &self,
        lease: &Lease,
        span: Duration,
        progress: Option<TaskProgress>,
    ) -> Result<LeaseHold, StoreError> {
        self.did(("renew", lease, span, progress), LeaseHold::CancelRequested)
    }

    async fn save(&self, lease: &Lease, notes: &[Note]) -> Result<LeaseHold, StoreError> {
        lock(&self.notes).extend_from_slice(notes);
        self.did(("save", lease), LeaseHold::Kept)
    }

    async fn notes(&self, id: &Id, from: u64) -> Result<Vec<Note>, StoreError> {
        let notes = lock(&self.notes).clone();
        let notes = notes.into_iter().filter(|note| note.number >= from);
        self.did(("notes", id, from), notes.collect())
    }

    async fn finish(&self, lease: &Lease, end: End) -> Result<LeaseHold, StoreError> {
        self.did(("finish", lease, end), LeaseHold::Lost)
    }

    async fn cancel(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        self.did(("cancel", id), None)
    }

    async fn requeue(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        self.did(("requeue", id), Some(task(3)))
    }

    async fn counts(&self) -> Result<BTreeMap<ServiceKeyText, TaskCounts>, StoreError> {
        let counts = TaskCounts {
            waiting: *lock(&self.waiting),
            ..TaskCounts::default()
        };
        self.did("counts", BTreeMap::from([(service(), counts)]))
    }

    async fn sweep(&self, retention: Duration) -> Result<Swept, StoreError> {
        self.did(("sweep", retention), Swept::default())
    }

    async fn put_piece(&self, file: &Id, number: u32, piece: Bytes) -> Result<(), StoreError> {
        self.did(("put", file, number, piece), ())
    }

    async fn complete_file(&self, file: FileRecord) -> Result<(), StoreError> {
        self.did(("complete", file), ())
    }

    async fn file(&self, id: &Id) -> Result<Option<FileRecord>, StoreError> {
        self.did(("file", id), Some(file()))
    }

    async fn piece(&self, id: &Id, number: u32) -> Result<Option<Bytes>, StoreError> {
        let piece = (number < 2).then(|| Bytes::from_static(b"\xff\0piece"));
        self.did(("piece", id, number), piece)
    }

    async fn files(
        &self,
        key: Option<&str>,
        before: Option<&Id>,
        max: usize,
    ) -> Result<Vec<FileRecord>, StoreError> {
        self.did(("files", key, before, max), vec![file()])
    }

    async fn delete_file(&self, id: &Id) -> Result<bool, StoreError> {
        self.did(("delete", id), true)
    }

    async fn discard_file(&self, id: &Id) -> Result<(), StoreError> {
        self.did(("discard", id), ())
    }

    async fn usage(&self, account: &str) -> Result<Usage, StoreError> {
        let usage = Usage {
            waiting: 1,
            files: 2,
            file_bytes: 3,
        };
        self.did(("usage", account), usage)
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.did("check", ())
    }
}

/// Hands calls to an owner in the same process, or to nobody.
struct Wire {
    owner: Option<Arc<dyn ServeInside>>,
}

#[async_trait]
impl CallInside for Wire {
    async fn call(
        &self,
        peer: &NodeName,
        call: InsideCall,
    ) -> Result<(StatusCode, Bytes), CallFailure> {
        assert_eq!(*peer, name("owner"));
        match &self.owner {
            Some(owner) => {
                let path = call.path.as_str();
                Ok(owner.serve(&name("asker"), path, call.body).await)
            }
            None => Err(CallFailure::new(Outcome::PeerLost, "no link to owner")),
        }
    }
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a name")
}

fn service() -> ServiceKeyText {
    CheckedText(ServiceKey::new(SERVICE).expect("a key"))
}

fn region() -> CheckedText<RegionName> {
    CheckedText(RegionName::new("sgp").expect("a name"))
}

fn id(kind: Kind) -> Id {
    let text = format!("{}01ARYZ6S41ZZZZZZZZZZZZZZZZ~owner", kind.prefix());
    text.parse().expect("an id")
}

fn lease() -> Lease {
    Lease {
        id: id(Kind::Task),
        service: service(),
        attempt: 3,
        token: "t".to_owned(),
    }
}

fn new_task(id: Id, payload: serde_json::Value) -> NewTask {
    NewTask {
        id,
        service: service(),
        payload,
        priority: TaskPriority(-3),
        attempts_max: 5,
        delay: Duration::from_millis(1_500),
        expires_after: Some(Duration::from_secs(60)),
        idempotency_key: Some("app/once".to_owned()),
        submitter: serde_json::from_value(json!({"key": "app", "origin": "SG"}))
            .expect("a submitter"),
        regions: vec![region()],
    }
}

fn task(attempts: u32) -> Task {
    let id = Id::new(Kind::Task, Some(&name("owner")));
    Task {
        new: new_task(id, json!({"n": attempts, "text": "Grüße \u{0}"})),
        state: TaskState::Running,
        created_at: Timestamp(1),
        started_at: Some(Timestamp(2)),
        ended_at: None,
        not_before: Timestamp(3),
        attempts,
        worker: Some("asker".to_owned()),
        lease_until: Some(Timestamp(4)),
        cancel_requested: true,
        progress: Some(TaskProgress {
            completed: 1,
            failed: 2,
            total: 3,
        }),
        output: Some(json!([1.5, null])),
        fault: Some(TaskFault::new("code", "message")),
        history: vec![FinishedAttempt {
            attempt: 1,
            worker: "w".to_owned(),
            at: Timestamp(9),
            how: "lost".to_owned(),
            done: 3,
        }],
    }
}

/// The name of a file that the worker of the task writes.
fn output_id() -> Id {
    id(Kind::Task).derived(Kind::File, "output")
}

fn file() -> FileRecord {
    FileRecord {
        id: output_id(),
        filename: "a b.jsonl".to_owned(),
        purpose: "batch_output".to_owned(),
        key: Some("app".to_owned()),
        account: "key app".to_owned(),
        regions: vec![region()],
        bytes: 7,
        created_at: Timestamp(5),
        expires_at: Some(Timestamp(6)),
    }
}

fn ask(worker: &str) -> LeaseAsk {
    LeaseAsk {
        service: service(),
        worker: worker.to_owned(),
        region: region(),
        span: Duration::from_secs(15),
        max: 8,
        suspects: true,
    }
}

struct Pair {
    fake: Arc<Fake>,
    /// Asked for a client with the key that everything came with.
    remote: Remote,
    /// Asked for the worker of the task.
    worker: Remote,
    /// Asked for the peer itself.
    node: Remote,
    driver: DriverHandle,
    hub: Hub,
}

/// A store at its owner, and the ways to it from a peer that serves in the same region. Needs a runtime.
async fn pair() -> Pair {
    let fake = Arc::new(Fake::default());
    let hub = support::hub(Arc::clone(&fake) as Arc<dyn Store>, Arc::default());
    support::peer(hub.driver(), "asker", "sgp", &[SERVICE]).await;
    let wire = Arc::new(Wire {
        owner: Some(Arc::new(TaskOwner::new(hub.clone(), Arc::default()))),
    });
    let remote = |behalf| Remote::new(name("owner"), Arc::clone(&wire) as _, behalf);
    let client = RecordedClient {
        key: Some("app".to_owned()),
        ..RecordedClient::default()
    };
    Pair {
        fake,
        remote: remote(Behalf::Client(client)),
        worker: remote(Behalf::Worker(id(Kind::Task))),
        node: remote(Behalf::Node),
        driver: hub.driver().clone(),
        hub,
    }
}

/// A way to nobody, or to whatever answers there.
fn way(owner: Option<Arc<dyn ServeInside>>) -> Remote {
    Remote::new(name("owner"), Arc::new(Wire { owner }), Behalf::Node)
}

/// What the last call asked of the store, after the questions that check whether it may.
fn asked(pair: &Pair) -> String {
    let asked = std::mem::take(&mut *lock(&pair.fake.asked));
    asked.last().cloned().unwrap_or_default()
}

/// Makes the same call at the store itself and over the wire: asked and answered must be the same, unless an error
/// comes first.
macro_rules! same {
    ($pair:expr, $way:ident.$method:ident($($argument:expr),*)) => {{
        let direct = $pair.fake.$method($($argument),*).await;
        let asked_directly = asked(&$pair);
        let remote = $pair.$way.$method($($argument),*).await;
        let asked = asked(&$pair);
        assert!(direct.is_err() || asked == asked_directly, "{asked} {asked_directly}");
        assert_eq!(remote, direct, stringify!($method));
    }};
}

async fn every_call_is_the_same(pair: &Pair) {
    let (task_id, file_id) = (id(Kind::Task), output_id());
    let notes = [Note {
        number: 7,
        content: Bytes::from_static(b"\xff\0"),
    }];
    same!(
        pair,
        remote.add(new_task(id(Kind::Batch), json!({"a": [1]})))
    );
    lock(&pair.fake.tasks).clear();
    same!(
        pair,
        remote.list(&TaskQuery {
            service: Some(service()),
            state: Some(TaskState::Dead),
            key: Some("app".to_owned()),
            region: Some(region()),
            before: Some(id(Kind::Run)),
            max: 10,
        })
    );
    same!(
        pair,
        worker.renew(
            &lease(),
            Duration::from_secs(9),
            Some(TaskProgress::default())
        )
    );
    same!(pair, worker.save(&lease(), &notes));
    same!(pair, remote.notes(&task_id, 3));
    let fault = TaskFault::new("code", "message");
    for end in [
        End::Completed(json!({"done": true})),
        End::Failed {
            fault,
            retry_after: Some(Duration::from_millis(1)),
        },
        End::Cancelled,
        End::Returned,
    ] {
        same!(pair, worker.finish(&lease(), end.clone()));
    }
    same!(pair, remote.cancel(&task_id));
    same!(
        pair,
        worker.put_piece(&file_id, 1, Bytes::from_static(b"\xfe"))
    );
    same!(pair, worker.complete_file(file()));
    same!(pair, remote.file(&file_id));
    same!(pair, remote.piece(&file_id, 1));
    same!(pair, worker.piece(&file_id, 2));
    same!(pair, remote.delete_file(&file_id));
}

#[tokio::test]
async fn every_call_arrives_and_is_answered_as_at_the_store_itself() {
    let pair = pair().await;
    every_call_is_the_same(&pair).await;
    // Records with an id of their own each time.
    let got = pair.remote.get(&id(Kind::Task)).await.expect("an answer");
    assert_eq!(got.expect("a task").attempts, 1);
    let requeued = pair.remote.requeue(&id(Kind::Task)).await;
    assert_eq!(requeued.expect("an answer").expect("a task").attempts, 3);
}

#[tokio::test]
async fn every_error_comes_back_as_it_was() {
    let detail = "disk full".to_owned();
    for error in [
        StoreError::Unavailable {
            detail: detail.clone(),
        },
        StoreError::Damaged {
            detail: detail.clone(),
        },
        StoreError::Conflict { id: id(Kind::Task) },
        StoreError::TooLong {
            what: "the payload".to_owned(),
            max: u64::MAX,
        },
        StoreError::OwnerAway {
            node: "other".to_owned(),
            detail,
        },
    ] {
        let pair = pair().await;
        *lock(&pair.fake.error) = Some(error.clone());
        every_call_is_the_same(&pair).await;
        assert_eq!(pair.remote.get(&id(Kind::Task)).await, Err(error));
    }
}

#[tokio::test]
async fn what_only_the_owner_needs_is_not_asked_of_it() {
    let pair = pair().await;
    let counts = pair.remote.counts().await.map(drop);
    let files = pair.remote.files(None, None, 9).await.map(drop);
    for refused in [counts, files, pair.remote.check().await] {
        assert!(
            matches!(refused, Err(StoreError::Refused { .. })),
            "{refused:?}"
        );
    }
    let swept = pair.remote.sweep(Duration::ZERO).await;
    assert_eq!(swept, Ok(Swept::default()));
    assert!(lock(&pair.fake.asked).is_empty());
}

#[tokio::test]
async fn wait_is_bounded() {
    let pair = pair().await;
    let long = Duration::from_secs(3_600);
    pair.node.wait(&service().0, long).await;
    assert!(asked(&pair).ends_with("20s)"));
}

#[tokio::test(start_paused = true)]
async fn owner_without_a_link_is_away() {
    let remote = way(None);
    let error = remote
        .get(&id(Kind::Task))
        .await
        .expect_err("nobody is there");
    let wanted = "node owner, which keeps it, cannot be reached: no link to owner";
    assert_eq!(error.to_string(), wanted);
    let before = tokio::time::Instant::now();
    remote.wait(&service().0, Duration::from_secs(9)).await;
    assert_eq!(before.elapsed(), AWAY_PAUSE);
}

#[tokio::test]
async fn owner_that_keeps_no_tasks_says_so() {
    let remote = way(Some(Arc::new(
        grapevine_base::exchange::InsideSlot::default(),
    )));
    let error = remote.get(&id(Kind::Task)).await.expect_err("no handler");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn lease_is_held_in_the_name_of_the_peer_that_asked() {
    for (called, held) in [
        ("asker", "\"asker\""),
        ("owner", "\"asker/owner\""),
        ("", "\"asker\""),
    ] {
        let pair = pair().await;
        let leased = pair.node.lease(&ask(called)).await.expect("leases");
        assert_eq!(leased[0].0, lease());
        assert!(asked(&pair).contains(held), "{called}");
    }
    let pair = pair().await;
    let long = pair.node.lease(&ask(&"ü".repeat(100))).await;
    assert_eq!(long.expect("leases").len(), 1);
}

#[tokio::test]
async fn peer_gets_tasks_only_after_those_that_are_nearer_left_them() {
    let pair = pair().await;
    let mine = ServicesFact {
        serves: BTreeSet::from([service().0]),
        ..ServicesFact::default()
    };
    pair.driver.send(Event::ServicesChanged(mine)).await;
    let known = || {
        let view = pair.driver.view();
        let mut nodes = view.nodes.iter();
        nodes.any(|node| node.name == view.node && node.services.is_some())
    };
    while !known() {
        tokio::task::yield_now().await;
    }
    *lock(&pair.fake.waiting) = 1;
    let start = tokio::time::Instant::now();
    let mut looks = 0;
    while pair
        .node
        .lease(&ask("asker"))
        .await
        .expect("an answer")
        .is_empty()
    {
        looks += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(looks > 0 && start.elapsed() >= grapevine_core::handover::HOLD_STEP);
    *lock(&pair.fake.waiting) = 0;
    let leased = pair.node.lease(&ask("asker")).await;
    assert_eq!(leased.expect("an answer").len(), 0);
}

#[tokio::test]
async fn list_has_no_payloads_and_notes_beyond_one_message_come_in_several() {
    let pair = pair().await;
    let text = "x".repeat(6 * 1_024 * 1_024);
    let tasks = (0..5).map(|number| {
        let mut task = task(number);
        task.new.payload = json!(text);
        task
    });
    *lock(&pair.fake.tasks) = tasks.collect();
    let query = TaskQuery {
        max: 4,
        ..TaskQuery::default()
    };
    let listed = pair.remote.list(&query).await.expect("tasks");
    let ids = |tasks: &[Task]| -> Vec<Id> { tasks.iter().map(|it| it.new.id.clone()).collect() };
    assert_eq!(ids(&listed), ids(&lock(&pair.fake.tasks)[..4]));
    let content = listed.iter().map(|task| (&task.new.payload, &task.output));
    assert!(
        content
            .clone()
            .all(|content| content == (&json!(null), &None))
    );
    lock(&pair.fake.asked).clear();

    let notes: Vec<_> = (0..5)
        .map(|number| Note {
            number,
            content: vec![9; 4 * 1_024 * 1_024].into(),
        })
        .collect();
    let held = pair.worker.save(&lease(), &notes).await;
    assert_eq!(held, Ok(LeaseHold::Kept));
    let asked = std::mem::take(&mut *lock(&pair.fake.asked));
    assert_eq!(asked.iter().filter(|it| it.contains("save")).count(), 2);
    assert!(*lock(&pair.fake.notes) == notes);
    let first = pair.remote.notes(&id(Kind::Task), 0).await.expect("notes");
    assert!(first[..] == notes[..4]);
    let rest = pair.remote.notes(&id(Kind::Task), 4).await.expect("notes");
    assert!(rest[..] == notes[4..]);
}

#[tokio::test]
async fn calls_that_no_peer_should_make_are_refused() {
    let pair = pair().await;
    let owner = TaskOwner::new(pair.hub.clone(), Arc::default());
    for (path, body, status) in [
        (STORE_PATH, "", StatusCode::BAD_REQUEST),
        (
            STORE_PATH,
            r#"{"get": "task_01ARYZ6S41ZZZZZZZZZZZZZZZZ"}"#,
            StatusCode::BAD_REQUEST,
        ),
        (
            STORE_PATH,
            r#"{"behalf": "node", "ask": {"drop_all": 1}}"#,
            StatusCode::BAD_REQUEST,
        ),
        (
            STORE_PATH,
            r#"{"behalf": "node", "ask": {"get": "../x"}}"#,
            StatusCode::BAD_REQUEST,
        ),
        (
            STORE_PATH,
            r#"{"behalf": "operator", "ask": "counts"}"#,
            StatusCode::BAD_REQUEST,
        ),
        ("/tasks/put/file-x/1", "", StatusCode::NOT_FOUND),
        ("/tasks/piece", "", StatusCode::NOT_FOUND),
        (
            "/tasks/piece/file-01ARYZ6S41ZZZZZZZZZZZZZZZZ/1",
            "",
            StatusCode::BAD_REQUEST,
        ),
        ("/", "", StatusCode::NOT_FOUND),
    ] {
        let (answered, _) = owner.serve(&name("asker"), path, body.into()).await;
        assert_eq!(answered, status, "{path} {body}");
    }
    assert!(lock(&pair.fake.asked).is_empty());
}

#[tokio::test]
async fn question_that_would_grow_as_a_tree_is_not_read() {
    let pair = pair().await;
    let owner = TaskOwner::new(pair.hub.clone(), Arc::default());
    let nested = format!("[{}0]", "0,".repeat(TREE_BYTES_MAX));
    let finish = |output: &str| {
        let lease = serde_json::to_string(&lease()).expect("JSON");
        format!(
            r#"{{"behalf":{{"worker":"{}"}},"ask":{{"finish":{{"lease":{lease},"end":{{"completed":{output}}}}}}}}}"#,
            id(Kind::Task)
        )
    };
    for (output, status) in [("[0]", StatusCode::OK), (&nested, StatusCode::BAD_REQUEST)] {
        let body = finish(output).into();
        let (answered, _) = owner.serve(&name("asker"), STORE_PATH, body).await;
        assert_eq!(answered, status);
    }
    let services = format!("\"{}\"", "a".repeat(BEHALF_BYTES_MAX));
    let long = format!(
        r#"{{"behalf":{{"client":{{"key":{services},"regions":[]}}}},"ask":{{"get":"x"}}}}"#
    );
    let (answered, _) = owner.serve(&name("asker"), STORE_PATH, long.into()).await;
    assert_eq!(answered, StatusCode::BAD_REQUEST);
}

proptest! {
    #[test]
    fn any_note_and_any_words_survive_the_way(
        number in any::<u64>(),
        content in prop::collection::vec(any::<u8>(), 0..200),
        text in any::<String>(),
        attempt in any::<u32>(),
        span in any::<Duration>(),
    ) {
        let note = Note { number, content: content.into() };
        let lease = Lease { attempt, token: text.clone(), ..lease() };
        let asks = [
            Ask::Save { lease: lease.clone(), notes: vec![note] },
            Ask::Renew { lease: lease.clone(), span, progress: None },
            Ask::Finish { lease, end: End::Completed(json!(text)) },
            Ask::Add(new_task(id(Kind::Task), json!({ text: number }))),
        ];
        for ask in asks {
            let written = serde_json::to_vec(&ask).expect("JSON");
            prop_assert_eq!(serde_json::from_slice::<Ask>(&written).expect("an ask"), ask);
        }
    }
}
