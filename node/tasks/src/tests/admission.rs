//! What tasks may ask for, where they are accepted and where they run.

use std::sync::Arc;
use std::time::Duration;

use grapevine_base::vital::Vital;
use serde_json::{Value, json};

use super::support::{Api, Scratch, ended, file, hub, regions, services, task};
use crate::admission::check;
use crate::batch::{self, RESPONSE_PURPOSE};
use crate::id::{Id, Kind};
use crate::refused::TaskRefused;
use crate::runner::{Runner, RunnerSettings};
use crate::store::{Store, StoreError};
use crate::task::{NewTask, TaskState};

const BATCHES: &str = "async-task:process";
const WORKFLOWS: &str = "workflow:process";

fn batch(input: &Id, endpoint: &str) -> Value {
    json!({
        "job": "batch",
        "input_file_id": input,
        "endpoint": endpoint,
        "completion_window": "24h",
        "window_seconds": 86_400,
        "metadata": {"a": "b"},
    })
}

fn run(path: &str, webhook: Option<&str>) -> Value {
    let call = json!({"path": path, "body": {"model": "m"}});
    let workflow = json!({"steps": [{"id": "a", "call": call}]});
    json!({"job": "run", "workflow": workflow, "input": null, "webhook": webhook})
}

async fn code(task: &NewTask, store: &dyn Store) -> String {
    match check(&services(), task, store).await {
        Ok(()) => "accepted".to_owned(),
        Err(TaskRefused::Task(fault)) => fault.code,
        Err(TaskRefused::Store(error)) => error.to_string(),
    }
}

async fn input(store: &dyn Store, key: &str, fence: &[&str]) -> Id {
    let id = Id::new(Kind::File, None);
    file(store, id, "batch", Some(key), regions(fence)).await
}

#[tokio::test]
async fn batch_names_a_listed_endpoint_and_a_file_of_its_own_key() {
    let scratch = Scratch::new().await;
    let store = scratch.store.as_ref();
    let own = input(store, "app", &[]).await;
    let other = input(store, "other", &[]).await;
    let chat = "/v1/chat/completions";
    let made = |kind, payload| task(kind, BATCHES, Some("app"), payload);
    assert_eq!(
        code(&made(Kind::Batch, batch(&own, chat)), store).await,
        "accepted"
    );
    for endpoint in ["/admin/delete", "/v1/../admin", "/v1/files", "", "*"] {
        let task = made(Kind::Batch, batch(&own, endpoint));
        assert_eq!(code(&task, store).await, "invalid_endpoint", "{endpoint}");
    }
    // An id of another kind was made by no route of batches.
    let raw = made(Kind::Task, batch(&own, chat));
    assert_eq!(code(&raw, store).await, "invalid_payload");
    let foreign = made(Kind::Batch, batch(&other, chat));
    assert_eq!(code(&foreign, store).await, "input_file_gone");
    let mut endless = batch(&own, chat);
    endless["window_seconds"] = json!(u64::MAX);
    assert_eq!(
        code(&made(Kind::Batch, endless), store).await,
        "invalid_window"
    );
    let mut long = batch(&own, chat);
    long["metadata"] = json!({"a": "x".repeat(513)});
    assert_eq!(
        code(&made(Kind::Batch, long), store).await,
        "invalid_metadata"
    );
    let unknown = made(Kind::Batch, json!({"job": "other"}));
    assert_eq!(code(&unknown, store).await, "invalid_payload");
}

#[tokio::test]
async fn task_is_fenced_in_where_its_file_is() {
    let scratch = Scratch::new().await;
    let store = scratch.store.as_ref();
    let fenced = input(store, "app", &["sgp", "eur"]).await;
    for (fence, wanted) in [
        (&[][..], "residency"),
        (&["sgp"], "accepted"),
        (&["sgp", "usa"], "residency"),
    ] {
        let mut task = task(
            Kind::Batch,
            BATCHES,
            Some("app"),
            batch(&fenced, "/v1/embeddings"),
        );
        task.regions = regions(fence);
        assert_eq!(code(&task, store).await, wanted, "{fence:?}");
    }
}

