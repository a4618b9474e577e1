//! When to read the configuration again, and what may change while a node runs.
//!
//! Files are polled once a second rather than watched through the kernel: this works on every platform, sees
//! files that are swapped by a symbolic link (as Kubernetes does) and files on network disks, and costs a few
//! calls per second.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::checked::{Config, DnsConfig, LimitsConfig};
use super::problem::{ConfigProblem, Problems, ValueOrigin};
use super::{Loaded, Sources, load};

/// The polling interval.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a changed file must stay as it is before it is read: writers are seldom done in one write.
const SETTLE: Duration = Duration::from_millis(200);

/// After this many changes in a row it is read all the same.
const SETTLE_ROUNDS_MAX: usize = 25;

/// Why to read the configuration again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The operator sent SIGHUP.
    Signal,
    /// A file changed, appeared or went away.
    File,
}

/// Triggers the reading of a changed configuration.
#[derive(Debug)]
pub struct ConfigWatch {
    files: BTreeSet<PathBuf>,
    seen: Vec<Option<Print>>,
    looks: Interval,
    signal: Signal,
}

/// What changes about a file when its content does: time, length and identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Print {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl ConfigWatch {
    /// Watches `files`, as they are now, and SIGHUP. Called within a runtime.
    ///
    /// # Errors
    /// When the signal cannot be listened to.
    pub fn new(files: BTreeSet<PathBuf>, look_interval: Duration) -> std::io::Result<Self> {
        let mut looks = interval(look_interval);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let seen = prints(&files);
        Ok(Self {
            files,
            seen,
            looks,
            signal: signal(SignalKind::hangup())?,
        })
    }

    /// Watches these files from now on, since a new configuration names others.
    pub fn set_files(&mut self, files: BTreeSet<PathBuf>) {
        if files != self.files {
            self.seen = prints(&files);
            self.files = files;
        }
    }

    /// Waits for the next reason. Dropping the future loses none.
    pub async fn changed(&mut self) -> Trigger {
        loop {
            tokio::select! {
                _ = self.signal.recv() => {
                    // What the signal is about is read now: no second trigger for it.
                    self.seen = prints(&self.files);
                    return Trigger::Signal;
                }
                _ = self.looks.tick() => {
                    if prints(&self.files) != self.seen {
                        self.settle().await;
                        return Trigger::File;
                    }
                }
            }
        }
    }

    async fn settle(&mut self) {
        let mut last = prints(&self.files);
        for _ in 0..SETTLE_ROUNDS_MAX {
            sleep(SETTLE).await;
            let now = prints(&self.files);
            if now == last {
                break;
            }
            last = now;
        }
        self.seen = last;
    }
}

fn prints(files: &BTreeSet<PathBuf>) -> Vec<Option<Print>> {
    let print = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Print {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            inode: metadata.ino(),
        })
    };
    files.iter().map(print).collect()
}

/// Reads the configuration again. What cannot change while the node runs keeps its value, with a warning.
///
/// # Errors
/// With everything that is wrong; `current` then stays in force.
pub fn reload(current: &Config, sources: &Sources) -> Result<Loaded, Problems> {
    let Loaded {
        mut config,
        mut warnings,
        mut pending_restart,
    } = load(sources)?;
    let file = sources.file.as_ref().map(|path| path.display().to_string());
    let mut keep = Keep {
        file,
        warnings: &mut warnings,
        keys: &mut pending_restart,
    };
    let is_renamed = current.node.name != config.node.name;
    keep.value("node.name", &current.node.name, &mut config.node.name);
    keep.value("node.region", &current.node.region, &mut config.node.region);
    keep.value("listen", &current.listen, &mut config.listen);
    keep.value("node.location", &current.node.place, &mut config.node.place);
    let (old, new) = (&current.node, &mut config.node);
    keep.value("node.public.url", &old.public_url, &mut new.public_url);
    keep.value(
        "node.public.addresses",
        &old.public_addresses,
        &mut new.public_addresses,
    );
    keep.value("admin", &current.admin, &mut config.admin);
    keep.limits(&current.limits, &mut config.limits);
    keep.value("mesh", &current.mesh, &mut config.mesh);
    keep.value("workers", &current.workers, &mut config.workers);
    keep.value("worker_mode", &current.worker_mode, &mut config.worker_mode);
    if is_renamed {
        // The default file contains the node's name, which was warned about already.
        config.tasks.queue.clone_from(&current.tasks.queue);
        config.limits.file.clone_from(&current.limits.file);
    }
    keep.value("ledger", &current.ledger, &mut config.ledger);
    let (old, new) = (&current.limits, &mut config.limits);
    keep.value("limits.nodes", &old.nodes, &mut new.nodes);
    keep.value("limits.file", &old.file, &mut new.file);
    keep.value("tasks", &current.tasks, &mut config.tasks);
    let (format, new) = (&current.log.format, &mut config.log.format);
    keep.value("log.format", format, new);
    let (otlp, new) = (&current.tracing.otlp, &mut config.tracing.otlp);
    keep.value("tracing.otlp", otlp, new);
    // The answers may change, but not the address and the presence of the server: they are published to peers.
    let listen = |dns: &Option<DnsConfig>| dns.as_ref().map(|dns| dns.listen);
    if listen(&current.dns) != listen(&config.dns) {
        keep.value("dns", &current.dns, &mut config.dns);
    }
    // The files behind tls are read again; only whether there is TLS belongs to the listener.
    if current.tls.is_some() != config.tls.is_some() {
        keep.value("tls", &current.tls, &mut config.tls);
    }
    Ok(Loaded {
        config,
        warnings,
        pending_restart,
    })
}

struct Keep<'a> {
    file: Option<String>,
    warnings: &'a mut Vec<ConfigProblem>,
    keys: &'a mut Vec<String>,
}

impl Keep<'_> {
    /// The limits that the listeners were made with.
    fn limits(&mut self, current: &LimitsConfig, new: &mut LimitsConfig) {
        self.value(
            "limits.header_count",
            &current.header_count,
            &mut new.header_count,
        );
        self.value(
            "limits.header_size",
            &current.header_size,
            &mut new.header_size,
        );
        self.value(
            "limits.header_timeout",
            &current.header_timeout,
            &mut new.header_timeout,
        );
        self.value(
            "limits.idle_timeout",
            &current.idle_timeout,
            &mut new.idle_timeout,
        );
        self.value(
            "limits.connections",
            &current.connections,
            &mut new.connections,
        );
        self.value("limits.waiting", &current.waiting, &mut new.waiting);
    }

    fn value<T: Clone + PartialEq>(&mut self, key: &str, current: &T, new: &mut T) {
        if current == new {
            return;
        }
        new.clone_from(current);
        self.keys.push(key.to_owned());
        self.warnings.push(ConfigProblem {
            file: self.file.clone(),
            origin: ValueOrigin::Nowhere,
            key: key.to_owned(),
            problem: "cannot change while the node runs, and stays as it was".to_owned(),
            remedy: "restart the node to change it".to_owned(),
        });
    }
}
