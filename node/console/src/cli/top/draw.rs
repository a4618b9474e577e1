//! The layout of the screen.

use std::time::{Duration, Instant};

use grapevine_base::page::LimitsEntry;
use grapevine_base::table::{cut, listed, number as short, printable};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::grid::{Column, Row, lines};
use super::rows::{NODES, Palette, REQUESTS, UPSTREAMS, node_rows, request_rows, upstream_rows};
use super::state::{Top, TopView};

/// From this age on, what is shown is marked as old.
const OLD: Duration = Duration::from_secs(3);

/// Limited keys that the first line names.
const LIMITED_NAMED: usize = 3;

/// The keys, the most needed first.
const KEYS: &str = "q quit  Tab/1-4 view  / filter  p pause  \u{2191}\u{2193} scroll  ? help";

/// What `?` shows.
const HELP: [&str; 16] = [
    "1, 2, 3, 4   all, nodes, upstreams, requests; Tab goes on",
    "/            show lines that hold a text; Enter keeps it, Esc drops it",
    "p            leave the screen as it is, until p again",
    "up, down     scroll; also j and k, Page Up and Page Down, Home",
    "q            end; also Esc and Ctrl-C",
    "",
    "state        ready, joining, draining; unreachable: membership has given it up,",
    "             there is no link, or no answer for half a second",
    "rtt ms       round trip from the node that is asked",
    "sent/s       attempts per second that the node that is asked sent there",
    "ttft ms      time to the first byte of a stream, as its upstream's owner sees it",
    "answer ms    time to a whole answer, likewise",
    "way          entry node > owner/upstream, or node/upstream at home",
    "why          why it was chosen, or why it failed",
    "tries        attempts of the request; `failed before` names those that failed",
    "failed       5xx, or broken off before the end by an upstream or a node",
];

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, top: &Top, now: Instant) {
    let palette = Palette(top.in_colour);
    let rows = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ];
    let [head, second, body, foot] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(Paragraph::new(title(top, palette, now, head.width)), head);
    frame.render_widget(Paragraph::new(traffic(top)), second);
    frame.render_widget(Paragraph::new(bottom(top, palette)), foot);
    if top.shows_help {
        let mut text: Vec<Line<'_>> = HELP.iter().map(|line| Line::raw(*line)).collect();
        let asked = format!("asked        {}, every second", printable(&top.url));
        text.extend([Line::raw(""), Line::raw(asked)]);
        frame.render_widget(Clear, body);
        frame.render_widget(Paragraph::new(text), body);
        return;
    }
    let width = usize::from(body.width);
    let nodes = || {
        table(
            top,
            "nodes",
            &NODES,
            node_rows(top, palette),
            (width, palette),
        )
    };
    let upstreams = || {
        table(
            top,
            "upstreams",
            &UPSTREAMS,
            upstream_rows(top, palette),
            (width, palette),
        )
    };
    let requests = || {
        table(
            top,
            "requests",
            &REQUESTS,
            request_rows(top, palette),
            (width, palette),
        )
    };
    match top.view {
        TopView::All => draw_all(frame, body, [nodes(), upstreams(), requests()], palette),
        TopView::Nodes => draw_part(frame, body, &nodes(), top.scroll, palette),
        TopView::Upstreams => draw_part(frame, body, &upstreams(), top.scroll, palette),
        TopView::Requests => draw_part(frame, body, &requests(), top.scroll, palette),
    }
}

/// One under another: nodes and upstreams get a third each at most, requests what is left.
fn draw_all(frame: &mut Frame<'_>, body: Rect, parts: [Vec<Line<'static>>; 3], palette: Palette) {
    let third = body.height / 3;
    let height = |part: &Vec<Line<'_>>| u16::try_from(part.len()).unwrap_or(u16::MAX);
    let [nodes, upstreams] = [&parts[0], &parts[1]].map(|part| height(part).min(third.max(3)));
    let blank = Constraint::Length(1);
    let rows = [
        Constraint::Length(nodes),
        blank,
        Constraint::Length(upstreams),
        blank,
        Constraint::Min(0),
    ];
    let [nodes, _, upstreams, _, requests] = Layout::vertical(rows).areas(body);
    for (area, part) in [nodes, upstreams, requests].into_iter().zip(&parts) {
        draw_part(frame, area, part, 0, palette);
    }
}

