//! The command line: its commands, and what they print.
//!
//! Every command writes through a locked stdout and ends with an exit code: 0 is good, 1 is not, 2 is a
//! command line that was not understood (clap's own). `import` adds one of its own.

mod check;
mod completions;
mod man;
mod node;

use std::future::Future;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use grapevine_config::Environment;
use grapevine_console::cli::{
    ca, explain, fail, import, init, key, log, requests, schema, status, tasks, top, usage,
};
use grapevine_lab::demo;
use grapevine_tasks::hub::ServiceRegistry;

/// One node of a mesh that routes AI API requests to the nearest healthy upstream.
#[derive(Debug, Parser)]
#[command(
    name = "grapevine",
    version,
    arg_required_else_help = true,
    propagate_version = true
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
    Node(node::NodeArgs),
    /// Run four regions on this machine, to try and to break
    Demo(demo::DemoArgs),
    /// Check a configuration: every problem with its key, its position and a remedy
    Check(check::CheckArgs),
    /// Show the mesh as a node sees it
    Status(status::StatusArgs),
    /// Show the log level of a running node, or change it
    Log(log::LogArgs),
    /// Show the mesh as a node sees it, live in the terminal
    Top(top::TopArgs),
    /// List the last requests of a node, and follow new ones
    Requests(requests::RequestsArgs),
    /// Sum tokens and cost by key, model, upstream, region or day
    Usage(usage::UsageArgs),
    /// List, show, cancel and requeue background tasks
    Tasks(tasks::TasksArgs),
    /// Show where a node would send a client's request, and why nowhere else
    Explain(explain::ExplainArgs),
    /// Write what a mesh needs to start: configurations, certificates, and files for where it runs
    Init(init::MeshInitArgs),
    /// Convert the configuration of another program
    Import(import::ImportArgs),
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Make a mesh's certificate authority, and issue certificates to its nodes
    Ca(ca::CaArgs),
    /// Run an OpenAI-compatible upstream with configurable faults
    Mock(grapevine_lab::mock::MockArgs),
    /// Make, issue, revoke and list clients' keys
    Key(key::KeyArgs),
    /// Print the completions for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write one for each command
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
}
