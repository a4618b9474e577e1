//! `grapevine requests`: the last requests of a node, and those that follow.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use grapevine_base::causes;
use grapevine_base::page::MeshPage;
use grapevine_base::table::{Side, TextTable, number};
use grapevine_config::Environment;
use serde_json::{Value, json};

use super::admin_port::{AdminArgs, AdminPort, AskError, client, runtime};
use super::fail;
use super::paint::{Paint, Tone};
use super::records::{RequestEntry, RequestsPage};

/// Requests that a node keeps, and the most that can be asked for.
const KEPT: usize = 1_000;

/// How often a node is asked for new requests.
const INTERVAL: Duration = Duration::from_secs(1);

/// What `requests` takes.
///
/// The exit code is 0 when the node answered, and 1 when it did not.
#[derive(Clone, Debug, Args)]
pub struct RequestsArgs {
    /// Print new requests, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Requests at most, up to 1000
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Of this model only
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// With this status only: 429, a class such as 5xx, `failed` (5xx, and what an upstream or a node broke off), or
    /// `refused` (4xx of a node, not of an upstream)
    #[arg(long, value_name = "STATUS")]
    status: Option<StatusFilter>,
    /// Of this client's key only, by its name or, where it was issued, its id
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Tried at this upstream only: NAME, or NODE/NAME
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Print JSON: one object, or with --follow one line for each request
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Statuses that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StatusFilter {
    /// From the first to the second.
    Between(u16, u16),
    /// Those that the node counts as failures.
    Failed,
    /// Those that a node answered with a 4xx of its own.
    Refused,
}

impl FromStr for StatusFilter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "write a status such as 429, a class such as 5xx, failed, or refused";
        match text {
            "failed" => return Ok(Self::Failed),
            "refused" => return Ok(Self::Refused),
            _ => {}
        }
        let (number, width) = match text.strip_suffix("xx") {
            Some(class) => (
                class.parse::<u16>().map(|class| class.saturating_mul(100)),
                99,
            ),
            None => (text.parse(), 0),
        };
        let least = number
            .ok()
            .filter(|number| (100..=999).contains(number))
            .ok_or(form)?;
        Ok(Self::Between(least, least + width))
    }
}

impl RequestsArgs {
    fn shows(&self, entry: &RequestEntry) -> bool {
        let is_model = |model: &String| entry.model.as_ref() == Some(model);
        let is_status = |filter: &StatusFilter| match *filter {
            StatusFilter::Between(least, most) => (least..=most).contains(&entry.status),
            StatusFilter::Failed => entry.failed,
            StatusFilter::Refused => entry.end == "refused",
        };
        let is_key =
            |key: &String| entry.key.as_ref() == Some(key) || entry.key_id.as_ref() == Some(key);
        let is_upstream = |name: &String| entry.was_tried_at(name);
        self.model.as_ref().is_none_or(is_model)
            && self.status.as_ref().is_none_or(is_status)
            && self.key.as_ref().is_none_or(is_key)
            && self.upstream.as_ref().is_none_or(is_upstream)
    }

    fn filters(&self) -> bool {
        let names = [&self.model, &self.key, &self.upstream];
        self.status.is_some() || names.into_iter().any(Option::is_some)
    }
}

/// A request, as the node sent it and as parsed.
struct Listed {
    value: Value,
    entry: RequestEntry,
}

/// Identifies a request: clients may send the same id twice, but not at the same time.
type Identity = (String, u64);

impl Listed {
    fn identity(&self) -> Identity {
        (self.entry.id.clone(), self.entry.time.to_bits())
    }
}

