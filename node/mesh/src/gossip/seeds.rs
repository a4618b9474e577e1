//! Which nodes to try first: addresses and DNS names that may come up at any time.
//!
//! Chitchat asks DNS once and then every 60 s, and its start waits for the answer. A seed that comes
//! up later must be joined within a second or two, so each seed has a task of its own that keeps
//! looking it up; a slow DNS server delays nothing else. Addresses arrive on one channel, and those
//! that are members by then are not tried.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::info;

/// How often a seed is tried while it is not a member.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The same for a seed that has to be looked up in DNS.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is tried by a node that has other members.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest wait for one DNS answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// Seeds beyond these are not tried.
const SEEDS_MAX: usize = 64;

/// Addresses that wait to be tried.
const QUEUE_MAX: usize = 64;

/// Seeds that are looked up until this is dropped.
#[derive(Debug)]
pub(super) struct Seeds {
    found: mpsc::Receiver<SocketAddr>,
    _tasks: JoinSet<()>,
}

impl Seeds {
    /// Looks up each of `seeds`, `HOST:PORT` each, now and about once a second.
    pub(super) fn look_up(seeds: &[String]) -> Self {
        let (queue, found) = mpsc::channel(QUEUE_MAX);
        let mut tasks = JoinSet::new();
        for seed in seeds.iter().take(SEEDS_MAX) {
            tasks.spawn(look_up(seed.clone(), queue.clone()));
        }
        Self {
            found,
            _tasks: tasks,
        }
    }

    /// The next address to try. Cancel-safe; without seeds it never comes.
    pub(super) async fn next(&mut self) -> SocketAddr {
        match self.found.recv().await {
            Some(address) => address,
            None => std::future::pending().await,
        }
    }
}

/// When addresses were last tried. A node that has other members tries rarely: many nodes share a
/// seed, which would be flooded when it starts.
#[derive(Debug, Default)]
pub(super) struct Tried(BTreeMap<SocketAddr, Instant>);

impl Tried {
    /// Whether to try `address` now; if so, it counts as tried.
    pub(super) fn is_due(&mut self, now: Instant, address: SocketAddr, is_alone: bool) -> bool {
        let tried = self.0.get(&address);
        let is_recent = tried.is_some_and(|tried| now.duration_since(*tried) < PATIENCE);
        if is_recent && !is_alone {
            return false;
        }
        if self.0.len() >= SEEDS_MAX * ADDRESSES_MAX {
            self.0.clear();
        }
        self.0.insert(address, now);
        true
    }
}

async fn look_up(seed: String, found: mpsc::Sender<SocketAddr>) {
    let is_address = seed.parse::<SocketAddr>().is_ok();
    let interval = if is_address {
        RETRY_INTERVAL
    } else {
        LOOKUP_INTERVAL
    };
    let mut is_known = true;
    loop {
        let addresses = match timeout(LOOKUP_TIMEOUT, lookup_host(&seed)).await {
            Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        if addresses.is_empty() && is_known {
            info!(seed, "seed has no address yet; looking it up every second");
        }
        is_known = !addresses.is_empty();
        for address in addresses {
            if found.send(address).await.is_err() {
                return;
            }
        }
        sleep(interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lonely_node_tries_always_and_one_with_members_now_and_then() {
        let mut tried = Tried::default();
        let now = Instant::now();
        let seed: SocketAddr = ([127, 0, 0, 1], 7_171).into();
        assert!(tried.is_due(now, seed, true));
        assert!(tried.is_due(now, seed, true));
        assert!(!tried.is_due(now + PATIENCE / 2, seed, false));
        assert!(tried.is_due(now + PATIENCE, seed, false));
        assert!(!tried.is_due(now + PATIENCE, seed, false));
    }
}
