//! What came with one API key is not there for another: files, batches, tasks, workflows, runs and responses,
//! asked for by their ids at any node, named in a request, or named in the payload of a task.

use std::time::Duration;

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::client::{Answer, batch_form, http, whole};
use grapevine_tests::echo::Echo;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Node, wait_until};
use reqwest::Method;
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";

const LIMIT: Duration = Duration::from_secs(30);

const OWNER: &str = "gv-key-of-the-owner";

const OTHER: &str = "gv-key-of-another";

/// In everything that the owner keeps.
const PROMPT: &str = "prompt-71ac09-for-the-owner-alone";

/// A service that nobody serves.
const UNSERVED: &str = "nobody:serves-this";

/// What the owner has.
struct Kept {
    file: String,
    batch: String,
    output: String,
    workflow: String,
    run: String,
    response: String,
    task: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_another_key_are_not_found_at_any_node() {
    let (mesh, echo) = start().await;
    let kept = keep(&mesh["front"], &echo).await;
    for name in ["front", "side"] {
        let node = &mesh[name];
        for (method, path, body, id) in asks(&kept) {
            let answer = ask(node, OTHER, method.clone(), &path, body).await;
            check_not_found(&format!("{method} {path} at {name}"), &answer, id);
        }
        for list in ["files", "batches", "workflows", "workflows/runs", "tasks"] {
            for query in ["", "?node=front"] {
                if query.is_empty() || list == "tasks" {
                    let path = format!("/{list}{query}");
                    let answer = ask(node, OTHER, Method::GET, &path, None).await;
                    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                    assert_eq!(answer.json()["data"], json!([]), "{path} at {name}");
                }
            }
        }
    }
    still_there(&mesh, &kept).await;
    assert_eq!(echo.counts().total, 3, "nothing ran again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_of_built_in_services_are_taken_by_their_own_routes_alone() {
    let (mesh, echo) = start().await;
    let front = &mesh["front"];
    let kept = keep(front, &echo).await;
    let batch = json!({
        "job": "batch",
        "input_file_id": kept.file,
        "endpoint": "/admin/delete",
        "completion_window": "24h",
        "window_seconds": 86_400,
        "metadata": null,
    });
    let address = echo.upstream("echo", &[])["base_url"].clone();
    let payloads = [
        ("async-task:process", batch),
        (
            "async-task:process",
            json!({"job": "response", "model": MODEL, "body": {"file": kept.file}}),
        ),
        (
            "workflow:process",
            json!({"job": "deliver", "run": kept.run, "url": address}),
        ),
    ];
    for (service, payload) in &payloads {
        for key in [OTHER, OWNER] {
            let wanted = json!({"service": service, "payload": payload});
            let answer = ask(front, key, Method::POST, "/tasks", Some(wanted)).await;
            let error = &answer.json()["error"];
            assert_eq!((answer.status, &error["param"]), (400, &json!("service")));
            let message = error["message"].as_str().unwrap_or_default();
            assert!(message.contains("made by POST /v1/"), "{message}");
        }
    }
    still_there(&mesh, &kept).await;
    let counts = echo.counts();
    assert_eq!(counts.total, 3, "no upstream was called: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotency_key_of_another_key_names_nothing() {
    let (mesh, _echo) = start().await;
    let wanted = json!({"service": UNSERVED, "payload": PROMPT, "idempotency_key": "once"});
    let mut ids = Vec::new();
    for key in [OWNER, OTHER, OWNER] {
        let path = "/tasks";
        let answer = ask(
            &mesh["front"],
            key,
            Method::POST,
            path,
            Some(wanted.clone()),
        )
        .await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        ids.push(id(&answer.json()));
    }
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[1]);
    let path = format!("/tasks/{}", ids[0]);
    let answer = ask(&mesh["front"], OTHER, Method::GET, &path, None).await;
    check_not_found(&path, &answer, &ids[0]);
}

/// Two nodes that answer, the first of which keeps what it is given, and one that does the work.
async fn start() -> (Mesh, Echo) {
    let echo = Echo::start(Duration::ZERO).await;
    let keys = json!([
        {"name": "owner", "hash": KeyHash::of(OWNER).to_string()},
        {"name": "other", "hash": KeyHash::of(OTHER).to_string()},
    ]);
    let webhooks = json!({"secret": "whsec_d3JpdGUtYS13b3JkLW9mLXlvdXItb3du", "hosts": ["*"]});
    let mesh = Mesh::builder()
        .node("front", |node| {
            node.config("keys", keys.clone())
                .config("tasks.services", json!([UNSERVED]))
                .config("worker_mode", json!("!"))
        })
        .node("side", |node| {
            node.config("keys", keys.clone())
                .config("tasks.services", json!([UNSERVED]))
                .config("worker_mode", json!("!"))
        })
        .node("back", |node| {
            node.raw_upstream(echo.upstream("echo", &[MODEL]))
                .config("tasks.webhooks", webhooks)
                .config("worker_mode", json!("*"))
        })
        .start()
        .await;
    (mesh, echo)
}

/// One of everything with the owner's key, done.
async fn keep(node: &Node, echo: &Echo) -> Kept {
    let messages = json!([{"role": "user", "content": PROMPT}]);
    let chat = json!({"model": MODEL, "messages": messages});
    let line = json!({
        "custom_id": "one",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": chat,
    });
    let (kind, form) = batch_form(&format!("{line}\n"));
    let url = format!("{}/files", node.base_url());
    let upload = http().post(&url).header("content-type", kind).body(form);
    let file = must(&url, whole(upload.bearer_auth(OWNER)).await);
    assert_eq!(file.status, 200, "{}", file.text());
    let file = id(&file.json());
    let batch = begin_batch(node, OWNER, &file).await;
    assert_eq!(batch.status, 200, "{}", batch.text());
    let batch = id(&batch.json());
    let path = format!("/batches/{batch}");
    let ended = wait_for(node, OWNER, &path, "status", &["completed"]).await;
    let output = ended["output_file_id"].as_str().expect("a file").to_owned();

    let create = async |path: &str, body: Value| {
        let answer = ask(node, OWNER, Method::POST, path, Some(body)).await;
        assert!(
            matches!(answer.status, 200..=202),
            "{path}: {}",
            answer.text()
        );
        id(&answer.json())
    };
    let call = json!({"path": "/v1/chat/completions", "body": chat});
    let definition = json!({"name": PROMPT, "steps": [{"id": "one", "call": call}]});
    let workflow = create("/workflows", definition).await;
    let run = create(&format!("/workflows/{workflow}/runs"), json!({})).await;
    let path = format!("/workflows/runs/{run}");
    wait_for(node, OWNER, &path, "status", &["completed"]).await;
    let asked = json!({"model": MODEL, "input": PROMPT, "background": true});
    let response = create("/responses", asked).await;
    let path = format!("/responses/{response}");
    wait_for(node, OWNER, &path, "status", &["completed", "failed"]).await;
    let task = create("/tasks", json!({"service": UNSERVED, "payload": PROMPT})).await;
    assert_eq!(echo.counts().total, 3, "a line, a step and a response");
    Kept {
        file,
        batch,
        output,
        workflow,
        run,
        response,
        task,
    }
}

type Ask<'a> = (Method, String, Option<Value>, &'a str);

/// Every way to name one thing of the owner's, and its id.
fn asks(kept: &Kept) -> Vec<Ask<'_>> {
    let mut asks: Vec<Ask> = Vec::new();
    let mut ask = |method: Method, path: String, id| asks.push((method, path, None, id));
    for file in [&kept.file, &kept.output] {
        ask(Method::GET, format!("/files/{file}"), file);
        ask(Method::GET, format!("/files/{file}/content"), file);
        ask(Method::DELETE, format!("/files/{file}"), file);
    }
    for (kind, id) in [
        ("batches", &kept.batch),
        ("workflows/runs", &kept.run),
        ("responses", &kept.response),
    ] {
        ask(Method::GET, format!("/{kind}/{id}"), id);
        ask(Method::POST, format!("/{kind}/{id}/cancel"), id);
    }
    for task in [&kept.task, &kept.batch, &kept.run, &kept.response] {
        ask(Method::GET, format!("/tasks/{task}"), task);
        ask(Method::POST, format!("/tasks/{task}/cancel"), task);
        ask(Method::POST, format!("/tasks/{task}/requeue"), task);
    }
    let workflow = &kept.workflow;
    ask(Method::GET, format!("/workflows/{workflow}"), workflow);
    ask(Method::DELETE, format!("/workflows/{workflow}"), workflow);
    for file in [&kept.file, &kept.output] {
        let path = "/batches".to_owned();
        asks.push((Method::POST, path, Some(batch_of(file)), file));
    }
    let path = format!("/workflows/{workflow}/runs");
    asks.push((Method::POST, path, Some(json!({})), workflow));
    asks
}

