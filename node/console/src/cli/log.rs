//! `grapevine log`: shows and changes the log level of a running node.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use grapevine_base::causes;
use grapevine_config::Environment;
use serde::Deserialize;
use serde_json::json;

use super::admin_port::{AdminArgs, AskError};
use super::fail;

/// Which node, and its new level.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// error, warn, info, debug, trace, off, or a filter such as info,grapevine_mesh=debug; without
    /// it the current level is shown. Holds until the node ends or log.level changes in its file
    #[arg(value_name = "LEVEL")]
    level: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Answer {
    level: Option<String>,
}

/// Shows or sets the level.
///
/// # Errors
/// When the output cannot be written.
pub fn run(
    args: &LogArgs,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let port = args.admin.port(environment);
    let asked = match &args.level {
        Some(level) => port.put("/log", &json!({ "level": level })),
        None => port.get("/log", &[]),
    };
    let answered = asked.and_then(|bytes| {
        let answer: Answer = port.read(&bytes)?;
        Ok::<_, AskError>((bytes, answer))
    });
    match answered {
        Ok((bytes, _)) if args.json => {
            out.write_all(&bytes)?;
            writeln!(out)?;
        }
        Ok((_, answer)) => writeln!(out, "{}", answer.level.as_deref().unwrap_or("none"))?,
        Err(error) => return Ok(fail(&causes::joined(&error))),
    }
    Ok(ExitCode::SUCCESS)
}
