//! The log: its output, format and level.

use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use grapevine_config::{LogConfig, LogFormat};

/// They warn of each message they cannot read (gossip, DNS), which a hostile peer could send without end;
/// the node counts those itself. A level that names such a crate overrides it.
const LOUD_CRATES: [&str; 2] = ["chitchat", "hickory_proto"];

/// It writes the ids of keys of AWS, and all that it signs, where everything is logged. No level overrides it.
const INDISCREET_CRATE: &str = "aws_sigv4";

/// Filters of version 0.1 name modules of one crate, `grapevine_node`, that are now crates.
const FORMER: &str = "grapevine_node";

/// The current location of those modules, if not in a crate of their own name.
const MOVED: [(&str, &str); 8] = [
    ("admin", "console::admin"),
    ("demo", "lab::demo"),
    ("dns", "http::dns"),
    ("driver", "base::driver"),
    ("ingress", "http::ingress"),
    ("mock", "lab::mock"),
    ("prober", "http::prober"),
    ("upstream", "http::upstream"),
];

/// The one log of the process; not set until it is installed.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    /// The last level set.
    level: Mutex<String>,
    /// Replaces the current filter; fails only when the log has ended.
    swap: Box<dyn Fn(EnvFilter) + Send + Sync>,
}

/// Installs the process's log output, on standard error. A second call changes nothing.
///
/// # Errors
/// When the level is no filter.
pub fn init(config: &LogConfig) -> Result<(), ParseError> {
    let filter = filter(&config.level)?;
    // Colours are for people: in a file or a collector they are noise between a name and its value.
    let builder = tracing_subscriber::fmt()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let level = config.level.clone();
    // A second subscriber in one process is a test's; the first one stays.
    match config.format {
        LogFormat::Text => {
            let builder = builder.with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            if builder.try_init().is_ok() {
                keep(level, move |filter| drop(handle.reload(filter)));
            }
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true);
            let builder = builder.with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            if builder.try_init().is_ok() {
                keep(level, move |filter| drop(handle.reload(filter)));
            }
        }
    }
    Ok(())
}

/// Sets what is logged from now on: a level or a filter, as in the configuration.
///
/// # Errors
/// When it is no filter; then nothing changes.
pub fn set_level(level: &str) -> Result<(), ParseError> {
    let filter = filter(level)?;
    if let Some(log) = LOG.get() {
        let mut kept = log.level.lock().unwrap_or_else(PoisonError::into_inner);
        (log.swap)(filter);
        level.clone_into(&mut kept);
    }
    Ok(())
}

/// The current level or filter; `None` where no log was installed.
pub fn level() -> Option<String> {
    let level = LOG.get()?.level.lock();
    Some(level.unwrap_or_else(PoisonError::into_inner).clone())
}

fn keep(level: String, swap: impl Fn(EnvFilter) + Send + Sync + 'static) {
    let log = Log {
        level: Mutex::new(level),
        swap: Box::new(swap),
    };
    // Called only after the log was installed, which happens once.
    let _ = LOG.set(log);
}

fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    let mut filter = EnvFilter::builder().parse(current(level))?;
    for name in LOUD_CRATES {
        if !level.contains(name) {
            filter = filter.add_directive(format!("{name}=error").parse()?);
        }
    }
    Ok(filter.add_directive(format!("{INDISCREET_CRATE}=info").parse()?))
}

/// The filter with the current names of modules. A bare `grapevine_node` becomes the common prefix of all crates
/// of the program.
fn current(level: &str) -> String {
    let directives: Vec<String> = level.split(',').map(current_directive).collect();
    directives.join(",")
}

fn current_directive(directive: &str) -> String {
    let in_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let Some((before, named)) = directive.split_once(FORMER) else {
        return directive.to_owned();
    };
    let Some(path) = named.strip_prefix("::") else {
        // Another crate's name may begin like this.
        return match named.starts_with(in_name) {
            true => directive.to_owned(),
            false => format!("{before}grapevine{named}"),
        };
    };
    let end = path.find(|letter| !in_name(letter));
    let (module, rest) = path.split_at(end.unwrap_or(path.len()));
    let moved = MOVED.iter().find(|(former, _)| *former == module);
    let place = moved.map_or(module, |(_, place)| place);
    format!("{before}grapevine_{place}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_former_module_names_mean_the_same_as_before() {
        let rows = [
            ("info", "info"),
            ("info,grapevine_node=trace", "info,grapevine=trace"),
            (
                "grapevine_node::mesh=debug,warn",
                "grapevine_mesh=debug,warn",
            ),
            (
                "grapevine_node::observe::requests=debug",
                "grapevine_observe::requests=debug",
            ),
            (
                "grapevine_node::ingress[request]=debug",
                "grapevine_http::ingress[request]=debug",
            ),
            ("grapevine_mesh=debug", "grapevine_mesh=debug"),
            ("grapevine_nodes=debug", "grapevine_nodes=debug"),
            ("info,grapevine_node", "info,grapevine"),
            ("", ""),
        ];
        for (level, wanted) in rows {
            assert_eq!(current(level), wanted);
        }
    }
}
