//! A node with more requests than it may have in flight: they wait, and keys take turns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::client::{chat_body, http};
use grapevine_tests::wait_until;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::flood::{MODEL, ask, mesh_with};
use super::limits::LIMIT;

fn keys() -> Value {
    let key = |name: &str, weight: u64| json!({"name": name, "hash": KeyHash::of(name).to_string(), "weight": weight});
    json!([key("heavy", 3), key("light", 1)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_beyond_the_limit_waits_for_one_that_ends() {
    let config = [("keys", keys()), ("limits.in_flight", json!(1))];
    let (mesh, mock) = mesh_with(&["sgp"], &config).await;
    let node = &mesh["sgp"];
    mock.set(json!({"hang": true})).await;
    let url = node.base_url();
    let hanging = {
        let url = url.clone();
        tokio::spawn(async move { ask(&url, &http(), "heavy", &chat_body(MODEL, "hello")).await })
    };
    mock.wait_for_count("in_flight", 1, LIMIT).await;
    mock.set(json!({"hang": false})).await;
    let waiting =
        tokio::spawn(async move { ask(&url, &http(), "light", &chat_body(MODEL, "hello")).await });
    wait_until("one waits", LIMIT, async || {
        let metrics = node.metrics().await;
        match metrics.contains("grapevine_queue_waiting 1") {
            true => Ok(()),
            false => Err(metrics),
        }
    })
    .await;
    hanging.abort();
    let answer = waiting.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let metrics = node.metrics().await;
    assert!(metrics.contains("grapevine_queue_waiting 0"), "{metrics}");
    assert!(
        metrics.contains("grapevine_queue_served_total 1"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_take_turns_by_weight_and_those_that_wait_in_vain_are_shed_by_age() {
    const CLIENTS: usize = 12;
    let config = [
        ("keys", keys()),
        ("limits.in_flight", json!(2)),
        ("limits.waiting", json!(64)),
    ];
    let (mesh, mock) = mesh_with(&["sgp"], &config).await;
    mock.set(json!({"latency": "100ms"})).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for key in ["heavy", "light"] {
        for _ in 0..CLIENTS {
            let (url, stop) = (mesh["sgp"].base_url(), Arc::clone(&stop));
            clients.spawn(async move {
                let (client, body) = (http(), chat_body(MODEL, "hello"));
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = ask(&url, &client, key, &body).await.expect("an answer");
                    answers.push((key, answer));
                }
                answers
            });
        }
    }
    // Lines that last for two seconds are shed by age.
    wait_until("enough are served", LIMIT, async || {
        match mock.chats().await {
            150.. => Ok(()),
            few => Err(few.to_string()),
        }
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let (mut served, mut codes) = (BTreeMap::new(), BTreeMap::new());
    for (key, answer) in clients.join_all().await.into_iter().flatten() {
        if answer.status == 200 {
            *served.entry(key).or_insert(0_u32) += 1;
            continue;
        }
        assert_eq!(answer.status, 429, "{}", answer.text());
        let wait: u64 = answer.header("retry-after").parse().expect("seconds");
        assert!((1..=10).contains(&wait), "{wait}");
        let code = answer.json()["error"]["code"].to_string();
        *codes.entry(code).or_insert(0_u32) += 1;
    }
    println!("{served:?} {codes:?}");
    let ratio = f64::from(served["heavy"]) / f64::from(served["light"]);
    assert!((2.0..4.0).contains(&ratio), "{served:?}");
    assert!(codes.contains_key("\"waited_too_long\""), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_where_the_queue_is_off() {
    let config = [
        ("keys", keys()),
        ("limits.in_flight", json!(1)),
        ("limits.waiting", json!(0)),
    ];
    let (mesh, mock) = mesh_with(&["sgp"], &config).await;
    mock.set(json!({"hang": true})).await;
    let url = mesh["sgp"].base_url();
    let hanging = {
        let url = url.clone();
        tokio::spawn(async move { ask(&url, &http(), "heavy", &chat_body(MODEL, "hello")).await })
    };
    mock.wait_for_count("in_flight", 1, LIMIT).await;
    let refused = ask(&url, &http(), "light", &chat_body(MODEL, "hello")).await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.json()["error"]["code"], "overloaded");
    hanging.abort();
}
