//! `grapevine completions SHELL`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// What `completions` takes.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completions for a shell.
pub(super) fn run(args: &CompletionsArgs, out: &mut impl Write) -> io::Result<ExitCode> {
    // Made in memory, since the generator panics on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "grapevine", &mut script);
    out.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
