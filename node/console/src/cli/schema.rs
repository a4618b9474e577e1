//! `grapevine schema`.

use std::io::{self, Write};
use std::process::ExitCode;

/// Prints the JSON Schema of the file.
pub fn run(out: &mut impl Write) -> io::Result<ExitCode> {
    serde_json::to_writer_pretty(&mut *out, &grapevine_config::schema())?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}
