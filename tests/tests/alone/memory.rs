//! A node keeps no prompts in memory, and their peak cost is bounded.

use std::time::Duration;

use bytes::Bytes;
use grapevine_tests::client::{chat_body, http, whole};
use grapevine_tests::dice::Dice;
use grapevine_tests::memory::{peak_resident_bytes, texts_in};
use grapevine_tests::quiet::alone;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until, within};
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use tokio::task::JoinSet;

const MODEL: &str = "gpt-4o";

/// A model with a failing upstream.
const FAILING: &str = "gpt-broken";

/// Distinct prompts. Each goes another way: whole or streamed, here or across a hop, or failed.
const PROMPTS: usize = 400;

/// Prompts that may be found afterwards: freed memory is not overwritten at once, and the allocator gives some
/// pieces to nobody else: 20 to 35 over a hop, and hardly more of thousands. Whatever keeps prompts keeps all
/// that go one way, which are at least 53 at each node.
const REMNANTS_MAX: usize = PROMPTS / 8;

/// How often as many others follow, on connections of their own, so that each thread's memory is used again.
const OTHERS: usize = 1;

/// Digits of a prompt's number.
const DIGITS: usize = 6;

/// Clients at once, what each sends at a time, and how often.
const CLIENTS: usize = 32;
const LARGE_BYTES: usize = 256 << 10;
const ROUNDS: usize = 16;

/// How much more memory a node may use for them. All bodies at once are 8 MiB, all together 128.
const GROWTH_MAX_BYTES: u64 = 32 << 20;

/// Longer than all of it takes.
const LIMIT: Duration = Duration::from_secs(120);

/// `near` owns both upstreams; `far` asks it.
async fn mesh() -> (Mesh, Mock, Mock) {
    let good = Mock::start("good", &[MODEL]).await;
    let broken = Mock::start("broken", &[FAILING]).await;
    broken.set(json!({"error_rate": 1.0})).await;
    let mesh = Mesh::builder()
        .node("near", |node| {
            let unprobed = json!({"health": {"probe": "off"}});
            node.upstream(&good).upstream_with(&broken, unprobed)
        })
        .node("far", |node| node)
        .start()
        .await;
    (mesh, good, broken)
}

fn post(client: &Client, node: &Node, body: Bytes) -> RequestBuilder {
    let url = format!("{}/chat/completions", node.base_url());
    let json = "application/json";
    client.post(url).header("content-type", json).body(body)
}

fn process(node: &Node) -> u32 {
    must("a running node", node.id().ok_or("it has ended"))
}

/// The `index`th request, with `text` as its prompt; every fifth is large.
fn request(client: &Client, mesh: &Mesh, index: usize, text: &str) -> RequestBuilder {
    let model = if index % 5 == 4 { FAILING } else { MODEL };
    let filler = "and so on ".repeat(if index % 5 == 1 { 10_000 } else { 200 });
    let mut body = chat_body(model, &format!("{text} {filler}"));
    body["stream"] = json!(index % 2 == 1);
    let node = &mesh[if index.is_multiple_of(3) {
        "near"
    } else {
        "far"
    }];
    post(client, node, body.to_string().into()).header("x-of-the-client", text)
}

async fn send_all(mesh: &Mesh, text: impl Fn(usize) -> String) {
    let client = http();
    for index in 0..PROMPTS {
        let answer = whole(request(&client, mesh, index, &text(index))).await;
        let answer = must("an answer", answer);
        let is_failing = index % 5 == 4;
        assert_eq!(answer.status >= 500, is_failing, "{}", answer.text());
    }
}

#[tokio::test]
async fn prompts_are_nowhere_in_a_nodes_memory_after_their_answers() {
    let _room = alone().await;
    let (mesh, _good, _broken) = mesh().await;
    let prefix = format!("PROMPT-{:08x}-", Dice::of_environment().below(1 << 32));
    send_all(&mesh, |index| format!("{prefix}{index:0DIGITS$}")).await;
    // Their records are kept, which is where prompts could be too.
    wait_until("all records", LIMIT, async || {
        let kept = requests(&mesh).await;
        (kept >= PROMPTS)
            .then_some(())
            .ok_or_else(|| format!("{kept} records"))
    })
    .await;
    // Other requests of the same kinds and lengths use the same memory again.
    let length = prefix.len() + DIGITS;
    for _ in 0..OTHERS {
        send_all(&mesh, |_| format!("{:.<length$}", "nothing to be found")).await;
    }
    for node in mesh.nodes() {
        match texts_in(process(node), &prefix, DIGITS) {
            Ok(found) => {
                eprintln!(
                    "{}: {} of {PROMPTS} prompts found",
                    node.name(),
                    found.len()
                );
                assert!(found.len() <= REMNANTS_MAX, "{}: {found:?}", node.name());
            }
            Err(error) => {
                eprintln!("SKIPPED: the memory of a child cannot be read here: {error}");
                return;
            }
        }
    }
}

/// How many records of requests the nodes keep.
async fn requests(mesh: &Mesh) -> usize {
    let mut kept = 0;
    for node in mesh.nodes() {
        let page = node.admin("/requests?limit=1000").await.json();
        kept += page["requests"].as_array().map_or(0, Vec::len);
    }
    kept
}

#[tokio::test]
async fn large_prompts_of_many_clients_cost_no_more_than_they_hold_at_once() {
    let _room = alone().await;
    let (mesh, _good, _broken) = mesh().await;
    let body: Bytes = chat_body(MODEL, &"x".repeat(LARGE_BYTES))
        .to_string()
        .into();
    let peaks = || {
        mesh.nodes()
            .iter()
            .map(|node| peak_resident_bytes(process(node)))
    };
    let before: Vec<u64> = peaks().collect();
    for entry in ["near", "far"] {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let client = http();
            let rounds: Vec<_> = (0..ROUNDS / 2)
                .map(|_| post(&client, &mesh[entry], body.clone()))
                .collect();
            clients.spawn(async move {
                for request in rounds {
                    let answer = must("an answer", whole(request).await);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
        within("all clients", LIMIT, clients.join_all()).await;
    }
    for ((node, before), after) in mesh.nodes().iter().zip(before).zip(peaks()) {
        eprintln!(
            "{}: {} KiB before, {} KiB at the most",
            node.name(),
            before >> 10,
            after >> 10
        );
        assert!(
            after - before < GROWTH_MAX_BYTES,
            "{} grew by {}",
            node.name(),
            after - before
        );
    }
}
