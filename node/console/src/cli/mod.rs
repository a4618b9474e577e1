//! The commands that ask a node, and those that help to set one up.

pub mod admin_port;
pub mod ca;
pub mod explain;
pub mod import;
pub mod key;
pub mod log;
pub mod paint;
pub mod records;
pub mod requests;
pub mod schema;
pub mod status;
pub mod tasks;
pub mod top;

use std::io::{self, Write as _};
use std::process::ExitCode;

/// Says on stderr what went wrong, and gives the exit code for it.
pub fn fail(text: &str) -> ExitCode {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(io::stderr().lock(), "grapevine: {text}");
    ExitCode::FAILURE
}
