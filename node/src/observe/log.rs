//! Where logs go and how they look.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogConfig, LogFormat};

/// Warns of each message it cannot read, which a hostile peer could send without end; the node counts
/// them itself and warns now and then. A level that names this crate overrides it.
const GOSSIP_CRATE: &str = "chitchat";

/// Installs the process's log output, on standard error. A second call changes nothing.
///
/// # Errors
/// When the level is no filter.
pub fn init(config: &LogConfig) -> Result<(), ParseError> {
    let mut filter = EnvFilter::builder().parse(&config.level)?;
    if !config.level.contains(GOSSIP_CRATE) {
        filter = filter.add_directive(format!("{GOSSIP_CRATE}=error").parse()?);
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
