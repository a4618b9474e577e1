//! Metrics, alerts and the dashboard, checked by a real Prometheus.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use grapevine_tests::client::{chat, chat_body, http, whole};
use grapevine_tests::ports::free_address;
use grapevine_tests::program::workspace;
use grapevine_tests::prometheus::{Prometheus, promtool};
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";
const FLAKY: &str = "gpt-flaky";
const FAR: &str = "gpt-far";
const ISSUED: &str = "issued-model";
const ZONE: &str = "api.example";

/// How long until every expression has a value: some are rates of what happens rarely.
const LIMIT: Duration = Duration::from_secs(90);

fn file(path: &str) -> PathBuf {
    workspace().join("deploy").join(path)
}

fn read(path: &str) -> String {
    must(path, std::fs::read_to_string(file(path)))
}

/// The names in the tables of `METRICS.md`.
fn documented() -> BTreeSet<String> {
    let table = read("prometheus/METRICS.md");
    let names = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    names.map(str::to_owned).collect()
}

/// The names of metrics in an expression or a page, without what histograms append to theirs.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let metrics = words.filter(|word| word.starts_with("grapevine_") || is_gen_ai(word));
    let documented = documented();
    let base = |word: &str| {
        let suffixes = ["_bucket", "_sum", "_count"];
        let base = suffixes.iter().find_map(|suffix| word.strip_suffix(suffix));
        base.filter(|base| documented.contains(*base))
            .unwrap_or(word)
            .to_owned()
    };
    metrics.map(base).collect()
}

/// The labels begin as the metrics do.
fn is_gen_ai(word: &str) -> bool {
    word.starts_with("gen_ai_client_") || word.starts_with("gen_ai_server_")
}

/// Every expression of the dashboard, with its panel's title.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_panel = |panel: &Value| {
        let title = text(&panel["title"]);
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let expressions = targets.into_iter().map(move |target| text(&target["expr"]));
        expressions
            .map(move |it| (title.clone(), it))
            .collect::<Vec<_>>()
    };
    panels.iter().flat_map(of_panel).collect()
}

/// Two nodes on which everything happens that the dashboard shows.
struct Stage {
    mesh: Mesh,
    dns: SocketAddr,
    _mocks: [Mock; 4],
}

impl Stage {
    async fn start() -> Self {
        let primary = Mock::start("primary", &[MODEL]).await;
        let flaky = Mock::start("flaky", &[FLAKY]).await;
        let far = Mock::start("far", &[FAR]).await;
        let client = ["--provider", "azure", "--token-client", "client:secret"];
        let issued = Mock::start_with("issued", &[ISSUED], &client).await;
        let dns = free_address();
        let mesh = Mesh::builder()
            .node("sgp", |node| {
                node.upstream(&primary)
                    .upstream(&flaky)
                    .raw_upstream(of_issued(&issued))
                    .config("node.public", json!({"addresses": ["203.0.113.5"]}))
                    .config("dns", json!({"listen": dns.to_string(), "zone": ZONE}))
                    .config("worker_mode", json!("!,async-task:process"))
            })
            .node("usa", |node| {
                node.upstream(&far)
                    .config("tasks.services", json!(["nobody:serves"]))
                    .config("worker_mode", json!("!"))
            })
            .start()
            .await;
        flaky
            .set(json!({"error_rate": 1.0, "error_status": 500}))
            .await;
        // Nobody serves it, so it waits.
        let task = post(
            &mesh["usa"],
            "/tasks",
            json!({"service": "nobody:serves", "payload": {}}),
        );
        assert_eq!(task.await, 202);
        Self {
            mesh,
            dns,
            _mocks: [primary, flaky, far, issued],
        }
    }

    /// One of everything.
    async fn drive(&self) {
        let node = &self.mesh["sgp"];
        for model in [MODEL, FAR, ISSUED] {
            assert_eq!(chat(node, model, "hello").await.status, 200);
            let mut body = chat_body(model, "hello");
            body["stream"] = json!(true);
            assert_eq!(post(node, "/chat/completions", body).await, 200);
        }
        let failed = chat(node, FLAKY, "hello").await.status;
        assert!(failed >= 500, "{failed}");
        let background = json!({"model": MODEL, "input": "hello", "background": true});
        assert_eq!(post(node, "/responses", background).await, 200);
        let port = self.dns.port().to_string();
        let asked = Command::new("dig")
            .args(["-r", "@127.0.0.1", "-p", &port, ZONE, "A", "+short"])
            .output();
        let answered = must("dig, which ./tests/run installs", asked);
        assert!(answered.status.success(), "{answered:?}");
    }
}

