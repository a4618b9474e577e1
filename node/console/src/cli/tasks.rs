//! `grapevine tasks`: background work, through a node's admin port.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use grapevine_base::table::{Side, TextTable, printable};
use grapevine_base::{causes, loopback};
use grapevine_config::Environment;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value};
use thiserror::Error;

use super::fail;

/// The default address of a node's admin port.
const ADMIN: &str = "http://127.0.0.1:9090";

/// The variable that holds the token, the same that gives it to the node.
const TOKEN_VARIABLE: &str = "GRAPEVINE_ADMIN_TOKEN";

/// How long the node may take to answer.
const LIMIT: Duration = Duration::from_secs(15);

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
    /// The node's admin address, as in admin.listen
    #[arg(long, value_name = "URL", default_value = ADMIN, global = true)]
    admin: String,
    /// The node's admin token; also GRAPEVINE_ADMIN_TOKEN
    #[arg(long, value_name = "TOKEN", global = true)]
    token: Option<String>,
}

#[derive(Clone, Debug, Subcommand)]
enum Act {
    /// List tasks, the newest first, and count them by service
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
    Show {
        /// The task
        id: String,
    },
    /// Cancel a task, or ask its worker to
    Cancel {
        /// The task
        id: String,
    },
    /// Let a dead, cancelled or expired task wait again
    Requeue {
        /// The task
        id: String,
    },
}

/// Why it was not done.
#[derive(Debug, Error)]
enum TasksError {
    #[error(
        "no node answers at {url}; start one, or name the address in its admin.listen with --admin"
    )]
    NoAnswer { url: String, source: reqwest::Error },
    #[error("the node at {url} asks for a token; give it with --token or {TOKEN_VARIABLE}")]
    Token { url: String },
    #[error("{message}")]
    Refused { message: String },
    #[error("{url} does not answer as a node's admin port does ({status})")]
    Foreign { url: String, status: StatusCode },
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
    #[error("cannot start a runtime")]
    Runtime(#[source] io::Error),
}

impl Act {
    fn method(&self) -> Method {
        match self {
            Self::List { .. } | Self::Show { .. } => Method::GET,
            Self::Cancel { .. } | Self::Requeue { .. } => Method::POST,
        }
    }

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
    let token = args.token.as_deref();
    let token = token.or_else(|| environment.get(TOKEN_VARIABLE));
    let answer = match ask(args, token) {
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

fn ask(args: &TasksArgs, token: Option<&str>) -> Result<Value, TasksError> {
    let base = args.admin.trim_end_matches('/');
    let base = match base.contains("://") {
        true => base.to_owned(),
        false => format!("http://{base}"),
    };
    let mut url = reqwest::Url::parse(&format!("{base}{}", args.act.path())).map_err(|error| {
        TasksError::Refused {
            message: format!("{} is no address: {error}", args.admin),
        }
    })?;
    if let query @ [_, ..] = args.act.query().as_slice() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TasksError::Runtime)?;
    let client = loopback::client().map_err(TasksError::Client)?;
    let no_answer = |source: reqwest::Error| TasksError::NoAnswer {
        url: base.clone(),
        source: source.without_url(),
    };
    runtime.block_on(async {
        let mut request = client.request(args.act.method(), url).timeout(LIMIT);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        let body: Option<Value> =
            serde_json::from_slice(&answer.bytes().await.map_err(no_answer)?).ok();
        let message = body
            .as_ref()
            .and_then(|body| body["error"]["message"].as_str());
        match (status, body.as_ref(), message) {
            (StatusCode::UNAUTHORIZED, _, _) => Err(TasksError::Token { url: base.clone() }),
            (_, _, Some(message)) if !status.is_success() => Err(TasksError::Refused {
                message: printable(message),
            }),
            (_, Some(body), _) if status.is_success() => Ok(body.clone()),
            _ => Err(TasksError::Foreign {
                url: base.clone(),
                status,
            }),
        }
    })
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
