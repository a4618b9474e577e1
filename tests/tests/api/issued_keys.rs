//! Issued keys at one node: which are taken where, and what a refused one is told.

use std::time::Duration;

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::client::{Answer, chat_body, http, whole};
use grapevine_tests::operator::Operator;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";

const LIMIT: Duration = Duration::from_secs(30);

async fn started(operator: &Operator) -> (Mesh, Mock) {
    let mock = Mock::start("mock", &[MODEL, "fast"]).await;
    let filed = json!([{"name": "filed", "hash": KeyHash::of("filed-secret").to_string()}]);
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.upstream(&mock)
                .config("issued_keys", operator.config())
                .config("keys", filed)
        })
        .start()
        .await;
    // The mesh is awaited without a token.
    let guarded = |config: &mut Value| {
        config["admin"]["token"] = json!("operator-token");
        // From here on: a node that has held rights before lets them rest for a minute when it restarts.
        config["limits"]["nodes"] = json!(["sgp"]);
    };
    mesh["sgp"].restart_with(guarded).await;
    (mesh, mock)
}

async fn chat_with(node: &Node, header: &str, value: &str, model: &str) -> Answer {
    let url = format!("{}/chat/completions", node.base_url());
    let request = http()
        .post(&url)
        .header(header, value)
        .json(&chat_body(model, "hello"));
    must(&url, whole(request).await)
}

fn refusal(answer: &Answer) -> (u16, String) {
    let code = answer.json()["error"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status, code)
}

