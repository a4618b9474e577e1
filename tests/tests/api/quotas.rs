//! One client beyond its quota: what it gets, and that no other client is affected.

use std::path::Path;
use std::time::Duration;

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::client::{Answer, chat, http, try_get, whole};
use grapevine_tests::raw::RawClient;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};

const SERVICE: &str = "my-plugin:process";
const MODEL: &str = "gpt-4o";
const LIMIT: Duration = Duration::from_secs(30);

/// Tasks that one client sends at once.
const FLOOD: usize = 300;

/// Bytes of a piece of a file.
const PIECE: usize = 256 * 1_024;

fn keys() -> Value {
    let key = |name: &str| json!({"name": name, "hash": KeyHash::of(name).to_string()});
    let mut worker = key("worker");
    worker["services"] = json!([SERVICE]);
    json!([key("greedy"), key("honest"), worker])
}

async fn ask(node: &Node, key: &str, path: &str, body: Value) -> Answer {
    let url = format!("{}{path}", node.base_url());
    let request = http().post(&url).bearer_auth(key).json(&body);
    must(&url, whole(request).await)
}

fn code(answer: &Answer) -> String {
    let code = &answer.json()["error"]["code"];
    code.as_str().unwrap_or_default().to_owned()
}

/// Leases one task and ends it; returns its owner, by its payload.
async fn turn(node: &Node) -> Option<String> {
    let wanted = json!({"service": SERVICE, "worker": "w"});
    let lent = ask(node, "worker", "/tasks/lease", wanted).await.json();
    let lent = lent["data"].get(0)?.clone();
    let id = lent["task"]["id"].as_str().unwrap_or_default();
    let done = json!({"lease": lent["lease"]});
    let done = ask(node, "worker", &format!("/tasks/{id}/complete"), done).await;
    assert_eq!(done.status, 200, "{}", done.text());
    lent["task"]["payload"].as_str().map(str::to_owned)
}

/// Creates [`FLOOD`] tasks, over a few connections at once.
async fn flood(node: &Node, task: &Value) {
    const ABREAST: usize = 10;
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..ABREAST {
        let (url, task) = (format!("{}/tasks", node.base_url()), task.clone());
        senders.spawn(async move {
            let client = http();
            for _ in 0..FLOOD / ABREAST {
                let request = client.post(&url).bearer_auth("greedy").json(&task);
                let created = must(&url, whole(request).await);
                assert_eq!(created.status, 202, "{}", created.text());
            }
        });
    }
    senders.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_tasks_delays_another_clients_task_by_one_turn() {
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.config("keys", keys())
                .config("tasks.quota.waiting", json!(FLOOD))
        })
        .start()
        .await;
    let node = &mesh["sgp"];
    let task = |payload: &str| json!({"service": SERVICE, "payload": payload});
    flood(node, &task("greedy")).await;
    let over = ask(node, "greedy", "/tasks", task("greedy")).await;
    assert_eq!(
        (over.status, code(&over)),
        (429, "waiting_tasks_quota".to_owned()),
        "{}",
        over.text()
    );
    let message = over.json()["error"]["message"].to_string();
    assert!(
        message.contains("tasks.quota.waiting") && message.contains("cancel some"),
        "{message}"
    );
    assert_eq!(turn(node).await.as_deref(), Some("greedy"));
    let honest = ask(node, "honest", "/tasks", task("honest")).await;
    assert_eq!(honest.status, 202, "{}", honest.text());
    let turns = [turn(node).await, turn(node).await];
    assert!(turns.contains(&Some("honest".to_owned())), "{turns:?}");

    let made_up = json!({"service": "made:up", "payload": 1});
    let refused = ask(node, "greedy", "/tasks", made_up).await;
    assert_eq!(
        (refused.status, code(&refused)),
        (400, "unknown_service".to_owned())
    );
    let message = refused.json()["error"]["message"].to_string();
    for part in ["made:up", SERVICE, "workflow:process", "tasks.services"] {
        assert!(message.contains(part), "no {part} in {message}");
    }
    let metrics = node.metrics().await;
    let counted = "grapevine_task_quota_refusals_total{quota=\"waiting\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    let url = format!("http://{}/readyz", node.addresses().public);
    let ready = must(&url, try_get(&http(), &url).await);
    assert_eq!(ready.status, 200);
    assert!(ready.body.len() <= 1_024, "{}", ready.text());
    assert!(!ready.text().contains("my-plugin"), "{}", ready.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_polls_keep_no_client_out_and_leave_slots_to_others() {
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.upstream(&mock)
                .config("tasks.services", json!([SERVICE]))
                .config("limits.in_flight", json!(3))
                .config("limits.polls", json!(8))
        })
        .start()
        .await;
    let node = &mesh["sgp"];
    let public = node.addresses().public;
    let poll = json!({"service": SERVICE, "worker": "w", "wait_seconds": 60});
    let mut polls = Vec::new();
    let url = format!("{}/tasks/lease", node.base_url());
    let short = json!({"service": SERVICE, "worker": "w"});
    wait_until("the polls' share to be full", LIMIT, async || {
        polls.push(RawClient::post(public, "/v1/tasks/lease", &poll).await);
        let answer = must(&url, whole(http().post(&url).json(&short)).await);
        match answer.status {
            429 => Ok(()),
            status => Err(format!("{status}")),
        }
    })
    .await;
    assert!(polls.len() >= 4, "{} polls fill the share", polls.len());
    for _ in 0..4 {
        let answer = chat(node, MODEL, "still there?").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    drop(polls);
    wait_until("slots to come back", LIMIT, async || {
        let answer = must(&url, whole(http().post(&url).json(&short)).await);
        match answer.status {
            200 => Ok(()),
            status => Err(format!("{status}: {}", answer.text())),
        }
    })
    .await;
}

