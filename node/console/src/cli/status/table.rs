//! The table of `status`: a line per upstream, with as many columns as there is room for.

use std::time::Duration;

use grapevine_base::page::{MeshPage, NodeEntry, UpstreamEntry};
use grapevine_base::table::{Side, TextTable, listed, number, printable};
use grapevine_config::text::format_duration;

use super::super::paint::Tone;

/// Names of models that a line shows.
const MODELS_SHOWN: usize = 3;

/// A column of the table.
struct StatusColumn {
    title: &'static str,
    side: Side,
    /// The room from which on it is shown.
    from: usize,
    /// How short its cells may be cut; `None` is not at all.
    least: Option<usize>,
    /// What it shows of a node and, beside it, of one of its upstreams.
    cell: Cell,
}

enum Cell {
    /// Shown on the first of a node's lines.
    Node(fn(&NodeEntry, &MeshPage) -> String),
    Upstream(fn(&UpstreamEntry) -> String),
}

/// Without a limit of the width.
const WIDE: usize = usize::MAX;

const fn words(title: &'static str, from: usize, least: Option<usize>, cell: Cell) -> StatusColumn {
    StatusColumn {
        title,
        side: Side::Left,
        from,
        least,
        cell,
    }
}

const fn figure(title: &'static str, from: usize, cell: Cell) -> StatusColumn {
    StatusColumn {
        title,
        side: Side::Right,
        from,
        least: None,
        cell,
    }
}

/// All columns in their order. Those that are shown in 80 characters fit there whatever is in them.
const COLUMNS: [StatusColumn; 18] = [
    words("node", 0, Some(6), Cell::Node(|it, _| printable(&it.name))),
    words(
        "region",
        130,
        Some(6),
        Cell::Node(|it, _| word(it.region.as_deref())),
    ),
    words("state", 0, None, Cell::Node(|it, _| it.shown_state())),
    words("reach", 140, None, Cell::Node(reach)),
    figure("rtt ms", 0, Cell::Node(|it, _| number(it.rtt_ms))),
    words("serves", 140, Some(6), Cell::Node(|it, _| serves(it))),
    words(
        "upstream",
        0,
        Some(6),
        Cell::Upstream(|it| printable(&it.name)),
    ),
    words("health", 0, Some(11), Cell::Upstream(health)),
    figure("priority", WIDE, Cell::Upstream(priority)),
    words("checked", WIDE, None, Cell::Upstream(checked)),
    figure("ttft ms", 0, Cell::Upstream(|it| number(it.ttft_ms))),
    figure("mean ms", WIDE, Cell::Upstream(|it| number(it.mean_ms))),
    figure("p50 ms", 160, Cell::Upstream(|it| number(it.p50_ms))),
    figure("p99 ms", 100, Cell::Upstream(|it| number(it.p99_ms))),
    figure("answer ms", 130, Cell::Upstream(|it| number(it.answer_ms))),
    figure("errors", 0, Cell::Upstream(errors)),
    figure("in flight", 0, Cell::Upstream(in_flight)),
    words(
        "models",
        110,
        Some(6),
        Cell::Upstream(|it| models(&it.models)),
    ),
];

/// The lines, the heading first, of at most `room` characters each.
pub(super) fn lines(page: &MeshPage, room: usize) -> Vec<(String, Tone)> {
    let shown: Vec<&StatusColumn> = COLUMNS.iter().filter(|it| it.from <= room).collect();
    let titles = shown.iter().map(|column| (column.title, column.side));
    let mut table = TextTable::new(&titles.collect::<Vec<_>>());
    let mut tones = vec![Tone::Plain];
    for node in &page.nodes {
        let all: Vec<Option<&UpstreamEntry>> = match node.upstreams.as_slice() {
            [] => vec![None],
            upstreams => upstreams.iter().map(Some).collect(),
        };
        for (index, upstream) in all.into_iter().enumerate() {
            let cell = |column: &&StatusColumn| match (&column.cell, upstream) {
                (Cell::Node(show), _) if index == 0 => show(node, page),
                (Cell::Node(_), _) => String::new(),
                // How an operator reads 3 of 1024; what an engine reports of its queue has room in a wide table.
                (Cell::Upstream(_), Some(it)) if column.title == "in flight" && room == WIDE => {
                    it.load_cell()
                }
                (Cell::Upstream(show), Some(upstream)) => show(upstream),
                (Cell::Upstream(_), None) => "-".to_owned(),
            };
            table.row(shown.iter().map(cell));
            tones.push(tone(node, upstream));
        }
    }
    let least: Vec<Option<usize>> = shown.iter().map(|column| column.least).collect();
    table
        .lines_within(room, &least)
        .into_iter()
        .zip(tones)
        .collect()
}

fn tone(node: &NodeEntry, upstream: Option<&UpstreamEntry>) -> Tone {
    if node.state == "unreachable" {
        return Tone::Bad;
    }
    match upstream.map(|upstream| upstream.state.as_str()) {
        None | Some("healthy" | "untested") => Tone::Plain,
        Some("ejected" | "unreachable") => Tone::Bad,
        Some(_) => Tone::Warning,
    }
}

