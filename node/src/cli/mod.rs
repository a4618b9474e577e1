//! The command line: its commands, and what they print.
//!
//! Every command writes through a locked stdout and ends with an exit code: 0 is good, 1 is not, 2 is a
//! command line that was not understood (clap's own). `import` and `status --check` add some of their own.

mod check;
mod completions;
mod help;
mod man;
mod node;

use std::future::Future;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use grapevine_config::Environment;
use grapevine_console::cli::{
    ca, explain, fail, import, init, key, log, operate, requests, schema, status, tasks, top, usage,
};
use grapevine_lab::demo;
use grapevine_tasks::hub::ServiceRegistry;

/// One node of a mesh that routes AI API requests to the nearest healthy upstream.
#[derive(Debug, Parser)]
#[command(
    name = "grapevine",
    version,
    arg_required_else_help = true,
    propagate_version = true,
    after_help = help::PROGRAM
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node
    #[command(after_help = help::NODE)]
    Node(node::NodeArgs),
    /// Run four regions on this machine, to try and to break
    #[command(after_help = help::DEMO)]
    Demo(demo::DemoArgs),
    /// Check a configuration: every problem with its key, its position and a remedy
    #[command(after_help = help::CHECK)]
    Check(check::CheckArgs),
    /// Show the mesh as a node sees it
    #[command(after_help = help::STATUS)]
    Status(status::StatusArgs),
    /// Let a node finish what it has, take no more, and end
    #[command(after_help = help::DRAIN)]
    Drain(operate::OperateArgs),
    /// Let a node read its configuration again, and say what keeps it from that
    #[command(after_help = help::RELOAD)]
    Reload(operate::OperateArgs),
    /// Show the configuration that a node runs, without its secrets
    #[command(after_help = help::CONFIG)]
    Config(operate::OperateArgs),
    /// Take an upstream of a node out of use, or give it back
    #[command(after_help = help::UPSTREAM)]
    Upstream(operate::UpstreamArgs),
    /// Show the log level of a running node, or change it
    #[command(after_help = help::LOG)]
    Log(log::LogArgs),
    /// Show the mesh as a node sees it, live in the terminal
    #[command(after_help = help::TOP)]
    Top(top::TopArgs),
    /// List the last requests of a node, and follow new ones
    #[command(after_help = help::REQUESTS)]
    Requests(requests::RequestsArgs),
    /// Sum tokens and cost by key, model, upstream, region or day
    #[command(after_help = help::USAGE)]
    Usage(usage::UsageArgs),
    /// List, show, cancel and requeue background tasks
    #[command(after_help = help::TASKS)]
    Tasks(tasks::TasksArgs),
    /// Show where a node would send a client's request, and why nowhere else
    #[command(after_help = help::EXPLAIN)]
    Explain(explain::ExplainArgs),
    /// Write what a mesh needs to start: configurations, certificates, and files for where it runs
    #[command(after_help = help::INIT)]
    Init(init::MeshInitArgs),
    /// Convert the configuration of another program
    #[command(after_help = help::IMPORT)]
    Import(import::ImportArgs),
    /// Print the JSON Schema of the configuration file
    #[command(after_help = help::SCHEMA)]
    Schema,
    /// Make a mesh's certificate authority, and issue certificates to its nodes
    #[command(after_help = help::CA)]
    Ca(ca::CaArgs),
    /// Run an OpenAI-compatible upstream with configurable faults
    #[command(after_help = help::MOCK)]
    Mock(grapevine_lab::mock::MockArgs),
    /// Make, issue, revoke and list clients' keys
    #[command(after_help = help::KEY)]
    Key(key::KeyArgs),
    /// Print the completions for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write one for each command
    #[command(after_help = help::MAN)]
    Man(man::ManArgs),
}

/// Runs the command line.
pub fn run(cli: Cli, environment: Environment) -> ExitCode {
    run_with(cli, environment, ServiceRegistry::default())
}

/// Runs the command line; nodes that it runs know these services too.
pub fn run_with(cli: Cli, environment: Environment, services: ServiceRegistry) -> ExitCode {
    let mut out = io::stdout().lock();
    let ended = match cli.command {
        Command::Node(args) => return node::run(args, environment, services),
        Command::Demo(args) => return demo::run(args),
        Command::Top(args) => return top::run(&args, &environment),
        Command::Mock(args) => return block_on(grapevine_lab::mock::run(args)),
        Command::Ca(args) => ca::run(&args, &mut out),
        Command::Check(args) => check::run(args, environment, &mut out),
        Command::Status(args) => status::run(&args, &environment, &mut out),
        Command::Drain(args) => operate::drain(&args, &environment, &mut out),
        Command::Reload(args) => operate::reload(&args, &environment, &mut out),
        Command::Config(args) => operate::config(&args, &environment, &mut out),
        Command::Upstream(args) => operate::upstream(&args, &environment, &mut out),
        Command::Log(args) => log::run(&args, &environment, &mut out),
        Command::Requests(args) => requests::run(&args, &environment, &mut out),
        Command::Usage(args) => usage::run(&args, &environment, &mut out),
        Command::Tasks(args) => tasks::run(&args, &environment, &mut out),
        Command::Explain(args) => explain::run(&args, &environment, &mut out),
        Command::Init(args) => init::run(&args, &environment, &mut out),
        Command::Import(args) => import::run(&args, &mut out),
        Command::Schema => schema::run(&mut out),
        Command::Key(args) => key::run(&args, &environment, &mut io::stdin().lock(), &mut out),
        Command::Completions(args) => completions::run(&args, &mut out),
        Command::Man(args) => man::run(&args, &mut out),
    };
    match ended {
        Ok(code) => code,
        // The reader closed the pipe, as in `grapevine schema | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

/// Runs `work` on a runtime of this thread's own; prints the error, if there is one.
fn block_on<E: std::error::Error>(work: impl Future<Output = Result<(), E>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(work).map_err(|error| error.to_string()),
        Err(error) => Err(format!("cannot start: {error}")),
    };
    ended.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_that_it_understands_and_its_exit_codes() {
        let mut lines = Vec::new();
        for (path, command) in all(&Cli::command(), "grapevine") {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            let (examples, codes) = help.split_once("\n\nExit codes:\n").unwrap_or_default();
            assert!(codes.starts_with("  0  "), "{path}: {help}");
            let examples = examples.strip_prefix("Examples:\n").unwrap_or_default();
            assert!(examples.contains(&path), "{path}: {help}");
            lines.extend(examples.lines().map(str::to_owned));
        }
        for line in lines
            .iter()
            .filter_map(|line| line.split_once("grapevine "))
        {
            // What a shell would not pass on.
            let words = line
                .1
                .split(['#', '|', '<', '>', '&'])
                .next()
                .unwrap_or_default();
            let words = std::iter::once("grapevine").chain(words.split_whitespace());
            let parsed = Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{line:?}: {:?}", parsed.err());
        }
    }

    /// The program and every command, each by its whole name.
    fn all(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
        let inner = command
            .get_subcommands()
            .filter(|it| it.get_name() != "help");
        let inner = inner.flat_map(|it| all(it, &format!("{path} {}", it.get_name())));
        let itself = (path.to_owned(), command.clone());
        std::iter::once(itself).chain(inner).collect()
    }
}
