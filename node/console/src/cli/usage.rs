//! `grapevine usage`: what was used, by key, model, upstream, account, region or day.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use grapevine_base::causes;
use grapevine_config::Environment;
use serde_json::Value;

use super::admin_port::{AdminArgs, AskError};
use super::fail;

/// What to sum, and which node to ask.
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// What sums are broken down by: key, model, upstream, account, region, day; several with commas
    #[arg(long, value_name = "GROUPS", default_value = "key")]
    by: String,
    /// The first day: a day such as 2027-01-31 (UTC), or a span such as 7d. Default: 30 days with this one
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Sum this node's requests alone, not the mesh's
    #[arg(long)]
    node: bool,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the answer as JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print rows with commas
    #[arg(long)]
    csv: bool,
}

/// The figures of a row, with their headings.
const FIGURES: [(&str, &str); 7] = [
    ("requests", "requests"),
    ("failed", "failed"),
    ("tokens_in", "tokens in"),
    ("tokens_cached", "cached"),
    ("tokens_out", "tokens out"),
    ("cost_usd", "usd"),
    ("unpriced", "without price"),
];

/// Prints the sums.
///
/// # Errors
/// When the output cannot be written.
pub fn run(
    args: &UsageArgs,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let port = args.admin.port(environment);
    let scope = if args.node { "node" } else { "mesh" };
    let mut query = vec![("by", args.by.as_str()), ("scope", scope)];
    if let Some(since) = &args.since {
        query.push(("since", since));
    }
    let asked = port.get("/usage", &query).and_then(|bytes| {
        let answer: Value = port.read(&bytes)?;
        Ok::<_, AskError>((bytes, answer))
    });
    let (bytes, answer) = match asked {
        Ok(answered) => answered,
        Err(error) => return Ok(fail(&causes::joined(&error))),
    };
    if args.json {
        out.write_all(&bytes)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let table = table(&answer, args.csv);
    match args.csv {
        true => csv(&table, out)?,
        false => {
            columns(&table, out)?;
            notes(&answer, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Rows of cells, the headings first; without commas a last row of totals.
fn table(answer: &Value, is_plain: bool) -> Vec<Vec<String>> {
    let by: Vec<&str> = answer["by"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let figures = |row: &Value| FIGURES.map(|(name, _)| text(&row[name]));
    let headings = FIGURES.map(|(name, heading)| if is_plain { name } else { heading }.to_owned());
    let mut table = vec![by.iter().map(ToString::to_string).chain(headings).collect()];
    for row in answer["rows"].as_array().into_iter().flatten() {
        let names = by.iter().map(|name| text(&row[*name]));
        table.push(names.chain(figures(row)).collect());
    }
    if !is_plain && !by.is_empty() {
        let names = by.iter().enumerate();
        let names = names.map(|(index, _)| if index == 0 { "total" } else { "" }.to_owned());
        table.push(names.chain(figures(&answer["total"])).collect());
    }
    table
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text
            .chars()
            .map(|it| if it.is_control() { '?' } else { it })
            .collect(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn columns(table: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let names = table
        .first()
        .map_or(0, |row| row.len().saturating_sub(FIGURES.len()));
    for row in table {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            match column < names {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// RFC 4180, with the line ends of this system. A cell that a spreadsheet would run as a formula begins with a quote.
fn csv(table: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    for row in table {
        let cells = row.iter().map(|cell| {
            let cell = match cell.starts_with(['=', '+', '-', '@']) && cell.len() > 1 {
                true => format!("'{cell}"),
                false => cell.clone(),
            };
            match cell.contains([',', '"', '\n', '\r']) {
                true => format!("\"{}\"", cell.replace('"', "\"\"")),
                false => cell,
            }
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join(","))?;
    }
    Ok(())
}

fn notes(answer: &Value, out: &mut impl Write) -> io::Result<()> {
    let names = |key: &str| -> Vec<String> {
        answer[key]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect()
    };
    writeln!(
        out,
        "since {} (UTC), of {}",
        text(&answer["since"]),
        names("nodes").join(", ")
    )?;
    let missing = names("missing");
    if !missing.is_empty() {
        writeln!(
            out,
            "NOT in it, since they do not answer: {}",
            missing.join(", ")
        )?;
    }
    match answer["total"]["unpriced"].as_u64() {
        Some(count @ 1..) => writeln!(
            out,
            "{count} requests have no cost: give their models prices, see `prices` in the configuration"
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer() -> Value {
        let sum = |key: &str, requests: u64, usd: &str| {
            json!({"key": key, "requests": requests, "failed": 0, "tokens_in": 10, "tokens_cached": 4,
                   "tokens_out": 3, "cost_usd": usd, "unpriced": 1})
        };
        json!({"by": ["key"], "since": "2026-11-01", "nodes": ["a"], "missing": ["b"],
               "rows": [sum("app", 12, "0.5"), sum("=1+1,\"x\"", 1, "0")], "total": sum("", 13, "0.5")})
    }

    fn written(write: impl Fn(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn table_ends_with_totals_and_says_who_is_missing() {
        let table = table(&answer(), false);
        let text = written(|out| {
            columns(&table, out)?;
            notes(&answer(), out)
        });
        let total = text
            .lines()
            .find(|line| line.starts_with("total"))
            .expect("totals");
        assert!(total.contains("13"), "{text}");
        assert!(
            text.contains("NOT in it") && text.contains("1 requests have no cost"),
            "{text}"
        );
    }

    #[test]
    fn rows_with_commas_are_quoted_and_run_no_formula() {
        let text = written(|out| csv(&table(&answer(), true), out));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "key,requests,failed,tokens_in,tokens_cached,tokens_out,cost_usd,unpriced"
        );
        assert_eq!(lines[1], "app,12,0,10,4,3,0.5,1");
        assert_eq!(lines[2], "\"'=1+1,\"\"x\"\"\",1,0,10,4,3,0,1");
        assert_eq!(lines.len(), 3);
    }
}
