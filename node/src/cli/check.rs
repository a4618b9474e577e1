//! `grapevine check`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::node::NodeArgs;
use crate::config::{self, Config, Environment, Loaded, Problems};

/// What `check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Print one JSON object: ok, problems, warnings, config.
    #[arg(long)]
    json: bool,
    /// Print the whole configuration that would be in force, without its secrets.
    #[arg(long)]
    dump: bool,
}

/// Prints every problem, or `ok` with warnings and what would be in force.
pub(super) fn run(
    args: CheckArgs,
    environment: Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let checked = config::load(&args.node.sources(environment));
    let code = if checked.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    match (args.json, checked) {
        (true, checked) => write_json(&checked, out)?,
        (false, Ok(loaded)) => write_good(&loaded, args.dump, out)?,
        (false, Err(problems)) => {
            writeln!(out, "{problems}")?;
            let count = problems.iter().count();
            writeln!(out, "{count} problem{}", if count == 1 { "" } else { "s" })?;
        }
    }
    Ok(code)
}

fn write_json(checked: &Result<Loaded, Problems>, out: &mut impl Write) -> io::Result<()> {
    let report = match checked {
        Ok(loaded) => {
            json!({"ok": true, "problems": [], "warnings": loaded.warnings, "config": loaded.config.dump()})
        }
        Err(problems) => {
            json!({"ok": false, "problems": problems.iter().collect::<Vec<_>>(), "warnings": []})
        }
    };
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}

fn write_good(loaded: &Loaded, dump: bool, out: &mut impl Write) -> io::Result<()> {
    let config = &loaded.config;
    writeln!(out, "ok")?;
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    if dump {
        write!(out, "{}", config.dump_yaml())
    } else {
        write_summary(config, out)
    }
}

fn write_summary(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    writeln!(
        out,
        "node      {} in {}",
        config.node.name, config.node.region
    )?;
    writeln!(out, "api       {scheme}://{}", config.listen)?;
    writeln!(out, "admin     http://{}", config.admin.listen)?;
    match &config.mesh {
        Some(mesh) => {
            let seeds: Vec<_> = mesh.seeds.iter().map(ToString::to_string).collect();
            let seeds = if seeds.is_empty() {
                "none".to_owned()
            } else {
                seeds.join(", ")
            };
            writeln!(
                out,
                "mesh      {} on {}, seeds {seeds}",
                mesh.name, mesh.listen
            )?;
        }
        None => writeln!(out, "mesh      none")?,
    }
    for upstream in &config.upstreams {
        writeln!(out, "upstream  {} at {}", upstream.name, upstream.base_url)?;
    }
    writeln!(out, "keys      {}", config.keys.len())
}
