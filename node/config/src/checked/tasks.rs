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
    /// Tasks of one service that run at once.
    pub concurrency: Concurrency,
    /// How long tasks and files are kept after their end.
    pub retention: Duration,
    /// Lines of batches that the node calls at once.
    pub batch_lines: usize,
    /// Services of workers out of process whose tasks are accepted.
    pub services: BTreeSet<ServiceKey>,
    /// What the holder of one key may have.
    pub quota: Quota,
    /// How the ends of workflows are told; `None` is not at all.
    pub webhooks: Option<WebhooksConfig>,
}

/// Tasks of one service that run at once at this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concurrency {
    /// Of services that are not named; `None` leaves it to each.
    pub default: Option<usize>,
    /// Of those that are.
    pub services: BTreeMap<ServiceKey, usize>,
}

impl Concurrency {
    /// That of `service`; `None` leaves it to the service.
    pub fn of(&self, service: &ServiceKey) -> Option<usize> {
        self.services.get(service).copied().or(self.default)
    }
}

/// How the ends of workflows are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// What they are signed with.
    pub key: SigningKey,
    /// Who may be told.
    pub hosts: Destinations,
}

/// Where tasks are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Nowhere: the node takes no background work.
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
