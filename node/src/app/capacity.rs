//! How many connections the node can hold: what is configured, or less where file descriptors are few.

use grapevine_core::descriptors::{Shares, Wanted};
use tracing::warn;

use crate::config::Config;
use crate::config::problem::{Origin, Problem};
use crate::dns;
use crate::listener::descriptors;

/// Takes the descriptors that the process may have, and shares them out; warns where they are too few.
pub(super) fn shares(config: &Config) -> Shares {
    let limit = descriptors::raise();
    if let Some(warning) = shortage(config, limit) {
        warn!(%warning, "configuration");
    }
    wanted(config).shares(limit)
}

/// What is to be said where `limit` descriptors are too few for the connections that are configured.
pub(crate) fn shortage(config: &Config, limit: u64) -> Option<Problem> {
    let wanted = wanted(config);
    let connections = wanted.shares(limit).public;
    if !config.worker_mode.serves_requests() || connections >= wanted.public {
        return None;
    }
    let needed = wanted.descriptors();
    Some(Problem {
        file: None,
        origin: Origin::Nowhere,
        key: "limits.connections".to_owned(),
        problem: format!(
            "{} connections need {needed} file descriptors and the process may have {limit}: \
             {connections} connections are accepted",
            wanted.public
        ),
        remedy: format!(
            "raise the hard limit (ulimit -Hn {needed}, LimitNOFILE={needed}, --ulimit nofile={needed}), \
             or set it to {connections}"
        ),
    })
}

fn wanted(config: &Config) -> Wanted {
    Wanted {
        public: config.limits.connections,
        dns: config.dns.as_ref().map_or(0, |_| dns::CONVERSATIONS_MAX),
        workers: config.workers.get(),
    }
}
