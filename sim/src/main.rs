//! The simulator's program. See `sim/README.md`.

use std::process::ExitCode;

use clap::Parser;
use grapevine_sim::cli;

fn main() -> ExitCode {
    cli::main(&cli::Arguments::parse())
}
