//! `grapevine drain`, `reload`, `config` and `upstream`: what an operator does to a running node through its admin port.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use grapevine_base::causes;
use grapevine_base::table::printable;
use grapevine_config::{Environment, yaml_of};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::admin_port::{AdminArgs, AdminPort, AskError};
use super::fail;

/// What `drain`, `reload` and `config` take.
///
/// The exit code is 0 when the node did what was asked, and 1 when it did not.
#[derive(Clone, Debug, Args)]
pub struct OperateArgs {
    /// Print the node's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What `upstream` takes.
#[derive(Clone, Debug, Args)]
pub struct UpstreamArgs {
    #[command(subcommand)]
    act: UpstreamAct,
    /// Print the node's answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum UpstreamAct {
    /// Take an upstream of the node out of use
    ///
    /// It gets no new request from any node, not as a last resort either; what is in flight there ends. Holds until it is
    /// enabled, or the node restarts; a reload does not change it. The node's log says so.
    #[command(after_help = DISABLE)]
    Disable {
        /// Its name at the node that is asked
        name: String,
    },
    /// Give an upstream back that was taken out of use; it is probed at once
    #[command(after_help = ENABLE)]
    Enable {
        /// Its name at the node that is asked
        name: String,
    },
}

const DISABLE: &str = command_help!(
    [
        "grapevine upstream disable openai --admin 10.0.0.1:9090",
        "grapevine status --upstream openai      # shows it as disabled",
    ],
    [
        "0  it is out of use",
        "1  the node did not answer, or has no such upstream",
    ]
);

const ENABLE: &str = command_help!(
    ["grapevine upstream enable openai --admin 10.0.0.1:9090"],
    [
        "0  it is in use again",
        "1  the node did not answer, or has no such upstream",
    ]
);

/// `grapevine drain`: the node finishes what it has, takes no more, and ends.
///
/// # Errors
/// When the output cannot be written.
pub fn drain(
    args: &OperateArgs,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    post(args, environment, out, "/drain", |url| {
        format!("the node at {url} drains: it ends once its requests have")
    })
}

/// `grapevine reload`: the node reads its configuration again, and says what keeps it from that.
///
/// # Errors
/// When the output cannot be written.
pub fn reload(
    args: &OperateArgs,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    post(args, environment, out, "/reload", |url| {
        format!("the node at {url} has read its configuration again")
    })
}

/// `grapevine config`: the configuration that the node runs, with defaults filled in and secrets hidden.
///
/// # Errors
/// When the output cannot be written.
pub fn config(
    args: &OperateArgs,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let port = args.admin.port(environment);
    let asked = port.get("/config", &[]);
    finish(&port, asked, args.json, out, |config| {
        yaml_of(config).trim_end().to_owned()
    })
}

/// `grapevine upstream`.
///
/// # Errors
/// When the output cannot be written.
pub fn upstream(
    args: &UpstreamArgs,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let port = args.admin.port(environment);
    let (UpstreamAct::Disable { name } | UpstreamAct::Enable { name }) = &args.act;
    let word = match args.act {
        UpstreamAct::Disable { .. } => "disable",
        UpstreamAct::Enable { .. } => "enable",
    };
    let asked = port.post(&format!("/upstreams/{}/{word}", segment(name)), &json!({}));
    finish(&port, asked, args.json, out, switched)
}

fn switched(answer: &Value) -> String {
    let name = printable(answer["upstream"].as_str().unwrap_or("?"));
    match (answer["disabled"].as_bool(), answer["in_flight"].as_u64()) {
        (Some(true), Some(in_flight @ 1..)) => {
            format!("{name} is out of use; {in_flight} requests in flight there go on")
        }
        (Some(true), _) => format!("{name} is out of use"),
        _ => format!("{name} is in use again"),
    }
}

/// What a name may have, which stands in a path as it is.
const OF_NAMES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// `name` as a segment of a path: names need no escapes, and what is none must not name another page.
fn segment(name: &str) -> String {
    utf8_percent_encode(name, OF_NAMES).to_string()
}

/// Asks for what is at `path`, and prints what `done` says of the node at its URL.
fn post(
    args: &OperateArgs,
    environment: &Environment,
    out: &mut impl Write,
    path: &str,
    done: impl FnOnce(&str) -> String,
) -> io::Result<ExitCode> {
    let port = args.admin.port(environment);
    let asked = port.post(path, &json!({}));
    finish(&port, asked, args.json, out, |_| done(port.url()))
}

/// Prints what `show` makes of the answer, or all of it as JSON.
fn finish(
    port: &AdminPort,
    asked: Result<Vec<u8>, AskError>,
    as_json: bool,
    out: &mut impl Write,
    show: impl FnOnce(&Value) -> String,
) -> io::Result<ExitCode> {
    let answer = asked.and_then(|bytes| port.read::<Value>(&bytes));
    match answer {
        Ok(answer) if as_json => writeln!(out, "{answer}")?,
        Ok(answer) => writeln!(out, "{}", show(&answer))?,
        Err(error) => return Ok(fail(&causes::joined(&error))),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_an_upstream_is_said_with_what_goes_on_there() {
        let said = |disabled, in_flight| {
            switched(&json!({"upstream": "openai", "disabled": disabled, "in_flight": in_flight}))
        };
        assert_eq!(
            said(true, 3),
            "openai is out of use; 3 requests in flight there go on"
        );
        assert_eq!(said(true, 0), "openai is out of use");
        assert_eq!(said(false, 3), "openai is in use again");
    }

    #[test]
    fn name_cannot_lead_to_another_page() {
        assert_eq!(segment("open-ai_1"), "open-ai_1");
        assert_eq!(segment("../drain?x#"), "%2E%2E%2Fdrain%3Fx%23");
    }
}
