//! The command line: run one scenario, sweep seeds, replay a failure, write the report.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::escrow::{self, Depth};
use crate::run::{self, Run};
use crate::scenario::{Scenario, ScenarioError};
use crate::summary;

/// Drives the core that ships through scenarios, on a clock and a network of its own. Equal seeds give
/// equal runs, in any build.
#[derive(Debug, Parser)]
#[command(name = "grapevine-sim", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one scenario and print its results
    Run {
        /// A scenario (YAML); sim/scenarios holds some
        file: PathBuf,
        /// Seeds everything that is random
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Also run the baselines in the same world, and compare
        #[arg(long)]
        baselines: bool,
    },
    /// Run all scenarios of a folder with many seeds
    Sweep {
        /// Seeds from A to B, B included
        #[arg(long, default_value = "1..40", value_parser = range)]
        seeds: (u64, u64),
        /// Scenarios, or folders of them
        #[arg(default_value = "sim/scenarios")]
        paths: Vec<PathBuf>,
    },
    /// Run a failing seed again, and print the last events before the violation
    ///
    /// Wake-ups, keep-alives and echoes are left out. Where nothing is violated, the last events of the run are
    /// printed.
    Replay {
        /// The scenario
        file: PathBuf,
        /// The seed that failed
        #[arg(long)]
        seed: u64,
        /// How many events to print at most
        #[arg(long, default_value_t = 60)]
        events: usize,
    },
    /// Print the digest of every scenario with two seeds, or compare them with a file
    ///
    /// sim/digests.txt holds them as a debug build and a release build must both give them. After a change of
    /// core or of the simulator that is meant to change runs, write it again:
    /// cargo run --release -p grapevine-sim -- digests > sim/digests.txt
    Digests {
        /// The scenarios, or folders of them
        #[arg(default_value = "sim/scenarios")]
        paths: Vec<PathBuf>,
        /// Fail if a digest differs from this file
        #[arg(long)]
        check: Option<PathBuf>,
    },
    /// Limits without a store: core's escrow, with every fault that it promises to bear
    Limits {
        /// Seeds from A to B, B included
        #[arg(long, default_value = "1", value_parser = range)]
        seeds: (u64, u64),
        /// Only the cases whose names begin so
        #[arg(long, default_value = "")]
        case: String,
        /// 3 to 100 nodes and long runs, not only those of every build
        #[arg(long)]
        full: bool,
    },
    /// Measure what the design needs, and write a report with plots
    Report {
        /// The folder to write to
        #[arg(long, default_value = "sim/report")]
        out: PathBuf,
        /// The scenarios in which it compares routing policies
        #[arg(long, default_value = "sim/scenarios")]
        scenarios: PathBuf,
        #[command(flatten)]
        what: crate::report::What,
    },
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("{path}: {problems}")]
    Scenario { path: String, problems: String },
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command.
pub fn main(arguments: &Arguments) -> ExitCode {
    let mut out = io::stdout().lock();
    match execute(arguments, &mut out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // If this fails too, there is no other output to report to.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns false when a rule was broken.
fn execute(arguments: &Arguments, out: &mut impl Write) -> Result<bool, CommandError> {
    match &arguments.command {
        Command::Run {
            file,
            seed,
            baselines,
        } => run_one(file, *seed, *baselines, out),
        Command::Sweep { seeds, paths } => sweep(paths, *seeds, out),
        Command::Replay { file, seed, events } => replay(file, *seed, *events, out),
        Command::Digests { paths, check } => digests(paths, check.as_deref(), out),
        Command::Limits { seeds, case, full } => {
            let depth = if *full { Depth::Full } else { Depth::Short };
            let mut cases = escrow::cases(depth);
            cases.retain(|it| it.name.starts_with(case.as_str()));
            Ok(escrow::sweep(&cases, *seeds, out)?)
        }
        Command::Report {
            out: folder,
            scenarios: from,
            what,
        } => {
            let mut all = Vec::new();
            for file in scenarios(from)? {
                let scenario = Arc::new(read(&file)?);
                all.push((file, scenario));
            }
            crate::report::write(folder, &all, what, out)?;
            Ok(true)
        }
    }
}

fn run_one(
    file: &Path,
    seed: u64,
    baselines: bool,
    out: &mut impl Write,
) -> Result<bool, CommandError> {
    let scenario = Arc::new(read(file)?);
    let run = run::run(&scenario, seed);
    writeln!(out, "{}: {}", scenario.name(), scenario.about())?;
    summary::print(&scenario, &run, out)?;
    if baselines {
        summary::compare(&scenario, seed, &run, out)?;
        summary::compare_engines(&scenario, seed, out)?;
    }
    writeln!(out, "digest: {}", run.digest)?;
    print_violation(file, seed, &run, out)?;
    Ok(run.violation.is_none())
}

fn replay(
    file: &Path,
    seed: u64,
    events: usize,
    out: &mut impl Write,
) -> Result<bool, CommandError> {
    let scenario = Arc::new(read(file)?);
    let run = run::replay(&scenario, seed, events);
    for event in &run.last_events {
        writeln!(out, "{event}")?;
    }
    writeln!(out, "digest: {}", run.digest)?;
    print_violation(file, seed, &run, out)?;
    Ok(run.violation.is_none())
}

/// The seeds whose digests are compared.
const DIGEST_SEEDS: [u64; 2] = [1, 2];

fn digests(
    paths: &[PathBuf],
    check: Option<&Path>,
    out: &mut impl Write,
) -> Result<bool, CommandError> {
    let wanted = check.map(text).transpose()?;
    let mut all_equal = true;
    for path in paths {
        for file in scenarios(path)? {
            let scenario = Arc::new(read(&file)?);
            for seed in DIGEST_SEEDS {
                let digest = run::run(&scenario, seed).digest;
                let line = format!("{} {seed} {digest}", scenario.name());
                let is_wanted = |text: &String| text.lines().any(|wanted| wanted == line);
                let is_equal = wanted.as_ref().is_none_or(is_wanted);
                all_equal &= is_equal;
                let remark = if is_equal { "" } else { " differs" };
                writeln!(out, "{line}{remark}")?;
                out.flush()?;
            }
        }
    }
    Ok(all_equal)
}

fn sweep(
    paths: &[PathBuf],
    (first, last): (u64, u64),
    out: &mut impl Write,
) -> Result<bool, CommandError> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(scenarios(path)?);
    }
    let (mut runs, mut failures) = (0, 0);
    for file in &files {
        let scenario = Arc::new(read(file)?);
        let mut requests = 0;
        for seed in first..=last {
            let run = run::run(&scenario, seed);
            runs += 1;
            requests += run.counts().requests;
            if run.violation.is_some() {
                failures += 1;
                print_violation(file, seed, &run, out)?;
            }
        }
        writeln!(
            out,
            "{}: {} seeds, {requests} requests",
            scenario.name(),
            last - first + 1
        )?;
        out.flush()?;
    }
    writeln!(out, "{runs} runs, {failures} with a violation")?;
    Ok(failures == 0)
}