fn check_not_found(what: &str, answer: &Answer, id: &str) {
    let text = answer.text();
    assert_eq!(answer.status, 404, "{what}: {text}");
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains(id), "{what}: {text}");
    assert!(!text.contains(PROMPT), "{what}: {text}");
}

/// What the owner has is as it was, seen from both nodes.
async fn still_there(mesh: &Mesh, kept: &Kept) {
    for node in [&mesh["front"], &mesh["side"]] {
        for path in [
            format!("/files/{}/content", kept.file),
            format!("/files/{}/content", kept.output),
            format!("/workflows/{}", kept.workflow),
            format!("/workflows/runs/{}", kept.run),
            format!("/responses/{}", kept.response),
            format!("/tasks/{}", kept.task),
        ] {
            let answer = ask(node, OWNER, Method::GET, &path, None).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert!(answer.text().contains(PROMPT), "{path}: {}", answer.text());
        }
        let path = format!("/tasks/{}", kept.task);
        let task = ask(node, OWNER, Method::GET, &path, None).await.json();
        assert_eq!(task["state"], "waiting", "{task}");
    }
}

fn batch_of(file: &str) -> Value {
    json!({
        "input_file_id": file,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    })
}

async fn begin_batch(node: &Node, key: &str, file: &str) -> Answer {
    ask(node, key, Method::POST, "/batches", Some(batch_of(file))).await
}

/// Waits until a word of what is shown at `path` is one of `wanted`.
async fn wait_for(node: &Node, key: &str, path: &str, word: &str, wanted: &[&str]) -> Value {
    let what = format!("the end of {path}");
    let waited = wait_until(&what, LIMIT, async || {
        let answer = ask(node, key, Method::GET, path, None).await;
        let is_there = answer.status == 200
            && answer.json()[word]
                .as_str()
                .is_some_and(|state| wanted.contains(&state));
        match is_there {
            true => Ok(answer.json()),
            false => Err(answer.text()),
        }
    });
    waited.await.0
}

async fn ask(node: &Node, key: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    let url = format!("{}{path}", node.base_url());
    let mut request = http().request(method, &url).bearer_auth(key);
    if let Some(body) = body {
        request = request.json(&body);
    }
    must(&url, whole(request).await)
}

fn id(shown: &Value) -> String {
    shown["id"].as_str().expect("an id").to_owned()
}
