//! The content of the lines: nodes, upstreams and requests in columns, and the colours of their states.

use grapevine_base::page::{NodeEntry, UpstreamEntry};
use grapevine_base::table::{number as short, printable};
use ratatui::style::{Color, Modifier, Style};

use super::super::records::RequestEntry;
use super::grid::{Column, Row, number, word, words};
use super::state::Top;

/// The columns of nodes.
pub(super) const NODES: [Column; 9] = [
    words("node", 0),
    words("region", 0),
    word("state", 0),
    number("rtt ms", 0),
    number("upstreams", 0),
    number("in flight", 0),
    number("sent/s", 0),
    word("api", 100),
    words("services", 100),
];

/// The columns of upstreams.
pub(super) const UPSTREAMS: [Column; 11] = [
    words("node", 0),
    words("upstream", 0),
    word("state", 0),
    words("why", 0),
    number("ttft ms", 0),
    number("p99 ms", 100),
    number("answer ms", 120),
    number("errors", 0),
    number("in flight", 0),
    number("sent/s", 100),
    words("models", 120),
];

/// The columns of requests.
pub(super) const REQUESTS: [Column; 12] = [
    word("UTC", 0),
    number("status", 0),
    words("model", 0),
    words("way", 0).kept(24),
    words("why", 0),
    number("tries", 90),
    number("ms", 0),
    number("first ms", 120),
    number("tokens", 100),
    words("key", 140),
    words("failed before", 120),
    words("id", 160),
];

/// Colours, where they are enabled.
#[derive(Clone, Copy)]
pub(super) struct Palette(pub(super) bool);

impl Palette {
    fn of(self, colour: Color) -> Style {
        match self.0 {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    pub(super) fn bad(self) -> Style {
        // Visible without colours too.
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn warning(self) -> Style {
        self.of(Color::Yellow)
    }

    pub(super) fn quiet(self) -> Style {
        self.of(Color::DarkGray)
    }

    pub(super) fn heading(self) -> Style {
        self.of(Color::Cyan).add_modifier(Modifier::BOLD)
    }
}

/// A line for each node.
pub(super) fn node_rows(top: &Top, palette: Palette) -> Vec<Row> {
    let nodes = top.page.mesh.nodes.iter();
    nodes.map(|node| node_row(top, node, palette)).collect()
}

fn node_row(top: &Top, node: &NodeEntry, palette: Palette) -> Row {
    let is_own = node.name == top.page.mesh.own;
    let state = node.shown_state();
    let style = match state.as_str() {
        "ready" => Style::new(),
        "unreachable" => palette.bad(),
        _ => palette.warning(),
    };
    let usable = node.upstreams.iter().filter(|it| it.usable == Some(true));
    let usable = usable.count();
    let in_flight: u64 = node
        .upstreams
        .iter()
        .filter_map(|upstream| upstream.in_flight)
        .sum();
    let sent = top.rates.as_ref().map(|rates| {
        let attempts = rates
            .attempts
            .iter()
            .filter(|((owner, _), _)| *owner == node.name);
        attempts.fold(0.0, |sum, (_, rate)| sum + rate)
    });
    let services: Vec<String> = node
        .services
        .iter()
        .flatten()
        .map(|key| printable(key))
        .collect();
    let serves = match node.serves_requests {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    let cells = vec![
        printable(&node.name),
        node.region.as_deref().map_or("-".to_owned(), printable),
        state,
        if is_own {
            "self".to_owned()
        } else {
            short(node.rtt_ms)
        },
        format!("{usable}/{}", node.upstreams.len()),
        in_flight.to_string(),
        short(sent),
        serves.to_owned(),
        services.join(", "),
    ];
    Row { cells, style }
}

/// A line for each upstream.
pub(super) fn upstream_rows(top: &Top, palette: Palette) -> Vec<Row> {
    let nodes = top.page.mesh.nodes.iter();
    let rows = nodes.flat_map(|node| {
        let upstreams = node.upstreams.iter();
        upstreams.map(move |upstream| upstream_row(top, node, upstream, palette))
    });
    rows.collect()
}

fn upstream_row(top: &Top, node: &NodeEntry, upstream: &UpstreamEntry, palette: Palette) -> Row {
    let gone = match upstream.reported_state.as_deref() {
        Some(last) if upstream.state == "unreachable" => Some(format!("was {last}")),
        _ => None,
    };
    let style = match upstream.state.as_str() {
        "healthy" | "untested" => Style::new(),
        "ejected" | "unreachable" => palette.bad(),
        _ => palette.warning(),
    };
    let errors = upstream.error_rate.filter(|share| share.is_finite());
    let way = (node.name.clone(), upstream.name.clone());
    let sent = top
        .rates
        .as_ref()
        .map(|rates| rates.attempts.get(&way).copied().unwrap_or(0.0));
    let models: Vec<String> = upstream
        .models
        .iter()
        .map(|model| printable(model))
        .collect();
    let cells = vec![
        printable(&node.name),
        printable(&upstream.name),
        printable(&upstream.state),
        gone.as_deref()
            .or(upstream.reason.as_deref())
            .map_or(String::new(), printable),
        short(upstream.ttft_ms),
        short(upstream.p99_ms),
        short(upstream.answer_ms),
        errors.map_or("-".to_owned(), |share| format!("{:.0}%", share * 100.0)),
        upstream.load_cell(),
        short(sent),
        models.join(", "),
    ];
    Row { cells, style }
}

/// A line for each request, the newest first.
pub(super) fn request_rows(top: &Top, palette: Palette) -> Vec<Row> {
    let requests = top.page.requests.iter();
    requests
        .map(|entry| request_row(entry, &top.page.mesh.own, palette))
        .collect()
}

fn request_row(entry: &RequestEntry, own: &str, palette: Palette) -> Row {
    let style = match entry.status {
        _ if entry.failed => palette.bad(),
        400.. => palette.warning(),
        _ if entry.attempts.len() > 1 => palette.warning(),
        _ => Style::new(),
    };
    let cells = vec![
        entry.clock(),
        entry.status.to_string(),
        entry.subject(),
        entry.way(own),
        entry.why(),
        entry.attempts.len().to_string(),
        short(Some(entry.total_ms)),
        short((entry.first_byte_ms > 0.0).then_some(entry.first_byte_ms)),
        entry.tokens(),
        entry.key.as_deref().map_or(String::new(), printable),
        entry.failures(),
        printable(&entry.id),
    ];
    Row { cells, style }
}
