//! `grapevine status`: the mesh as a node sees it.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use grapevine_base::causes;
use grapevine_base::page::{CredentialEntry, MeshPage, NodeEntry, UpstreamEntry};
use grapevine_base::table::{Side, TextTable, number, printable};
use grapevine_config::Environment;
use grapevine_config::text::format_duration;

use super::admin_port::{ADMIN, AdminPort};
use super::fail;
use super::limits;
use super::own_files;
use super::paint::{Paint, Tone};

/// The flag that names the admin port.
const FLAG: &str = "--admin";

/// Names of models that a line shows.
const MODELS_SHOWN: usize = 3;

/// What `status` takes.
///
/// The exit code is 0 when the node answered, whatever the state of the mesh, and 1 when it did not.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Print the node's answer as JSON
    #[arg(long)]
    pub json: bool,
    /// The node's admin address, as in admin.listen
    #[arg(long, value_name = "URL", default_value = ADMIN)]
    pub admin: String,
    /// The node's admin token; also GRAPEVINE_ADMIN_TOKEN
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
}

/// Asks the node and prints its answer.
pub fn run(
    args: &StatusArgs,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let port = AdminPort::new(FLAG, &args.admin, args.token.as_deref(), environment);
    let asked = port.get("/mesh", &[]).and_then(|bytes| {
        let page: MeshPage = port.read(&bytes)?;
        Ok((bytes, page))
    });
    let (bytes, page) = match asked {
        Ok(good) => good,
        Err(error) => return Ok(fail(&causes::joined(&error))),
    };
    if args.json {
        out.write_all(bytes.trim_ascii_end())?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{}", heading(&page))?;
    for tasks in &page.unserved {
        let (service, node) = (printable(&tasks.service), printable(&tasks.node));
        let count = tasks.waiting;
        writeln!(
            out,
            "{count} tasks of {service} wait at {node}, and no live node serves it"
        )?;
    }
    for line in credential_lines(&page)
        .iter()
        .chain(&limits::lines(&page.limits))
    {
        writeln!(out, "{line}")?;
    }
    let paint = Paint::for_stdout(environment);
    for (line, tone) in own_files::lines(&page) {
        writeln!(out, "{}", paint.line(&line, tone))?;
    }
    writeln!(out)?;
    let tones = std::iter::once(Tone::Plain).chain(page.nodes.iter().flat_map(tones));
    for (line, tone) in table(&page).lines().iter().zip(tones) {
        writeln!(out, "{}", paint.line(line, tone))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn heading(page: &MeshPage) -> String {
    let live = page.nodes.iter().filter(|node| node.live).count();
    let upstreams = || page.nodes.iter().flat_map(|node| &node.upstreams);
    let healthy = upstreams()
        .filter(|upstream| matches!(&*upstream.state, "healthy" | "untested"))
        .count();
    let mode = match page.worker_mode.as_str() {
        "" => String::new(),
        mode => format!(" (WORKER_MODE {})", printable(mode)),
    };
    format!(
        "as {}{mode} sees it: {live} of {} nodes live, {healthy} of {} upstreams healthy",
        printable(&page.own),
        page.nodes.len(),
        upstreams().count()
    )
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

/// A line per upstream; the columns of its node are filled on the first.
fn table(page: &MeshPage) -> TextTable {
    let mut table = TextTable::new(&[
        ("node", Side::Left),
        ("region", Side::Left),
        ("phase", Side::Left),
        ("live", Side::Left),
        ("reach", Side::Left),
        ("rtt ms", Side::Right),
        ("serves", Side::Left),
        ("upstream", Side::Left),
        ("state", Side::Left),
        ("ttft ms", Side::Right),
        ("p99 ms", Side::Right),
        ("answer ms", Side::Right),
        ("errors", Side::Right),
        ("in flight", Side::Right),
        ("models", Side::Left),
    ]);
    for node in &page.nodes {
        let mut first = node_cells(node, page).to_vec();
        if node.upstreams.is_empty() {
            first.push("-".to_owned());
            table.row(first);
            continue;
        }
        for upstream in &node.upstreams {
            let cells = upstream_cells(upstream);
            let mut row = std::mem::replace(&mut first, vec![String::new(); NODE_CELLS]);
            row.extend(cells);
            table.row(row);
        }
    }
    table
}

/// The severity of each of a node's lines in the table.
fn tones(node: &NodeEntry) -> Vec<Tone> {
    if node.upstreams.is_empty() || !node.live {
        let tone = if node.live { Tone::Plain } else { Tone::Bad };
        return vec![tone; node.upstreams.len().max(1)];
    }
    let states = node
        .upstreams
        .iter()
        .map(|upstream| upstream.state.as_str());
    let tones = states.map(|state| match state {
        "healthy" | "untested" => Tone::Plain,
        "ejected" => Tone::Bad,
        _ => Tone::Warning,
    });
    tones.collect()
}

/// Cells of a line that are about its node.
const NODE_CELLS: usize = 7;

fn node_cells(node: &NodeEntry, page: &MeshPage) -> [String; NODE_CELLS] {
    let word = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), printable);
    let is_own = node.name == page.own;
    [
        printable(&node.name),
        word(&node.region),
        printable(&node.phase),
        if node.live { "yes" } else { "no" }.to_owned(),
        if is_own {
            "self".to_owned()
        } else {
            word(&node.reach)
        },
        number(node.rtt_ms),
        serves(node),
    ]
}

/// What the node does: `api` for requests, and the background services it runs.
fn serves(node: &NodeEntry) -> String {
    let api = node
        .serves_requests
        .unwrap_or(false)
        .then(|| "api".to_owned());
    let services = node.services.iter().flatten().map(|key| printable(key));
    let serves: Vec<String> = api.into_iter().chain(services).collect();
    if serves.is_empty() {
        return "-".to_owned();
    }
    serves.join(", ")
}

fn upstream_cells(upstream: &UpstreamEntry) -> [String; 8] {
    let state = match &upstream.reason {
        Some(reason) => format!("{} ({reason})", upstream.state),
        None => upstream.state.clone(),
    };
    let errors = upstream.error_rate.filter(|share| share.is_finite());
    [
        printable(&upstream.name),
        printable(&state),
        number(upstream.ttft_ms),
        number(upstream.p99_ms),
        number(upstream.answer_ms),
        errors.map_or("-".to_owned(), |share| format!("{:.0}%", share * 100.0)),
        upstream.load_cell(),
        models(&upstream.models),
    ]
}

fn models(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(MODELS_SHOWN)
        .map(|name| printable(name))
        .collect();
    match names.len().saturating_sub(MODELS_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
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

    fn page() -> MeshPage {
        let text = r#"{"self": "usa", "nodes": [
            {"name": "usa", "region": "usa", "live": true, "phase": "ready", "reach": "open", "rtt_ms": null,
             "serves_requests": true, "services": ["my-plugin:process"],
             "upstreams": [
               {"name": "primary", "state": "ejected", "reason": "connect", "models": ["a", "b", "c", "d", "e"],
                "ttft_ms": 61.4, "p99_ms": null, "answer_ms": 4210.0, "error_rate": 0.5, "in_flight": 3, "in_flight_max": 1024},
               {"name": "standby", "state": "healthy", "reason": null, "models": ["a"], "error_rate": 0.0,
                "in_flight": 0, "in_flight_max": 8}]},
            {"name": "eur", "region": null, "live": false, "phase": "joining", "reach": "down", "rtt_ms": 83.2,
             "upstreams": []}]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn flags_have_defaults() {
        let args = Program::try_parse_from(["status"]).unwrap().status;
        assert_eq!(
            (args.json, args.admin.as_str(), args.token),
            (false, ADMIN, None)
        );
    }

    #[test]
    fn each_upstream_has_a_line_and_each_node_is_named_once() {
        let lines = table(&page()).lines();
        assert_eq!(lines.len(), 4);
        assert!(
            lines[1].starts_with("usa   usa     ready    yes   self"),
            "{}",
            lines[1]
        );
        assert!(lines[1].contains("ejected (connect)"), "{}", lines[1]);
        assert!(
            lines[1].ends_with("61       -       4210     50%     3/1024  a, b, c and 2 more"),
            "{}",
            lines[1]
        );
        assert!(
            lines[2].starts_with("      ") && lines[2].contains("standby"),
            "{}",
            lines[2]
        );
        assert!(
            lines[3].starts_with("eur   -       joining  no    down"),
            "{}",
            lines[3]
        );
        assert!(lines[1].contains("api, my-plugin:process"), "{}", lines[1]);
        let tones: Vec<Tone> = page().nodes.iter().flat_map(tones).collect();
        assert_eq!(tones, [Tone::Bad, Tone::Plain, Tone::Bad]);
        assert_eq!(
            heading(&page()),
            "as usa sees it: 1 of 2 nodes live, 1 of 2 upstreams healthy"
        );
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
