//! The ledger: what was used is what upstreams counted, once each, and it outlives a restart.

use std::time::Duration;

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::client::{EventStream, chat_body, http, whole};
use grapevine_tests::operator::run;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";

/// Words of an answer, and so its tokens.
const WORDS: u64 = 7;

const LIMIT: Duration = Duration::from_secs(30);

fn keys() -> Value {
    let key = |name: &str| json!({"name": name, "hash": KeyHash::of(name).to_string()});
    json!([key("app"), key("batch")])
}

async fn usage(node: &Node, query: &str) -> Value {
    node.admin(&format!("/usage?{query}")).await.json()
}

async fn send(node: &Node, key: &str, stream: bool) -> u16 {
    let url = format!("{}/chat/completions", node.base_url());
    let mut body = chat_body(MODEL, "one two three");
    body["stream"] = stream.into();
    let answer = must(
        &url,
        whole(http().post(&url).bearer_auth(key).json(&body)).await,
    );
    answer.status
}

/// Waits until all of `count` requests are summed.
async fn wait_for_requests(node: &Node, count: u64) -> Value {
    wait_until("all requests are summed", LIMIT, async || {
        let sums = usage(node, "by=key").await;
        match sums["total"]["requests"] == count {
            true => Ok(()),
            false => Err(sums.to_string()),
        }
    })
    .await;
    usage(node, "by=key").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledger_equals_what_the_upstream_counted_at_whichever_node_it_was_asked() {
    let mock = Mock::start("mock", &[MODEL]).await;
    mock.set(json!({"chunks": WORDS})).await;
    let price = json!([{"model": MODEL, "input": 2, "output": 10, "request": "0.001"}]);
    let node = |node: grapevine_tests::mesh::NodeBuilder, file: &str| {
        node.config("keys", keys())
            .config("prices", price.clone())
            .config("ledger.file", json!(file))
    };
    let mesh = Mesh::builder()
        .node("sgp", |builder| node(builder, "sgp.jsonl").upstream(&mock))
        // A relay: its clients' requests are served by the other.
        .node("jpn", |builder| node(builder, "jpn.jsonl"))
        .start()
        .await;
    let mut sent = 0;
    for index in 0..12 {
        for (name, key) in [("sgp", "app"), ("jpn", "batch")] {
            assert_eq!(send(&mesh[name], key, index % 2 == 0).await, 200);
            sent += 1;
        }
    }
    // A stranger leaves no row.
    assert_eq!(send(&mesh["sgp"], "stranger", false).await, 401);
    let sums = wait_for_requests(&mesh["sgp"], sent).await;
    // What the mock counted: its answers, each of so many words.
    assert_eq!(mock.chats().await, sent);
    assert_eq!(sums["total"]["tokens_out"], json!(sent * WORDS), "{sums}");
    assert_eq!(sums["nodes"], json!(["sgp", "jpn"]));
    let of = |name: &str| {
        let rows = sums["rows"].as_array().expect("rows");
        rows.iter()
            .find(|row| row["key"] == name)
            .expect("a row")
            .clone()
    };
    assert_eq!(
        (&of("app")["requests"], &of("batch")["requests"]),
        (&json!(12), &json!(12))
    );
    // 2 and 10 dollars a million, and a thousandth for each request: in billionths.
    let total = &sums["total"];
    let count = |name: &str| total[name].as_u64().expect("a count");
    let nano = count("tokens_in") * 2_000 + count("tokens_out") * 10_000 + sent * 1_000_000;
    let usd = total["cost_usd"].as_str().expect("dollars");
    let whole = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
    assert_eq!(usd, whole.trim_end_matches('0'));
    // Of each node, its own clients' requests alone.
    let here = usage(&mesh["sgp"], "by=key&scope=node").await;
    assert_eq!(here["total"]["requests"], json!(12), "{here}");

    mesh["sgp"].restart_with(|_| ()).await;
    wait_until("the sums are there again", LIMIT, async || {
        let after = usage(&mesh["sgp"], "by=key").await;
        match after["total"] == sums["total"] && after["nodes"] == sums["nodes"] {
            true => Ok(()),
            false => Err(after.to_string()),
        }
    })
    .await;
    let admin = mesh["sgp"].addresses().admin.to_string();
    let csv = run(&["usage", "--by", "key,model", "--csv", "--admin", &admin]);
    assert!(
        csv.lines()
            .any(|line| line.starts_with("batch,gpt-4o,12,0,")),
        "{csv}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_and_failed_requests_are_rows_and_prompts_are_not() {
    let mock = Mock::start("mock", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.config("keys", keys())
                .config("ledger.file", json!("usage.jsonl"))
                .upstream(&mock)
        })
        .start()
        .await;
    let node = &mesh["sgp"];
    mock.set(json!({"chunks": 200, "chunk_interval": "50ms"}))
        .await;
    let url = format!("{}/chat/completions", node.base_url());
    let mut body = chat_body(MODEL, "unspeakable prompt");
    body["stream"] = true.into();
    let response = http().post(&url).bearer_auth("app").json(&body).send();
    let mut stream = EventStream::of(must(&url, response.await));
    let _ = stream.next().await;
    drop(stream);
    mock.reset().await;
    let mut unknown = body.clone();
    unknown["model"] = "no-such-model".into();
    let refused = must(
        &url,
        whole(http().post(&url).bearer_auth("app").json(&unknown)).await,
    );
    assert_eq!(refused.status, 404);
    wait_for_requests(node, 2).await;
    let path = node.config_path().with_file_name("usage.jsonl");
    let mut rows = Vec::new();
    wait_until("both rows are written", LIMIT, async || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(!text.contains("unspeakable"), "a prompt is in the ledger");
        rows = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a row"))
            .collect();
        match rows.len() == 2 {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
    let of = |outcome: &str| rows.iter().find(|row| row["outcome"] == outcome).cloned();
    let cancelled = of("cancelled").unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!(
        (&cancelled["partial"], &cancelled["key"]),
        (&json!(true), &json!("app"))
    );
    let refused = rows
        .iter()
        .find(|row| row["status"] == 404)
        .expect("the refused one");
    assert_eq!(
        (&refused["cost_nano_usd"], &refused["partial"]),
        (&Value::Null, &json!(false))
    );
}
