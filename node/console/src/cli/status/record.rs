//! All that is known of one upstream: its owner's node knows the most.

use std::io::{self, Write};
use std::process::ExitCode;

use grapevine_base::page::{MeshPage, NodeEntry, UpstreamEntry};
use grapevine_base::table::{number, printable};

use super::super::fail;
use super::table::{checked, errors, health, span};

/// Prints every upstream called `name`, which may be `NODE/NAME`; `code` is the exit code where there is one.
pub(super) fn print(
    page: &MeshPage,
    name: &str,
    code: ExitCode,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let is_asked = |node: &NodeEntry, upstream: &UpstreamEntry| match name.split_once('/') {
        Some((owner, name)) => node.name == owner && upstream.name == name,
        None => upstream.name == name,
    };
    let all = || {
        page.nodes
            .iter()
            .flat_map(|node| node.upstreams.iter().map(move |it| (node, it)))
    };
    let found: Vec<_> = all()
        .filter(|(node, upstream)| is_asked(node, upstream))
        .collect();
    if found.is_empty() {
        let names: Vec<String> = all()
            .map(|(node, it)| format!("{}/{}", node.name, it.name))
            .collect();
        let known = match names.is_empty() {
            true => "it knows of none".to_owned(),
            false => format!("it knows {}", printable(&names.join(", "))),
        };
        return Ok(fail(&format!(
            "the node knows no upstream called {name}: {known}"
        )));
    }
    for (index, (node, upstream)) in found.into_iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        writeln!(
            out,
            "{}",
            printable(&format!("{}/{}", node.name, upstream.name))
        )?;
        for (title, value) in facts(node, upstream) {
            writeln!(out, "  {title:<14}{value}")?;
        }
        if node.name != page.own {
            let owner = printable(&node.name);
            writeln!(
                out,
                "  its base URL, checks and percentiles are known at {owner} alone"
            )?;
        }
    }
    Ok(code)
}

fn facts(node: &NodeEntry, upstream: &UpstreamEntry) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let mut add = |title, value: Option<String>| facts.extend(value.map(|value| (title, value)));
    add("region", node.region.as_deref().map(printable));
    add("health", Some(standing(upstream)));
    let configured = upstream.configured.as_ref();
    add("base URL", configured.map(|it| printable(&it.base_url)));
    add("provider", configured.map(|it| printable(&it.provider)));
    let weight = upstream
        .weight
        .map_or(String::new(), |weight| format!(", weight {weight}"));
    add(
        "priority",
        upstream.tier.map(|tier| format!("{tier}{weight}")),
    );
    add(
        "max retries",
        configured.map(|it| it.max_retries.to_string()),
    );
    add(
        "timeouts",
        configured.map(|it| {
            let timeout = &it.timeout;
            printable(&format!(
                "connect {}, first byte {}, answer {}, idle {}, total {}",
                timeout.connect, timeout.first_byte, timeout.answer, timeout.idle, timeout.total
            ))
        }),
    );
    add(
        "last check",
        upstream.checked.is_some().then(|| checked(upstream)),
    );
    let row = upstream
        .failures_in_row
        .map(|row| format!("{row} in a row, "));
    add(
        "failures",
        Some(format!(
            "{}{} of the last",
            row.unwrap_or_default(),
            errors(upstream)
        )),
    );
    let span = [upstream.mean_ms, upstream.p50_ms, upstream.p99_ms].map(number);
    let of_last =
        |[mean, p50, p99]: [String; 3]| format!("; mean of ten {mean}, p50 {p50}, p99 {p99}");
    let known = upstream.mean_ms.map_or(String::new(), |_| of_last(span));
    add(
        "ttft ms",
        upstream
            .ttft_ms
            .map(|ttft| format!("{} expected{known}", number(Some(ttft)))),
    );
    let mean = upstream.answer_mean_ms.map_or(String::new(), |mean| {
        format!("; mean of ten {}", number(Some(mean)))
    });
    add(
        "answer ms",
        upstream
            .answer_ms
            .map(|answer| format!("{} expected{mean}", number(Some(answer)))),
    );
    add("in flight", Some(upstream.load_cell()));
    add("models", Some(printable(&upstream.models.join(", "))));
    add("last error", upstream.last_error.as_deref().map(printable));
    facts
}

/// The health, since when, and what its owner last said where that is unreachable.
fn standing(upstream: &UpstreamEntry) -> String {
    let since = upstream
        .since_ms
        .map_or(String::new(), |since| format!(" for {}", span(since)));
    let last = upstream
        .reported_state
        .as_deref()
        .filter(|_| upstream.state == "unreachable");
    let last = last.map_or(String::new(), |last| {
        format!("; {} when last heard of", printable(last))
    });
    match last.as_str() {
        "" => format!("{}{since}", health(upstream)),
        last => format!("{}{last}", health(upstream)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> MeshPage {
        let text = r#"{"self": "usa", "nodes": [
            {"name": "usa", "region": "usa", "state": "ready", "upstreams": [
               {"name": "primary", "state": "healthy", "since_ms": 180000, "models": ["a", "b"], "tier": 1, "weight": 2.0,
                "ttft_ms": 61.4, "mean_ms": 72.0, "p50_ms": 60.0, "p99_ms": 250.0, "answer_ms": 4210.0,
                "answer_mean_ms": 4000.0, "error_rate": 0.05, "in_flight": 3, "in_flight_max": 1024,
                "checked": {"ms_ago": 4200, "by": "traffic", "good": true, "outcome": "answered"}, "failures_in_row": 0,
                "configured": {"provider": "openai", "base_url": "https://api.example.com/v1", "max_retries": 3,
                 "timeout": {"connect": "2s", "first_byte": "2m", "answer": "10m", "idle": "5m", "total": "1h"}}}]},
            {"name": "eur", "region": "eur", "state": "unreachable", "upstreams": [
               {"name": "primary", "state": "unreachable", "reported_state": "healthy", "models": ["a"], "tier": 1}]}]}"#;
        serde_json::from_str(text).unwrap()
    }

    fn printed(name: &str) -> String {
        let mut out = Vec::new();
        print(&page(), name, ExitCode::SUCCESS, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn own_upstream_is_shown_in_full() {
        let expected = "usa/primary
  region        usa
  health        healthy for 3m
  base URL      https://api.example.com/v1
  provider      openai
  priority      1, weight 2
  max retries   3
  timeouts      connect 2s, first byte 2m, answer 10m, idle 5m, total 1h
  last check    4s ago, traffic: answered
  failures      0 in a row, 5% of the last
  ttft ms       61 expected; mean of ten 72, p50 60, p99 250
  answer ms     4210 expected; mean of ten 4000
  in flight     3/1024
  models        a, b
";
        assert_eq!(printed("usa/primary"), expected);
    }

    #[test]
    fn peers_upstream_is_shown_as_far_as_it_is_known() {
        let text = printed("eur/primary");
        assert!(
            text.contains("unreachable; healthy when last heard of"),
            "{text}"
        );
        assert!(text.contains("known at eur alone"), "{text}");
        assert!(!text.contains("max retries"), "{text}");
        let both = printed("primary");
        assert!(
            both.contains("usa/primary") && both.contains("eur/primary"),
            "{both}"
        );
        assert_eq!(printed("nobody"), "");
    }
}
