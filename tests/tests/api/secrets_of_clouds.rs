//! Every kind of credential for upstreams, and everything that is issued for them: none of it is in gossip, logs, pages,
//! errors, records, metrics or spans.

use std::time::Duration;

use grapevine_tests::client::{Answer, chat_body, http, try_post};
use grapevine_tests::collector::Collector;
use grapevine_tests::scratch::Scratch;
use grapevine_tests::scripted::{
    ScriptedReading, ScriptedRule, ScriptedUpstream, answers, refuses,
};
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Node, wait_until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);

const API_KEY: &str = "api-key-of-azure-40aa17-never";
const TEAM_KEY: &str = "key-in-a-header-of-its-own-83d1-never";
const GOOGLE_KEY: &str = "api-key-of-gemini-1f0c-never";
const CLAUDE_KEY: &str = "api-key-of-anthropic-9e22-never";
const CLIENT_SECRET: &str = "secret-of-an-application-77b0-never";
const ENTRA_TOKEN: &str = "token-of-entra-5d41-never";
const FEDERATED: &str = "federated-token-in-a-file-0c9f-never";
const FEDERATED_TOKEN: &str = "token-for-a-federated-one-6ab3-never";
const AWS_ID: &str = "AKIANEVERTOBESEEN001";
const AWS_SECRET: &str = "secret-access-key-2e6d-never";
const AWS_SESSION: &str = "session-token-of-aws-b8f4-never";
const WEB_IDENTITY: &str = "web-identity-token-in-a-file-d013-never";
const ROLE_SECRET: &str = "secret-key-of-a-role-4c77-never";
const ROLE_SESSION: &str = "session-token-of-a-role-e95a-never";
const GOOGLE_TOKEN: &str = "token-of-google-3b18-never";

/// A key for tests alone.
const PRIVATE_KEY: &str =
    include_str!("../../../node/http/src/upstream/credential/tests/service-account-key.pem");

/// The upstreams, each with a model that is called as it is.
const NAMES: [&str; 9] = [
    "api-key",
    "team-key",
    "gemini",
    "anthropic",
    "entra",
    "federated",
    "aws-keys",
    "aws-role",
    "vertex",
];

/// An issuer of everything that is issued.
async fn issuer() -> ScriptedUpstream {
    let token = |text, token| ScriptedRule {
        text,
        steps: refuses(
            200,
            "",
            &json!({"access_token": token, "token_type": "Bearer", "expires_in": 3_600}),
        ),
    };
    let role = format!(
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAROLE\
         </AccessKeyId><SecretAccessKey>{ROLE_SECRET}</SecretAccessKey><SessionToken>{ROLE_SESSION}</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
         </AssumeRoleWithWebIdentityResponse>"
    );
    let rules = vec![
        token("client_secret=", ENTRA_TOKEN),
        token("client_assertion=", FEDERATED_TOKEN),
        token("grant-type%3Ajwt-bearer", GOOGLE_TOKEN),
        ScriptedRule {
            text: "AssumeRoleWithWebIdentity",
            steps: answers(200, "content-type: text/xml\r\n", role),
        },
    ];
    ScriptedUpstream::start("issuer", ScriptedReading::Whole, rules).await
}

/// The upstreams of the node that holds the credentials; `host` answers all of them.
fn upstreams(host: &str, issuer: &str, files: &Scratch) -> Vec<Value> {
    let file = |name: &str, content: &str| {
        let path = files.path().join(name);
        must(name, std::fs::write(&path, content));
        path.to_str().expect("a path of text").to_owned()
    };
    let token_url = format!("{issuer}/token");
    let account = json!({"type": "service_account", "client_email": "node@project.example", "private_key_id": "k",
        "private_key": PRIVATE_KEY, "token_uri": token_url});
    let account = file("account.json", &account.to_string());
    let federated = file("federated", FEDERATED);
    let web = file("web", WEB_IDENTITY);
    let abouts = [
        json!({"provider": "azure", "api_key": API_KEY}),
        json!({"base_url": format!("{host}/v1"), "api_key": TEAM_KEY, "auth": {"header": "x-team-key"}}),
        json!({"provider": "gemini", "api_key": GOOGLE_KEY}),
        json!({"provider": "anthropic", "api_key": CLAUDE_KEY, "paths": {"chat": "/v1/chat/completions"}}),
        json!({"provider": "azure", "auth": {"entra": {"client_id": "c", "client_secret": CLIENT_SECRET,
            "token_url": token_url}}}),
        json!({"provider": "azure", "auth": {"entra": {"client_id": "c", "federated_token_file": federated,
            "token_url": token_url}}}),
        json!({"provider": "bedrock", "aws_region": "us-east-1", "auth": {"aws": {"access_key_id": AWS_ID,
            "secret_access_key": AWS_SECRET, "session_token": AWS_SESSION}}}),
        json!({"provider": "bedrock", "aws_region": "us-east-1", "auth": {"aws": {
            "role_arn": "arn:aws:iam::123456789012:role/node", "web_identity_token_file": web, "sts_url": token_url}}}),
        json!({"provider": "vertex", "project": "p", "location": "europe-west1",
            "auth": {"google": {"credentials_file": account}}}),
    ];
    let entry = |(name, about): (&&str, Value)| {
        let mut upstream = json!({"name": name, "base_url": host, "dialects": ["chat"], "models": [name],
            "max_retries": 1, "health": {"probe": "off"}});
        grapevine_tests::mesh::merge(&mut upstream, about);
        upstream
    };
    NAMES.iter().zip(abouts).map(entry).collect()
}

