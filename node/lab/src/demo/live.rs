//! `grapevine demo`: a table of all nodes, redrawn on a terminal and printed now and then elsewhere.

use std::io::{IsTerminal as _, Stdout, Write as _};
use std::time::Duration;

use grapevine_base::page::MeshPage;
use grapevine_base::table::{Side, TextTable, number, printable};

use super::DemoError;
use super::fleet::{Fleet, Member};
use super::hints;
use super::load::{Broken, Load, Pace};
use super::region;

/// How often the table is redrawn on a terminal.
const REDRAW: Duration = Duration::from_millis(500);

/// How often it is printed where it cannot be redrawn.
const REPRINT: Duration = Duration::from_secs(5);

/// The node from which distances are shown.
const FROM: usize = 2;

/// Escape sequences: clear the rest of a line, and wrap long lines or not. A wrapped line would be two, and the
/// cursor moves back up by a number of lines.
const CLEAR_LINE: &str = "\x1b[K";
const BREAK_OFF: &str = "\x1b[?7l";
const BREAK_ON: &str = "\x1b[?7h";

/// A little traffic, so that there is something to see: a client per node, three requests a second each.
const PACE: Pace = Pace {
    clients: region::REGIONS,
    pause: Duration::from_millis(200),
    spread: Duration::from_millis(100),
};

/// Shows the table until it is dropped. With `traffic` a few clients ask all the while.
///
/// # Errors
/// When standard output is closed.
pub(super) async fn run(
    fleet: &mut Fleet,
    http: reqwest::Client,
    traffic: bool,
) -> Result<(), DemoError> {
    let load = traffic.then(|| {
        let base_urls = fleet.members().iter().map(Member::base_url).collect();
        Load::start(http, base_urls, PACE, Broken::anything(), false)
    });
    let mut out = std::io::stdout();
    let redraws = out.is_terminal();
    write(&mut out, &format!("{}\n\n", hints::lines(fleet).join("\n")))?;
    let mut above = 0;
    loop {
        let mut lines = status(fleet, load.as_ref()).await;
        if redraws {
            lines.push("Ctrl-C ends all of it.".to_owned());
            write(&mut out, &redrawn(&lines, above))?;
            above = lines.len();
            tokio::time::sleep(REDRAW).await;
        } else {
            write(&mut out, &format!("{}\n\n", lines.join("\n")))?;
            tokio::time::sleep(REPRINT).await;
        }
    }
}

/// `lines` over the `above` lines that were drawn before.
fn redrawn(lines: &[String], above: usize) -> String {
    let mut text = BREAK_OFF.to_owned();
    if above > 0 {
        text.push_str(&format!("\x1b[{above}A\r"));
    }
    for line in lines {
        text.extend([line, CLEAR_LINE, "\r\n"]);
    }
    text.push_str(BREAK_ON);
    text
}

fn write(out: &mut Stdout, text: &str) -> Result<(), DemoError> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(DemoError::Terminal)
}

async fn status(fleet: &mut Fleet, load: Option<&Load>) -> Vec<String> {
    let distances = fleet.page(FROM).await;
    let mut rows = Vec::new();
    for number in 0..fleet.members().len() {
        let own = fleet.page(number).await;
        let ended = fleet.has_ended(number);
        if let Some(member) = fleet.members().get(number) {
            let requests = served(member);
            rows.push(row(
                member.region,
                own.as_ref(),
                distances.as_ref(),
                ended,
                requests,
            ));
        }
    }
    let mut lines = table(rows).lines();
    lines.push(String::new());
    lines.push(format!(
        "times in ms; rtt as {} measures it. The distance is emulated: every datagram waits.",
        region::ALL.get(FROM).map_or("", |region| region.name)
    ));
    if let Some(load) = load {
        let (answered, failed) = load.counts();
        lines.push(format!(
            "{} clients ask all the while: {answered} requests answered, {failed} failed",
            PACE.clients
        ));
    }
    lines
}

/// Requests that a node's upstream got, from whatever node, without questions for its models.
fn served(member: &Member) -> u64 {
    let paths = member.upstream.stats().by_path;
    let asked = paths
        .iter()
        .filter(|(path, _)| !path.starts_with("/v1/models"));
    asked.map(|(_, count)| count).sum()
}

