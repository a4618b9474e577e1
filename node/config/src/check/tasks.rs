//! Checks of background work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use grapevine_core::ids::ServiceKey;
use grapevine_core::quota::Quota;

use super::super::checked::{Concurrency, NodeConfig, Queue, TasksConfig, WebhooksConfig};
use super::super::destinations::{Destination, Destinations};
use super::super::file::{ConcurrencyFile, QuotaFile, SecretText, TasksFile, WebhooksFile};
use super::super::secret::Secret;
use super::super::signing::SigningKey;
use super::super::text::ByteSize;
use super::{Checker, items};

/// How long tasks are kept when nothing is written.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The shortest and the longest time.
const RETENTION_MIN: Duration = Duration::from_secs(60);
const RETENTION_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The most concurrent tasks of one service.
const CONCURRENCY_MAX: u64 = 1_024;

/// Services that may have numbers of their own.
const SERVICES_MAX: usize = 64;

/// The key for all services that are not named.
const DEFAULT: &str = "default";

/// Lines of batches at once, unless written.
const BATCH_LINES: u64 = 16;

/// The highest quota of tasks and of files, and of bytes.
const QUOTA_MAX: u64 = 10_000_000;
const FILE_BYTES_MAX: ByteSize = ByteSize::mib(1 << 30);

/// Hosts of webhooks at most.
const HOSTS_MAX: usize = 64;

/// Engines that all nodes use, by the beginning of their URLs.
const SHARED: [&str; 4] = ["postgres://", "postgresql://", "nats://", "tls://"];

