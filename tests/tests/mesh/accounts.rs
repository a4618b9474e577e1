//! Upstreams of one account at two nodes: what one of them is told holds for the other, and limits hold over both.

use std::time::Duration;

use grapevine_tests::client::{Answer, chat_body, http, whole};
use grapevine_tests::scripted::{ScriptedUpstream, answers};
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";

const LIMIT: Duration = Duration::from_secs(30);

fn accounts() -> Value {
    json!([{"name": "main"}, {"name": "other"}])
}

async fn ask(node: &Node) -> Answer {
    let request = http().post(format!("{}/chat/completions", node.base_url()));
    let body = chat_body(MODEL, "hello");
    must("an answer", whole(request.json(&body)).await)
}

/// The upstreams of the plan of `node`, in its order.
async fn planned(node: &Node) -> Vec<String> {
    let path = format!("/explain?client=127.0.0.1&model={MODEL}");
    let plan = node.admin(&path).await.json();
    let choices = plan["choices"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = choices
        .iter()
        .map(|choice| choice["upstream"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.dedup();
    names
}

/// Waits until the plan of `node` begins with `first`.
async fn plans(node: &Node, first: &str) {
    let what = format!("{} asks {first} first", node.name());
    wait_until(&what, LIMIT, async || match planned(node).await {
        names if names.first().is_some_and(|name| name == first) => Ok(()),
        names => Err(format!("{names:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_at_one_node_keeps_requests_from_the_other_nodes_upstream_of_the_account() {
    let near = Mock::start("near", &[MODEL]).await;
    let far = Mock::start("far", &[MODEL]).await;
    let spare = Mock::start("spare", &[MODEL]).await;
    let of = |account: &str| json!({"account": account});
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.upstream_with(&near, of("main"))
                .upstream_with(&spare, json!({"account": "other", "priority": 2}))
                .config("accounts", accounts())
        })
        .node("fra", |node| {
            node.upstream_with(&far, of("main"))
                .config("accounts", accounts())
        })
        .start()
        .await;
    let (sgp, fra) = (&mesh["sgp"], &mesh["fra"]);
    plans(sgp, "near").await;
    plans(fra, "far").await;
    // The account is limited, as its upstream at sgp finds out: the request goes on to the other account at once.
    near.set(json!({"rate_limit": "always", "retry_after": "200s"}))
        .await;
    let answer = ask(sgp).await;
    assert_eq!((answer.status, near.chats().await), (200, 1));
    assert_eq!(answer.header("x-grapevine-upstream"), "spare");
    assert_eq!(far.chats().await, 0);
    // And the other node asks neither.
    plans(fra, "spare").await;
    for node in [sgp, fra] {
        let answer = ask(node).await;
        assert_eq!(answer.header("x-grapevine-upstream"), "spare");
    }
    assert_eq!((near.chats().await, far.chats().await), (1, 0));
    let path = format!("/explain?client=127.0.0.1&model={MODEL}");
    let plan = fra.admin(&path).await.json();
    let own = plan["choices"].as_array().and_then(|all| {
        all.iter()
            .find(|choice| choice["upstream"] == "far")
            .cloned()
    });
    let own = own.expect("it is still there, behind the others");
    assert_eq!(
        (&own["account"], &own["state"]),
        (&json!("main"), &json!("healthy"))
    );
    let rests = own["account_rests_ms"].as_f64().expect("it rests");
    assert!(rests > 0.0 && rests <= 200_000.0, "{rests}");
    // Nothing else is left: the account is tried at the upstream that has said nothing.
    spare.set(json!({"down": true})).await;
    wait_until("far answers", LIMIT, async || {
        match ask(fra).await.header("x-grapevine-upstream") {
            "far" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn account_of_which_nothing_is_left_is_asked_no_more_before_it_says_429() {
    let body = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    });
    let last = "content-type: application/json\r\nx-ratelimit-limit-requests: 60\r\n\
                x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 4m0s\r\n";
    let near = ScriptedUpstream::always("near", answers(200, last, body.to_string())).await;
    let far = Mock::start("far", &[MODEL]).await;
    let spare = Mock::start("spare", &[MODEL]).await;
    let mut own = near.upstream(&[MODEL]);
    own["account"] = json!("main");
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.raw_upstream(own)
                .upstream_with(&spare, json!({"account": "other", "priority": 2}))
                .config("accounts", accounts())
        })
        .node("fra", |node| {
            node.upstream_with(&far, json!({"account": "main"}))
                .config("accounts", accounts())
        })
        .start()
        .await;
    let (sgp, fra) = (&mesh["sgp"], &mesh["fra"]);
    plans(sgp, "near").await;
    let answer = ask(sgp).await;
    assert_eq!(answer.header("x-grapevine-upstream"), "near");
    for node in [sgp, fra] {
        plans(node, "spare").await;
        let answer = ask(node).await;
        assert_eq!(
            (answer.status, answer.header("x-grapevine-upstream")),
            (200, "spare")
        );
    }
    assert_eq!((near.posts(), far.chats().await), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_of_ones_own_holds_over_both_nodes_and_costs_no_upstream_its_health() {
    const RPM: usize = 12;
    let near = Mock::start("near", &[MODEL]).await;
    let far = Mock::start("far", &[MODEL]).await;
    let limited = || json!([{"name": "main", "rpm": RPM}]);
    let nodes = json!(["sgp", "fra"]);
    let ledger = |name: &str| json!(format!("{name}-ledger.jsonl"));
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.upstream_with(&near, json!({"account": "main"}))
                .config("accounts", limited())
                .config("limits.nodes", nodes.clone())
                .config("ledger.file", ledger("sgp"))
        })
        .node("fra", |node| {
            node.upstream_with(&far, json!({"account": "main"}))
                .config("accounts", limited())
                .config("limits.nodes", nodes.clone())
                .config("ledger.file", ledger("fra"))
        })
        .start()
        .await;
    let (sgp, fra) = (&mesh["sgp"], &mesh["fra"]);
    let (mut answered, mut refused) = (0, Vec::new());
    while refused.len() < 6 {
        for node in [sgp, fra] {
            let answer = ask(node).await;
            match answer.status {
                200 => answered += 1,
                _ => refused.push(answer),
            }
        }
        assert!(answered <= RPM, "{answered}");
    }
    // All of it was used, at whichever node it was asked for.
    assert_eq!(answered, RPM);
    assert_eq!((near.chats().await + far.chats().await) as usize, RPM);
    let last = refused.pop().expect("six");
    assert_eq!(
        (last.status, &last.json()["error"]["code"]),
        (429, &json!("account_limit_reached"))
    );
    let wait: u64 = last.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    // It was not the upstreams' fault.
    for node in [sgp, fra] {
        let view = node.admin("/mesh").await.json();
        let upstreams = view["nodes"].as_array().expect("nodes").iter();
        for upstream in upstreams.flat_map(|node| node["upstreams"].as_array().expect("a list")) {
            assert_eq!(upstream["state"], "healthy", "{upstream}");
            assert_eq!(upstream["account"]["name"], "main");
        }
    }
    let metrics = sgp.metrics().await;
    let refusals = r#"grapevine_account_limit_refusals_total{account="main",kind="requests"}"#;
    assert!(metrics.contains(refusals), "{metrics}");
    // Who answered is known at the node that was asked.
    wait_until("all are summed", LIMIT, async || {
        let sums = sgp.admin("/usage?by=account&since=2020-01-01").await.json();
        let of_main = sums["rows"]
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["account"] == "main").cloned());
        match of_main {
            Some(row) if row["requests"] == RPM => Ok(()),
            _ => Err(sums.to_string()),
        }
    })
    .await;
}