fn table(rows: Vec<Vec<String>>) -> TextTable {
    let mut table = TextTable::new(&[
        ("node", Side::Left),
        ("region", Side::Left),
        ("phase", Side::Left),
        ("upstream", Side::Left),
        ("state", Side::Left),
        ("ttft", Side::Right),
        ("rtt", Side::Right),
        ("in flight", Side::Right),
        ("requests", Side::Right),
    ]);
    for row in rows {
        table.row(row);
    }
    table
}

/// A node's line: from its own view, or, when it does not answer, from that of the node that distances are shown from.
fn row(
    region: region::Region,
    own: Option<&MeshPage>,
    distances: Option<&MeshPage>,
    ended: bool,
    requests: u64,
) -> Vec<String> {
    let entry = own.or(distances).and_then(|page| page.node(region.name));
    let phase = match entry {
        _ if ended && own.is_none() => "gone".to_owned(),
        Some(entry) if own.is_some() => printable(&entry.phase),
        _ => "no answer".to_owned(),
    };
    let upstream =
        entry.and_then(|entry| entry.upstreams.iter().find(|u| u.name == region.upstream));
    let state = match (upstream, own) {
        (Some(upstream), Some(_)) => match &upstream.reason {
            Some(reason) => printable(&format!("{} ({reason})", upstream.state)),
            None => printable(&upstream.state),
        },
        _ => "-".to_owned(),
    };
    let rtt = distances
        .and_then(|page| page.node(region.name))
        .and_then(|node| node.rtt_ms);
    let in_flight = upstream
        .and_then(|upstream| upstream.in_flight)
        .filter(|_| own.is_some());
    vec![
        region.name.to_owned(),
        entry
            .and_then(|entry| entry.region.as_deref())
            .map_or(region.name.to_owned(), printable),
        phase,
        region.upstream.to_owned(),
        state,
        number(upstream.and_then(|upstream| upstream.ttft_ms)),
        number(rtt),
        in_flight.map_or("-".to_owned(), |count| count.to_string()),
        requests.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> MeshPage {
        let text = r#"{"self": "usa", "nodes": [
            {"name": "usa", "region": "usa", "live": true, "phase": "ready", "rtt_ms": null,
             "upstreams": [{"name": "usa-model", "state": "ejected", "reason": "connect", "ttft_ms": 61.5, "in_flight": 2}]},
            {"name": "eur", "region": "eur", "live": false, "phase": "ready", "rtt_ms": 83.2,
             "upstreams": [{"name": "eur-model", "state": "healthy"}]}]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_node_is_shown_as_it_sees_itself() {
        let page = page();
        let cells = row(region::ALL[2], Some(&page), Some(&page), false, 7);
        assert_eq!(
            cells,
            [
                "usa",
                "usa",
                "ready",
                "usa-model",
                "ejected (connect)",
                "62",
                "-",
                "2",
                "7"
            ]
        );
    }

    #[test]
    fn a_killed_node_shows_what_is_still_known_of_it() {
        let page = page();
        let cells = row(region::ALL[3], None, Some(&page), true, 0);
        assert_eq!(
            cells,
            ["eur", "eur", "gone", "eur-model", "-", "-", "83", "-", "0"]
        );
        let cells = row(region::ALL[3], None, None, false, 0);
        assert_eq!(cells[2], "no answer");
    }

    #[test]
    fn a_redrawn_block_goes_over_the_one_before() {
        let lines = ["a".to_owned(), "b".to_owned()];
        let body = "a\x1b[K\r\nb\x1b[K\r\n\x1b[?7h";
        assert_eq!(redrawn(&lines, 0), format!("\x1b[?7l{body}"));
        assert_eq!(redrawn(&lines, 2), format!("\x1b[?7l\x1b[2A\r{body}"));
    }

    #[test]
    fn a_node_started_again_by_hand_is_not_shown_as_gone() {
        let page = page();
        assert_eq!(row(region::ALL[3], Some(&page), None, true, 0)[2], "ready");
    }
}
