//! `grapevine tasks`: background work, through a node's admin port.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use grapevine_base::causes;
use grapevine_base::table::{Side, TextTable, printable};
use grapevine_config::Environment;
use serde_json::{Map, Value};

use super::admin_port::{AdminArgs, AskError};
use super::fail;

/// What `tasks` takes.
///
/// The exit code is 0 when the node did what was asked, and 1 when it did not.
#[derive(Clone, Debug, Args)]
pub struct TasksArgs {
    #[command(subcommand)]
    act: Act,
    /// Print the node's answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum Act {
    /// List tasks, the newest first, and count them by service
    #[command(after_help = LIST)]
    List {
        /// Of this service only
        #[arg(long, value_name = "KEY")]
        service: Option<String>,
        /// In this state only: waiting, running, completed, dead, cancelled or expired
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// Tasks at most, up to 100
        #[arg(long, value_name = "COUNT", default_value_t = 20)]
        limit: u32,
        /// Continue after this task
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Show everything about a task but its payload and its output
    #[command(after_help = SHOW)]
    Show {
        /// The task
        id: String,
    },
    /// Cancel a task, or ask its worker to
    #[command(after_help = CANCEL)]
    Cancel {
        /// The task
        id: String,
    },
    /// Let a dead, cancelled or expired task wait again
    #[command(after_help = REQUEUE)]
    Requeue {
        /// The task
        id: String,
    },
}

const LIST: &str = command_help!(
    [
        "grapevine tasks list --state dead",
        "grapevine tasks list --service workflow:process --limit 100",
    ],
    ["0  the node answered", "1  it did not"]
);

const SHOW: &str = command_help!(
    ["grapevine tasks show task_01hx"],
    ["0  the node answered", "1  it did not, or has no such task"]
);

const CANCEL: &str = command_help!(
    ["grapevine tasks cancel task_01hx"],
    [
        "0  it is cancelled, or its worker was asked to end it",
        "1  the node did not answer, has no such task, or it has ended",
    ]
);

const REQUEUE: &str = command_help!(
    ["grapevine tasks requeue task_01hx"],
    [
        "0  it waits again",
        "1  the node did not answer, has no such task, or it has not failed",
    ]
);

impl Act {
    fn path(&self) -> String {
        match self {
            Self::List { .. } => "/tasks".to_owned(),
            Self::Show { id } => format!("/tasks/{id}"),
            Self::Cancel { id } => format!("/tasks/{id}/cancel"),
            Self::Requeue { id } => format!("/tasks/{id}/requeue"),
        }
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let Self::List {
            service,
            state,
            limit,
            after,
        } = self
        else {
            return Vec::new();
        };
        let texts = [("service", service), ("state", state), ("after", after)];
        let texts = texts
            .into_iter()
            .filter_map(|(name, text)| Some((name, text.clone()?)));
        texts
            .chain([("limit", limit.clamp(&1, &100).to_string())])
            .collect()
    }
}

/// Asks the node and prints its answer.
pub fn run(
    args: &TasksArgs,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let answer = match ask(args, environment) {
        Ok(answer) => answer,
        Err(error) => return Ok(fail(&causes::joined(&error))),
    };
    if args.json {
        writeln!(out, "{answer}")?;
        return Ok(ExitCode::SUCCESS);
    }
    match &args.act {
        Act::List { .. } => {
            for line in counts(&answer).lines() {
                writeln!(out, "{line}")?;
            }
            writeln!(out)?;
            for line in list(&answer).lines() {
                writeln!(out, "{line}")?;
            }
        }
        Act::Show { .. } | Act::Cancel { .. } | Act::Requeue { .. } => {
            write!(out, "{}", fields(&answer))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(args: &TasksArgs, environment: &Environment) -> Result<Value, AskError> {
    let port = args.admin.port(environment);
    let path = args.act.path();
    let answer = match &args.act {
        Act::List { .. } | Act::Show { .. } => {
            let query = args.act.query();
            let query = query.iter().map(|(name, value)| (*name, value.as_str()));
            port.get(&path, &query.collect::<Vec<_>>())?
        }
        Act::Cancel { .. } | Act::Requeue { .. } => port.post(&path, &Value::Null)?,
    };
    port.read(&answer)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

/// A line for each service, with how many of its tasks the node that was asked runs at once.
fn counts(page: &Value) -> TextTable {
    let mut table = TextTable::new(&[
        ("service", Side::Left),
        ("waiting", Side::Right),
        ("delayed", Side::Right),
        ("running", Side::Right),
        ("dead", Side::Right),
        ("at once here", Side::Right),
    ]);
    let keys = |name: &str| -> Vec<String> {
        let map = page[name].as_object();
        map.into_iter().flat_map(Map::keys).cloned().collect()
    };
    let services: BTreeSet<String> = [keys("counts"), keys("concurrency")]
        .concat()
        .into_iter()
        .collect();
    for service in services {
        let counts = &page["counts"][&service];
        let states = ["waiting", "delayed", "running", "dead"];
        let figures = states.map(|state| counts[state].as_u64().unwrap_or(0).to_string());
        let at_once = text(&page["concurrency"][&service]);
        table.row([vec![printable(&service)], figures.to_vec(), vec![at_once]].concat());
    }
    table
}

/// A line for each task.
fn list(page: &Value) -> TextTable {
    let mut table = TextTable::new(&[
        ("task", Side::Left),
        ("service", Side::Left),
        ("state", Side::Left),
        ("attempts", Side::Right),
        ("done", Side::Right),
        ("worker", Side::Left),
        ("error", Side::Left),
    ]);
    for task in page["data"].as_array().into_iter().flatten() {
        let progress = &task["progress"];
        let done = match progress["completed"].as_u64() {
            Some(done) => format!("{done}/{}", text(&progress["total"])),
            None => "-".to_owned(),
        };
        table.row([
            text(&task["id"]),
            text(&task["service"]),
            text(&task["state"]),
            format!(
                "{}/{}",
                text(&task["attempts"]),
                text(&task["max_attempts"])
            ),
            done,
            text(&task["worker"]),
            text(&task["error"]["message"]),
        ]);
    }
    table
}

/// A line for each field.
fn fields(task: &Value) -> String {
    let mut lines = String::new();
    for (name, value) in task.as_object().unwrap_or(&Map::new()) {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{name}: {}", text(value));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tasks_and_counts_have_lines() {
        let page = json!({
            "counts": {"a:x": {"waiting": 1, "delayed": 0, "running": 2, "dead": 3}},
            "concurrency": {"a:x": 4, "b:y": 8},
            "data": [{"id": "task_1", "service": "a:x", "state": "dead", "attempts": 5, "max_attempts": 5,
                "progress": {"completed": 2, "failed": 0, "total": 9}, "worker": null,
                "error": {"code": "c", "message": "went\u{1b}[31m wrong"}}],
        });
        let counted = counts(&page).lines();
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&counted[1]), ["a:x", "1", "0", "2", "3", "4"]);
        assert_eq!(words(&counted[2]), ["b:y", "0", "0", "0", "0", "8"]);
        let listed = list(&page).lines();
        assert!(listed[1].contains("5/5") && listed[1].contains("2/9"));
        assert!(!listed[1].contains('\u{1b}'), "{}", listed[1]);
    }
}
