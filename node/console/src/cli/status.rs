//! `grapevine status`: the mesh as a node sees it.

mod record;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use grapevine_base::causes;
use grapevine_base::page::{CredentialEntry, MeshPage, SummaryEntry};
use grapevine_base::table::{listed, printable, wrap};
use grapevine_config::Environment;
use grapevine_config::text::format_duration;

use super::admin_port::AdminArgs;
use super::fail;
use super::limits;
use super::own_files;
use super::paint::{self, Paint};

/// Unreachable nodes that a line names.
const NODES_NAMED: usize = 8;

/// The exit code of `--check` where a node is unreachable.
const NODE_UNREACHABLE: u8 = 3;

/// The exit code of `--check` where no upstream of some model may be used.
const MODEL_UNSERVED: u8 = 4;

/// What `status` takes.
///
/// The exit code is 0 when the node answered, whatever the state of the mesh, and 1 when it did not; with `--check` it
/// is 3 where a node is unreachable, and 4 where no upstream of some model may be used.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Print the node's answer as JSON
    #[arg(long)]
    pub json: bool,
    /// Print every column, however wide; else as many as the terminal holds, or 80 characters
    #[arg(short, long)]
    pub wide: bool,
    /// End with 3 where a node is unreachable, and with 4 where no upstream of some model may be used
    #[arg(long)]
    pub check: bool,
    /// Print all that is known of one upstream instead: NAME, or NODE/NAME
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    pub upstream: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Asks the node and prints its answer.
pub fn run(
    args: &StatusArgs,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let port = args.admin.port(environment);
    let asked = port.get("/mesh", &[]).and_then(|bytes| {
        let page: MeshPage = port.read(&bytes)?;
        Ok((bytes, page))
    });
    let (bytes, page) = match asked {
        Ok(good) => good,
        Err(error) => return Ok(fail(&causes::joined(&error))),
    };
    let code = match (args.check, &page.summary) {
        (false, _) => ExitCode::SUCCESS,
        (true, Some(summary)) => ExitCode::from(check(summary)),
        (true, None) => {
            let error = "the node is of an earlier version and does not say how the mesh stands";
            return Ok(fail(error));
        }
    };
    if args.json {
        out.write_all(bytes.trim_ascii_end())?;
        writeln!(out)?;
        return Ok(code);
    }
    if let Some(name) = &args.upstream {
        return record::print(&page, name, code, out);
    }
    let room = match args.wide {
        true => usize::MAX,
        false => paint::width(environment),
    };
    print(&page, room, Paint::for_stdout(environment), out)?;
    Ok(code)
}

fn check(summary: &SummaryEntry) -> u8 {
    if summary.models.unserved > 0 {
        return MODEL_UNSERVED;
    }
    match summary.nodes.unreachable {
        0 => 0,
        _ => NODE_UNREACHABLE,
    }
}

/// Prints `page` in lines of at most `room` characters.
fn print(page: &MeshPage, room: usize, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    let lines = std::iter::once(heading(page)).chain(notices(page));
    for line in lines.flat_map(|line| wrap(&line, room)) {
        writeln!(out, "{line}")?;
    }
    for (line, tone) in own_files::lines(page) {
        for line in wrap(&line, room) {
            writeln!(out, "{}", paint.line(&line, tone))?;
        }
    }
    writeln!(out)?;
    for (line, tone) in table::lines(page, room) {
        writeln!(out, "{}", paint.line(&line, tone))?;
    }
    Ok(())
}

fn heading(page: &MeshPage) -> String {
    let mode = match page.worker_mode.as_str() {
        "" => String::new(),
        mode => format!(" (WORKER_MODE {})", printable(mode)),
    };
    let own = printable(&page.own);
    match &page.summary {
        Some(summary) => format!("as {own}{mode} sees it: {}", summary.line()),
        None => format!("as {own}{mode} sees it: {} nodes", page.nodes.len()),
    }
}

/// What an operator should know before the table.
fn notices(page: &MeshPage) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(unreachable_line(page));
    lines.extend(page.summary.as_ref().and_then(SummaryEntry::unserved_line));
    lines.extend(page.unserved.iter().map(|tasks| {
        let (service, node) = (printable(&tasks.service), printable(&tasks.node));
        let count = tasks.waiting;
        format!("{count} tasks of {service} wait at {node}, and no live node serves it")
    }));
    lines.extend(credential_lines(page));
    lines.extend(limits::lines(&page.limits));
    lines
}

fn unreachable_line(page: &MeshPage) -> Option<String> {
    let gone = || page.nodes.iter().filter(|node| node.state == "unreachable");
    let named: Vec<String> = gone()
        .take(NODES_NAMED)
        .map(|node| printable(&node.name))
        .collect();
    if named.is_empty() {
        return None;
    }
    Some(format!("unreachable: {}", listed(&named, gone().count())))
}

/// A line per issued credential of the node's own upstreams.
fn credential_lines(page: &MeshPage) -> Vec<String> {
    let own = page.node(&page.own).map(|node| node.upstreams.as_slice());
    let held = own.unwrap_or_default().iter();
    let held = held.filter_map(|upstream| Some((upstream, upstream.credential.as_ref()?)));
    held.map(|(upstream, credential)| credential_line(&upstream.name, credential))
        .collect()
}

