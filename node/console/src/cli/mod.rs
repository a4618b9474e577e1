//! The commands that ask a node, and those that help to set one up.

pub mod admin_port;
pub mod ca;
pub mod explain;
pub mod import;
pub mod init;
pub mod key;
mod limits;
pub mod log;
pub mod operate;
mod own_files;
pub mod paint;
pub mod records;
pub mod requests;
pub mod schema;
pub mod status;
pub mod tasks;
pub mod top;
pub mod usage;

use std::io::{self, Write as _};
use std::process::ExitCode;

/// Prints an error to stderr, and returns the exit code for it.
pub fn fail(text: &str) -> ExitCode {
    // With stderr closed there is nowhere to print.
    let _ = writeln!(io::stderr().lock(), "grapevine: {text}");
    ExitCode::FAILURE
}
