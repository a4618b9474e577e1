//! Tokens of an identity provider: who is let in, as whom, and what happens while the provider changes or is gone.

use std::time::Duration;

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::client::{Answer, chat_body, http, whole};
use grapevine_tests::identity::IdentityProvider;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";

const LIMIT: Duration = Duration::from_secs(60);

async fn started(provider: &IdentityProvider, clients: Value) -> (Mesh, Mock) {
    let mock = Mock::start("mock", &[MODEL, "fast"]).await;
    let filed = json!([{"name": "filed", "hash": KeyHash::of("filed-secret").to_string()}]);
    let oidc = json!({"issuer": provider.issuer(), "audience": "grapevine", "clients": clients});
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.upstream(&mock)
                .config("oidc", oidc)
                .config("keys", filed)
                .config("limits.nodes", json!(["sgp"]))
        })
        .start()
        .await;
    (mesh, mock)
}

async fn chat(node: &Node, token: &str, model: &str) -> Answer {
    let url = format!("{}/chat/completions", node.base_url());
    let request = http()
        .post(&url)
        .bearer_auth(token)
        .json(&chat_body(model, "hello"));
    must(&url, whole(request).await)
}

fn outcome(answer: &Answer) -> (u16, String) {
    let code = answer.json()["error"]["code"].as_str().map(str::to_owned);
    (answer.status, code.unwrap_or_default())
}

/// The node has the provider's keys once `token` is let in.
async fn await_answer(node: &Node, token: &str) {
    wait_until("the token is taken", LIMIT, async || {
        let answer = chat(node, token, MODEL).await;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.text()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_a_token_decide_what_its_holder_may_do() {
    let provider = IdentityProvider::start().await;
    let clients = json!([
        {"claims": {"groups": ["research", "staff"]}, "models": [MODEL]},
        {"claims": {"client.kind": "robot"}, "scopes": ["api"], "rpm": 2},
    ]);
    let (mesh, mock) = started(&provider, clients).await;
    let node = &mesh["sgp"];
    let ada = json!({"sub": "ada@example.com", "groups": ["chess", "research"]});
    let ada = provider.issue(&ada);
    await_answer(node, &ada).await;
    let fast = chat(node, &ada, "fast").await;
    assert_eq!(outcome(&fast), (403, "model_not_allowed".to_owned()));
    assert_eq!(chat(node, "filed-secret", MODEL).await.status, 200);

    // Each robot has its own two requests a minute.
    for name in ["r2", "c3"] {
        let robot = provider.issue(&json!({"sub": name, "client": {"kind": "robot"}}));
        for allowed in [true, true, false] {
            let answer = chat(node, &robot, "fast").await;
            assert_eq!(answer.status == 200, allowed, "{name}: {}", answer.text());
        }
        let url = format!("{}/batches", node.base_url());
        let refused = must(&url, whole(http().get(&url).bearer_auth(&robot)).await);
        assert_eq!(outcome(&refused), (403, "scope_not_allowed".to_owned()));
    }

    let parts: Vec<&str> = ada.split('.').collect();
    let admin = provider.issue(&json!({"sub": "admin", "groups": "staff"}));
    let forged = [parts[0], admin.split('.').nth(1).expect("claims"), parts[2]].join(".");
    let stranger = IdentityProvider::start().await;
    for (token, status, code) in [
        (
            provider.issue(&json!({"sub": "eve"})),
            403,
            "client_not_allowed",
        ),
        (
            provider.issue(&json!({"groups": "staff"})),
            401,
            "key_without_a_name",
        ),
        (
            provider.issue(&json!({"sub": "a", "groups": "staff", "aud": "other"})),
            401,
            "key_for_another_audience",
        ),
        (
            provider.issue(&json!({"sub": "a", "groups": "staff", "exp": 1})),
            401,
            "key_expired",
        ),
        (
            provider.issue(&json!({"sub": "a", "groups": "staff", "nbf": 3_999_999_999_u64})),
            401,
            "key_not_yet_valid",
        ),
        (forged, 401, "key_signature_wrong"),
        (ada[..ada.len() - 2].to_owned(), 401, "key_signature_wrong"),
        (
            stranger.issue(&json!({"sub": "a", "groups": "staff"})),
            401,
            "key_signature_wrong",
        ),
    ] {
        let answer = chat(node, &token, MODEL).await;
        assert_eq!(outcome(&answer), (status, code.to_owned()));
        assert!(!answer.text().contains(&token), "{code}");
        assert!(
            !node
                .log()
                .contains(token.rsplit('.').next().expect("a signature")),
            "{code}"
        );
    }
    let records = node.admin("/requests").await.json();
    let records = records["requests"].as_array().expect("records");
    let of_ada = records.iter().filter(|record| {
        let name = record["key"].as_str().unwrap_or_default();
        name.starts_with("oidc.ada-example.com.")
    });
    assert!(of_ada.count() >= 2);
    let id = records.iter().find_map(|record| record["key_id"].as_str());
    assert!(id.expect("an id").starts_with("gvk_"));
    assert!(mock.chats().await >= 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_may_change_its_key_and_be_gone() {
    let mut provider = IdentityProvider::start().await;
    let (mesh, _mock) = started(&provider, json!([{}])).await;
    let node = &mesh["sgp"];
    let old = provider.issue(&json!({"sub": "ada"}));
    await_answer(node, &old).await;
    // Whoever knows the old key can let nobody in once the provider has withdrawn it.
    provider.rotate();
    await_answer(node, &provider.issue(&json!({"sub": "ada"}))).await;
    let refused = chat(node, &old, MODEL).await;
    assert_eq!(outcome(&refused), (401, "key_issuer_unknown".to_owned()));

    provider.stop().await;
    node.restart_with(|_| ()).await;
    let token = provider.issue(&json!({"sub": "bob"}));
    assert_eq!(
        chat(node, &token, MODEL).await.status,
        200,
        "the keys were kept"
    );
    let metrics = node.admin("/metrics").await.text();
    assert!(metrics.contains("grapevine_oidc_keys 1"), "{metrics}");

    // Without the provider and without its keys nobody is let in, and the node says why.
    let moved = |config: &mut Value| config["oidc"]["file"] = json!("another.json");
    node.restart_with(moved).await;
    let refused = chat(node, &token, MODEL).await;
    assert_eq!(
        outcome(&refused),
        (503, "identity_provider_keys_unknown".to_owned())
    );
    assert_eq!(chat(node, "filed-secret", MODEL).await.status, 200);
}
