//! Background work through whole nodes: what is accepted is kept, run where it is served, and ended once.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use grapevine_tests::client::{Answer, http, try_get, whole};
use grapevine_tests::mesh::NodeBuilder;
use grapevine_tests::process::{Process, Signal};
use grapevine_tests::program::{example, grapevine, workspace};
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const SERVICE: &str = "my-plugin:process";

const MODEL: &str = "gpt-4o";

const LIMIT: Duration = Duration::from_secs(20);

/// Longer than a lease that is not renewed and the sweep after it.
const LEASE_LIMIT: Duration = Duration::from_secs(45);

/// A worker out of process that leases eight at once for a second, and that a poisonous payload kills.
const FRAGILE: &str = r#"
import json, os, signal, sys, urllib.request

def call(path, body):
    data, headers = json.dumps(body).encode(), {"content-type": "application/json"}
    request = urllib.request.Request(sys.argv[1] + path, data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)

while True:
    ask = {"service": sys.argv[2], "worker": "fragile", "max": 8, "lease_seconds": 1, "wait_seconds": 5}
    lent = call("/v1/tasks/lease", ask)["data"]
    if any(one["task"]["payload"].get("poison") for one in lent):
        os.kill(os.getpid(), signal.SIGKILL)
    for one in lent:
        end = {"lease": one["lease"], "output": one["task"]["payload"]}
        call("/v1/tasks/%s/complete" % one["task"]["id"], end)
"#;

/// The program with a service of its own.
fn plugin() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| example("my_plugin"))
}

async fn post(node: &Node, path: &str, body: Value) -> Answer {
    let url = format!("{}{path}", node.base_url());
    must(&url, whole(http().post(&url).json(&body)).await)
}

async fn get(node: &Node, path: &str) -> Answer {
    let url = format!("{}{path}", node.base_url());
    must(&url, try_get(&http(), &url).await)
}