#[tokio::test(flavor = "multi_thread")]
async fn issued_key_is_taken_wherever_keys_are_and_its_limits_hold() {
    let operator = Operator::new();
    let (mesh, mock) = started(&operator).await;
    let node = &mesh["sgp"];
    let flags = [
        "--models",
        MODEL,
        "--regions",
        "sgp,eur",
        "--rpm",
        "600",
        "--budget",
        "50usd/month",
    ];
    let issued = operator.issue("app", &flags);
    let bearer = format!("Bearer {}", issued.token);
    for (header, value) in [
        ("authorization", bearer.as_str()),
        ("x-api-key", &issued.token),
        ("api-key", &issued.token),
        ("x-goog-api-key", &issued.token),
    ] {
        let answer = chat_with(node, header, value, MODEL).await;
        assert_eq!(answer.status, 200, "{header}: {}", answer.text());
    }
    let other = chat_with(node, "x-api-key", &issued.token, "fast").await;
    assert_eq!(refusal(&other), (403, "model_not_allowed".to_owned()));
    let elsewhere = operator.issue("app", &["--regions", "usa"]);
    let fenced = chat_with(node, "x-api-key", &elsewhere.token, MODEL).await;
    assert_ne!(fenced.status, 200, "its regions have no node");
    assert_eq!(mock.chats().await, 4);

    let answered = json!({"status": 200, "key": "app", "key_id": issued.id});
    let mut records = Value::Null;
    wait_until(
        "the request is recorded with the key's id",
        LIMIT,
        async || {
            let shown = must(
                "requests",
                node.try_admin_as("/requests", "operator-token").await,
            );
            records = shown.json()["requests"].take();
            let found = records.as_array().into_iter().flatten().any(|record| {
                let fields = answered.as_object().into_iter().flatten();
                fields
                    .into_iter()
                    .all(|(name, value)| record[name] == *value)
            });
            match found {
                true => Ok(()),
                false => Err(records.to_string()),
            }
        },
    )
    .await;
    let shown = format!("{}{records}", node.log());
    let signature = issued.token.rsplit('.').next().expect("a signature");
    assert!(!shown.contains(signature), "a token is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_key_has_a_code_and_nothing_of_it_is_logged() {
    let (operator, stranger) = (Operator::new(), Operator::new());
    let (mesh, mock) = started(&operator).await;
    let node = &mesh["sgp"];
    let good = operator.issue("app", &[]);
    let parts: Vec<&str> = good.token.split('.').collect();
    let other = operator.issue("root", &[]);
    let forged = [
        parts[0],
        other.token.split('.').nth(1).expect("claims"),
        parts[2],
    ]
    .join(".");
    let short = operator.issue("brief", &["--expires", "1s"]);
    let cut = good.token[..good.token.len() - 4].to_owned();
    let (foreign, staging) = (
        stranger.issue("app", &[]).token,
        operator.issue_for("staging", "app", &[]).token,
    );
    let sent = [
        &good.token,
        &other.token,
        &short.token,
        &forged,
        &foreign,
        &staging,
    ];
    for (token, code) in [
        (cut.as_str(), "key_malformed"),
        (&good.token[..40], "key_malformed"),
        (&forged, "key_signature_wrong"),
        (&foreign, "key_issuer_unknown"),
        (&staging, "key_for_another_mesh"),
        ("gv-unknown", "invalid_api_key"),
    ] {
        let answer = chat_with(node, "x-api-key", token, MODEL).await;
        assert_eq!(refusal(&answer), (401, code.to_owned()));
        let log = node.log();
        assert!(
            !log.contains(token) && !answer.text().contains(token),
            "{code}"
        );
    }
    wait_until("the brief key has expired", LIMIT, async || {
        let answer = chat_with(node, "x-api-key", &short.token, MODEL).await;
        match answer.status == 401 && refusal(&answer).1 == "key_expired" {
            true => Ok(()),
            false => Err(answer.text()),
        }
    })
    .await;
    assert_eq!(
        chat_with(node, "x-api-key", &good.token, MODEL)
            .await
            .status,
        200
    );
    assert!(mock.chats().await >= 1);
    // Neither claims nor signatures, of any of them, wherever an operator looks.
    let mut shown = node.log();
    for path in ["/requests", "/metrics", "/mesh", "/keys", "/config"] {
        shown += &must(path, node.try_admin_as(path, "operator-token").await).text();
    }
    for part in sent.iter().flat_map(|token| token.split('.').skip(1)) {
        assert!(!shown.contains(&part[..20]), "{part} of a token is shown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_that_is_replayed_to_another_mesh_of_the_same_operator_is_refused_there() {
    let operator = Operator::new();
    let mock = Mock::start("mock", &[MODEL]).await;
    let mesh = async |name: &str| {
        let mut issued_keys = operator.config();
        issued_keys["mesh"] = json!(name);
        Mesh::builder()
            .named(name)
            .node("sgp", |node| {
                node.upstream(&mock).config("issued_keys", issued_keys)
            })
            .start()
            .await
    };
    let (here, there) = (mesh("here").await, mesh("there").await);
    let issued = operator.issue_for("here", "app", &[]);
    let ask = async |mesh: &Mesh| chat_with(&mesh["sgp"], "x-api-key", &issued.token, MODEL).await;
    assert_eq!(ask(&here).await.status, 200);
    let refused = ask(&there).await;
    assert_eq!(refusal(&refused), (401, "key_for_another_mesh".to_owned()));
    assert_eq!(mock.chats().await, 1);
    let signature = issued.token.rsplit('.').next().expect("a signature");
    assert!(!there["sgp"].log().contains(signature), "a token is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_divide_the_api_tasks_and_the_admin_port() {
    let operator = Operator::new();
    let (mesh, _mock) = started(&operator).await;
    let node = &mesh["sgp"];
    let scoped = |scope: &str| operator.issue("app", &["--scope", scope]).token;
    let [api, tasks, reader, all] = ["api", "tasks", "admin:read", "admin:operate"].map(scoped);
    let worker = operator
        .issue("worker", &["--services", "my-plugin:process"])
        .token;
    let status = async |token: &str, path: &str| {
        let url = format!("{}{path}", node.base_url());
        must(&url, whole(http().get(&url).bearer_auth(token)).await).status
    };
    assert_eq!(chat_with(node, "x-api-key", &api, MODEL).await.status, 200);
    assert_eq!(status(&api, "/batches").await, 403);
    assert_eq!(status(&tasks, "/batches").await, 200);
    let refused = chat_with(node, "x-api-key", &tasks, MODEL).await;
    assert_eq!(refusal(&refused), (403, "scope_not_allowed".to_owned()));
    assert_eq!(status(&worker, "/batches").await, 403);

    let admin =
        async |token: &str, path: &str| must(path, node.try_admin_as(path, token).await).status;
    assert_eq!(admin(&reader, "/keys").await, 200);
    assert_eq!(admin(&all, "/keys").await, 200);
    assert_eq!(admin("operator-token", "/keys").await, 200);
    assert_eq!(admin(&api, "/keys").await, 401);
    assert_eq!(admin("filed-secret", "/keys").await, 401);
    let drain = async |token: &str| {
        let url = format!("http://{}/drain", node.addresses().admin);
        must(&url, whole(http().post(&url).bearer_auth(token)).await).status
    };
    assert_eq!(drain(&reader).await, 403);
    assert_eq!(drain(&all).await, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn static_keys_change_at_runtime_and_outlive_a_restart() {
    let operator = Operator::new();
    let (mesh, _mock) = started(&operator).await;
    let node = &mesh["sgp"];
    let status = async |secret: &str| chat_with(node, "x-api-key", secret, MODEL).await.status;
    assert_eq!(
        (status("filed-secret").await, status("new-secret").await),
        (200, 401)
    );
    let hash = KeyHash::of("new-secret").to_string();
    let put = [
        "put",
        "--name",
        "filed",
        "--hash",
        &hash,
        "--token",
        "operator-token",
    ];
    operator.say(node, &put);
    assert_eq!(
        (status("filed-secret").await, status("new-secret").await),
        (401, 200)
    );
    node.restart_with(|_| ()).await;
    assert_eq!(
        (status("filed-secret").await, status("new-secret").await),
        (401, 200)
    );
    operator.say(node, &["remove", "filed", "--token", "operator-token"]);
    assert_eq!(
        (status("filed-secret").await, status("new-secret").await),
        (401, 401)
    );
    let keys = must("/keys", node.try_admin_as("/keys", "operator-token").await);
    let keys = keys.json();
    assert_eq!(keys["file"][0]["overridden"], json!(true), "{keys}");
    assert_eq!(keys["statements"][0]["says"], json!("removed"), "{keys}");
    assert!(!keys.to_string().contains(&hash[7..]), "a hash is shown");
}
