//! Traces, as a real OTLP receiver gets them.

use std::process::Command;
use std::time::Duration;

use grapevine_tests::client::{Answer, chat, chat_body, http, whole};
use grapevine_tests::collector::{Collector, Span};
use grapevine_tests::mesh::NodeBuilder;
use grapevine_tests::program::grapevine;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";
const LIMIT: Duration = Duration::from_secs(20);

/// What a client that traces sends, as in the W3C's own example.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

/// OTLP's numbers for kinds and status.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
const ERROR: u64 = 2;

fn traced(node: NodeBuilder, endpoint: &str, sample: f64) -> NodeBuilder {
    node.config(
        "tracing",
        json!({"otlp": {"endpoint": endpoint}, "sample": sample}),
    )
}

async fn ask_as(node: &Node, traceparent: &str) -> Answer {
    let url = format!("{}/chat/completions", node.base_url());
    let request = http()
        .post(&url)
        .header("traceparent", traceparent)
        .header("tracestate", "vendor=opaque")
        .json(&chat_body(MODEL, "hello"));
    must("a whole answer", whole(request).await)
}

/// A header of the last request that a mock got.
async fn last_header(mock: &Mock, header: &str) -> String {
    let stats = mock.stats().await;
    let headers = &stats["last_request"]["headers"];
    headers[header].as_str().unwrap_or_default().to_owned()
}

fn find<'a>(spans: &'a [Span], what: &str, is_it: impl Fn(&Span) -> bool) -> &'a Span {
    let found = spans.iter().find(|span| is_it(span));
    found.unwrap_or_else(|| panic!("no span {what} in {spans:#?}"))
}

fn is_kind(span: &Span, kind: u64) -> bool {
    span.0["kind"] == kind
}

#[tokio::test]
async fn one_trace_goes_through_two_nodes_to_the_upstream() {
    let collector = Collector::start().await;
    let primary = Mock::start("primary", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| traced(node, &collector.endpoint(), 0.0))
        .node("usa", |node| {
            traced(node, &collector.endpoint(), 0.0).upstream(&primary)
        })
        .start()
        .await;
    let answer = ask_as(&mesh["sgp"], &format!("00-{TRACE}-{CLIENT_SPAN}-01")).await;
    assert_eq!(
        (answer.status, answer.header("x-grapevine-path")),
        (200, "sgp>usa")
    );
    let request_id = answer.header("x-request-id").to_owned();
    // The mock's state now: probes come later and carry no trace.
    let traceparent = last_header(&primary, "traceparent").await;
    let state = last_header(&primary, "tracestate").await;

    let spans = collector.wait_for_trace(TRACE, 4).await;
    assert_eq!(spans.len(), 4, "{spans:#?}");
    let below = |parent: &str| find(&spans, parent, |span| span.text("parentSpanId") == parent);
    let entry = below(CLIENT_SPAN);
    let attempt = below(entry.text("spanId"));
    let served = below(attempt.text("spanId"));
    let called = below(served.text("spanId"));

    let names = [entry, attempt, served, called].map(|span| span.text("name"));
    assert_eq!(
        names,
        [
            "POST /v1/chat/completions",
            "chat gpt-4o",
            "grapevine.serve",
            "chat gpt-4o"
        ]
    );
    let kinds = [entry, attempt, served, called].map(|span| span.0["kind"].clone());
    assert_eq!(kinds, [SERVER, CLIENT, SERVER, CLIENT].map(Value::from));
    assert_eq!(
        traceparent,
        format!("00-{TRACE}-{}-01", called.text("spanId"))
    );
    assert_eq!(state, "vendor=opaque");
    assert_eq!(entry.attribute("grapevine.request.id"), request_id);
    let forwarded_as = entry.attribute("grapevine.request.forwarded_as");
    assert_eq!(served.attribute("grapevine.request.id"), forwarded_as);
    assert_eq!(attempt.attribute("grapevine.node"), "usa");
    assert_eq!(called.attribute("grapevine.upstream"), "primary");
    for span in [entry, attempt, called] {
        assert_eq!(span.attribute("gen_ai.operation.name"), "chat");
        assert_eq!(span.attribute("gen_ai.request.model"), MODEL);
    }
    assert!(!entry.attribute("gen_ai.usage.output_tokens").is_empty());
    let shown = mesh["sgp"].requests().await.to_string();
    assert!(shown.contains(TRACE), "{shown}");
}

