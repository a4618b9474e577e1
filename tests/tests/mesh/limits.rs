//! Limits of keys over a mesh: never above the limit at all nodes together, and close to it.

use std::time::Duration;

use grapevine_tests::client::{Answer, chat_body, http};
use grapevine_tests::operator::run;
use grapevine_tests::{Node, wait_until};
use serde_json::{Value, json};

use super::flood::{Flood, MODEL, NODES, RPM, WORDS, ask, key, mesh};

pub(super) const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_is_admitted_to_its_limit_at_five_nodes_together_and_not_beyond() {
    let (mesh, mock) = mesh(&NODES, &key(&[("rpm", json!(RPM))]), &json!([])).await;
    let flood = Flood::start(&mesh, 2, Duration::from_millis(300));
    // Until every right of the minute is used: the rest of it admits none.
    wait_until("the limit is used", LIMIT, async || {
        match mock.chats().await as usize {
            RPM => Ok(()),
            admitted => Err(admitted.to_string()),
        }
    })
    .await;
    let outcomes = flood.end().await;
    println!("{:?}", outcomes.statuses);
    assert_eq!(mock.chats().await as usize, RPM);
    assert_eq!(outcomes.admitted.len(), RPM);
    // The last right may have been taken before any client was refused.
    let refusal = match outcomes.refusal {
        Some(refusal) => refusal,
        None => one(&mesh["sgp"], &chat_body(MODEL, "hello")).await,
    };
    assert_eq!(refusal.status, 429, "{}", refusal.text());
    assert_eq!(refusal.json()["error"]["code"], "rate_limited");
    assert_eq!(refusal.header("x-ratelimit-limit-requests"), "100");
    let wait: u64 = refusal.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
}

pub(super) async fn one(node: &Node, body: &Value) -> Answer {
    ask(&node.base_url(), &http(), "app", body)
        .await
        .expect("an answer")
}

fn number(answer: &Answer, name: &str) -> u64 {
    answer.header(name).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_settled_by_what_the_upstream_counted() {
    let (mesh, mock) = mesh(&["sgp"], &key(&[("tpm", json!(10_000))]), &json!([])).await;
    let node = &mesh["sgp"];
    let mut body = chat_body(MODEL, "one two three");
    body["max_tokens"] = json!(500);
    let mut used = 0;
    for index in 0..20 {
        body["stream"] = json!(index % 2 == 0);
        let answer = one(node, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(number(&answer, "x-ratelimit-limit-tokens"), 10_000);
        used += WORDS;
    }
    assert_eq!(mock.chats().await, 20);
    let sums = async || node.admin("/usage?by=key").await.json()["total"].clone();
    wait_until("all requests are summed", LIMIT, async || {
        let sums = sums().await;
        match sums["requests"] == 20 && sums["tokens_out"] == used {
            true => Ok(()),
            false => Err(sums.to_string()),
        }
    })
    .await;
    let total = sums().await;
    let counted = |name: &str| total[name].as_u64().expect("a count");
    let used = counted("tokens_in") + counted("tokens_out");
    // What a refused request's answer says is left: it takes nothing itself.
    body["max_tokens"] = json!(9_999);
    wait_until(
        "what was reserved and not used is back",
        LIMIT,
        async || {
            let answer = one(node, &body).await;
            assert_eq!(answer.status, 429, "{}", answer.text());
            match number(&answer, "x-ratelimit-remaining-tokens") {
                left if left == 10_000 - used => Ok(()),
                left => Err(format!("{left} are left of 10000, {used} were used")),
            }
        },
    )
    .await;
    // It would fit into the limit, and not into what is left.
    body["max_tokens"] = json!(9_800);
    let answer = one(node, &body).await;
    assert_eq!(answer.json()["error"]["code"], "rate_limited");
    let shown = node.admin("/mesh").await.json()["limits"].clone();
    let limited = &shown["limited"][0];
    assert_eq!(
        (&limited["key"], &limited["of"]),
        (&json!("app"), &json!("tokens")),
        "{shown}"
    );
    assert_eq!(shown["keys"], json!(1), "{shown}");
    let admin = node.addresses().admin.to_string();
    let status = run(&["status", "--admin", &admin]);
    assert!(
        status.contains("key app is limited to 10000 tokens a minute"),
        "{status}"
    );
    body["max_tokens"] = json!(10_000);
    let answer = one(node, &body).await;
    assert_eq!(answer.json()["error"]["code"], "larger_than_limit");
    assert_eq!(answer.header("x-should-retry"), "false");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budget_outlives_a_node_that_is_killed_and_loses_a_chunk_at_most() {
    // Each request costs a thousandth of a dollar, and the budget is for twenty.
    let prices = json!([{"model": MODEL, "input": 0, "output": 0, "request": "0.001"}]);
    let keys = key(&[("budget", json!("0.02usd/month"))]);
    let (mesh, mock) = mesh(&["sgp"], &keys, &prices).await;
    let node = &mesh["sgp"];
    let body = chat_body(MODEL, "hello");
    for _ in 0..8 {
        assert_eq!(one(node, &body).await.status, 200);
    }
    node.kill();
    node.start_again();
    node.wait_until_ready().await;
    let last = loop {
        let answer = one(node, &body).await;
        if answer.status != 200 {
            break answer;
        }
        assert!(mock.chats().await <= 20);
    };
    assert_eq!(last.status, 402, "{}", last.text());
    assert_eq!(last.json()["error"]["code"], "budget_exhausted");
    assert_eq!(last.header("x-should-retry"), "false");
    let admitted = mock.chats().await;
    println!("{admitted} of 20 were admitted");
    // A chunk is a sixteenth of the share, and as much as the largest request at least.
    assert!((17..=20).contains(&admitted), "{admitted}");
    // A model without a price could cost anything.
    let mut unknown = body.clone();
    unknown["model"] = json!("no-price");
    let refused = one(node, &unknown).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(refused.json()["error"]["code"], "model_has_no_price");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_goes_on_where_it_was_when_a_node_is_restarted_in_order() {
    let (mesh, mock) = mesh(&["sgp"], &key(&[("rpm", json!(20))]), &json!([])).await;
    let node = &mesh["sgp"];
    let body = chat_body(MODEL, "hello");
    for _ in 0..3 {
        assert_eq!(one(node, &body).await.status, 200);
    }
    for restarts in 1..=2 {
        node.terminate();
        assert!(node.wait_for_exit(LIMIT).await.success());
        node.start_again();
        node.wait_until_ready().await;
        let answer = one(node, &body).await;
        assert_eq!(answer.status, 200, "{restarts}: {}", answer.text());
    }
    let last = loop {
        let answer = one(node, &body).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(last.status, 429, "{}", last.text());
    assert_eq!(mock.chats().await, 20);
    // A process that was killed may have used everything.
    node.kill();
    node.start_again();
    node.wait_until_ready().await;
    assert_eq!(one(node, &body).await.status, 429);
}