fn word(text: Option<&str>) -> String {
    text.map_or("-".to_owned(), printable)
}

fn reach(node: &NodeEntry, page: &MeshPage) -> String {
    match node.name == page.own {
        true => "self".to_owned(),
        false => word(node.reach.as_deref()),
    }
}

/// What the node does: `api` for requests, and the background services it runs.
fn serves(node: &NodeEntry) -> String {
    let api = node
        .serves_requests
        .unwrap_or(false)
        .then(|| "api".to_owned());
    let services = node.services.iter().flatten().map(|key| printable(key));
    let serves: Vec<String> = api.into_iter().chain(services).collect();
    match serves.is_empty() {
        true => "-".to_owned(),
        false => serves.join(", "),
    }
}

/// The state with its reason; what an operator took out of use is called so.
pub(super) fn health(upstream: &UpstreamEntry) -> String {
    match (upstream.state.as_str(), upstream.reason.as_deref()) {
        ("ejected", Some("disabled")) => "disabled".to_owned(),
        ("unreachable", _) | (_, None) => printable(&upstream.state),
        (state, Some(reason)) => printable(&format!("{state} ({reason})")),
    }
}

fn priority(upstream: &UpstreamEntry) -> String {
    upstream
        .tier
        .map_or("-".to_owned(), |tier| tier.to_string())
}

/// The last check, such as `4s ago, probe: answered`.
pub(super) fn checked(upstream: &UpstreamEntry) -> String {
    let Some(check) = &upstream.checked else {
        return "-".to_owned();
    };
    let by = printable(&check.by);
    format!(
        "{} ago, {by}: {}",
        span(check.ms_ago),
        printable(&check.outcome)
    )
}

/// A span of whole seconds.
pub(super) fn span(milliseconds: f64) -> String {
    format_duration(Duration::from_secs((milliseconds / 1_000.0).max(0.0) as u64))
}

pub(super) fn errors(upstream: &UpstreamEntry) -> String {
    let rate = upstream.error_rate.filter(|share| share.is_finite());
    rate.map_or("-".to_owned(), |share| format!("{:.0}%", share * 100.0))
}

fn in_flight(upstream: &UpstreamEntry) -> String {
    grapevine_base::page::load_cell(upstream.in_flight, upstream.in_flight_max, None)
}

fn models(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(MODELS_SHOWN)
        .map(|name| printable(name))
        .collect();
    listed(&shown, names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> MeshPage {
        let text = r#"{"self": "usa", "nodes": [
            {"name": "usa", "region": "usa", "state": "ready", "live": true, "phase": "ready", "reach": "open",
             "serves_requests": true, "services": ["my-plugin:process"],
             "upstreams": [
               {"name": "primary", "state": "ejected", "reason": "connect", "models": ["a", "b", "c", "d", "e"],
                "ttft_ms": 61.4, "p99_ms": null, "answer_ms": 4210.0, "error_rate": 0.5, "in_flight": 3,
                "in_flight_max": 1024, "checked": {"ms_ago": 4200, "by": "probe", "good": false,
                "outcome": "connect_failed"}, "failures_in_row": 7},
               {"name": "standby", "state": "healthy", "reason": null, "models": ["a"], "error_rate": 0.0,
                "in_flight": 0, "in_flight_max": 8},
               {"name": "spare", "state": "ejected", "reason": "disabled", "models": []}]},
            {"name": "eur", "region": null, "state": "unreachable", "live": false, "phase": "joining",
             "reach": "down", "rtt_ms": 83.2, "upstreams": []}]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn each_upstream_has_a_line_and_each_node_is_named_once() {
        let lines = lines(&page(), 110);
        let texts: Vec<&str> = lines.iter().map(|(line, _)| line.as_str()).collect();
        assert_eq!(texts.len(), 5);
        assert!(texts[1].starts_with("usa   ready"), "{}", texts[1]);
        assert!(texts[1].contains("ejected (connect)"), "{}", texts[1]);
        assert!(
            texts[1].ends_with("3/1024  a, b, c and 2 more"),
            "{}",
            texts[1]
        );
        assert!(
            texts[2].starts_with("      ") && texts[2].contains("standby"),
            "{}",
            texts[2]
        );
        assert!(texts[3].contains("  disabled "), "{}", texts[3]);
        assert!(texts[4].starts_with("eur   unreachable"), "{}", texts[4]);
        let tones: Vec<Tone> = lines.iter().map(|(_, tone)| *tone).collect();
        assert_eq!(
            tones,
            [Tone::Plain, Tone::Bad, Tone::Plain, Tone::Bad, Tone::Bad]
        );
    }

    #[test]
    fn wide_table_says_when_each_was_checked_and_how_nodes_are_reached() {
        let lines = lines(&page(), WIDE);
        let (first, last) = (&lines[1].0, &lines[4].0);
        assert!(first.contains("4s ago, probe: connect_failed"), "{first}");
        assert!(
            first.contains("  self ") && first.contains("api, my-plugin:process"),
            "{first}"
        );
        assert!(last.contains("  down "), "{last}");
    }
}