impl Checker<'_> {
    pub(super) fn tasks(
        &mut self,
        file: Option<&TasksFile>,
        node: Option<&NodeConfig>,
    ) -> TasksConfig {
        let queue = file.and_then(|file| file.queue.as_ref());
        let queue = self.queue(queue, node);
        let concurrency = file.and_then(|file| file.concurrency.as_ref());
        let concurrency = concurrency.map(|file| self.concurrency(file));
        let retention = file.and_then(|file| file.retention.as_ref());
        let range = RETENTION_MIN..=RETENTION_MAX;
        let lines = file.and_then(|file| file.batch_lines);
        let lines = self.number("tasks.batch_lines", lines, BATCH_LINES, 1..=CONCURRENCY_MAX);
        let webhooks = file.and_then(|file| file.webhooks.as_ref());
        TasksConfig {
            queue,
            concurrency: concurrency.unwrap_or_default(),
            retention: self.duration("tasks.retention", retention, RETENTION, range),
            batch_lines: usize::try_from(lines).unwrap_or(1),
            services: file.map(|file| self.services(file)).unwrap_or_default(),
            quota: self.quota(file.and_then(|file| file.quota.as_ref())),
            webhooks: webhooks.and_then(|webhooks| self.webhooks(webhooks)),
        }
    }

    fn concurrency(&mut self, file: &ConcurrencyFile) -> Concurrency {
        let key = "tasks.concurrency";
        let each = match file {
            ConcurrencyFile::All(count) => {
                return Concurrency {
                    default: Some(self.at_once(key, *count)),
                    services: BTreeMap::new(),
                };
            }
            ConcurrencyFile::Each(each) => each,
        };
        if each.len() > SERVICES_MAX {
            let problem = format!("names {} services, more than {SERVICES_MAX}", each.len());
            self.problem(key, problem, "write default: and a number for most of them");
        }
        let mut checked = Concurrency::default();
        for (name, count) in each.iter().take(SERVICES_MAX) {
            let key = format!("{key}.{name}");
            let count = self.at_once(&key, *count);
            if name == DEFAULT {
                checked.default = Some(count);
                continue;
            }
            match ServiceKey::new(name) {
                Ok(service) => {
                    checked.services.insert(service, count);
                }
                Err(error) => {
                    let problem = format!("{name:?} is no service key: it {error}");
                    let remedy = "write a key such as workflow:process, or default for all others";
                    self.problem(&key, problem, remedy);
                }
            }
        }
        checked
    }

    fn services(&mut self, file: &TasksFile) -> BTreeSet<ServiceKey> {
        let key = "tasks.services";
        let written = file.services.as_ref().map_or(0, Vec::len);
        if written > SERVICES_MAX {
            let problem = format!("names {written} services, more than {SERVICES_MAX}");
            self.problem(key, problem, "name those that workers run");
        }
        let mut services = BTreeSet::new();
        for (key, name) in items(key, &file.services).take(SERVICES_MAX) {
            match ServiceKey::new(name) {
                Ok(service) => drop(services.insert(service)),
                Err(error) => {
                    let problem = format!("{name:?} is no service key: it {error}");
                    self.problem(&key, problem, "write a key such as my-plugin:process");
                }
            }
        }
        services
    }

    fn quota(&mut self, file: Option<&QuotaFile>) -> Quota {
        let default = Quota::default();
        let Some(file) = file else { return default };
        let most = 1..=QUOTA_MAX;
        let bytes = ByteSize::mib(1)..=FILE_BYTES_MAX;
        let default_bytes = ByteSize::bytes(default.file_bytes);
        let (waiting, files) = (file.waiting, file.files);
        Quota {
            waiting: self.number(
                "tasks.quota.waiting",
                waiting,
                default.waiting,
                most.clone(),
            ),
            files: self.number("tasks.quota.files", files, default.files, most),
            file_bytes: self
                .size(
                    "tasks.quota.file_bytes",
                    file.file_bytes.as_ref(),
                    default_bytes,
                    bytes,
                )
                .get(),
        }
    }

    fn at_once(&mut self, key: &str, count: u64) -> usize {
        let count = self.number(key, Some(count), 1, 1..=CONCURRENCY_MAX);
        usize::try_from(count).unwrap_or(1)
    }

    fn webhooks(&mut self, file: &WebhooksFile) -> Option<WebhooksConfig> {
        let key = "tasks.webhooks.secret";
        let remedy =
            "write whsec_ and at least 24 bytes in base64, as in `openssl rand -base64 32`";
        let signing = match file.secret.as_ref().map(|text| SigningKey::new(&text.0)) {
            Some(Ok(signing)) => Some(signing),
            Some(Err(error)) => {
                self.problem(key, error.to_string(), remedy);
                None
            }
            // The file's shape asks for it already.
            None => None,
        };
        let key = "tasks.webhooks.hosts";
        let mut hosts = Vec::new();
        for (key, host) in items(key, &file.hosts) {
            match host.parse::<Destination>() {
                Ok(destination) => hosts.push(destination),
                Err(error) => {
                    let remedy = "write a name, *.NAME for all under it, \"*\" for all, an address or a network, \
                                  and :PORT behind it where that is not 80 or 443";
                    self.problem(&key, format!("{host:?} {error}"), remedy);
                }
            }
        }
        let written = file.hosts.as_ref().map(Vec::len);
        if written.is_some_and(|count| !(1..=HOSTS_MAX).contains(&count)) {
            let problem = format!("must name from 1 to {HOSTS_MAX} hosts");
            self.problem(
                key,
                problem,
                "name the hosts that webhooks may be sent to, or \"*\" for all",
            );
        }
        Some(WebhooksConfig {
            key: signing?,
            hosts: Destinations::new(hosts),
        })
    }

    fn queue(&mut self, written: Option<&SecretText>, node: Option<&NodeConfig>) -> Queue {
        let key = "tasks.queue";
        let Some(text) = written.map(|text| text.0.as_str()) else {
            let name = node.map_or("node", |node| node.name.as_str());
            return Queue::File(self.folder.join(format!("grapevine-tasks-{name}.db")));
        };
        if text == "off" {
            return Queue::Off;
        }
        let path = text.strip_prefix("sqlite:");
        let path = path.map(|path| path.strip_prefix("//").unwrap_or(path));
        if let Some(path) = path.filter(|path| !path.is_empty() && !path.contains('?')) {
            return Queue::File(self.kept_path(key, path));
        }
        let is_shared = |scheme: &&str| text.len() > scheme.len() && text.starts_with(*scheme);
        if SHARED.iter().any(is_shared) {
            return Queue::Shared(Secret::new(text));
        }
        // The written text may hold a password: it is not shown.
        let remedy =
            "write sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME, nats://HOST:PORT or off";
        self.problem(key, "names no queue", remedy);
        Queue::File(PathBuf::new())
    }
}
