//! A second attempt beside one that is late.
//!
//! Asserts counts and causes: how much time it saves is measured by `hedging_in_figures`, which is not run by itself.

use std::time::{Duration, Instant};

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::client::{Answer, chat_body, http, whole};
use grapevine_tests::mesh::{NodeBuilder, merge};
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";

/// When a test gives up.
const GIVES_UP: Duration = Duration::from_secs(60);

/// Longer than any test waits for an answer: only a second attempt can be quicker.
const STUCK: &str = "50s";

/// So many answers of a candidate say how long its answers take.
const MEASURED_BY: usize = 24;

/// Late, and soon over.
const SLOW_MS: u64 = 2_000;

/// The tokens per minute of the key `tight`.
const TIGHT_TPM: u64 = 1_000;

fn keys() -> Value {
    let key = |name: &str, more: Value| {
        let mut key = json!({"name": name, "hash": KeyHash::of(name).to_string()});
        merge(&mut key, more);
        key
    };
    json!([
        key("twice", json!({})),
        key("once", json!({"hedge": "off"})),
        key("tight", json!({"tpm": TIGHT_TPM})),
    ])
}

fn hedges(node: NodeBuilder) -> NodeBuilder {
    node.config("routing.strategy", json!("priority"))
        .config("keys", keys())
        .config("limits.nodes", json!(["sgp"]))
        .config("routing.hedge", json!({"after": "p95", "budget": "20%"}))
}

async fn ask_with(node: &Node, stream: bool, headers: &[(&str, &str)]) -> Answer {
    let url = format!("{}/chat/completions", node.base_url());
    let mut body = chat_body(MODEL, "which?");
    body["stream"] = json!(stream);
    let mut request = http().post(&url).json(&body);
    if headers.iter().all(|(name, _)| *name != "authorization") {
        request = request.bearer_auth("twice");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    must(&url, whole(request).await)
}

async fn ask(node: &Node, stream: bool) -> Answer {
    ask_with(node, stream, &[]).await
}

/// A node at which `first` is asked first, whose answers were measured, and a peer with `second`.
async fn measured(first: &Mock, second: &Mock, stream: bool) -> Mesh {
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            hedges(node.upstream_with(first, json!({"priority": 1})))
        })
        .node("jpn", |node| {
            node.upstream_with(second, json!({"priority": 2}))
        })
        .start()
        .await;
    for _ in 0..MEASURED_BY {
        assert_eq!(ask(&mesh["sgp"], stream).await.status, 200);
    }
    knows_when_it_is_late(&mesh["sgp"], stream).await;
    mesh
}

/// Waits until requests are planned by what the answers before them took: a node looks at its measurements anew some times
/// a second. The milliseconds after which an attempt is late.
async fn knows_when_it_is_late(node: &Node, stream: bool) -> f64 {
    let dry = [("x-grapevine-dry-run", "true")];
    let (late_after, _) = wait_until("a time after which it is late", GIVES_UP, async || {
        let plan: Value = ask_with(node, stream, &dry).await.json();
        let first = &plan["choices"][0];
        match first["late_after_ms"].as_f64() {
            Some(late_after) if first["region"] == "sgp" => Ok(late_after),
            _ => Err(first.to_string()),
        }
    })
    .await;
    late_after
}