/// One line with what failed, and one that reproduces it.
fn print_violation(
    file: &Path,
    seed: u64,
    run: &Run,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    if let Some(violation) = &run.violation {
        let file = file.display();
        writeln!(
            out,
            "VIOLATION {violation}\n  reproduce: cargo run --release -p grapevine-sim -- replay {file} --seed {seed}"
        )?;
    }
    Ok(())
}

/// The scenario of a file.
fn read(file: &Path) -> Result<Scenario, CommandError> {
    let problems = |error: ScenarioError| CommandError::Scenario {
        path: file.display().to_string(),
        problems: error.to_string(),
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    Scenario::parse_in(&text(file)?, folder).map_err(problems)
}

fn text(file: &Path) -> Result<String, CommandError> {
    std::fs::read_to_string(file).map_err(|source| CommandError::File {
        path: file.display().to_string(),
        source,
    })
}

/// The file itself, or the scenarios of a folder in the order of their names.
fn scenarios(path: &Path) -> Result<Vec<PathBuf>, CommandError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| CommandError::File {
        path: path.display().to_string(),
        source,
    };
    let entries = std::fs::read_dir(path).map_err(failed)?;
    let paths: Result<Vec<PathBuf>, io::Error> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    paths.sort();
    Ok(paths)
}

pub(crate) fn range(text: &str) -> Result<(u64, u64), String> {
    let parse = |part: &str| part.parse::<u64>().ok();
    let range = match text.split_once("..") {
        Some((first, last)) => parse(first).zip(parse(last.trim_start_matches('='))),
        None => parse(text).map(|one| (one, one)),
    };
    let range = range.filter(|(first, last)| first <= last);
    range.ok_or_else(|| "write a range such as 1..40".to_owned())
}