/// An upload of `bytes` for `purpose`.
async fn upload(node: &Node, key: &str, bytes: usize, purpose: &str) -> Answer {
    let url = format!("{}/files", node.base_url());
    let head = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    let tail = format!(
        "\r\n--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n--b--\r\n"
    );
    let body = [head.as_bytes(), &vec![b'x'; bytes], tail.as_bytes()].concat();
    let request = http()
        .post(&url)
        .bearer_auth(key)
        .header("content-type", "multipart/form-data; boundary=b")
        .body(body);
    must(&url, whole(request).await)
}

/// Pieces of files that the store holds.
async fn pieces(store: &Path) -> Result<i64, String> {
    let options = SqliteConnectOptions::new().filename(store).read_only(true);
    let mut link = options.connect().await.map_err(|error| error.to_string())?;
    let row = sqlx::query("SELECT COUNT(*) FROM pieces").fetch_one(&mut link);
    let row = row.await.map_err(|error| error.to_string())?;
    row.try_get(0).map_err(|error| error.to_string())
}

async fn wait_for_pieces(store: &Path, wanted: i64) {
    let what = format!("{wanted} pieces in the store");
    wait_until(&what, LIMIT, async || match pieces(store).await? {
        found if found == wanted => Ok(()),
        found => Err(format!("{found}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_that_is_refused_or_broken_off_leaves_nothing() {
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.config("keys", keys())
                .config("tasks.queue", json!("sqlite:tasks.db"))
                .config("tasks.quota.file_bytes", json!("1MiB"))
                .config("tasks.quota.files", json!(2))
        })
        .start()
        .await;
    let node = &mesh["sgp"];
    let store = mesh.directory().join("tasks.db");
    let kept = upload(node, "greedy", 2 * PIECE, "batch").await;
    assert_eq!(kept.status, 200, "{}", kept.text());
    wait_for_pieces(&store, 2).await;

    let wrong = upload(node, "greedy", PIECE, "nonsense").await;
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    let long = upload(node, "greedy", 3 * PIECE, "batch").await;
    assert_eq!(
        (long.status, code(&long)),
        (413, "file_bytes_quota".to_owned())
    );
    let message = long.json()["error"]["message"].to_string();
    assert!(
        message.contains("tasks.quota.file_bytes") && message.contains("delete files"),
        "{message}"
    );
    wait_for_pieces(&store, 2).await;

    // One that hangs up in the middle, once a piece is in. Its purpose comes first: until that is known, nothing is stored.
    let incomplete = format!(
        "POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer honest\r\ncontent-length: 900000\r\n\
         content-type: multipart/form-data; boundary=b\r\n\r\n\
         --b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
         --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{}",
        "x".repeat(2 * PIECE)
    );
    let mut gone = must(
        "connecting",
        tokio::net::TcpStream::connect(node.addresses().public).await,
    );
    must(
        "sending",
        tokio::io::AsyncWriteExt::write_all(&mut gone, incomplete.as_bytes()).await,
    );
    wait_until("a piece of it", LIMIT, async || {
        match pieces(&store).await? {
            2 => Err("none".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    drop(gone);
    wait_for_pieces(&store, 2).await;

    let second = upload(node, "greedy", 1, "batch").await;
    assert_eq!(second.status, 200, "{}", second.text());
    let third = upload(node, "greedy", 1, "batch").await;
    assert_eq!(
        (third.status, code(&third)),
        (413, "files_quota".to_owned())
    );
    // Another's quota is its own.
    let other = upload(node, "honest", PIECE, "batch").await;
    assert_eq!(other.status, 200, "{}", other.text());
    let id = kept.json()["id"].as_str().unwrap_or_default().to_owned();
    let url = format!("{}/files/{id}", node.base_url());
    let deleted = whole(http().delete(&url).bearer_auth("greedy")).await;
    assert_eq!(must("deleting", deleted).status, 200);
    wait_for_pieces(&store, 2).await;
    let again = upload(node, "greedy", 1, "batch").await;
    assert_eq!(again.status, 200, "{}", again.text());
}