/// Asks the node and prints its answer.
pub fn run(
    args: &RequestsArgs,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let port = args.admin.port(environment);
    let paint = Paint::for_stdout(environment);
    let asked = runtime().and_then(|runtime| Ok((runtime, client()?)));
    let (runtime, client) = match asked {
        Ok(ready) => ready,
        Err(error) => return Ok(fail(&causes::joined(&error))),
    };
    let first = runtime.block_on(async {
        let mesh = port.fetch(&client, "/mesh", &[]).await?;
        let mesh: MeshPage = port.read(&mesh)?;
        Ok::<_, AskError>((mesh.own, ask(&port, &client).await?))
    });
    let (own, listed) = match first {
        Ok(first) => first,
        Err(error) => return Ok(fail(&causes::joined(&error))),
    };
    let mut seen = Seen(listed.iter().map(Listed::identity).collect());
    let shown = listed
        .into_iter()
        .filter(|one| args.shows(&one.entry))
        .take(args.limit.min(KEPT));
    let mut shown: Vec<Listed> = shown.collect();
    if !args.follow {
        return write_page(args, &shown, &own, paint, out);
    }
    // The newest comes last, since more will come below it.
    shown.reverse();
    let mut lines = Lines {
        args,
        own,
        paint,
        widths: Vec::new(),
    };
    lines.write(&shown, out)?;
    runtime.block_on(async {
        let mut is_silent = false;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let listed = match ask(&port, &client).await {
                Ok(listed) => listed,
                Err(error) => {
                    // Printed once, and again after it has answered.
                    if !std::mem::replace(&mut is_silent, true) {
                        fail(&format!("{}; asking on", causes::joined(&error)));
                    }
                    continue;
                }
            };
            is_silent = false;
            let (fresh, is_whole) = seen.unseen(listed);
            if !is_whole {
                fail("more requests came than the node keeps; some are not shown");
            }
            let fresh: Vec<Listed> = fresh
                .into_iter()
                .filter(|one| args.shows(&one.entry))
                .collect();
            lines.write(&fresh, out)?;
        }
    })
}

async fn ask(port: &AdminPort, client: &reqwest::Client) -> Result<Vec<Listed>, AskError> {
    let bytes = port
        .fetch(client, "/requests", &[("limit", &KEPT.to_string())])
        .await?;
    let page: RequestsPage = port.read(&bytes)?;
    let mut values: Value = port.read(&bytes)?;
    let values = values["requests"]
        .as_array_mut()
        .map(std::mem::take)
        .unwrap_or_default();
    let listed = page.requests.into_iter().zip(values);
    Ok(listed
        .map(|(entry, value)| Listed { value, entry })
        .collect())
}

/// The requests of the last page.
#[derive(Debug, Default)]
struct Seen(BTreeSet<Identity>);

impl Seen {
    /// The requests of a page (newest first) that were not on the last one, the oldest first; and whether none can
    /// have been missed between the two.
    fn unseen(&mut self, page: Vec<Listed>) -> (Vec<Listed>, bool) {
        let now: BTreeSet<Identity> = page.iter().map(Listed::identity).collect();
        let is_full = page.len() >= KEPT;
        let is_whole = !is_full || self.0.is_empty() || !self.0.is_disjoint(&now);
        let fresh = page
            .into_iter()
            .filter(|one| !self.0.contains(&one.identity()));
        let mut fresh: Vec<Listed> = fresh.collect();
        fresh.reverse();
        self.0 = now;
        (fresh, is_whole)
    }
}