async fn counted(node: &Node, result: &str) -> f64 {
    let metrics = node.metrics().await;
    let name = format!("grapevine_hedges_total{{result=\"{result}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|value| value.parse().ok())
        .expect("the metric")
}

async fn wait_for_count(node: &Node, result: &str, count: f64) {
    wait_until("a second attempt in the metrics", GIVES_UP, async || {
        let seen = counted(node, result).await;
        match seen >= count {
            true => Ok(()),
            false => Err(format!("{seen} {result}")),
        }
    })
    .await;
}

/// What the last request met.
async fn last(node: &Node) -> Value {
    node.requests().await["requests"][0].clone()
}

#[tokio::test]
async fn late_attempt_is_outrun_by_one_in_another_region_and_cancelled() {
    for stream in [true, false] {
        let first = Mock::start("first", &[MODEL]).await;
        let second = Mock::start("second", &[MODEL]).await;
        let mesh = measured(&first, &second, stream).await;
        let entry = &mesh["sgp"];
        first.set(json!({"latency": STUCK})).await;
        let answer = ask(entry, stream).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-grapevine-region"), "jpn");
        assert_eq!(answer.header("x-grapevine-reason"), "hedge");
        assert_eq!(answer.header("x-grapevine-attempts"), "2");
        // Its upstream sees the end of the call, and not only the client.
        first.wait_for_count("cancelled", 1, GIVES_UP).await;
        wait_for_count(entry, "won", 1.0).await;
        let record = last(entry).await;
        assert_eq!(record["hedge"], "won", "{record}");
        let attempts = record["attempts"].as_array().expect("attempts");
        let words = attempts
            .iter()
            .map(|it| (it["outcome"].clone(), it["reason"].clone()));
        let words: Vec<_> = words.collect();
        assert_eq!(words[0].0, "cancelled");
        assert_eq!(words[1], (json!("answered"), json!("hedge")));
    }
}

/// What `of_others` is asked for is sent twice where the attempt is late, and the same with `sent_once` is not, though its
/// attempt is late too.
async fn is_sent_once(
    (first, second): (&Mock, &Mock),
    stream: bool,
    of_others: impl AsyncFn(&Node) -> Answer,
    sent_once: impl AsyncFn(&Node) -> Answer,
) -> Mesh {
    let mesh = measured(first, second, stream).await;
    let entry = &mesh["sgp"];
    first.set(json!({"latency": STUCK})).await;
    let answer = of_others(entry).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-grapevine-reason"), "hedge");
    wait_for_count(entry, "won", 1.0).await;
    first.set(json!({"latency": format!("{SLOW_MS}ms")})).await;
    let late_after = knows_when_it_is_late(entry, stream).await;
    assert!(late_after < SLOW_MS as f64, "{late_after} ms");
    let before = second.chats().await;
    let answer = sent_once(entry).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-grapevine-attempts"), "1");
    assert_eq!(answer.header("x-grapevine-region"), "sgp");
    assert_eq!(second.chats().await, before);
    assert_eq!(counted(entry, "won").await, 1.0);
    mesh
}

#[tokio::test]
async fn client_can_forbid_it() {
    let first = Mock::start("first", &[MODEL]).await;
    let second = Mock::start("second", &[MODEL]).await;
    let mesh = is_sent_once(
        (&first, &second),
        true,
        async |node| ask_with(node, true, &[("x-grapevine-hedge", "on")]).await,
        async |node| ask_with(node, true, &[("x-grapevine-hedge", "off")]).await,
    )
    .await;
    let wrong = ask_with(&mesh["sgp"], true, &[("x-grapevine-hedge", "maybe")]).await;
    assert_eq!(wrong.status, 400, "{}", wrong.text());
}

#[tokio::test]
async fn key_can_forbid_it_and_no_client_allows_it_then() {
    let first = Mock::start("first", &[MODEL]).await;
    let second = Mock::start("second", &[MODEL]).await;
    let once = [
        ("authorization", "Bearer once"),
        ("x-grapevine-hedge", "on"),
    ];
    is_sent_once(
        (&first, &second),
        true,
        async |node| ask(node, true).await,
        async |node| ask_with(node, true, &once).await,
    )
    .await;
}

async fn ask_for(node: &Node, key: &str, more: Value) -> Answer {
    let url = format!("{}/chat/completions", node.base_url());
    let mut body = chat_body(MODEL, "which?");
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    must(
        &url,
        whole(http().post(&url).bearer_auth(key).json(&body)).await,
    )
}

#[tokio::test]
async fn stored_answers_are_asked_for_once() {
    let first = Mock::start("first", &[MODEL]).await;
    let second = Mock::start("second", &[MODEL]).await;
    is_sent_once(
        (&first, &second),
        false,
        async |node| ask_for(node, "twice", json!({"store": false})).await,
        async |node| ask_for(node, "twice", json!({"store": true})).await,
    )
    .await;
}

#[tokio::test]
async fn second_attempt_needs_rights_of_its_own() {
    let first = Mock::start("first", &[MODEL]).await;
    let second = Mock::start("second", &[MODEL]).await;
    // There is room for one of these, and not for two.
    let body = json!({"max_tokens": TIGHT_TPM * 6 / 10});
    let mesh = is_sent_once(
        (&first, &second),
        false,
        async |node| ask_for(node, "twice", body.clone()).await,
        async |node| ask_for(node, "tight", body.clone()).await,
    )
    .await;
    wait_for_count(&mesh["sgp"], "no_rights", 1.0).await;
}

#[tokio::test]
async fn provider_that_is_slow_everywhere_is_asked_within_the_budget() {
    const REQUESTS: usize = 60;
    let first = Mock::start("first", &[MODEL]).await;
    let second = Mock::start("second", &[MODEL]).await;
    let mesh = measured(&first, &second, true).await;
    let entry = &mesh["sgp"];
    let before = first.chats().await + second.chats().await;
    for mock in [&first, &second] {
        mock.set(json!({"latency": format!("{SLOW_MS}ms")})).await;
    }
    let all = (0..REQUESTS).map(|_| ask(entry, true));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer.status, 200);
    }
    let calls = (first.chats().await + second.chats().await - before) as usize;
    // A fifth of these, and of the 24 before them.
    let budget = (REQUESTS + MEASURED_BY) / 5 + 1;
    assert!(calls > REQUESTS, "{calls} calls: none was late");
    assert!(calls <= REQUESTS + budget, "{calls} calls");
    wait_for_count(entry, "no_budget", 1.0).await;
}

