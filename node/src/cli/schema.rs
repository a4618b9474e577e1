//! `grapevine schema`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config;

/// Prints the JSON Schema of the file.
pub(super) fn run(out: &mut impl Write) -> io::Result<ExitCode> {
    serde_json::to_writer_pretty(&mut *out, &config::schema())?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}