/// An upstream whose credential is issued for a time.
fn of_issued(mock: &Mock) -> Value {
    let root = format!("http://{}", mock.address());
    let entra = json!({
        "tenant_id": "tenant",
        "client_id": "client",
        "client_secret": "secret",
        "authority": format!("{root}/mock/token/entra"),
    });
    json!({
        "name": mock.name(),
        "provider": "azure",
        "base_url": root,
        "models": mock.models(),
        "auth": {"entra": entra},
    })
}

async fn post(node: &Node, path: &str, body: Value) -> u16 {
    let url = format!("{}{path}", node.base_url());
    must(path, whole(http().post(url).json(&body)).await).status
}

#[tokio::test]
async fn every_expression_of_the_dashboard_answers_on_a_real_prometheus() {
    let stage = Stage::start().await;
    let prometheus = Prometheus::start(stage.mesh.nodes(), &file("prometheus/rules.yaml")).await;
    let dashboard: Value = must(
        "json",
        serde_json::from_str(&read("grafana/grapevine.json")),
    );
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 30, "{}", expressions.len());
    wait_until("every expression to have a value", LIMIT, async || {
        stage.drive().await;
        let mut empty = Vec::new();
        for (title, expression) in &expressions {
            let asked = expression
                .replace("$instance", ".*")
                .replace("$__rate_interval", "5m");
            assert!(!asked.contains('$'), "{title}: {asked}");
            let values = must(title, prometheus.query(&asked).await);
            if !values.iter().any(|value| value.is_finite()) {
                empty.push(format!("{title}: {asked}"));
            }
        }
        if empty.is_empty() {
            Ok(())
        } else {
            Err(empty.join("\n"))
        }
    })
    .await;

    for node in stage.mesh.nodes() {
        let page = node.metrics().await;
        promtool(&["check", "metrics"], &page);
        let families = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let families: BTreeSet<String> = families.map(str::to_owned).collect();
        let documented = documented();
        let unknown: Vec<&String> = families.difference(&documented).collect();
        assert!(unknown.is_empty(), "METRICS.md does not know {unknown:?}");
        assert!(!page.contains("hello") && families.len() > 15, "{page}");
    }
    let rules = must("rules", prometheus.rules().await);
    let rules = rules["data"]["groups"][0]["rules"]
        .as_array()
        .expect("rules");
    assert!(
        rules.len() > 10 && rules.iter().all(|rule| rule["health"] == "ok"),
        "{rules:#?}"
    );
}

#[test]
fn rules_are_sound_and_fire_when_they_should() {
    let path = |name: &str| file("prometheus").join(name).display().to_string();
    promtool(&["check", "rules", &path("rules.yaml")], "");
    promtool(&["test", "rules", &path("rules_test.yaml")], "");
}

#[test]
fn dashboard_and_rules_name_no_metric_that_is_not_documented() {
    let documented = documented();
    let dashboard: Value = must(
        "json",
        serde_json::from_str(&read("grafana/grapevine.json")),
    );
    let expressions = expressions(&dashboard);
    let shown: BTreeSet<String> = expressions.iter().flat_map(|(_, it)| named(it)).collect();
    let rules = read("prometheus/rules.yaml");
    let ruled = rules
        .lines()
        .filter(|line| line.contains("job=~\"grapevine"));
    let ruled: BTreeSet<String> = ruled.flat_map(named).collect();
    for (what, names) in [("dashboard", &shown), ("rules", &ruled)] {
        let unknown: Vec<&String> = names.difference(&documented).collect();
        assert!(unknown.is_empty(), "the {what} knows {unknown:?}");
    }
    // What an operator would miss there is worth a panel.
    let left_out: Vec<&String> = documented.difference(&shown).collect();
    assert_eq!(left_out, ["grapevine_tasks_run_again_total"]);
}
