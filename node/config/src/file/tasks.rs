//! Background work as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, Item, SecretText, SizeText};

/// Background tasks: storage and execution.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TasksFile {
    /// The task store: sqlite:PATH for a store of this node's own, postgres://... or nats://... for a shared one, or
    /// off. Default: sqlite:grapevine-tasks-NAME.db with the node's name, next to the configuration file, created
    /// with the first task.
    pub queue: Option<SecretText>,
    /// The number of tasks of one service that run concurrently at this node, 1 to 1024; or a map from service key
    /// to number, with default for all others. Default: set by the service, mostly 8.
    pub concurrency: Option<ConcurrencyFile>,
    /// How long tasks and files are kept after their end, 1m to 366d. Default: 30d.
    pub retention: Option<DurationText>,
    /// The number of batch lines that this node runs concurrently, 1 to 1024. Default: 16.
    pub batch_lines: Option<u64>,
    /// Services of external workers, at most 64, whose tasks are accepted in addition to the built-in services and to
    /// those that WORKER_MODE, a key's services or a live node names. Default: none.
    pub services: Option<Vec<Item<String>>>,
    /// Quotas for each key at this node's store. Without keys they apply to each network (/24 of IPv4, /48 of IPv6).
    pub quota: Option<QuotaFile>,
    /// Webhooks that report the end of workflow runs. Default: none.
    pub webhooks: Option<WebhooksFile>,
}

/// Quotas for each key.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaFile {
    /// Waiting tasks, of all services together, at least 1. Default: 10000.
    pub waiting: Option<u64>,
    /// Stored files, at least 1. Default: 1000.
    pub files: Option<u64>,
    /// Total bytes of stored files, at least 1MiB. Default: 4GiB.
    pub file_bytes: Option<SizeText>,
}

/// The number of tasks that run concurrently, for every service or by service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConcurrencyFile {
    /// The same number for every service.
    All(u64),
    /// By service key; default applies to services that are not listed.
    Each(BTreeMap<String, u64>),
}

/// Webhooks that report the end of workflow runs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["secret", "hosts"]))]
pub struct WebhooksFile {
    /// The signing secret: whsec_ and base64, or a plain string, of at least 24 bytes; the same at every node that
    /// runs workflows.
    pub secret: Option<SecretText>,
    /// The hosts that may be called: names, *.NAME for all subdomains, or "*" for all, each at public addresses; and
    /// non-public addresses or networks, listed as such (10.1.2.3, 10.1.0.0/16). Ports 80 and 443, or the port that
    /// follows the host: hooks.example.net:8443.
    pub hosts: Option<Vec<Item<String>>>,
}
