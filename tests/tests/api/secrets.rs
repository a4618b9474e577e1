//! Secrets stay where they belong: a search through everything that nodes write, answer and publish.

use std::process::Command;
use std::time::Duration;

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::canned::Canned;
use grapevine_tests::client::{Answer, chat_body, http, whole};
use grapevine_tests::collector::Collector;
use grapevine_tests::mesh::SECRET;
use grapevine_tests::program::grapevine;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";
const LIMIT: Duration = Duration::from_secs(20);

const CLIENT_KEY: &str = "gv-client-key-7f3a91c2-never-to-be-seen";
const WRONG_KEY: &str = "gv-wrong-key-0b1d55e9-never-to-be-seen";
const ADMIN_TOKEN: &str = "admin-token-c40e2d71-never-to-be-seen";
const UPSTREAM_HEADER: &str = "upstream-header-93ab-never-to-be-seen";
const OTLP_TOKEN: &str = "otlp-token-11c7f0de-never-to-be-seen";
const PROMPT: &str = "prompt-5e8f2c07-never-to-be-seen";

#[tokio::test]
async fn no_secret_is_in_any_log_page_error_or_gossip() {
    let stage = Stage::start().await;
    let mut seen = stage.drive().await;
    wait_until("the spans of every request", LIMIT, async || {
        let spans = stage.collector.spans();
        // At each node an answer, a stream and a refused key at an upstream; all of them through the entry node.
        let attempts = spans
            .iter()
            .filter(|span| span.text("name").starts_with("chat "));
        match attempts.count() {
            0..6 => Err(format!("{spans:?}")),
            _ => Ok(()),
        }
    })
    .await;
    seen.push(("spans".to_string(), stage.collector.log()));
    for node in stage.mesh.nodes() {
        seen.push((format!("log of {}", node.name()), node.log()));
        for path in [
            "/mesh",
            "/requests",
            "/metrics",
            "/readyz",
            "/healthz",
            "/",
            "/config",
            "/log",
        ] {
            let page = admin(node, path).await;
            seen.push((format!("{path} of {}", node.name()), everything(&page)));
        }
        seen.push((format!("check of {}", node.name()), dump(node)));
    }
    let text_of = |name: &str| {
        seen.iter()
            .find(|(source, _)| source == name)
            .map(|(_, text)| text)
    };
    assert!(
        text_of("log of sgp").is_some_and(|log| log.contains("node started")),
        "the log is empty"
    );
    assert!(
        text_of("/mesh of jpn").is_some_and(|page| page.contains("primary")),
        "no gossip"
    );
    assert!(
        text_of("/requests of sgp").is_some_and(|page| page.contains("attempts")),
        "no history"
    );

    let mut found = Vec::new();
    for (secret, what) in stage.secrets() {
        for (source, text) in seen.iter().filter(|(_, text)| text.contains(&secret)) {
            let at = text.find(&secret).unwrap_or_default();
            let line = text[..at].lines().count();
            found.push(format!("{what} in {source}, line {line}"));
        }
    }
    assert_eq!(found, Vec::<String>::new(), "of {} sources", seen.len());
}

#[tokio::test]
async fn an_upstream_gets_its_own_key_and_nothing_of_the_clients() {
    let upstream = Canned::start(vec![b"data: [DONE]\n\n".to_vec()]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node)
        .node("jpn", |node| {
            node.raw_upstream(upstream.upstream("primary", SECRET, &[MODEL]))
        })
        .start()
        .await;
    for node in mesh.nodes() {
        let url = format!("{}/chat/completions", node.base_url());
        let request = http()
            .post(&url)
            .bearer_auth(CLIENT_KEY)
            .header("x-api-key", CLIENT_KEY)
            .header("api-key", CLIENT_KEY)
            .header("cookie", format!("session={CLIENT_KEY}"))
            .header("x-grapevine-node", "forged")
            .header("anthropic-version", "2023-06-01")
            .json(&chat_body(MODEL, "hello"));
        let answer = whole(request).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!everything(&answer).contains(SECRET));
    }
    let posts = upstream.posts();
    assert_eq!(posts.len(), 2);
    for post in posts {
        assert_eq!(
            post.header("authorization"),
            format!("Bearer {SECRET}"),
            "{}",
            post.head
        );
        assert_eq!(
            post.header("anthropic-version"),
            "2023-06-01",
            "{}",
            post.head
        );
        assert!(!post.head.contains(CLIENT_KEY), "{}", post.head);
        assert!(
            !post.head.to_lowercase().contains("x-grapevine-"),
            "{}",
            post.head
        );
    }
}

/// Two nodes that require keys and tokens: `sgp` has an upstream that works, `jpn` one that refuses its key.
struct Stage {
    mesh: Mesh,
    working: Mock,
    broken: Mock,
    collector: Collector,
}