/// Creates a task and returns its id.
async fn create(node: &Node, over: Value) -> String {
    let mut body = json!({"service": SERVICE});
    grapevine_tests::mesh::merge(&mut body, over);
    let answer = post(node, "/tasks", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    id(&answer.json())
}

fn id(task: &Value) -> String {
    task["id"].as_str().expect("an id").to_owned()
}

async fn task(node: &Node, id: &str) -> Value {
    let answer = get(node, &format!("/tasks/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Waits until a task is in `state`, and returns it.
async fn wait_for(node: &Node, id: &str, state: &str, limit: Duration) -> Value {
    let what = format!("{id} to be {state}");
    let waited = wait_until(&what, limit, async || {
        let url = format!("{}/tasks/{id}", node.base_url());
        let answer = try_get(&http(), &url).await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        let is_there = answer.status == 200 && answer.json()["state"] == state;
        match is_there {
            true => Ok(answer.json()),
            false => Err(answer.text()),
        }
    });
    waited.await.0
}

/// Leases at most `max` tasks as an outside worker.
async fn lease(node: &Node, max: usize, seconds: f64) -> Vec<Value> {
    let ask = json!({"service": SERVICE, "worker": "w", "max": max, "lease_seconds": seconds});
    let answer = post(node, "/tasks/lease", ask).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].as_array().expect("a list").clone()
}

/// Reports on a leased task.
async fn report(node: &Node, lent: &Value, word: &str, over: Value) -> Answer {
    let mut body = json!({"lease": lent["lease"]});
    grapevine_tests::mesh::merge(&mut body, over);
    let path = format!("/tasks/{}/{word}", id(&lent["task"]));
    post(node, &path, body).await
}

/// Chats that a mock received; it is probed too.
async fn chats(mock: &Mock) -> u64 {
    mock.stats().await["by_model"][MODEL].as_u64().unwrap_or(0)
}

async fn wait_for_chats(mock: &Mock, least: u64) {
    wait_until("chats", LIMIT, async || match chats(mock).await {
        count if count >= least => Ok(()),
        count => Err(format!("{count}")),
    })
    .await;
}

/// A node that takes tasks of the service, whoever may run them.
fn accepting(node: NodeBuilder) -> NodeBuilder {
    node.config("tasks.services", json!([SERVICE]))
}

async fn one_node() -> Mesh {
    Mesh::builder().node("sgp", accepting).start().await
}

fn texts(count: usize) -> Value {
    let texts: Vec<String> = (0..count).map(|number| format!("text {number}")).collect();
    json!({"payload": {"model": MODEL, "texts": texts}})
}

#[tokio::test]
async fn outside_worker_takes_the_urgent_task_first_and_its_report_ends_it() {
    let mesh = one_node().await;
    let node = &mesh["sgp"];
    let usual = create(node, json!({"payload": {"n": 1}})).await;
    let urgent = create(node, json!({"payload": {"n": 2}, "priority": 5})).await;
    let late = create(node, json!({"delay": "1h", "priority": 9})).await;

    let lent = lease(node, 2, 30.0).await;
    let order: Vec<String> = lent.iter().map(|lent| id(&lent["task"])).collect();
    assert_eq!(order, [urgent.clone(), usual.clone()]);
    assert_eq!(lent[0]["task"]["payload"], json!({"n": 2}));
    assert_eq!(task(node, &late).await["state"], "waiting");

    let progress = json!({"progress": {"completed": 3, "failed": 0, "total": 10}});
    let held = report(node, &lent[0], "heartbeat", progress).await.json();
    assert_eq!(held, json!({"held": true, "cancel_requested": false}));
    let seen = task(node, &urgent).await;
    assert_eq!(seen["progress"]["completed"], 3);
    assert_eq!(
        (&seen["state"], &seen["worker"]),
        (&json!("running"), &json!("w"))
    );

    let answer = report(node, &lent[0], "complete", json!({"output": [1, 2]})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let done = task(node, &urgent).await;
    assert_eq!(
        (&done["state"], &done["output"]),
        (&json!("completed"), &json!([1, 2]))
    );
    let again = report(node, &lent[0], "complete", json!({"output": "other"})).await;
    assert_eq!(
        (again.status, &again.json()["error"]["code"]),
        (409, &json!("lease_lost"))
    );
    assert_eq!(task(node, &urgent).await["output"], json!([1, 2]));
}

#[tokio::test]
async fn failed_task_is_tried_again_then_dead_and_waits_again_when_requeued() {
    let mesh = one_node().await;
    let node = &mesh["sgp"];
    let id = create(node, json!({"max_attempts": 2})).await;
    for attempt in 1..=2 {
        let ask = json!({"service": SERVICE, "worker": "w", "wait_seconds": 10});
        let lent = post(node, "/tasks/lease", ask).await.json()["data"][0].clone();
        assert_eq!(lent["task"]["attempts"], attempt, "{lent}");
        let fault = json!({"error": {"code": "no", "message": "not today"}, "retry_after": 0.2});
        let answer = report(node, &lent, "fail", fault).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let dead = task(node, &id).await;
    assert_eq!(
        (&dead["state"], &dead["error"]["message"]),
        (&json!("dead"), &json!("not today"))
    );
    assert_eq!(dead["history"].as_array().map(Vec::len), Some(2), "{dead}");
    let listed = get(node, "/tasks?state=dead&service=my-plugin:process")
        .await
        .json();
    assert_eq!(listed["data"][0]["id"], json!(id));

    let requeued = post(node, &format!("/tasks/{id}/requeue"), json!({})).await;
    assert_eq!(
        (requeued.status, &requeued.json()["state"]),
        (200, &json!("waiting"))
    );
    let lent = lease(node, 1, 30.0).await;
    report(node, &lent[0], "complete", json!({})).await;
    assert_eq!(task(node, &id).await["state"], "completed");
    let refused = post(node, &format!("/tasks/{id}/requeue"), json!({})).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
}

#[tokio::test]
async fn cancelled_task_ends_at_once_when_it_waits_and_by_its_worker_when_it_runs() {
    let mesh = one_node().await;
    let node = &mesh["sgp"];
    let waiting = create(node, json!({})).await;
    let cancelled = post(node, &format!("/tasks/{waiting}/cancel"), json!({})).await;
    assert_eq!(cancelled.json()["state"], "cancelled");
    let running = create(node, json!({})).await;
    let lent = lease(node, 1, 30.0).await;
    let asked = post(node, &format!("/tasks/{running}/cancel"), json!({}))
        .await
        .json();
    assert_eq!(
        (&asked["state"], &asked["cancel_requested"]),
        (&json!("running"), &json!(true))
    );
    let held = report(node, &lent[0], "heartbeat", json!({})).await.json();
    assert_eq!(held["cancel_requested"], true);
    report(node, &lent[0], "release", json!({"cancelled": true})).await;
    assert_eq!(task(node, &running).await["state"], "cancelled");
}

#[tokio::test]
async fn same_idempotency_key_is_the_same_task_and_another_payload_a_conflict() {
    let mesh = one_node().await;
    let node = &mesh["sgp"];
    let wanted = json!({"payload": 1, "idempotency_key": "once"});
    let first = create(node, wanted.clone()).await;
    assert_eq!(create(node, wanted.clone()).await, first);
    let url = format!("{}/tasks", node.base_url());
    let body = json!({"service": SERVICE, "payload": 1});
    let by_header = http()
        .post(&url)
        .header("idempotency-key", "once")
        .json(&body);
    assert_eq!(id(&must("a task", whole(by_header).await).json()), first);
    let other = json!({"service": SERVICE, "payload": 2, "idempotency_key": "once"});
    let answer = post(node, "/tasks", other).await;
    let error = answer.json()["error"].clone();
    assert_eq!(
        (answer.status, &error["code"]),
        (409, &json!("idempotency_conflict"))
    );
}

#[tokio::test]
async fn lease_that_is_not_renewed_gives_the_task_to_another() {
    let mesh = one_node().await;
    let node = &mesh["sgp"];
    let id = create(node, json!({})).await;
    let lost = lease(node, 1, 1.0).await;
    let (next, _) = wait_until("a second lease", LIMIT, async || {
        let lent = lease(node, 1, 30.0).await;
        lent.first().cloned().ok_or_else(|| "nothing".to_owned())
    })
    .await;
    assert_eq!(next["task"]["attempts"], 2);
    let late = report(node, &lost[0], "complete", json!({"output": "late"})).await;
    assert_eq!(late.status, 409, "{}", late.text());
    report(node, &next, "complete", json!({"output": "good"})).await;
    let done = task(node, &id).await;
    assert_eq!(done["output"], "good");
    assert_eq!(done["history"][0]["how"], "lost");
}

#[tokio::test]
async fn bad_requests_are_refused_by_name() {
    let mesh = one_node().await;
    let node = &mesh["sgp"];
    for (body, param) in [
        (json!({"service": "no good"}), json!("service")),
        (
            json!({"service": SERVICE, "max_attempts": 0}),
            json!("max_attempts"),
        ),
        (json!({"service": SERVICE, "priority": 1000}), json!(null)),
        (json!({"service": SERVICE, "delay": "soon"}), json!(null)),
        (json!({"payload": 1}), json!(null)),
        (json!({"service": SERVICE, "surprise": 1}), json!(null)),
        (
            json!({"service": SERVICE, "idempotency_key": ""}),
            json!("idempotency_key"),
        ),
    ] {
        let answer = post(node, "/tasks", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    let long = json!({"service": SERVICE, "payload": "x".repeat(300_000)});
    assert_eq!(post(node, "/tasks", long).await.status, 413);
    for path in ["/tasks/task_none", "/tasks/x", "/files/file-none/nothing"] {
        assert_eq!(get(node, path).await.status, 404, "{path}");
    }
    let away = get(node, "/tasks/task_01ARYZ6S41ZZZZZZZZZZZZZZZZ~gone").await;
    assert_eq!((away.status, away.header("retry-after")), (503, "1"));
}

fn hash(key: &str) -> String {
    let output = std::process::Command::new(grapevine())
        .args(["key", "hash"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write;
            child
                .stdin
                .take()
                .expect("piped")
                .write_all(key.as_bytes())?;
            child.wait_with_output()
        });
    let output = must("hashing a key", output);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn workers_key_is_for_its_service_alone_and_others_cannot_lease() {
    let keys = json!([
        {"name": "app", "hash": hash("app-key")},
        {"name": "other", "hash": hash("other-key")},
        {"name": "worker", "hash": hash("worker-key"), "services": [SERVICE]},
    ]);
    let mesh = Mesh::builder()
        .node("sgp", |node| node.config("keys", keys))
        .start()
        .await;
    let node = &mesh["sgp"];
    let as_key = async |key: &str, path: &str, body: Value| {
        let url = format!("{}{path}", node.base_url());
        must(
            &url,
            whole(http().post(&url).bearer_auth(key).json(&body)).await,
        )
    };
    let wanted = json!({"service": SERVICE, "payload": 7});
    let created = as_key("app-key", "/tasks", wanted).await;
    assert_eq!(created.status, 202, "{}", created.text());
    let path = format!("{}/tasks/{}", node.base_url(), id(&created.json()));
    let seen = async |key: &str| {
        let request = http().get(&path).bearer_auth(key);
        must(&path, whole(request).await).status
    };
    assert_eq!([seen("app-key").await, seen("other-key").await], [200, 404]);

    let ask = json!({"service": SERVICE, "worker": "w"});
    assert_eq!(
        as_key("app-key", "/tasks/lease", ask.clone()).await.status,
        403
    );
    let foreign = json!({"service": "another:service", "worker": "w"});
    assert_eq!(
        as_key("worker-key", "/tasks/lease", foreign).await.status,
        403
    );
    let chat = json!({"model": MODEL, "messages": []});
    let chat = as_key("worker-key", "/chat/completions", chat).await;
    assert_eq!(chat.json()["error"]["code"], "key_is_for_services");
    let lent = as_key("worker-key", "/tasks/lease", ask).await.json();
    assert_eq!(lent["data"][0]["task"]["payload"], 7);
}

#[tokio::test]
async fn queue_that_cannot_be_used_takes_nothing_and_works_again_without_a_restart() {
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            accepting(node).config("tasks.queue", json!("sqlite:later/tasks.db"))
        })
        .node("off", |node| node.config("tasks.queue", json!("off")))
        .start()
        .await;
    let refused = post(&mesh["sgp"], "/tasks", json!({"service": SERVICE})).await;
    let error = refused.json()["error"].clone();
    assert_eq!(
        (refused.status, &error["code"]),
        (503, &json!("task_store_unavailable"))
    );
    must(
        "a folder",
        std::fs::create_dir(mesh.directory().join("later")),
    );
    let id = create(&mesh["sgp"], json!({})).await;
    assert_eq!(task(&mesh["sgp"], &id).await["state"], "waiting");
    let off = post(&mesh["off"], "/tasks", json!({"service": SERVICE})).await;
    assert_eq!(
        (off.status, &off.json()["error"]["code"]),
        (503, &json!("no_task_store"))
    );
}

#[tokio::test]
async fn node_that_gets_no_task_makes_no_file() {
    let mesh = one_node().await;
    let files = || {
        let names = must("a folder", std::fs::read_dir(mesh.directory()));
        let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.contains("tasks")).count()
    };
    assert_eq!(get(&mesh["sgp"], "/tasks").await.status, 200);
    assert_eq!(files(), 0);
    create(&mesh["sgp"], json!({})).await;
    assert!(files() > 0, "the knob has no effect");
}

#[tokio::test]
async fn task_runs_where_it_is_served_and_every_node_answers_for_it() {
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("front", |node| {
            node.program(plugin()).config("worker_mode", json!("!"))
        })
        .node("back", |node| {
            node.program(plugin())
                .upstream(&mock)
                .config("worker_mode", json!(SERVICE))
        })
        .node("side", |node| node.config("worker_mode", json!("!")))
        .start()
        .await;
    let id = create(&mesh["front"], texts(3)).await;
    let done = wait_for(&mesh["side"], &id, "completed", LIMIT).await;
    assert_eq!(done["output"].as_array().map(Vec::len), Some(3), "{done}");
    assert_eq!(done["progress"]["completed"], 3);
    assert_eq!(done["history"][0]["worker"], "back", "{done}");
    assert_eq!(task(&mesh["front"], &id).await["state"], "completed");
    let listed = get(&mesh["side"], "/tasks?node=front").await.json();
    assert_eq!(listed["data"][0]["id"], json!(id));
    for path in ["/tasks?node=front".to_owned(), format!("/tasks/{id}")] {
        let elsewhere = must(&path, mesh["side"].try_admin(&path).await).json();
        assert_eq!(elsewhere["error"]["code"], "kept_elsewhere", "{elsewhere}");
    }
    // A request's record follows its answer, so the task may be complete before it is written.
    let counted =
        format!("grapevine_tasks_ended_total{{service=\"{SERVICE}\",how=\"completed\"}} 1");
    wait_until("the records of the three calls", LIMIT, async || {
        let requests = mesh["back"].requests().await;
        let made = requests["requests"].as_array().ok_or("no list")?;
        let kinds: Vec<&Value> = made.iter().map(|request| &request["kind"]).collect();
        let metrics = mesh["back"].metrics().await;
        (kinds == [&json!("task"); 3] && metrics.contains(&counted))
            .then_some(())
            .ok_or_else(|| format!("{requests}\n{metrics}"))
    })
    .await;
}

#[tokio::test]
async fn task_waits_in_the_outbox_until_somebody_serves_it() {
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("front", |node| {
            accepting(node).config("worker_mode", json!("!"))
        })
        .node("back", |node| {
            node.program(plugin())
                .upstream(&mock)
                .config("worker_mode", json!("-"))
        })
        .start()
        .await;
    let id = create(&mesh["front"], texts(1)).await;
    wait_until("the node to report what waits", LIMIT, async || {
        let ready = mesh["front"].try_admin("/readyz").await?.text();
        let metrics = mesh["front"].metrics().await;
        let gauge = format!("grapevine_tasks_unserved{{service=\"{SERVICE}\",store=\"own\"}} 1");
        let view = mesh["front"].view().await.0;
        match ready.contains(SERVICE) && metrics.contains(&gauge) && !view["unserved"].is_null() {
            true => Ok(()),
            false => Err(format!("{ready} {view}")),
        }
    })
    .await;
    assert_eq!(task(&mesh["front"], &id).await["state"], "waiting");
    let serve = |config: &mut Value| config["worker_mode"] = json!(SERVICE);
    mesh["back"].restart_with(serve).await;
    wait_for(&mesh["front"], &id, "completed", LIMIT).await;
}

#[tokio::test]
async fn killed_worker_loses_no_task_and_what_it_noted_is_not_done_again() {
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("front", |node| {
            accepting(node)
                .upstream(&mock)
                .config("worker_mode", json!("!"))
        })
        .node("one", |node| {
            node.program(plugin()).config("worker_mode", json!(SERVICE))
        })
        .node("two", |node| {
            node.program(plugin()).config("worker_mode", json!("-"))
        })
        .start()
        .await;
    mock.set(json!({"latency": "200ms"})).await;
    let id = create(&mesh["front"], texts(8)).await;
    wait_for_chats(&mock, 3).await;
    mesh["one"].kill();
    let serve = |config: &mut Value| config["worker_mode"] = json!(SERVICE);
    mesh["two"].restart_with(serve).await;
    let done = wait_for(&mesh["front"], &id, "completed", LEASE_LIMIT).await;
    assert_eq!(done["output"].as_array().map(Vec::len), Some(8), "{done}");
    assert_eq!(done["attempts"], 2);
    assert_eq!(done["history"][0]["how"], "lost", "{done}");
    // Only what ran when the worker died is done again.
    let made = chats(&mock).await;
    assert!((8..=9).contains(&made), "{made} requests for 8 texts");
}

#[tokio::test]
async fn task_outlives_its_owner() {
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("front", |node| {
            accepting(node).config("worker_mode", json!("!"))
        })
        .node("back", |node| {
            node.program(plugin())
                .upstream(&mock)
                .config("worker_mode", json!(SERVICE))
        })
        .start()
        .await;
    mock.set(json!({"latency": "300ms"})).await;
    let id = create(&mesh["front"], texts(6)).await;
    wait_for_chats(&mock, 2).await;
    mesh["front"].restart().await;
    let done = wait_for(&mesh["front"], &id, "completed", LEASE_LIMIT).await;
    assert_eq!(done["output"].as_array().map(Vec::len), Some(6), "{done}");
}

#[tokio::test]
async fn draining_node_gives_its_tasks_back_and_they_go_on_elsewhere() {
    let mock = Mock::start("near", &[MODEL]).await;
    let worker = |node: NodeBuilder| {
        node.program(plugin())
            .config("drain.timeout", json!("500ms"))
    };
    let mesh = Mesh::builder()
        .node("front", |node| {
            accepting(node)
                .upstream(&mock)
                .config("worker_mode", json!("!"))
        })
        .node("one", |node| {
            worker(node).config("worker_mode", json!(SERVICE))
        })
        .node("two", |node| worker(node).config("worker_mode", json!("-")))
        .start()
        .await;
    mock.set(json!({"latency": "400ms"})).await;
    let id = create(&mesh["front"], texts(6)).await;
    wait_for_chats(&mock, 2).await;
    mesh["one"].terminate();
    let status = mesh["one"].wait_for_exit(LIMIT).await;
    assert_eq!(status.code(), Some(0), "{status}");
    let returned = task(&mesh["front"], &id).await;
    assert_eq!(returned["state"], "waiting", "{returned}");
    let serve = |config: &mut Value| config["worker_mode"] = json!(SERVICE);
    mesh["two"].restart_with(serve).await;
    let done = wait_for(&mesh["front"], &id, "completed", LIMIT).await;
    assert_eq!(done["output"].as_array().map(Vec::len), Some(6), "{done}");
    assert_eq!(
        done["attempts"], 1,
        "what was given back does not count: {done}"
    );
}

#[tokio::test]
async fn worker_in_python_runs_tasks_of_any_node() {
    let mesh = Mesh::builder()
        .node("front", |node| {
            accepting(node).config("worker_mode", json!("!"))
        })
        .node("back", accepting)
        .start()
        .await;
    let script = workspace().join("deploy/examples/worker.py");
    let arguments = [
        script.display().to_string(),
        mesh["back"].public_url(),
        SERVICE.to_owned(),
    ];
    let python = Process::new("worker", Path::new("python3"), &arguments, mesh.directory());
    python.start();
    let local = create(&mesh["back"], json!({"payload": {"text": "hello world"}})).await;
    let remote = create(
        &mesh["front"],
        json!({"payload": {"text": "over the mesh"}}),
    )
    .await;
    let bad = create(&mesh["back"], json!({"payload": {}, "max_attempts": 1})).await;
    let done = wait_for(&mesh["front"], &local, "completed", LIMIT).await;
    assert_eq!(done["output"]["text"], "HELLO WORLD");
    let done = wait_for(&mesh["front"], &remote, "completed", LIMIT).await;
    assert_eq!(done["output"]["text"], "OVER THE MESH");
    let dead = wait_for(&mesh["back"], &bad, "dead", LIMIT).await;
    assert_eq!(dead["error"]["code"], "KeyError");
    python.signal(Signal::Terminate);
    python.wait_for_exit(LIMIT).await;
}

#[tokio::test]
async fn task_that_kills_its_worker_is_a_dead_letter_and_what_runs_beside_it_completes() {
    let mesh = one_node().await;
    let node = &mesh["sgp"];
    let poison = json!({"payload": {"poison": true}, "max_attempts": 20});
    let poison = create(node, poison).await;
    let mut honest = Vec::new();
    for number in 0..12 {
        honest.push(create(node, json!({"payload": {"number": number}})).await);
    }
    let arguments = ["-c", FRAGILE, &node.public_url(), SERVICE].map(str::to_owned);
    let worker = Process::new(
        "fragile",
        Path::new("python3"),
        &arguments,
        mesh.directory(),
    );
    let mut deaths = 0;
    worker.start();
    wait_until("every task to end", LEASE_LIMIT, async || {
        if let Some(status) = worker.exit_status() {
            assert_eq!(status.code(), None, "killed: {}", worker.log());
            deaths += 1;
            worker.start();
        }
        for id in honest.iter().chain([&poison]) {
            let url = format!("{}/tasks/{id}", node.base_url());
            let answer = try_get(&http(), &url).await;
            let task = answer.map_err(|error| format!("{error:?}"))?.json();
            if task["ended_at"].is_null() {
                return Err(format!("{deaths} deaths; {task}"));
            }
        }
        Ok(())
    })
    .await;
    let dead = task(node, &poison).await;
    assert_eq!(dead["state"], "dead", "{dead}");
    assert_eq!(dead["error"]["code"], "worker_lost", "{dead}");
    assert_eq!((deaths, dead["attempts"].as_u64()), (4, Some(4)), "{dead}");
    for id in &honest {
        assert_eq!(task(node, id).await["state"], "completed");
    }
    worker.signal(Signal::Kill);
}

#[tokio::test]
async fn operator_sees_and_cancels_on_the_command_line() {
    let mesh = one_node().await;
    let node = &mesh["sgp"];
    let id = create(node, json!({"payload": {"secret": "prompt"}})).await;
    let admin = node.addresses().admin.to_string();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(grapevine());
        command
            .arg("tasks")
            .args(arguments)
            .args(["--admin", &admin]);
        let output = must("grapevine tasks", command.output());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.success(),
            text + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (_, listed) = run(&["list"]);
    assert!(
        listed.contains(&id) && listed.contains("waiting"),
        "{listed}"
    );
    let (_, shown) = run(&["show", &id, "--json"]);
    let shown: Value = must(&shown, serde_json::from_str(&shown));
    assert!(
        shown["payload"].is_null() && shown["service"] == SERVICE,
        "{shown}"
    );
    assert!(run(&["cancel", &id]).1.contains("state: cancelled"));
    assert!(run(&["requeue", &id]).1.contains("state: waiting"));
    let (is_good, refused) = run(&["show", "task_none"]);
    assert!(!is_good && refused.contains("no task"), "{refused}");
}
