//! Background work as checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use grapevine_core::ids::ServiceKey;
use grapevine_core::quota::Quota;

use super::super::destinations::Destinations;
use super::super::secret::{REDACTED, Secret};
use super::super::signing::SigningKey;

/// Background work: where tasks are kept, and how they are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TasksConfig {
    /// Where tasks are kept.
    pub queue: Queue,
    /// The concurrent tasks of one service.
    pub concurrency: Concurrency,
    /// How long tasks and files are kept after their end.
    pub retention: Duration,
    /// The concurrent calls for lines of batches.
    pub batch_lines: usize,
    /// Services of workers out of process whose tasks are accepted.
    pub services: BTreeSet<ServiceKey>,
    /// The quota of one key.
    pub quota: Quota,
    /// How ends of workflows are reported; `None` is not at all.
    pub webhooks: Option<WebhooksConfig>,
}

/// The concurrent tasks of one service at this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concurrency {
    /// The number for services that are not named; `None` leaves it to each.
    pub default: Option<usize>,
    /// The numbers for those that are.
    pub services: BTreeMap<ServiceKey, usize>,
}

impl Concurrency {
    /// That of `service`; `None` leaves it to the service.
    pub fn of(&self, service: &ServiceKey) -> Option<usize> {
        self.services.get(service).copied().or(self.default)
    }
}

/// How ends of workflows are reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// The key that they are signed with.
    pub key: SigningKey,
    /// The hosts that may be notified.
    pub hosts: Destinations,
}

/// Where tasks are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Nowhere: the node accepts no background work.
    Off,
    /// In a SQLite file of this node's own.
    File(PathBuf),
    /// In an engine that all nodes use; the URL may hold a password.
    Shared(Secret),
}

impl Queue {
    /// For the operator's eyes: of a URL its scheme alone.
    pub fn shown(&self) -> String {
        match self {
            Self::Off => "off".to_owned(),
            Self::File(path) => format!("sqlite:{}", path.display()),
            Self::Shared(url) => match url.expose().split_once("://") {
                Some((scheme, _)) => format!("{scheme}://{REDACTED}"),
                None => REDACTED.to_owned(),
            },
        }
    }
}
