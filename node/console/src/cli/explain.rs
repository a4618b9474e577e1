//! `grapevine explain`: where a node would send a client's request, and why nowhere else.

use std::io::{self, Write};
use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;
use grapevine_base::causes;
use grapevine_base::page::{ReportedEntry, load_cell};
use grapevine_base::table::{Side, TextTable, number, printable};
use grapevine_config::Environment;
use serde::Deserialize;

use super::admin_port::AdminArgs;
use super::fail;
use super::limits::LimitPart;

/// The code of the error for a model that no node knows.
const UNKNOWN_MODEL: &str = "model_not_found";

/// What `explain` takes.
///
/// The exit code is 0 when the node explained, whatever its plan, and 1 when it did not or when no
/// node knows the model.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// The client's address
    #[arg(long, value_name = "IP")]
    pub client: IpAddr,
    /// The model that the request asks for
    #[arg(long, value_name = "MODEL")]
    pub model: String,
    #[command(flatten)]
    admin: AdminArgs,
    /// The name of the client's key, for rules about keys
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// The id of the conversation, as in x-grapevine-session-id
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// The region that the client asks for, as in x-grapevine-prefer-region
    #[arg(long, value_name = "REGION")]
    pub prefer_region: Option<String>,
    /// The regions that the client allows, as in x-grapevine-allow-regions
    #[arg(long, value_name = "REGION,..")]
    pub allow_regions: Option<String>,
    /// The client's dialect: chat, responses, messages, gemini or converse; without it, no upstream is preferred for
    /// its own
    #[arg(long, value_name = "DIALECT")]
    pub dialect: Option<String>,
    /// Print the node's answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// A node's answer, read tolerantly.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Explained {
    node: String,
    region: String,
    strategy: String,
    last_resort: bool,
    client: ClientPart,
    residency: Option<FencePart>,
    choices: Vec<CandidatePart>,
    left_out: Vec<CandidatePart>,
    fallbacks: Vec<FallbackPart>,
    limits: Vec<LimitPart>,
    error: Option<ErrorPart>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ClientPart {
    area: Option<String>,
    location: Option<PlacePart>,
    home_regions: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct PlacePart {
    lat: f64,
    lon: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct FencePart {
    rules: String,
    regions: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct FallbackPart {
    model: String,
    on: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorPart {
    status: u16,
    code: String,
    message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CandidatePart {
    node: String,
    region: String,
    upstream: String,
    reason: String,
    dialect: Option<String>,
    translated: Option<bool>,
    state: String,
    state_reason: Option<String>,
    account: Option<String>,
    account_rests_ms: Option<f64>,
    tier: u64,
    in_flight: u64,
    in_flight_max: u64,
    reported: Option<ReportedEntry>,
    distance_km: Option<f64>,
    ttft_measured: bool,
    cost_ms: CostPart,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct CostPart {
    rtt: Option<f64>,
    ttft: Option<f64>,
    load: Option<f64>,
    staleness: Option<f64>,
    breaks: Option<f64>,
    total: Option<f64>,
}

/// Asks the node and prints its plan.
pub fn run(
    args: &ExplainArgs,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let port = args.admin.port(environment);
    let client = args.client.to_string();
    let asked = port.get("/explain", &query(args, &client));
    let asked = asked.and_then(|bytes| {
        let explained: Explained = port.read(&bytes)?;
        Ok((bytes, explained))
    });
    let (bytes, explained) = match asked {
        Ok(good) => good,
        Err(error) => return Ok(fail(&causes::joined(&error))),
    };
    let unknown = explained
        .error
        .as_ref()
        .filter(|error| error.code == UNKNOWN_MODEL);
    if args.json {
        out.write_all(bytes.trim_ascii_end())?;
        writeln!(out)?;
    } else if unknown.is_none() {
        write_plan(&explained, args, out)?;
    }
    Ok(match unknown {
        Some(error) => fail(&printable(&error.message)),
        None => ExitCode::SUCCESS,
    })
}

fn query<'a>(args: &'a ExplainArgs, client: &'a str) -> Vec<(&'static str, &'a str)> {
    let given = [
        ("client", Some(client)),
        ("model", Some(args.model.as_str())),
        ("key", args.key.as_deref()),
        ("session", args.session.as_deref()),
        ("prefer_region", args.prefer_region.as_deref()),
        ("allow_regions", args.allow_regions.as_deref()),
        ("dialect", args.dialect.as_deref()),
    ];
    let given = given
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    given.collect()
}

fn write_plan(plan: &Explained, args: &ExplainArgs, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "client     {}", client_line(&plan.client, args.client))?;
    writeln!(
        out,
        "residency  {}",
        residency_line(plan.residency.as_ref())
    )?;
    let (node, region) = (printable(&plan.node), printable(&plan.region));
    let strategy = printable(&plan.strategy);
    writeln!(out, "entry      {node} in {region}, strategy {strategy}")?;
    if let Some(first) = plan.fallbacks.first() {
        let models: Vec<_> = plan
            .fallbacks
            .iter()
            .map(|it| printable(&it.model))
            .collect();
        let (models, on) = (models.join(", then "), printable(&first.on.join(", ")));
        writeln!(out, "fallback   {models}, on {on}")?;
    }
    for limit in &plan.limits {
        writeln!(out, "limit      {}", limit.line())?;
    }
    writeln!(out, "plan       {}\n", verdict(plan))?;
    for line in table(plan).lines() {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn client_line(client: &ClientPart, address: IpAddr) -> String {
    let area = client.area.as_deref().map(printable);
    let area = area.unwrap_or_else(|| "of no known country".to_owned());
    let place = client
        .location
        .map(|place| format!(", at {:.1} {:.1}", place.lat, place.lon));
    let homes = match client.home_regions.as_slice() {
        [] => String::new(),
        homes => format!(", home regions {}", printable(&homes.join(", "))),
    };
    format!("{address}, {area}{}{homes}", place.unwrap_or_default())
}

fn residency_line(fence: Option<&FencePart>) -> String {
    match fence {
        None => "no rule concerns it".to_owned(),
        Some(fence) if fence.regions.is_empty() => {
            format!("{} permit no region", printable(&fence.rules))
        }
        Some(fence) => {
            let regions = printable(&fence.regions.join(", "));
            format!("{} permit {regions} only", printable(&fence.rules))
        }
    }
}

fn verdict(plan: &Explained) -> String {
    match (&plan.error, plan.choices.first()) {
        (Some(error), _) => format!("{}: {}", error.status, printable(&error.message)),
        (None, None) => "no candidate".to_owned(),
        (None, Some(first)) => {
            let name = format!("{}/{}", printable(&first.node), printable(&first.upstream));
            let resort = match plan.last_resort {
                true => ", the least bad of those that are not usable",
                false => "",
            };
            format!("{name} first: {}{resort}", printable(&first.reason))
        }
    }
}

/// A line per candidate; those of the plan in its order, each at its first position.
fn table(plan: &Explained) -> TextTable {
    let mut table = TextTable::new(&[
        ("#", Side::Right),
        ("node", Side::Left),
        ("region", Side::Left),
        ("upstream", Side::Left),
        ("dialect", Side::Left),
        ("tier", Side::Right),
        ("state", Side::Left),
        ("in flight", Side::Right),
        ("km", Side::Right),
        ("rtt ms", Side::Right),
        ("ttft ms", Side::Right),
        ("load ms", Side::Right),
        ("stale ms", Side::Right),
        ("breaks ms", Side::Right),
        ("total ms", Side::Right),
        ("why", Side::Left),
    ]);
    for (index, choice) in plan.choices.iter().enumerate() {
        let is_same =
            |it: &&CandidatePart| it.node == choice.node && it.upstream == choice.upstream;
        let before = plan.choices[..index].iter().find(is_same);
        if before.is_none() {
            table.row(cells(
                choice,
                (index + 1).to_string(),
                choice.reason.clone(),
            ));
        }
    }
    for absent in &plan.left_out {
        table.row(cells(
            absent,
            "-".to_owned(),
            format!("left out: {}", absent.reason),
        ));
    }
    table
}

fn cells(candidate: &CandidatePart, position: String, why: String) -> [String; 16] {
    let rest = candidate.account_rests_ms.map(|left| {
        let account = printable(candidate.account.as_deref().unwrap_or_default());
        format!("account {account} rests {:.0} s", left / 1_000.0)
    });
    let state = match candidate.state_reason.as_ref().or(rest.as_ref()) {
        Some(reason) => format!("{} ({reason})", candidate.state),
        None => candidate.state.clone(),
    };
    let dialect = match (candidate.dialect.as_deref(), candidate.translated) {
        (None, _) => "-".to_owned(),
        (Some(dialect), Some(true)) => format!("{} (translated)", printable(dialect)),
        (Some(dialect), _) => printable(dialect),
    };
    let cost = candidate.cost_ms;
    // An estimate from distance is marked.
    let estimated = if candidate.ttft_measured { "" } else { "~" };
    [
        position,
        printable(&candidate.node),
        printable(&candidate.region),
        printable(&candidate.upstream),
        dialect,
        candidate.tier.to_string(),
        printable(&state),
        load_cell(
            Some(candidate.in_flight),
            Some(candidate.in_flight_max),
            candidate.reported.as_ref(),
        ),
        number(candidate.distance_km),
        number(cost.rtt),
        format!("{estimated}{}", number(cost.ttft)),
        number(cost.load),
        number(cost.staleness),
        number(cost.breaks),
        number(cost.total),
        printable(&why),
    ]
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        explain: ExplainArgs,
    }

    fn args(more: &[&str]) -> ExplainArgs {
        let given = ["explain", "--client", "193.99.144.80", "--model", "gpt-4o"];
        let all = given.iter().chain(more);
        Program::try_parse_from(all).unwrap().explain
    }

    fn printed(page: &str) -> String {
        let plan: Explained = serde_json::from_str(page).unwrap();
        let mut out = Vec::new();
        write_plan(&plan, &args(&[]), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn flags_are_the_question() {
        let more = [
            "--key",
            "app",
            "--session",
            "s 1",
            "--admin",
            "x:1",
            "--dialect",
            "messages",
        ];
        let args = args(&more);
        assert!(!args.json);
        let expected = [
            ("client", "193.99.144.80"),
            ("model", "gpt-4o"),
            ("key", "app"),
            ("session", "s 1"),
            ("dialect", "messages"),
        ];
        assert_eq!(query(&args, "193.99.144.80"), expected);
        assert!(Program::try_parse_from(["explain", "--client", "x", "--model", "m"]).is_err());
    }

    #[test]
    fn limits_of_the_key_are_told_with_what_is_left() {
        let page = r#"{"limits": [
            {"of": "requests", "limit": 600, "window": "minute", "left": {"all": 312, "here": 40, "whole_again_in_ms": 41234.5}},
            {"of": "budget", "limit": 50000000, "window": "month", "left": null}]}"#;
        let text = printed(page);
        let shown: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("limit"))
            .collect();
        assert_eq!(
            shown,
            [
                "limit      600 requests a minute: 312 requests left, 40 requests of them here; whole again in 42s",
                "limit      $50.00 a month; not used at this node lately",
            ]
        );
    }

    #[test]
    fn plan_is_a_table_of_all_candidates() {
        let page = r#"{"node": "usa-1", "region": "usa", "strategy": "geo", "last_resort": false,
            "client": {"area": "DE", "location": {"lat": 51.2, "lon": 10.4}, "home_regions": ["eur"]},
            "residency": {"rules": "residency[0]", "regions": ["eur", "sgp"]},
            "choices": [
              {"node": "eur-1", "region": "eur", "upstream": "primary", "reason": "mapped", "dialect": "messages", "translated": false, "state": "healthy",
               "tier": 1, "in_flight": 3, "in_flight_max": 64, "distance_km": 413.0, "ttft_measured": true,
               "cost_ms": {"rtt": 83.2, "ttft": 310.0, "load": 14.5, "staleness": 0.0, "breaks": 0.0, "total": 407.7}},
              {"node": "sgp-1", "region": "sgp", "upstream": "primary", "reason": "fallback", "dialect": "chat", "translated": true,
               "state": "healthy", "account": "main", "account_rests_ms": 12400.0,
               "tier": 1, "cost_ms": {"rtt": 160.0, "ttft": 300.0, "total": 460.0}},
              {"node": "eur-1", "region": "eur", "upstream": "primary", "reason": "fallback", "state": "healthy"}],
            "left_out": [
              {"node": "usa-1", "region": "usa", "upstream": "primary", "reason": "residency", "state": "ejected",
               "state_reason": "connect", "tier": 1, "cost_ms": {}}]}"#;
        let text = printed(page);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "client     193.99.144.80, DE, at 51.2 10.4, home regions eur",
                "residency  residency[0] permit eur, sgp only",
                "entry      usa-1 in usa, strategy geo",
                "plan       eur-1/primary first: mapped",
            ]
        );
        // A heading, two of the plan (one of them twice in it), and one left out.
        assert_eq!(lines.len(), 5 + 4, "{text}");
        assert!(
            lines[6].starts_with("1  eur-1") && lines[6].ends_with("408  mapped"),
            "{text}"
        );
        assert!(
            lines[6].contains("primary   messages  ") && lines[7].contains("chat (translated)"),
            "{text}"
        );
        assert!(
            lines[7].contains("~300") && lines[7].ends_with("fallback"),
            "{text}"
        );
        assert!(
            lines[7].contains("healthy (account main rests 12 s)"),
            "{text}"
        );
        assert!(
            lines[8].starts_with("-  usa-1") && lines[8].contains("ejected (connect)"),
            "{text}"
        );
        assert!(lines[8].ends_with("left out: residency"), "{text}");
    }

    #[test]
    fn models_that_stand_in_are_named_with_their_causes() {
        let on = r#"["context_too_long", "unavailable"]"#;
        let page = format!(
            r#"{{"fallbacks": [{{"model": "a", "on": {on}}}, {{"model": "b", "on": {on}}}]}}"#
        );
        let text = printed(&page);
        let line = "fallback   a, then b, on context_too_long, unavailable";
        assert!(text.lines().any(|it| it == line), "{text}");
    }

    #[test]
    fn refusal_is_printed_with_its_status() {
        let page = r#"{"residency": {"rules": "residency[0] and residency[1]", "regions": []},
            "error": {"status": 451, "code": "residency", "message": "may not leave its fence"}}"#;
        let text = printed(page);
        assert!(
            text.contains("client     193.99.144.80, of no known country\n"),
            "{text}"
        );
        assert!(
            text.contains("residency[0] and residency[1] permit no region\n"),
            "{text}"
        );
        assert!(
            text.contains("plan       451: may not leave its fence\n"),
            "{text}"
        );
    }
}