fn write_page(
    args: &RequestsArgs,
    shown: &[Listed],
    own: &str,
    paint: Paint,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    if args.json {
        let requests: Vec<&Value> = shown.iter().map(|one| &one.value).collect();
        writeln!(out, "{}", json!({ "requests": requests }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let table = table(shown, own);
    let mut tones = vec![Tone::Plain];
    tones.extend(shown.iter().map(|one| tone(&one.entry)));
    for (line, tone) in table.lines().iter().zip(tones) {
        writeln!(out, "{}", paint.line(line, tone))?;
    }
    if shown.is_empty() {
        let such = if args.filters() { " such" } else { "" };
        writeln!(out, "no{such} request yet")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A table that keeps growing: columns never get narrower.
struct Lines<'a> {
    args: &'a RequestsArgs,
    own: String,
    paint: Paint,
    widths: Vec<usize>,
}

impl Lines<'_> {
    fn write(&mut self, fresh: &[Listed], out: &mut impl Write) -> io::Result<()> {
        if self.args.json {
            for one in fresh {
                writeln!(out, "{}", one.value)?;
            }
            return out.flush();
        }
        let is_first = self.widths.is_empty();
        let lines = table(fresh, &self.own).lines_at_least(&mut self.widths);
        for (index, line) in lines.iter().enumerate().skip(usize::from(!is_first)) {
            let entry = index.checked_sub(1).and_then(|index| fresh.get(index));
            let tone = entry.map_or(Tone::Plain, |one| tone(&one.entry));
            writeln!(out, "{}", self.paint.line(line, tone))?;
        }
        out.flush()
    }
}

fn tone(entry: &RequestEntry) -> Tone {
    match entry.status {
        _ if entry.failed => Tone::Bad,
        0..400 if entry.attempts.len() < 2 => Tone::Plain,
        _ => Tone::Warning,
    }
}

fn table(shown: &[Listed], own: &str) -> TextTable {
    let mut table = TextTable::new(&[
        ("time UTC", Side::Left),
        ("status", Side::Right),
        ("model", Side::Left),
        ("way", Side::Left),
        ("why", Side::Left),
        ("tries", Side::Right),
        ("first byte ms", Side::Right),
        ("total ms", Side::Right),
        ("tokens", Side::Right),
        ("failed before", Side::Left),
    ]);
    for Listed { entry, .. } in shown {
        let first_byte = (entry.first_byte_ms > 0.0).then_some(entry.first_byte_ms);
        table.row([
            entry.clock(),
            entry.status.to_string(),
            entry.subject(),
            entry.way(own),
            entry.why(),
            entry.attempts.len().to_string(),
            number(first_byte),
            number(Some(entry.total_ms)),
            entry.tokens(),
            entry.failures(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        requests: RequestsArgs,
    }

    fn args(more: &[&str]) -> RequestsArgs {
        let all = ["requests"].iter().chain(more);
        Program::try_parse_from(all).unwrap().requests
    }

    fn listed(id: usize, status: u16) -> Listed {
        let value = json!({
            "id": id.to_string(), "time": id, "status": status, "model": "gpt-4o", "node": "eur", "upstream": "a",
            "total_ms": 12.3, "first_byte_ms": 5.0,
            "attempts": [{"node": "usa", "upstream": "b", "outcome": "reset", "reason": "least-cost"},
                {"node": "eur", "upstream": "a", "outcome": "answered", "reason": "fallback"}],
        });
        let entry = serde_json::from_value(value.clone()).unwrap();
        Listed { value, entry }
    }

    fn ids(listed: &[Listed]) -> Vec<&str> {
        listed.iter().map(|one| one.entry.id.as_str()).collect()
    }

    #[test]
    fn each_request_is_new_once_and_in_the_order_of_arrival() {
        let mut seen = Seen::default();
        let page = |from: usize, to: usize| {
            (from..to)
                .rev()
                .map(|id| listed(id, 200))
                .collect::<Vec<_>>()
        };
        let (fresh, is_whole) = seen.unseen(page(0, 3));
        assert_eq!((ids(&fresh), is_whole), (vec!["0", "1", "2"], true));
        let (fresh, is_whole) = seen.unseen(page(0, 5));
        assert_eq!((ids(&fresh), is_whole), (vec!["3", "4"], true));
        assert!(seen.unseen(page(0, 5)).0.is_empty());
        // The same id at another time is another request.
        let mut again = listed(4, 200);
        again.entry.time = 99.0;
        assert_eq!(seen.unseen(vec![again, listed(4, 200)]).0.len(), 1);
    }

    #[test]
    fn gap_is_noticed_where_a_full_page_has_nothing_of_the_last() {
        let mut seen = Seen::default();
        let page = |from: usize| {
            (from..from + KEPT)
                .rev()
                .map(|id| listed(id, 200))
                .collect::<Vec<_>>()
        };
        assert!(seen.unseen(page(0)).1);
        assert!(seen.unseen(page(KEPT - 1)).1, "one in common");
        assert!(!seen.unseen(page(3 * KEPT)).1);
    }

    #[test]
    fn statuses_are_chosen_by_number_or_class() {
        let shows =
            |text: &str, status: u16| args(&["--status", text]).shows(&listed(1, status).entry);
        assert!(shows("429", 429) && !shows("429", 428));
        assert!(shows("5xx", 500) && shows("5xx", 599) && !shows("5xx", 600));
        for wrong in ["", "x", "1000", "99", "6553xx", "-5"] {
            assert!(wrong.parse::<StatusFilter>().is_err(), "{wrong}");
        }
        assert!(!args(&["--model", "other"]).shows(&listed(1, 200).entry));
    }

    #[test]
    fn failed_is_what_the_node_says_whatever_the_status() {
        let mut broken = listed(1, 200);
        assert!(!args(&["--status", "failed"]).shows(&broken.entry));
        assert!(!args(&["--status", "failed"]).shows(&listed(1, 401).entry));
        broken.entry.failed = true;
        broken.entry.end = "broken_off".to_owned();
        assert!(!args(&["--status", "refused"]).shows(&broken.entry));
        assert!(args(&["--status", "failed"]).shows(&broken.entry));
        assert_eq!(tone(&broken.entry), Tone::Bad);
    }

    #[test]
    fn requests_are_chosen_by_key_and_by_upstream() {
        let mut one = listed(1, 200).entry;
        one.key = Some("app".to_owned());
        one.key_id = Some("gvk_5b".to_owned());
        let shows = |more: &[&str]| args(more).shows(&one);
        assert!(shows(&["--key", "app"]) && shows(&["--key", "gvk_5b"]));
        assert!(!shows(&["--key", "web"]));
        // Where it was served, and where it was tried before.
        assert!(shows(&["--upstream", "a"]) && shows(&["--upstream", "usa/b"]));
        assert!(!shows(&["--upstream", "c"]) && !shows(&["--upstream", "usa/a"]));
        assert!(!shows(&["--upstream", "a", "--key", "web"]));
        assert!(args(&["--key", "x"]).filters() && !args(&[]).filters());
    }

    #[test]
    fn table_has_the_way_and_what_failed_on_it() {
        let mut out = Vec::new();
        let paint = Paint::for_stdout(&[("NO_COLOR", "1")].into_iter().collect());
        write_page(&args(&[]), &[listed(1, 200)], "usa", paint, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = text.lines().nth(1).unwrap();
        assert!(line.contains("usa > eur/a  fallback"), "{text}");
        assert!(line.ends_with("reset at usa/b"), "{text}");
    }

    #[test]
    fn following_lines_keep_their_columns_and_json_is_a_line_each() {
        let mut out = Vec::new();
        let paint = Paint::for_stdout(&[("NO_COLOR", "1")].into_iter().collect());
        let plain = args(&["--follow"]);
        let mut lines = Lines {
            args: &plain,
            own: "usa".to_owned(),
            paint,
            widths: Vec::new(),
        };
        lines.write(&[listed(1, 200)], &mut out).unwrap();
        lines
            .write(&[listed(2, 200), listed(3, 500)], &mut out)
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert_eq!(text.matches("time UTC").count(), 1, "{text}");
        let json = args(&["--follow", "--json"]);
        let mut out = Vec::new();
        let mut lines = Lines {
            args: &json,
            own: "usa".to_owned(),
            paint,
            widths: Vec::new(),
        };
        lines
            .write(&[listed(1, 200), listed(2, 200)], &mut out)
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        let ids: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
            .collect();
        assert_eq!(ids, ["1", "2"]);
    }
}
