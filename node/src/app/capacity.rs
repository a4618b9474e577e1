//! How many connections and how many requests the node can hold: as configured, or as file descriptors and
//! memory allow.

use std::fs;

use grapevine_core::capacity::of_node;
use grapevine_core::descriptors::{Shares, Wanted};
use tracing::warn;

use grapevine_base::listener::descriptors;
use grapevine_config::{Config, ConfigProblem};
use grapevine_http::dns;

/// Raises the descriptor limit as far as permitted, and shares it out; warns if it is too low.
pub(super) fn shares(config: &Config) -> Shares {
    let limit = descriptors::raise();
    if let Some(warning) = shortage(config, limit) {
        warn!(%warning, "configuration");
    }
    wanted(config).shares(limit)
}

/// How many requests may be in flight at once.
pub(super) fn in_flight(config: &Config) -> u32 {
    let connections = || wanted(config).shares(descriptors::attainable()).public;
    let carried = || of_node(connections(), memory());
    config.limits.in_flight.unwrap_or_else(carried)
}

/// The bytes of memory that the process may have: the machine's, or those of its control group. `None` where
/// neither is known.
fn memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(total_memory);
    // Cgroup v2 and v1; a group without a limit has `max`, or a number beyond any machine's.
    let group = ["memory.max", "memory/memory.limit_in_bytes"].map(|name| {
        let text = fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?;
        text.trim().parse().ok()
    });
    group.into_iter().flatten().chain(machine).min()
}

/// The total memory, by `/proc/meminfo`.
fn total_memory(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

/// The warning if `limit` descriptors are too few for the configured connections.
pub(crate) fn shortage(config: &Config, limit: u64) -> Option<ConfigProblem> {
    let wanted = wanted(config);
    let connections = wanted.shares(limit).public;
    if !config.worker_mode.serves_requests() || connections >= wanted.public {
        return None;
    }
    let needed = wanted.descriptors();
    let problem = format!(
        "{} connections need {needed} file descriptors and the process may have {limit}: \
         {connections} connections are accepted",
        wanted.public
    );
    let remedy = format!(
        "raise the hard limit (ulimit -Hn {needed}, LimitNOFILE={needed}, --ulimit nofile={needed}), \
         or set it to {connections}"
    );
    Some(ConfigProblem::of_value(
        "limits.connections",
        problem,
        remedy,
    ))
}

fn wanted(config: &Config) -> Wanted {
    Wanted {
        public: config.limits.connections,
        dns: config.dns.as_ref().map_or(0, |_| dns::CONVERSATIONS_MAX),
        workers: config.workers.get(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_machine_is_read_and_nonsense_is_none() {
        let text = "MemTotal:       24684204 kB\nMemFree:        18554572 kB\n";
        assert_eq!(total_memory(text), Some(24_684_204 * 1_024));
        for text in ["", "MemTotal: kB", "MemTotal: 1 MB", "MemFree: 5 kB"] {
            assert_eq!(total_memory(text), None, "{text}");
        }
    }
}