fn credential_line(upstream: &str, credential: &CredentialEntry) -> String {
    let span = |ms: f64| format_duration(Duration::from_secs((ms / 1_000.0).max(0.0) as u64));
    let state = match (credential.expires_in_ms, credential.renewed_ms_ago) {
        (Some(left), _) if left <= 0.0 => "has expired".to_owned(),
        (Some(left), Some(ago)) => format!("expires in {}, renewed {} ago", span(left), span(ago)),
        (Some(left), None) => format!("expires in {}", span(left)),
        (None, Some(ago)) => format!("does not expire, read {} ago", span(ago)),
        (None, None) => "is not at hand".to_owned(),
    };
    let failure = credential.last_failure.as_ref().filter(|failure| {
        let renewed = credential.renewed_ms_ago;
        renewed.is_none_or(|renewed| failure.ms_ago < renewed)
    });
    let failure = failure.map(|failure| {
        let (ago, reason) = (span(failure.ms_ago), printable(&failure.reason));
        format!("; its renewal failed {ago} ago: {reason}")
    });
    let (upstream, kind) = (printable(upstream), printable(&credential.kind));
    format!(
        "credential of {upstream} ({kind}) {state}{}",
        failure.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        status: StatusArgs,
    }

    /// Names at their longest, a dead node, and figures with many digits.
    fn page() -> MeshPage {
        let long = "n".repeat(63);
        let model = "m".repeat(128);
        let text = format!(
            r#"{{"self": "{long}", "worker_mode": "my-plugin:process", "nodes": [
            {{"name": "{long}", "region": "{long}", "state": "ready", "live": true, "phase": "ready", "rtt_ms": null,
             "serves_requests": true, "services": ["my-plugin:process"], "upstreams": [
               {{"name": "{long}", "state": "ejected", "reason": "no_answer", "usable": false, "models": ["{model}", "b"],
                "ttft_ms": 123456.7, "error_rate": 1.0, "in_flight": 1024, "in_flight_max": 1024,
                "reported": {{"age_ms": 640.0, "wait_ms": 2040.0}}}},
               {{"name": "standby", "state": "healthy", "usable": true, "models": ["a"], "error_rate": 0.0}}]}},
            {{"name": "sgp-{long}", "region": "sgp", "state": "unreachable", "live": false, "phase": "ready",
             "reach": "down", "rtt_ms": 163.2, "upstreams": [
               {{"name": "primary", "state": "unreachable", "reported_state": "healthy", "usable": false}}]}}],
            "summary": {{"nodes": {{"all": 2, "ready": 1, "unreachable": 1}}, "upstreams": {{"all": 3, "usable": 1,
             "unreachable": 1}}, "models": {{"all": 2, "unserved": 1, "unserved_names": ["{model}"]}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn printed(room: usize) -> String {
        let mut out = Vec::new();
        let paint = Paint::for_stdout(&[("NO_COLOR", "1")].into_iter().collect());
        print(&page(), room, paint, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn flags_have_defaults() {
        let args = Program::try_parse_from(["status"]).unwrap().status;
        assert_eq!((args.json, args.wide, args.check), (false, false, false));
    }

    #[test]
    fn all_of_it_fits_80_columns_with_the_longest_names() {
        let text = printed(80);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= 80), "{text}");
        let (heading, rows) = text.split_once("\n\n").unwrap();
        let heading = heading.replace("\n ", "");
        let counts = "1 of 2 nodes ready, 1 unreachable; 1 of 3 upstreams usable";
        assert!(heading.contains(counts), "{text}");
        assert!(heading.contains("unreachable: sgp-"), "{text}");
        assert!(heading.contains("no usable upstream for"), "{text}");
        let rows: Vec<&str> = rows.lines().collect();
        assert_eq!(rows.len(), 4, "{text}");
        assert!(rows[1].contains("  ready "), "{text}");
        assert!(
            rows[1].contains("ejected (n") && rows[1].ends_with("1024/1024"),
            "{text}"
        );
        // A node that is gone says so, and so does each of its upstreams.
        assert_eq!(rows[3].matches("unreachable").count(), 2, "{text}");
        assert!(!rows[3].contains("healthy"), "{text}");
    }

    #[test]
    fn wide_table_cuts_nothing() {
        let text = printed(usize::MAX);
        assert!(text.contains(&"m".repeat(128)), "{text}");
        assert!(text.contains("1024/1024 (wait 2.0s, 0.6s old)"), "{text}");
        assert!(text.contains("api, my-plugin:process"), "{text}");
    }

    #[test]
    fn check_says_what_is_wrong_by_its_code() {
        let mut summary = page().summary.unwrap();
        assert_eq!(check(&summary), MODEL_UNSERVED);
        summary.models.unserved = 0;
        assert_eq!(check(&summary), NODE_UNREACHABLE);
        summary.nodes.unreachable = 0;
        assert_eq!(check(&summary), 0);
    }

    #[test]
    fn issued_credentials_are_shown_with_what_is_left_and_why_not() {
        let page = r#"{"self": "a", "nodes": [{"name": "a", "upstreams": [
            {"name": "azure", "credential": {"kind": "entra", "expires_in_ms": 3120000, "renewed_ms_ago": 480000,
             "last_failure": {"reason": "refused", "ms_ago": 900000}}},
            {"name": "vertex", "credential": {"kind": "google", "expires_in_ms": 60000, "renewed_ms_ago": 3540000,
             "last_failure": {"reason": "timed_out", "ms_ago": 3000}}},
            {"name": "bedrock", "credential": {"kind": "aws", "last_failure": {"reason": "none", "ms_ago": 1000}}},
            {"name": "openai"}]}]}"#;
        let page: MeshPage = serde_json::from_str(page).unwrap();
        assert_eq!(
            credential_lines(&page),
            [
                "credential of azure (entra) expires in 52m, renewed 8m ago",
                "credential of vertex (google) expires in 1m, renewed 59m ago; its renewal failed 3s ago: timed_out",
                "credential of bedrock (aws) is not at hand; its renewal failed 1s ago: none",
            ]
        );
    }
}