async fn ask(node: &Node, model: &str) -> Answer {
    let url = format!("{}/chat/completions", node.base_url());
    must(
        "asking",
        try_post(&http(), &url, &chat_body(model, "hello")).await,
    )
}

fn everything(answer: &Answer) -> String {
    format!("{:?}\n{}", answer.headers, answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_of_any_cloud_is_in_any_log_page_error_span_or_gossip() {
    let files = Scratch::new("secrets-of-clouds");
    let (issuer, collector) = (issuer().await, Collector::start().await);
    let upstream = ScriptedUpstream::start("clouds", ScriptedReading::Whole, Vec::new()).await;
    let held = upstreams(&upstream.url(), &issuer.url(), &files);
    let otlp = json!({"endpoint": collector.endpoint()});
    let noisy = |node: grapevine_tests::mesh::NodeBuilder| {
        node.config("log.level", json!("trace"))
            .config("tracing.otlp", otlp.clone())
    };
    let mesh = Mesh::builder()
        .node("entry", noisy)
        .node("clouds", |node| {
            let node = noisy(node);
            held.into_iter()
                .fold(node, grapevine_tests::mesh::NodeBuilder::raw_upstream)
        })
        .start()
        .await;
    let mut seen = Vec::new();
    for (asked, name) in NAMES.iter().enumerate() {
        let answer = ask(&mesh["entry"], name).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert_eq!(upstream.posts(), asked + 1, "{name}");
        seen.push((format!("answer of {name}"), everything(&answer)));
    }
    assert_eq!(issuer.posts(), 4, "each token is issued once");
    // The upstream goes away: errors name it, and nothing else.
    drop(upstream);
    for name in NAMES {
        let answer = ask(&mesh["entry"], name).await;
        assert!(answer.status >= 500, "{name}: {}", answer.text());
        seen.push((format!("error of {name}"), everything(&answer)));
    }
    wait_until("the spans", LIMIT, async || {
        let spans = collector.spans();
        match spans
            .iter()
            .filter(|span| span.text("name").starts_with("chat "))
            .count()
        {
            0..18 => Err(format!("{spans:?}")),
            _ => Ok(()),
        }
    })
    .await;
    seen.push(("spans".to_owned(), collector.log()));
    for node in mesh.nodes() {
        seen.push((format!("log of {}", node.name()), node.log()));
        for path in ["/mesh", "/requests", "/metrics", "/readyz", "/", "/config"] {
            let page = node.admin(path).await;
            seen.push((format!("{path} of {}", node.name()), everything(&page)));
        }
    }
    let log = seen.iter().find(|(source, _)| source == "log of clouds");
    assert!(
        log.is_some_and(|(_, log)| log.contains("TRACE")),
        "the log is not as noisy as it can be"
    );
    let mut secrets = vec![
        API_KEY,
        TEAM_KEY,
        GOOGLE_KEY,
        CLAUDE_KEY,
        CLIENT_SECRET,
        ENTRA_TOKEN,
        FEDERATED,
        FEDERATED_TOKEN,
        AWS_ID,
        AWS_SECRET,
        AWS_SESSION,
        WEB_IDENTITY,
        ROLE_SECRET,
        ROLE_SESSION,
        GOOGLE_TOKEN,
    ];
    let lines = PRIVATE_KEY
        .lines()
        .filter(|line| !line.starts_with("-----"));
    secrets.extend(lines.filter(|line| line.len() > 16));
    let mut found = Vec::new();
    for secret in secrets {
        for (source, text) in &seen {
            if let Some(at) = text.find(secret) {
                let line = text[..at].lines().count();
                found.push(format!("{secret} in {source}, line {line}"));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new(), "of {} sources", seen.len());
}
