//! The `grapevine` program.

use std::process::ExitCode;

use clap::Parser;
use grapevine_node::cli::{self, Cli};
use grapevine_node::config::Environment;

fn main() -> ExitCode {
    cli::run(Cli::parse(), Environment::of_process())
}
