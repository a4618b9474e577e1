//! Limits of a key for one model, and on its requests at once.

use grapevine_tests::client::{Answer, EventStream, chat_body, http, whole};
use grapevine_tests::operator::Operator;
use grapevine_tests::{Mesh, Node, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::flood::{MODEL, OTHER_MODEL, ask, key, mesh_with};
use super::limits::LIMIT;

const NODES: [&str; 3] = ["sgp", "usa", "eur"];

/// Requests of a model in any minute.
const RPM: u64 = 20;

async fn answer(node: &Node, token: &str, model: &str) -> Answer {
    let body = chat_body(model, "hello");
    let answer = ask(&node.base_url(), &http(), token, &body).await;
    answer.expect("an answer")
}

/// Asks each node in turn until `RPM` requests of the model were admitted, and then once more at each.
async fn exhaust(mesh: &Mesh, token: &str) -> Answer {
    let mut admitted = 0;
    wait_until("the model's limit is used", LIMIT, async || {
        for node in mesh.nodes() {
            let answer = answer(node, token, MODEL).await;
            admitted += u64::from(answer.status == 200);
        }
        match admitted >= RPM {
            true => Ok(()),
            false => Err(format!("{admitted} were admitted")),
        }
    })
    .await;
    assert_eq!(admitted, RPM);
    let mut last = None;
    for node in mesh.nodes() {
        let refused = answer(node, token, MODEL).await;
        assert_eq!(refused.status, 429, "{}", refused.text());
        last = Some(refused);
    }
    last.expect("there are nodes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_of_a_model_holds_over_the_mesh_beside_the_keys_own() {
    let mut keys = key(&[("rpm", json!(1_000))]);
    keys[0]["limits"] = json!({MODEL: {"rpm": RPM}});
    let (mesh, mock) = mesh_with(&NODES, &[("keys", keys)]).await;
    let refused = exhaust(&mesh, "app").await;
    assert_eq!(refused.json()["error"]["code"], "rate_limited");
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains(MODEL), "{message}");
    // The headers are about the limit that is next to be reached.
    assert_eq!(
        refused.header("x-ratelimit-limit-requests"),
        RPM.to_string()
    );
    assert_eq!(mock.chats().await, RPM);
    let node = &mesh["sgp"];
    let other = answer(node, "app", OTHER_MODEL).await;
    assert_eq!(other.status, 200, "{}", other.text());
    assert_eq!(other.header("x-ratelimit-limit-requests"), "1000");
    let explained = node
        .admin(&format!("/explain?client=192.0.2.1&key=app&model={MODEL}"))
        .await
        .json();
    let limits = explained["limits"].as_array().expect("limits");
    assert_eq!(limits.len(), 2, "{explained}");
    assert_eq!(limits[1]["model"], MODEL);
    assert_eq!(limits[1]["left"]["here"], 0);
    let other = format!("/explain?client=192.0.2.1&key=app&model={OTHER_MODEL}");
    let explained = node.admin(&other).await.json();
    assert_eq!(explained["limits"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_of_a_model_comes_with_an_issued_key() {
    let operator = Operator::new();
    let config = [("issued_keys", operator.config())];
    let (mesh, mock) = mesh_with(&NODES, &config).await;
    let limit = format!("{MODEL}:rpm={RPM},tpm=1M");
    let issued = operator.issue("app", &["--limit", &limit, "--concurrency", "8"]);
    let refused = exhaust(&mesh, &issued.token).await;
    assert_eq!(refused.json()["error"]["code"], "rate_limited");
    let other = answer(&mesh["sgp"], &issued.token, OTHER_MODEL).await;
    assert_eq!(other.status, 200, "{}", other.text());
    assert_eq!(mock.chats().await, RPM + 1);
}

/// Streams that begin at once; those that were admitted stay open.
async fn flood(node: &Node, count: usize) -> (Vec<EventStream>, Vec<Value>) {
    let mut asked = JoinSet::new();
    let mut body = chat_body(MODEL, "hello");
    body["stream"] = json!(true);
    for _ in 0..count {
        let request = http().post(format!("{}/chat/completions", node.base_url()));
        let request = request.bearer_auth("app").json(&body);
        asked.spawn(async move { request.send().await.expect("a head") });
    }
    let (mut open, mut refused) = (Vec::new(), Vec::new());
    for answer in asked.join_all().await {
        match answer.status().as_u16() {
            200 => open.push(EventStream::of(answer)),
            429 => refused.push(answer.json().await.expect("JSON")),
            status => panic!("{status}"),
        }
    }
    (open, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_are_limited_over_the_mesh_and_free_when_they_end() {
    const AT_ONCE: usize = 4;
    let keys = key(&[("concurrency", json!(AT_ONCE))]);
    let (mesh, mock) = mesh_with(&NODES, &[("keys", keys)]).await;
    // A stream that goes on until its client hangs up.
    mock.set(json!({"chunks": 10_000, "chunk_interval": "1s"}))
        .await;
    let mut open = Vec::new();
    // The second has what the first gave back: a moment later, since a node keeps some for its own next requests.
    for name in ["sgp", "eur"] {
        wait_until("as many streams as may are open", LIMIT, async || {
            let (more, refused) = flood(&mesh[name], AT_ONCE + 1).await;
            for refused in refused {
                assert_eq!(refused["error"]["code"], "concurrency_limited");
            }
            open.extend(more);
            match open.len() >= AT_ONCE {
                true => Ok(()),
                false => Err(open.len().to_string()),
            }
        })
        .await;
        assert_eq!(open.len(), AT_ONCE);
        assert_eq!(mock.count("in_flight").await as usize, AT_ONCE);
        for other in mesh.nodes() {
            let refused = answer(other, "app", MODEL).await;
            assert_eq!(refused.status, 429, "{}", refused.text());
            assert_eq!(refused.header("retry-after"), "1");
        }
        open.clear();
        wait_until("the streams end", LIMIT, async || {
            match mock.count("in_flight").await {
                0 => Ok(()),
                some => Err(some.to_string()),
            }
        })
        .await;
    }
}

/// The node that runs a task does not have the token of the key that brought it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background_work_of_an_issued_key_is_under_its_limits() {
    let operator = Operator::new();
    let config = [("issued_keys", operator.config())];
    let (mesh, mock) = mesh_with(&["sgp"], &config).await;
    let node = &mesh["sgp"];
    let limit = format!("{MODEL}:rpm=1");
    let issued = operator.issue("app", &["--limit", &limit]);
    let url = format!("{}/responses", node.base_url());
    let create = async |model: &str| {
        let asked = json!({"model": model, "input": "hello", "background": true});
        let request = http().post(&url).bearer_auth(&issued.token).json(&asked);
        let answer = whole(request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        format!("{url}/{id}")
    };
    let completed = async |url: &str| {
        wait_until("the response is completed", LIMIT, async || {
            let request = http().get(url).bearer_auth(&issued.token);
            let answer = whole(request).await.expect("an answer").json();
            match answer["status"] == "completed" {
                true => Ok(()),
                false => Err(answer.to_string()),
            }
        })
        .await;
    };
    completed(&create(MODEL).await).await;
    create(MODEL).await;
    wait_until("the second is refused for now", LIMIT, async || {
        let records = node.requests().await["requests"].clone();
        let mut records = records.as_array().expect("records").iter();
        let is_it = |record: &Value| record["error"] == "rate_limited" && record["key"] == "app";
        match records.any(is_it) {
            true => Ok(()),
            false => Err(node.requests().await.to_string()),
        }
    })
    .await;
    completed(&create(OTHER_MODEL).await).await;
    assert_eq!(mock.stats().await["by_model"][MODEL], 1);
}