/// The heading, the lines from `scroll` on, and how many there are below.
fn draw_part(
    frame: &mut Frame<'_>,
    area: Rect,
    part: &[Line<'static>],
    scroll: usize,
    palette: Palette,
) {
    let Some((heading, lines)) = part.split_first() else {
        return;
    };
    let room = usize::from(area.height).saturating_sub(1);
    let scroll = scroll.min(lines.len().saturating_sub(room));
    let below = lines.len().saturating_sub(scroll + room);
    let mut shown = vec![heading.clone()];
    shown.extend(lines.iter().skip(scroll).take(room).cloned());
    if below > 0 && room > 0 {
        shown.pop();
        shown.push(Line::styled(
            format!("... {} more", below + 1),
            palette.quiet(),
        ));
    }
    frame.render_widget(Paragraph::new(shown), area);
}

fn table(
    top: &Top,
    name: &str,
    columns: &[Column],
    rows: Vec<Row>,
    (width, palette): (usize, Palette),
) -> Vec<Line<'static>> {
    let all = rows.len();
    let rows: Vec<Row> = rows
        .into_iter()
        .filter(|row| top.shows(&row.cells))
        .collect();
    let mut table = lines(columns, &rows, width, palette.heading());
    if rows.is_empty() {
        let text = match all {
            0 => format!("no {name} yet"),
            all => format!("none of {all} {name} holds the filter"),
        };
        table.push(Line::styled(text, palette.quiet()));
    }
    table
}

fn title(top: &Top, palette: Palette, now: Instant, width: u16) -> Line<'static> {
    let mesh = &top.page.mesh;
    let counts = match &mesh.summary {
        Some(summary) => summary.line(),
        None => format!("{} nodes", mesh.nodes.len()),
    };
    let text = format!("as {} sees it: {counts}", printable(&mesh.own),);
    let age = top.age(now);
    let state = match &top.silence {
        Some(cause) => Some(format!(
            "NO ANSWER for {} s: {}",
            age.as_secs(),
            printable(cause)
        )),
        None if top.is_paused => Some("PAUSED".to_owned()),
        None if age > OLD => Some(format!("{} s old", age.as_secs())),
        None => None,
    };
    match state {
        // What is wrong goes first, since the end of a line may be cut.
        Some(state) => Line::from(vec![
            Span::styled(cut(&state, usize::from(width)), palette.bad()),
            Span::raw(format!("  {text}")),
        ]),
        None => Line::raw(text),
    }
}

/// The rates of the node that is asked, named as its own, and what the whole mesh has in flight: peers publish no rates.
fn traffic(top: &Top) -> Line<'static> {
    let mesh = &top.page.mesh;
    let rates = top.rates.as_ref().map_or("- req/s".to_owned(), |rates| {
        format!(
            "{} req/s, {}/s failed",
            short(Some(rates.requests)),
            short(Some(rates.failed))
        )
    });
    let upstreams = mesh.nodes.iter().flat_map(|node| &node.upstreams);
    let in_flight: u64 = upstreams.filter_map(|upstream| upstream.in_flight).sum();
    let own = printable(&mesh.own);
    let limited = limited(&mesh.limits);
    Line::raw(format!(
        "at {own} alone: {rates}; in the mesh: {in_flight} in flight{limited}"
    ))
}

/// The keys that are being limited, the last refused first, with what is left at the node; nothing where there are none.
fn limited(limits: &LimitsEntry) -> String {
    if limits.limited.is_empty() {
        return String::new();
    }
    let named = limits.limited.iter().take(LIMITED_NAMED).map(|limit| {
        let left = limit.amount(limit.left_here);
        format!("{} ({left} here)", printable(&limit.key))
    });
    let named: Vec<String> = named.collect();
    format!(
        "; limited: {}",
        listed(&named, limits.limited_total as usize)
    )
}

fn bottom(top: &Top, palette: Palette) -> Line<'static> {
    let filter = match (top.is_typing, top.filter.as_str()) {
        (true, filter) => format!("/{filter}_  Enter keeps it, Esc drops it"),
        (false, "") => return Line::styled(KEYS, palette.quiet()),
        (false, filter) => format!("filter: {filter}  Esc drops it  {KEYS}"),
    };
    Line::styled(printable(&filter), palette.warning())
}