#[tokio::test]
async fn response_reads_its_own_file_and_streams_nothing() {
    let scratch = Scratch::new().await;
    let store = scratch.store.as_ref();
    let made = |body: Value| {
        let payload = json!({"job": "response", "model": "m", "body": body});
        task(Kind::Response, BATCHES, Some("app"), payload)
    };
    assert_eq!(
        code(&made(json!({"here": {"model": "m"}})), store).await,
        "accepted"
    );
    for body in [json!({"here": {"stream": true}}), json!({"here": "text"})] {
        assert_eq!(code(&made(body), store).await, "invalid_payload");
    }
    // Another response's request of the same key.
    let other = Id::new(Kind::Response, None);
    let other = batch::input_id(&other);
    let other = file(store, other, RESPONSE_PURPOSE, Some("app"), Vec::new()).await;
    assert_eq!(
        code(&made(json!({"file": other})), store).await,
        "invalid_payload"
    );
    let mut own = made(Value::Null);
    let name = batch::input_id(&own.id);
    own.payload["body"] = json!({"file": name});
    assert_eq!(code(&own, store).await, "input_file_gone");
    file(store, name, RESPONSE_PURPOSE, Some("app"), Vec::new()).await;
    assert_eq!(code(&own, store).await, "accepted");
}

#[tokio::test]
async fn run_calls_paths_of_the_api_and_the_webhook_of_its_submitter_alone() {
    let scratch = Scratch::new().await;
    let store = scratch.store.as_ref();
    let chat = "/v1/chat/completions";
    let made = |kind, payload| task(kind, WORKFLOWS, Some("app"), payload);
    let good = made(Kind::Run, run(chat, Some("https://a.example/")));
    assert_eq!(code(&good, store).await, "accepted");
    assert_eq!(
        code(&made(Kind::Task, run(chat, None)), store).await,
        "invalid_payload"
    );
    for path in ["/admin/delete", "/v1/../admin", "/v1/tasks", "/v1/files/x"] {
        let task = made(Kind::Run, run(path, None));
        assert_eq!(code(&task, store).await, "invalid_workflow", "{path}");
    }
    store.add(good.clone()).await.expect("a run");
    let deliver = |key, url| {
        let payload = json!({"job": "deliver", "run": good.id, "url": url});
        task(Kind::Task, WORKFLOWS, Some(key), payload)
    };
    let url = "https://a.example/";
    assert_eq!(code(&deliver("app", url), store).await, "accepted");
    assert_eq!(
        code(&deliver("app", "https://b.example/"), store).await,
        "invalid_payload"
    );
    assert_eq!(code(&deliver("other", url), store).await, "run_gone");
}

#[tokio::test]
async fn limits_hold_for_every_service() {
    let scratch = Scratch::new().await;
    let store = scratch.store.as_ref();
    let made = || {
        task(
            Kind::Task,
            "my-plugin:process",
            None,
            json!({"any": "thing"}),
        )
    };
    assert_eq!(code(&made(), store).await, "accepted");
    for attempts_max in [0, 101, u32::MAX] {
        let task = NewTask {
            attempts_max,
            ..made()
        };
        assert_eq!(code(&task, store).await, "invalid_attempts");
    }
    let long = NewTask {
        payload: json!("x".repeat(300_000)),
        ..made()
    };
    let error = check(&services(), &long, store)
        .await
        .expect_err("too long");
    assert!(
        matches!(error, TaskRefused::Store(StoreError::TooLong { .. })),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_calls_nothing_for_what_its_own_api_would_not_have_accepted() {
    let scratch = Scratch::new().await;
    let store = Arc::clone(&scratch.store);
    let own = input(store.as_ref(), "app", &[]).await;
    // As a peer's store, or another program in a shared engine, could hold them.
    let forged = [
        task(
            Kind::Task,
            BATCHES,
            Some("app"),
            batch(&own, "/v1/embeddings"),
        ),
        task(
            Kind::Batch,
            BATCHES,
            Some("app"),
            batch(&own, "/admin/delete"),
        ),
        task(
            Kind::Run,
            WORKFLOWS,
            Some("app"),
            run("/admin/delete", None),
        ),
    ];
    for task in &forged {
        store.add(task.clone()).await.expect("a task");
    }
    let api = Arc::new(Api::default());
    let settings = RunnerSettings {
        retention: Duration::from_secs(3_600),
    };
    let hub = hub(Arc::clone(&store), Arc::clone(&api));
    let runner = Runner::start(&hub, settings, &Vital::default());
    for (task, code) in
        forged
            .iter()
            .zip(["invalid_payload", "invalid_endpoint", "invalid_workflow"])
    {
        let task = ended(store.as_ref(), &task.id).await;
        let fault = task.fault.expect("a fault");
        assert_eq!((task.state, fault.code.as_str()), (TaskState::Dead, code));
    }
    assert_eq!(api.called(), Vec::<String>::new());
    runner.stop(Duration::from_secs(10)).await;
}