impl Stage {
    async fn start() -> Self {
        let working = Mock::start("primary", &[MODEL]).await;
        let broken = Mock::start("broken", &["gpt-broken"]).await;
        let collector = Collector::start().await;
        let otlp = json!({"endpoint": collector.endpoint(), "headers": {"x-token": OTLP_TOKEN}});
        let headers = json!({"headers": {"x-tenant": UPSTREAM_HEADER}});
        let keys = json!([{"name": "app", "hash": KeyHash::of(CLIENT_KEY).to_string()}]);
        let mut builder = Mesh::builder();
        for (name, mock) in [("sgp", &working), ("jpn", &broken)] {
            builder = builder.node(name, |node| {
                node.upstream_with(mock, headers.clone())
                    .config("keys", keys.clone())
                    .config("admin.token", json!(ADMIN_TOKEN))
                    .config("tracing.otlp", otlp.clone())
                    .config("log.level", json!("info,grapevine_node=trace"))
            });
        }
        let mesh = builder.launch().await;
        for node in mesh.nodes() {
            wait_until("each node to see the other", LIMIT, async || {
                let page = node.try_admin_as("/mesh", ADMIN_TOKEN).await?;
                let text = page.text();
                let sees = text.contains("primary") && text.contains("broken");
                if page.status == 200 && sees {
                    Ok(())
                } else {
                    Err(format!("{} {text}", page.status))
                }
            })
            .await;
        }
        Self {
            mesh,
            working,
            broken,
            collector,
        }
    }

    /// Sends requests that go well and that fail in every way, and returns all that came back.
    async fn drive(&self) -> Vec<(String, String)> {
        let good = chat_body(MODEL, PROMPT);
        let mut streamed = good.clone();
        streamed["stream"] = json!(true);
        let cases: [(&str, &str, Value); 6] = [
            ("answer", CLIENT_KEY, good.clone()),
            ("stream", CLIENT_KEY, streamed),
            ("wrong key", WRONG_KEY, good.clone()),
            (
                "unknown model",
                CLIENT_KEY,
                chat_body("no-such-model", PROMPT),
            ),
            ("no model", CLIENT_KEY, json!({"messages": PROMPT})),
            (
                "refused credential",
                CLIENT_KEY,
                chat_body("gpt-broken", PROMPT),
            ),
        ];
        self.broken
            .set(json!({"error_rate": 1.0, "error_status": 401}))
            .await;
        let mut seen = Vec::new();
        for node in self.mesh.nodes() {
            for (what, key, body) in &cases {
                let answer = ask(node, key, body).await;
                let expected = matches!(*what, "answer" | "stream");
                assert_eq!(
                    answer.status == 200,
                    expected,
                    "{what}: {} {}",
                    answer.status,
                    answer.text()
                );
                // The answer itself repeats the prompt: the mock echoes it.
                let text = everything(&answer);
                let text = if expected {
                    text.replace(PROMPT, "")
                } else {
                    text
                };
                seen.push((format!("{what} at {}", node.name()), text));
            }
            let refused = must("/mesh", node.try_admin_as("/mesh", WRONG_KEY).await);
            assert_eq!(refused.status, 401, "{}", refused.text());
            seen.push((
                format!("refused token at {}", node.name()),
                everything(&refused),
            ));
        }
        self.working.set(json!({"refuse": true})).await;
        let answer = ask(&self.mesh["sgp"], CLIENT_KEY, &good).await;
        assert!(answer.status >= 500, "{}", answer.text());
        seen.push(("dead upstream".to_string(), everything(&answer)));
        seen
    }

    fn secrets(&self) -> Vec<(String, String)> {
        let named = [
            (SECRET, "the upstream's key"),
            (CLIENT_KEY, "the client's key"),
            (WRONG_KEY, "a wrong key"),
            (ADMIN_TOKEN, "the admin token"),
            (UPSTREAM_HEADER, "the upstream's header"),
            (OTLP_TOKEN, "the collector's token"),
            (PROMPT, "the prompt"),
        ];
        let mut secrets: Vec<(String, String)> = named
            .map(|(secret, what)| (secret.to_string(), what.to_string()))
            .to_vec();
        for file in ["sgp.key", "jpn.key", "mesh-ca.key"] {
            let path = self.mesh.directory().join(file);
            let pem = must(file, std::fs::read_to_string(&path));
            let lines = pem
                .lines()
                .filter(|line| !line.starts_with("-----") && line.len() > 16);
            let lines: Vec<String> = lines.map(str::to_string).collect();
            assert!(!lines.is_empty(), "{file} holds no key");
            secrets.extend(lines.into_iter().map(|line| (line, file.to_string())));
        }
        secrets
    }
}

async fn ask(node: &Node, key: &str, body: &Value) -> Answer {
    let url = format!("{}/chat/completions", node.base_url());
    let request = http().post(&url).bearer_auth(key).json(body);
    must("a whole answer", whole(request).await)
}

async fn admin(node: &Node, path: &str) -> Answer {
    must(path, node.try_admin_as(path, ADMIN_TOKEN).await)
}

/// Headers and body of an answer.
fn everything(answer: &Answer) -> String {
    format!("{:?}\n{}", answer.headers, answer.text())
}

/// The output of `grapevine check` for a node's config.
fn dump(node: &Node) -> String {
    let mut check = Command::new(grapevine());
    check.arg("check").arg("-c").arg(node.config_path());
    let output = must("grapevine check", check.output());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout) + &text(&output.stderr)
}