/// p99 to the first byte while one upstream in five is ten times as slow, beside a calm one; and what it costs in calls.
#[tokio::test]
#[ignore = "measures; takes a minute"]
async fn hedging_in_figures() {
    const REQUESTS: usize = 600;
    let mut mocks = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        let mock = Mock::start(name, &[MODEL]).await;
        mock.set(json!({"latency": "100ms"})).await;
        mocks.push(mock);
    }
    let mut builder = Mesh::builder().node("entry", |node| {
        node.config("routing.hedge", json!({"after": "p95", "budget": "3%"}))
    });
    for mock in &mocks {
        builder = builder.node(&format!("at-{}", mock.name()), |node| node.upstream(mock));
    }
    let mesh = builder.start().await;
    let entry = &mesh["entry"];
    let round = async |what: &str| {
        let before: Vec<u64> = {
            let mut counts = Vec::new();
            for mock in &mocks {
                counts.push(mock.chats().await);
            }
            counts
        };
        let mut times = Vec::new();
        for _ in 0..REQUESTS / 4 {
            let four = (0..4).map(|_| async {
                let began = Instant::now();
                assert_eq!(ask(entry, true).await.status, 200);
                began.elapsed()
            });
            times.extend(futures_util::future::join_all(four).await);
        }
        times.sort_unstable();
        let mut calls = 0;
        for (mock, before) in mocks.iter().zip(before) {
            calls += mock.chats().await - before;
        }
        let at = |share: f64| times[(share * times.len() as f64) as usize - 1];
        println!(
            "{what}: p50 {:?}, p99 {:?}, {calls} calls for {REQUESTS}",
            at(0.5),
            at(0.99)
        );
    };
    round("warming up").await;
    round("calm").await;
    mocks[0].set(json!({"latency": "1s"})).await;
    round("one of five is ten times as slow").await;
}
