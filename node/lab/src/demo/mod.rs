//! `grapevine demo`: four regions on one machine, with certificates, distance and upstreams of their own.
//!
//! The nodes are real processes of this same program, with configs and certificates as an operator would make them.
//! The upstreams ([`crate::mock`]) and the distance (`wan`) are emulated. Nothing outlives the demo (`child`).
//!
//! In reading order: `region` (who and how far), `port`, `child`, `wan`, `fleet` (all of it started and ended), then
//! `live` (the table) with `hints`, and `once` (the faults) with `chat`, `load` and `report`.

mod chat;
mod child;
mod fleet;
mod hints;
mod live;
mod load;
mod once;
mod port;
mod region;
mod report;
mod wan;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use grapevine_base::{causes, loopback};

use crate::mock::{KnobsError, MockError};
use fleet::Fleet;
use report::Report;

/// Threads of the demo itself, for its clients, upstreams and distances.
const THREADS: usize = 2;

/// Run four regions on this machine, with mock upstreams and the distance between them.
///
/// Without flags it shows a table until Ctrl-C, and lines to copy. With --once it sends traffic to all four nodes, lets
/// an upstream die and kills a node, prints the outcome of all requests, and exits 0 only if none was lost.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Drive traffic, break things, print a report, and exit
    #[arg(long)]
    pub once: bool,
    /// Print the report as one JSON object
    #[arg(long, requires = "once")]
    pub json: bool,
    /// How long --once drives traffic, at least (8 to 600)
    #[arg(long, value_name = "SECONDS", default_value_t = 20, requires = "once",
          value_parser = clap::value_parser!(u64).range(8..=600))]
    pub seconds: u64,
    /// Send no requests of the demo's own while the table is shown
    #[arg(long, conflicts_with = "once")]
    pub idle: bool,
}

/// Why the demo did not run to its end.
#[derive(Debug, Error)]
pub enum DemoError {
    /// No port of loopback is free.
    #[error("no free port on 127.0.0.1")]
    Ports,
    /// Files or sockets cannot be made.
    #[error("cannot set up files and sockets; is the temporary directory writable?")]
    Files(#[source] std::io::Error),
    /// The program itself cannot be started again as a node.
    #[error("cannot run {} as a node", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// `grapevine ca` failed.
    #[error("grapevine {command}: {text}")]
    Certificates {
        /// The arguments.
        command: String,
        /// Its output.
        text: String,
    },
    /// A mock upstream cannot be started.
    #[error("a mock upstream cannot be started")]
    Upstream(#[source] MockError),
    /// A mock upstream takes no such knobs.
    #[error("a mock upstream refuses its knobs")]
    Knobs(#[source] KnobsError),
    /// Something that must be seen by all nodes was not.
    #[error(
        "{what}: not seen by {by}{}; all logs are in {}\n--- the end of its log ---\n{log}",
        if *ended { ", which has ended" } else { " in time" },
        directory.display()
    )]
    NotSeen {
        /// The awaited condition.
        what: String,
        /// The nodes that do not see it.
        by: String,
        /// Whether the first of them has ended.
        ended: bool,
        /// The end of the first one's log.
        log: String,
        /// Where all logs are.
        directory: PathBuf,
    },
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
    /// No runtime, no signals, or standard output is closed.
    #[error("cannot reach the terminal or the system's threads")]
    Terminal(#[source] std::io::Error),
}

/// Runs the demo. The exit code is 0 when the table was ended by a signal, or `--once` lost no request.
pub fn run(args: DemoArgs) -> ExitCode {
    match try_run(&args) {
        Ok(code) => code,
        Err(error) => {
            // With stderr closed there is nowhere to print.
            let _ = writeln!(
                std::io::stderr(),
                "grapevine demo: {}",
                causes::joined(&error)
            );
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let program = std::env::current_exe().map_err(DemoError::Files)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(DemoError::Terminal)?;
    runtime.block_on(async {
        let http = loopback::client().map_err(DemoError::Client)?;
        let ended = ended_by_signal()?;
        let starting = Fleet::start(&program, http.clone());
        tokio::pin!(ended);
        let mut fleet = tokio::select! {
            fleet = starting => fleet?,
            code = &mut ended => return Ok(code),
        };
        let result = tokio::select! {
            result = show(args, &mut fleet, http) => result,
            code = &mut ended => Ok(if args.once { code } else { ExitCode::SUCCESS }),
        };
        fleet.end().await;
        result
    })
}

async fn show(
    args: &DemoArgs,
    fleet: &mut Fleet,
    http: reqwest::Client,
) -> Result<ExitCode, DemoError> {
    progress("starting four nodes, their upstreams and the distance between them");
    let ready = fleet.wait_until_ready().await?;
    if !args.once {
        live::run(fleet, http, !args.idle).await?;
        return Ok(ExitCode::SUCCESS);
    }
    progress(&format!(
        "all nodes see one another; traffic for at least {} s",
        args.seconds
    ));
    let span = Duration::from_secs(args.seconds);
    let report = once::run(fleet, http, ready, span).await?;
    print(&report, args.json)?;
    Ok(if report.lost() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Progress goes to standard error, so that standard output holds the report alone.
fn progress(text: &str) {
    // With stderr closed there is nowhere to print.
    let _ = writeln!(std::io::stderr(), "grapevine demo: {text}");
}

fn print(report: &Report, as_json: bool) -> Result<(), DemoError> {
    let text = if as_json {
        report.to_json().to_string()
    } else {
        report.to_lines().join("\n")
    };
    let mut out = std::io::stdout();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(DemoError::Terminal)
}

/// Resolves at SIGINT, SIGTERM or SIGHUP, with the exit code of a run that was broken off.
fn ended_by_signal() -> Result<impl Future<Output = ExitCode>, DemoError> {
    let on = |kind| signal(kind).map_err(DemoError::Terminal);
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut hangup = on(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => ExitCode::from(130),
            _ = terminate.recv() => ExitCode::from(143),
            _ = hangup.recv() => ExitCode::from(129),
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        demo: DemoArgs,
    }

    fn parse(flags: &str) -> Result<DemoArgs, clap::Error> {
        let words = std::iter::once("demo").chain(flags.split_whitespace());
        Program::try_parse_from(words).map(|program| program.demo)
    }

    #[test]
    fn without_flags_it_is_shown_live() {
        let args = parse("").unwrap();
        assert_eq!(
            (args.once, args.json, args.seconds, args.idle),
            (false, false, 20, false)
        );
    }

    #[test]
    fn json_and_seconds_need_once() {
        assert!(parse("--json").is_err() && parse("--seconds 30").is_err());
        assert_eq!(parse("--once --json --seconds 30").unwrap().seconds, 30);
    }

    #[test]
    fn seconds_have_limits() {
        assert!(parse("--once --seconds 7").is_err() && parse("--once --seconds 601").is_err());
        assert!(parse("--once --seconds 8").is_ok() && parse("--once --seconds 600").is_ok());
    }

    #[test]
    fn a_missing_view_is_reported_with_the_log() {
        let error = DemoError::NotSeen {
            what: "all nodes ready".to_owned(),
            by: "usa".to_owned(),
            ended: true,
            log: "last words".to_owned(),
            directory: PathBuf::from("/tmp/x"),
        };
        let text = error.to_string();
        assert!(
            text.starts_with("all nodes ready: not seen by usa, which has ended; "),
            "{text}"
        );
        assert!(text.ends_with("last words"), "{text}");
    }
}
