//! Where logs go and how they look.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogConfig, LogFormat};

/// They warn of each message they cannot read (gossip, DNS), which a hostile peer could send without end;
/// the node counts those itself. A level that names such a crate overrides it.
const LOUD_CRATES: [&str; 2] = ["chitchat", "hickory_proto"];

/// Installs the process's log output, on standard error. A second call changes nothing.
///
/// # Errors
/// When the level is no filter.
pub fn init(config: &LogConfig) -> Result<(), ParseError> {
    let mut filter = EnvFilter::builder().parse(&config.level)?;
    for name in LOUD_CRATES {
        if !config.level.contains(name) {
            filter = filter.add_directive(format!("{name}=error").parse()?);
        }
    }
    // Colours are for people: in a file or a collector they are noise between a name and its value.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second subscriber in one process is a test's; the first one stays.
    let _ = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}
