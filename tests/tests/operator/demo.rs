//! `grapevine demo --once --json`: what a newcomer runs first loses no request.

use std::process::Stdio;
use std::time::Duration;

use grapevine_tests::program::grapevine;
use grapevine_tests::wait::must;
use grapevine_tests::within;
use serde_json::Value;

/// The promise is two minutes after the build.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_demo_loses_no_request_and_reports_it() {
    let mut demo = tokio::process::Command::new(grapevine());
    demo.args(["demo", "--once", "--json"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = must(
        "running the demo",
        within("the demo", LIMIT, demo.output()).await,
    );
    let (out, log) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{out}\n{log}", output.status);

    let report: Value = must(
        &format!("reading the report {out}"),
        serde_json::from_str(&out),
    );
    assert_eq!(report["lost"], 0, "{report:#}");
    // An upstream was ejected and a node was killed under load: somebody must have failed over.
    for count in ["nodes", "requests", "failovers"] {
        let value = match &report[count] {
            Value::Array(all) => all.len() as u64,
            value => value.as_u64().unwrap_or_default(),
        };
        assert!(value > 0, "no {count} in {report:#}");
    }
    for time in ["recovery_ms", "p50_ms", "p99_ms"] {
        assert!(
            report[time].as_f64().is_some_and(|time| time > 0.0),
            "no {time} in {report:#}"
        );
    }
}
