//! Queues of background work through whole nodes: how much of each runs at once, what a shared one reports, and how
//! soon a worker learns that its task is cancelled.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use grapevine_tests::client::{Answer, http, try_get, whole};
use grapevine_tests::mesh::NodeBuilder;
use grapevine_tests::postgres::Postgres;
use grapevine_tests::program::example;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const PLUGIN: &str = "my-plugin:process";

const WORKFLOWS: &str = "workflow:process";

const MODEL: &str = "near";

const LIMIT: Duration = Duration::from_secs(20);

/// The program with a service of its own.
fn plugin() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| example("my_plugin"))
}

async fn post(node: &Node, path: &str, body: Value) -> Answer {
    let url = format!("{}{path}", node.base_url());
    let answer = must(&url, whole(http().post(&url).json(&body)).await);
    assert!(answer.status < 300, "{}", answer.text());
    answer
}

/// Creates something and returns its id.
async fn create(node: &Node, path: &str, body: Value) -> String {
    let answer = post(node, path, body).await.json();
    answer["id"].as_str().expect("an id").to_owned()
}

fn task() -> Value {
    json!({"service": PLUGIN, "payload": {"model": MODEL, "texts": ["one"]}})
}

fn run() -> Value {
    let messages = json!([{"role": "user", "content": "say"}]);
    let body = json!({"model": MODEL, "messages": messages});
    let step = json!({"id": "one", "call": {"path": "/v1/chat/completions", "body": body}});
    json!({"workflow": {"steps": [step]}})
}

#[tokio::test]
async fn each_service_runs_as_many_tasks_at_once_as_it_may() {
    let mock = Mock::start("near", &[MODEL]).await;
    mock.set(json!({"hang": true})).await;
    let concurrency = json!({"default": 1, WORKFLOWS: 2});
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.program(plugin())
                .upstream(&mock)
                .config("tasks.concurrency", concurrency)
        })
        .start()
        .await;
    let node = &mesh["sgp"];
    for _ in 0..4 {
        create(node, "/tasks", task()).await;
        create(node, "/workflows/runs", run()).await;
    }
    let (page, _) = wait_until("what may run to run", LIMIT, async || {
        let page = node.try_admin("/tasks").await?.json();
        let figures = |service: &str| {
            let counts = &page["counts"][service];
            [counts["running"].as_u64(), counts["waiting"].as_u64()]
        };
        let wanted = [[Some(1), Some(3)], [Some(2), Some(2)]];
        match [figures(PLUGIN), figures(WORKFLOWS)] == wanted {
            true => Ok(page),
            false => Err(page["counts"].to_string()),
        }
    })
    .await;
    assert_eq!(
        page["concurrency"],
        json!({"async-task:process": 1, PLUGIN: 1, WORKFLOWS: 2})
    );
    wait_until("their calls, and no others", LIMIT, async || {
        let stats = mock.stats().await;
        match stats["by_model"][MODEL].as_u64() {
            Some(3) => Ok(()),
            _ => Err(stats.to_string()),
        }
    })
    .await;
}

/// A node that takes tasks of the plugin and runs none.
fn front(node: NodeBuilder) -> NodeBuilder {
    node.config("tasks.services", json!([PLUGIN]))
        .config("worker_mode", json!("!"))
}

#[tokio::test]
async fn queue_that_nodes_share_is_reported_once() {
    let server = Postgres::start("shared-queue").await;
    let url = server.url();
    let mesh = Mesh::builder()
        .node("one", |node| {
            let node = node.config("tasks.queue", json!(url));
            front(node)
        })
        .node("two", |node| {
            let node = node.config("tasks.queue", json!(url));
            front(node)
        })
        .node("apart", front)
        .start()
        .await;
    for _ in 0..3 {
        create(&mesh["one"], "/tasks", task()).await;
    }
    create(&mesh["apart"], "/tasks", task()).await;
    for node in ["one", "two", "apart"] {
        wait_until("every node's queue to be published", LIMIT, async || {
            let mut view = mesh[node].view().await.0;
            let mut nodes = std::mem::take(&mut view["nodes"]);
            let nodes = nodes.as_array_mut().ok_or("no nodes")?;
            nodes.sort_by_key(|node| node["name"].to_string());
            let reported = |at: usize| {
                (
                    &nodes[at]["tasks_store"],
                    &nodes[at]["tasks_waiting"][PLUGIN],
                )
            };
            let (apart, one, two) = (reported(0), reported(1), reported(2));
            let is_reported =
                apart == (&Value::Null, &json!(1)) && one == two && one.1 == &json!(3);
            let store = one.0.as_str().unwrap_or_default();
            let is_named = store.starts_with("postgres-");
            match is_reported && is_named && view["tasks_waiting"] == json!({PLUGIN: 4}) {
                true => Ok(()),
                false => Err(format!("{view} {nodes:?}")),
            }
        })
        .await;
        let unserved = mesh[node].view().await.0["unserved"].clone();
        assert_eq!(unserved.as_array().map(Vec::len), Some(2), "{unserved}");
    }
    for node in ["one", "two"] {
        wait_until("the metric of the shared queue", LIMIT, async || {
            let metrics = mesh[node].metrics().await;
            let gauge = format!(
                "grapevine_tasks{{service=\"{PLUGIN}\",state=\"waiting\",store=\"postgres-"
            );
            match metrics.contains(&gauge) {
                true => Ok(()),
                false => Err(metrics),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn worker_at_a_peer_is_notified_of_a_cancellation_at_once() {
    const ROUNDS: u32 = 4;
    // Leases of 15 s are renewed after 5 s: each round would take about that long.
    const RENEWAL: Duration = Duration::from_secs(5);
    let mock = Mock::start("near", &[MODEL]).await;
    mock.set(json!({"hang": true})).await;
    let mesh = Mesh::builder()
        .node("front", |node| node.config("worker_mode", json!("!")))
        .node("back", |node| {
            let node = node.config("worker_mode", json!(WORKFLOWS));
            node.upstream(&mock)
        })
        .node("side", |node| node.config("worker_mode", json!("!")))
        .start()
        .await;
    let mut took = Duration::ZERO;
    for round in 1..=ROUNDS {
        let run = create(&mesh["front"], "/workflows/runs", run()).await;
        wait_until("the call", LIMIT, async || {
            let stats = mock.stats().await;
            match stats["by_model"][MODEL].as_u64() {
                Some(calls) if calls >= u64::from(round) => Ok(()),
                _ => Err(stats.to_string()),
            }
        })
        .await;
        let began = Instant::now();
        // Neither its keeper nor its worker.
        post(
            &mesh["side"],
            &format!("/workflows/runs/{run}/cancel"),
            json!({}),
        )
        .await;
        wait_until("the run to be cancelled", LIMIT, async || {
            let url = format!("{}/workflows/runs/{run}", mesh["front"].base_url());
            let answer = try_get(&http(), &url).await;
            let answer = answer.map_err(|error| format!("{error:?}"))?.json();
            match answer["status"] == "cancelled" {
                true => Ok(()),
                false => Err(answer.to_string()),
            }
        })
        .await;
        took += began.elapsed();
    }
    assert!(took < RENEWAL * ROUNDS / 2, "{ROUNDS} rounds took {took:?}");
}
