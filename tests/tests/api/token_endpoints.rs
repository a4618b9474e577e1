//! Endpoints that issue tokens and are slow, down, or answer what is no token: requests go elsewhere, and nothing of the
//! answer is kept but the reason.

use std::time::Duration;

use grapevine_tests::client::{Answer, chat_body, http, try_post};
use grapevine_tests::scripted::{ScriptedStep, ScriptedUpstream, answers, refuses};
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

/// In every answer of an endpoint.
const MARK: &str = "nonsense-of-the-issuer-7c1e44";

const SECRET: &str = "secret-of-the-application-5b90d2";

/// Longer than a renewal may take.
const LIMIT: Duration = Duration::from_secs(30);

fn json_answer(status: u16, body: &Value) -> Vec<ScriptedStep> {
    refuses(status, "", body)
}

/// What is wrong with an endpoint, by the model that an upstream with it serves, and the reason that is kept.
fn faults() -> Vec<(&'static str, Vec<ScriptedStep>, &'static str)> {
    let html = format!("<!doctype html><html><body>{MARK}</body></html>");
    let token = |lifetime: i64| json!({"access_token": MARK, "token_type": "Bearer", "expires_in": lifetime});
    vec![
        ("closed", vec![ScriptedStep::Close], "unreachable"),
        ("slow", vec![ScriptedStep::Hang], "timed_out"),
        (
            "page",
            answers(200, "content-type: text/html\r\n", &html),
            "not_understood",
        ),
        (
            "other",
            json_answer(200, &json!({"token": MARK, "expires_in": 3_600})),
            "not_understood",
        ),
        ("huge", answers(200, "", MARK.repeat(100_000)), "too_large"),
        ("expired", json_answer(200, &token(0)), "expired"),
        (
            "refuses",
            json_answer(
                401,
                &json!({"error": "invalid_client", "error_description": MARK}),
            ),
            "refused",
        ),
        (
            "fails",
            json_answer(503, &json!({"error": MARK})),
            "unavailable",
        ),
        (
            "moved",
            answers(302, &format!("location: http://127.0.0.1:1/{MARK}\r\n"), ""),
            "redirected",
        ),
    ]
}

async fn ask(node: &Node, model: &str) -> Answer {
    let url = format!("{}/chat/completions", node.base_url());
    must(
        "asking",
        try_post(&http(), &url, &chat_body(model, "hello")).await,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_without_a_token_sends_requests_elsewhere_and_leaves_only_its_reason() {
    let faults = faults();
    let models: Vec<&str> = faults.iter().map(|(model, ..)| *model).collect();
    let good = Mock::start("good", &models).await;
    let mut issuers = Vec::new();
    for (model, steps, _) in &faults {
        issuers.push(ScriptedUpstream::always(model, steps.clone()).await);
    }
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            let node = node.upstream_with(&good, json!({"priority": 2}));
            let node = node.config("log.level", json!("trace"));
            issuers
                .iter()
                .zip(&models)
                .fold(node, |node, (issuer, model)| {
                    node.raw_upstream(json!({
                        "name": model,
                        "provider": "azure",
                        "base_url": good.base_url().trim_end_matches("/v1"),
                        "auth": {"entra": {
                            "client_id": "c",
                            "client_secret": SECRET,
                            "token_url": format!("{}/token", issuer.url()),
                        }},
                        "models": [model],
                        "health": {"probe": "off"},
                    }))
                })
        })
        .start()
        .await;
    let node = &mesh["sgp"];
    let mut seen = String::new();
    for (model, _, reason) in &faults {
        let answer = ask(node, model).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        assert_eq!(answer.header("x-grapevine-upstream"), "good", "{model}");
        assert!(
            answer.header("x-grapevine-attempts") != "1",
            "{model}: its own was not asked"
        );
        seen.push_str(&format!("{:?}{}", answer.headers, answer.text()));
        let found = wait_until("the reason", LIMIT, async || {
            let page = node.admin("/mesh").await.json();
            let upstreams = page["nodes"][0]["upstreams"].as_array().cloned();
            let mut upstreams = upstreams.unwrap_or_default().into_iter();
            let own = upstreams.find(|upstream| upstream["name"] == *model);
            let credential = own.map(|own| own["credential"].clone()).unwrap_or_default();
            match credential["last_failure"]["reason"] == *reason {
                true => Ok(credential),
                false => Err(credential.to_string()),
            }
        });
        let credential = found.await.0;
        assert_eq!(credential["kind"], "entra");
        assert_eq!(
            (&credential["expires_in_ms"], &credential["renewed_ms_ago"]),
            (&Value::Null, &Value::Null)
        );
    }
    let metrics = node.metrics().await;
    let failed =
        "grapevine_credential_renewals_total{upstream=\"page\",kind=\"entra\",result=\"failed\"}";
    assert!(metrics.contains(failed), "{metrics}");
    let log = node.log();
    for (_, _, reason) in &faults {
        assert!(
            log.contains(&format!("reason=\"{reason}\"")),
            "{reason} is not in the log"
        );
    }
    for path in ["/mesh", "/requests", "/config", "/readyz"] {
        seen.push_str(&node.admin(path).await.text());
    }
    for (place, text) in [
        ("log", &log),
        ("metrics", &metrics),
        ("answers and pages", &seen),
    ] {
        for secret in [MARK, SECRET] {
            assert!(!text.contains(secret), "{secret} is in the {place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_is_used_again_once_its_issuer_works() {
    // The endpoint is down at first: nothing listens there.
    let address = grapevine_tests::ports::free_address();
    let good = Mock::start("good", &["m"]).await;
    let upstream = Mock::start("own", &["m"]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.upstream_with(&good, json!({"priority": 2}))
                .raw_upstream(json!({
                    "name": "own",
                    "provider": "azure",
                    "base_url": upstream.base_url().trim_end_matches("/v1"),
                    "auth": {"entra": {"client_id": "c", "client_secret": SECRET,
                        "token_url": format!("http://{address}/token")}},
                    "paths": {"chat": "/v1/chat/completions"},
                    "dialects": ["chat"],
                    "models": ["m"],
                    "health": {"probe": "off", "cooldown": "50ms", "cooldown_max": "100ms"},
                }))
        })
        .start()
        .await;
    let node = &mesh["sgp"];
    assert_eq!(ask(node, "m").await.header("x-grapevine-upstream"), "good");
    let listener = must("listening", tokio::net::TcpListener::bind(address).await);
    let issuer = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let body =
            json!({"access_token": MARK, "token_type": "Bearer", "expires_in": 3_600}).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        loop {
            let (mut stream, _) = listener.accept().await?;
            let mut read = [0; 4_096];
            let _ = stream.read(&mut read).await?;
            stream
                .write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes())
                .await?;
            stream.shutdown().await?;
        }
        #[expect(unreachable_code, reason = "it names the type of the errors")]
        std::io::Result::Ok(())
    });
    wait_until("the upstream's own answer", LIMIT, async || {
        let answer = ask(node, "m").await;
        match answer.header("x-grapevine-upstream") {
            "own" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    issuer.abort();
    let page = node.admin("/mesh").await.json();
    let upstreams = page["nodes"][0]["upstreams"].as_array().expect("upstreams");
    let own = upstreams
        .iter()
        .find(|upstream| upstream["name"] == "own")
        .expect("it is there");
    let left = own["credential"]["expires_in_ms"]
        .as_f64()
        .expect("an expiry");
    assert!((0.0..=3_600_000.0).contains(&left), "{left}");
    assert!(!node.log().contains(MARK) && !page.to_string().contains(MARK));
}
