//! The dashboard in a real browser, and its events.

use std::time::{Duration, Instant};

use grapevine_tests::client::{chat, chat_body, http, whole};
use grapevine_tests::quiet::alone;
use grapevine_tests::scratch::Scratch;
use grapevine_tests::steps::Steps;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";

/// A model that one upstream alone serves.
const FAR_MODEL: &str = "far";

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Watchers of one node, as documented.
const WATCHERS_MAX: usize = 32;

/// An address in Singapore.
const SINGAPORE: &str = "165.21.83.88";

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_mesh_its_requests_and_its_failures() {
    let _room = alone().await;
    let pictures = Scratch::new("dashboard");
    let near = Mock::start("near", &[MODEL]).await;
    let far = Mock::start("distant", &[FAR_MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            let node = node.upstream(&near);
            node.config("trusted_proxies", json!(["127.0.0.1/32"]))
        })
        .node("jpn", |node| node.upstream(&far))
        .node("usa", |node| node)
        .start()
        .await;
    let url = format!("http://{}/", mesh["sgp"].addresses().admin);
    let folder = pictures.path().display().to_string();
    let arguments = [url.as_str(), &folder, "sgp", far.name(), "jpn"];
    let mut page = Steps::start("dashboard.mjs", &arguments);
    let verdict = page.until("loaded").await;
    assert_eq!(
        verdict,
        "All healthy: 3 of 3 nodes ready; 2 of 2 upstreams usable"
    );

    assert_eq!(ask_from_singapore(&mesh["sgp"], FAR_MODEL).await, 200);
    chat(&mesh["sgp"], MODEL, "hello").await;
    page.go_on().await;
    eprintln!("shown: {}", page.until("shown").await);

    let died_at = Instant::now();
    far.kill();
    page.go_on().await;
    for _ in 0..3 {
        assert!(ask_from_singapore(&mesh["sgp"], FAR_MODEL).await >= 500);
    }
    let why = page.until("red").await;
    let after = died_at.elapsed();
    eprintln!("red after {after:?}: {why}");

    page.go_on().await;
    page.until("pictured").await;
    page.go_on().await;
    page.until("watching").await;
    mesh["sgp"].kill();
    page.go_on().await;
    eprintln!("lost: {}", page.until("lost").await);
    mesh["sgp"].restart().await;
    page.go_on().await;
    page.until("back").await;
    page.finish().await;
}

#[tokio::test]
async fn watchers_beyond_the_limit_are_refused_and_a_slot_that_is_left_is_free() {
    let mesh = Mesh::builder().node("sgp", |node| node).start().await;
    let (client, url) = (http(), live_url(&mesh["sgp"]));
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS_MAX {
        let watcher = must("watching", client.get(&url).send().await);
        assert_eq!(watcher.status(), 200);
        watchers.push(watcher);
    }
    let refused = must("watching", whole(client.get(&url)).await);
    assert_eq!(refused.status, 503);
    let error = refused.json()["error"].to_string();
    assert!(error.contains("32 watch already"), "{error}");
    watchers.truncate(WATCHERS_MAX - 1);
    wait_until("a free slot", LIMIT, async || {
        let watcher = must("watching", client.get(&url).send().await);
        match watcher.status().as_u16() {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_comes_at_once_and_requests_come_once() {
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node.upstream(&mock))
        .start()
        .await;
    chat(&mesh["sgp"], MODEL, "hello").await;
    let (client, url) = (http(), live_url(&mesh["sgp"]));
    let mut watcher = must("watching", client.get(&url).send().await);
    let mut events = Events::default();
    let first = events.next(&mut watcher).await;
    assert_eq!(
        (first.0.as_str(), &first.1["self"]),
        ("mesh", &json!("sgp"))
    );
    let mut ids = Vec::new();
    // The first request may be in the first event of requests or in a later one; the second follows it.
    while ids.len() < 2 {
        let (name, data) = events.next(&mut watcher).await;
        if name != "requests" {
            continue;
        }
        let listed = data["requests"].as_array().cloned().unwrap_or_default();
        if ids.is_empty() {
            chat(&mesh["sgp"], MODEL, "hello again").await;
        }
        ids.extend(listed.into_iter().map(|record| record["id"].to_string()));
    }
    assert_eq!(ids.len(), 2, "{ids:?}");
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn with_a_token_the_page_is_open_and_what_it_shows_is_not() {
    let token = json!("open-sesame-open-sesame");
    let mesh = Mesh::builder().node("sgp", |node| node.config("admin.token", token));
    let mesh = mesh.launch().await;
    mesh["sgp"].wait_until_ready().await;
    let page = mesh["sgp"].admin("/").await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(
        page.header("content-security-policy")
            .starts_with("default-src 'none'")
    );
    assert_eq!(mesh["sgp"].admin("/live").await.status, 401);
}

async fn ask_from_singapore(node: &Node, model: &str) -> u16 {
    let url = format!("{}/chat/completions", node.base_url());
    let request = http().post(url).json(&chat_body(model, "hello"));
    let answer = whole(request.header("x-forwarded-for", SINGAPORE)).await;
    must("a chat", answer).status
}

fn live_url(node: &Node) -> String {
    format!("http://{}/live", node.addresses().admin)
}

/// Reads events one at a time.
#[derive(Default)]
struct Events(String);

impl Events {
    async fn next(&mut self, watcher: &mut reqwest::Response) -> (String, Value) {
        loop {
            if let Some((event, rest)) = self.0.split_once("\n\n") {
                let (head, data) = must("an event", event.split_once('\n').ok_or("two lines"));
                let name = head.trim_start_matches("event: ").to_string();
                let data = data.trim_start_matches("data: ");
                let data = must("an event's data", serde_json::from_str(data));
                self.0 = rest.to_string();
                return (name, data);
            }
            let chunk = must(
                "an event",
                tokio::time::timeout(LIMIT, watcher.chunk()).await,
            );
            let chunk = must("an event", chunk).unwrap_or_default();
            assert!(!chunk.is_empty(), "the node ended the events");
            self.0 += &String::from_utf8_lossy(&chunk);
        }
    }
}