#[tokio::test]
async fn each_attempt_is_a_span_and_the_failed_one_has_its_error() {
    let collector = Collector::start().await;
    let broken = Mock::start("broken", &[MODEL]).await;
    let spare = Mock::start("spare", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            traced(node, &collector.endpoint(), 1.0)
                .upstream_with(&broken, json!({"priority": 1}))
                .upstream_with(&spare, json!({"priority": 2}))
        })
        .start()
        .await;
    broken
        .set(json!({"error_rate": 1.0, "error_status": 503}))
        .await;
    let answer = chat(&mesh["sgp"], MODEL, "hello").await;
    assert_eq!(
        (answer.status, answer.header("x-grapevine-attempts")),
        (200, "2")
    );
    let (spans, _) = wait_until("three spans", LIMIT, async || {
        let spans = collector.spans();
        if spans.len() >= 3 {
            Ok(spans)
        } else {
            Err(format!("{spans:?}"))
        }
    })
    .await;
    let upstream = |name: &'static str| {
        find(&spans, name, |span| {
            span.attribute("grapevine.upstream") == name
        })
    };
    let (failed, good) = (upstream("broken"), upstream("spare"));
    assert!(is_kind(failed, CLIENT) && is_kind(good, CLIENT));
    assert_eq!(failed.text("parentSpanId"), good.text("parentSpanId"));
    assert_eq!(failed.attribute("error.type"), "server_error");
    assert_eq!(failed.attribute("http.response.status_code"), "503");
    assert_eq!(failed.0["status"]["code"], ERROR);
    assert_eq!(good.attribute("error.type"), "");
    let traceparent = last_header(&spare, "traceparent").await;
    assert!(traceparent.contains(good.text("spanId")), "{traceparent}");
}

#[tokio::test]
async fn what_is_not_sampled_is_passed_on_as_it_came() {
    let collector = Collector::start().await;
    let primary = Mock::start("primary", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            traced(node, &collector.endpoint(), 1.0).upstream(&primary)
        })
        .start()
        .await;
    let unsampled = format!("00-{TRACE}-{CLIENT_SPAN}-00");
    assert_eq!(ask_as(&mesh["sgp"], &unsampled).await.status, 200);
    assert_eq!(last_header(&primary, "traceparent").await, unsampled);
    // The next request is sampled: once its spans are here, the first one's would be.
    assert_eq!(chat(&mesh["sgp"], MODEL, "hello").await.status, 200);
    let (spans, _) = wait_until("two spans", LIMIT, async || {
        let spans = collector.spans();
        if spans.len() >= 2 {
            Ok(spans)
        } else {
            Err(format!("{spans:?}"))
        }
    })
    .await;
    assert!(
        spans.iter().all(|span| span.text("traceId") != TRACE),
        "{spans:?}"
    );
}

#[tokio::test]
async fn collector_that_is_gone_costs_counted_spans_and_nothing_else() {
    let collector = Collector::start().await;
    let primary = Mock::start("primary", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            traced(node, &collector.endpoint(), 1.0).upstream(&primary)
        })
        .start()
        .await;
    collector.kill();
    for _ in 0..5 {
        assert_eq!(chat(&mesh["sgp"], MODEL, "hello").await.status, 200);
    }
    wait_until("spans to be counted as lost", LIMIT, async || {
        let metrics = mesh["sgp"].metrics().await;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("grapevine_lost_total{kind=\"spans\"}"));
        match line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()) {
            Some(10) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(
        mesh["sgp"].log().contains("spans are lost"),
        "{}",
        mesh["sgp"].log()
    );
}

#[tokio::test]
async fn level_of_the_log_changes_while_the_node_runs() {
    let primary = Mock::start("primary", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.upstream(&primary)
                .config("log", json!({"format": "json", "level": "info"}))
        })
        .start()
        .await;
    let node = &mesh["sgp"];
    let finished = |id: &str| {
        let log = node.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines = lines.filter(|line| line["message"] == "request finished");
        lines.any(|line| line["request.id"] == id && line["status"] == 200)
    };
    let before = chat(node, MODEL, "hello").await;
    let id = before.header("x-request-id");
    wait_until("the first request's record", LIMIT, async || {
        let records = node.requests().await.to_string();
        if records.contains(id) {
            Ok(())
        } else {
            Err(records)
        }
    })
    .await;
    assert_eq!(log_level(node, &[]), (true, "info\n".to_owned()));
    let (is_set, printed) = log_level(node, &["inof"]);
    assert!(!is_set && printed.contains("use error, warn"), "{printed}");
    let wanted = "info,grapevine_observe::requests=debug";
    assert_eq!(log_level(node, &[wanted]), (true, format!("{wanted}\n")));
    let after = chat(node, MODEL, "hello").await;
    wait_until(
        "the line of the second request",
        LIMIT,
        async || match finished(after.header("x-request-id")) {
            true => Ok(()),
            false => Err(node.log()),
        },
    )
    .await;
    assert!(!finished(id));

    node.reload(|config| config["log"]["level"] = json!("warn"));
    wait_until("the file's level", LIMIT, async || {
        let shown = node.try_admin("/log").await?.json();
        if shown["level"] == "warn" {
            Ok(())
        } else {
            Err(shown.to_string())
        }
    })
    .await;
}

/// Whether `grapevine log` succeeded, and its output.
fn log_level(node: &Node, level: &[&str]) -> (bool, String) {
    let admin = node.addresses().admin.to_string();
    let mut command = Command::new(grapevine());
    command.args(["log", "--admin", &admin]).args(level);
    let output = must("grapevine log", command.output());
    let printed = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&printed).into_owned(),
    )
}
