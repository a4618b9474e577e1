//! Background work as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, Item, SecretText, SizeText};

/// Background work: where tasks are kept, and how they are run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TasksFile {
    /// Where tasks are kept: sqlite:PATH for this node's own, postgres://... or nats://... for all nodes
    /// together, or off. Default: sqlite:grapevine-tasks-NAME.db with the node's name, beside the
    /// configuration file, which is made when the first task comes.
    pub queue: Option<SecretText>,
    /// Tasks of one service that run at once at this node, 1 to 1024; or a map of such numbers by service key,
    /// with default for all others. Default: as the service says, mostly 8.
    pub concurrency: Option<ConcurrencyFile>,
    /// How long tasks and files are kept after their end, 1m to 366d. Default: 30d.
    pub retention: Option<DurationText>,
    /// Lines of batches that this node calls at once, 1 to 1024. Default: 16.
    pub batch_lines: Option<u64>,
    /// Services of workers out of process, at most 64, whose tasks are accepted beside those that this program has,
    /// that WORKER_MODE, a key's services or a live node name. Default: none.
    pub services: Option<Vec<Item<String>>>,
    /// What the holder of one key may have at this node's store. Without keys it holds for each network (/24 of IPv4,
    /// /48 of IPv6).
    pub quota: Option<QuotaFile>,
    /// How the ends of workflows are told. Default: not at all.
    pub webhooks: Option<WebhooksFile>,
}

/// What one key may have.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaFile {
    /// Tasks that wait, of all services together, at least 1. Default: 10000.
    pub waiting: Option<u64>,
    /// Stored files, at least 1. Default: 1000.
    pub files: Option<u64>,
    /// Their bytes together, at least 1MiB. Default: 4GiB.
    pub file_bytes: Option<SizeText>,
}

/// Tasks that run at once: of every service, or of each.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConcurrencyFile {
    /// Of each service alike.
    All(u64),
    /// By service key; default is for those that are not named.
    Each(BTreeMap<String, u64>),
}

/// How the ends of workflows are told to other programs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["secret", "hosts"]))]
pub struct WebhooksFile {
    /// What they are signed with: whsec_ and base64, or a text, of at least 24 bytes; the same at every node that
    /// runs workflows.
    pub secret: Option<SecretText>,
    /// The hosts that may be told: names, *.NAME for all under it, or "*" for all, each at public addresses; and
    /// addresses or networks that are not public, named as such (10.1.2.3, 10.1.0.0/16). Ports 80 and 443, or
    /// the one behind the host: hooks.example.net:8443.
    pub hosts: Option<Vec<Item<String>>>,
}
