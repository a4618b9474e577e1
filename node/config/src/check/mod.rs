//! From the configuration as written to the one as checked: ranges, forms, and what must agree.
//!
//! Each check reports a problem and continues with a default instead of what it refused, so that every
//! problem is found in one run; with any problem there is no configuration.

mod accounts;
mod addresses;
mod auth;
mod base_url;
mod certificates;
mod clients;
mod dns;
mod fallback;
mod files;
mod forward;
mod geo;
mod gossip;
mod health;
mod hedge;
mod key_limits;
mod keys;
mod load;
mod lossy;
mod mesh;
mod model;
mod node;
mod oidc;
mod provider;
mod rights;
mod routing;
mod seal;
mod secret_source;
mod tasks;
mod tracing;
mod upstreams;

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use grapevine_core::mode::Mode;

pub use node::is_log_filter;

use super::checked::{Config, DrainConfig, UsageConfig};
use super::env::Environment;
use super::file::{AskUsageWord, ConfigFile, DrainFile, DurationText, Item, SizeText, UsageFile};
use super::problem::ConfigReport;
use super::source_map::SourceMap;
use super::text::{ByteSize, format_duration, parse_duration};

/// The remedy for durations.
const DURATION_FORM: &str = "write a number and a unit: 250ms, 2s, 10m";

/// The remedy for listeners.
const LISTEN_FORM: &str = "write IP:PORT, such as 0.0.0.0:8080 or [::]:8080";

/// Checks `file`, whose paths are relative to `folder`. The result is valid only when `report` has no
/// problem.
pub(super) fn check(
    file: &ConfigFile,
    source_map: &SourceMap,
    folder: &Path,
    environment: &Environment,
    report: &mut ConfigReport,
) -> Option<Config> {
    let mut checker = Checker {
        source_map,
        folder,
        environment,
        report,
    };
    checker.config(file)
}

fn usage(file: Option<&UsageFile>) -> UsageConfig {
    let word = file.and_then(|file| file.ask);
    UsageConfig {
        ask: word.map_or(UsageConfig::default().ask, |word| word == AskUsageWord::On),
    }
}

/// More threads than the largest machines have cores.
const WORKERS_MAX: u64 = 1_024;

struct Checker<'a> {
    source_map: &'a SourceMap,
    folder: &'a Path,
    environment: &'a Environment,
    report: &'a mut ConfigReport,
}

impl Checker<'_> {
    fn config(&mut self, file: &ConfigFile) -> Option<Config> {
        let identity = self.mesh_identity(file.mesh.as_ref());
        let node = self.node(file.node.as_ref(), identity.as_ref());
        let mesh = self.mesh(
            file.mesh.as_ref(),
            identity,
            node.as_ref().map(|node| &node.name),
        );
        // Whether one is written, not whether it is valid: its problems must not hide those of the upstreams.
        let has_mesh = file.mesh.as_ref().is_some_and(|mesh| mesh.tls.is_some());
        let worker_mode = self.worker_mode(file.worker_mode.as_deref());
        let listen = self.listen(file, worker_mode.serves_requests());
        let tls = self.tls(file.tls.as_ref());
        let trusted_proxies = self.trusted_proxies(&file.trusted_proxies);
        let proxy_protocol = self.proxy_protocol(file, &trusted_proxies);
        // Where no requests are served the public address stays closed, and is not checked.
        let public = worker_mode.serves_requests().then_some(listen);
        let admin = self.admin(file.admin.as_ref(), public);
        let lossy = self.lossy_by_default(file.routing.as_ref());
        let upstreams =
            self.upstreams(&file.upstreams, &lossy, has_mesh, worker_mode.is_observer());
        let forwarding = self.forwarding(&file.forward);
        let routing = self.routing(file.routing.as_ref(), &upstreams, (&node, &mesh));
        let (limits, clients) = self.keys_and_limits(file, (&node, &mesh), public);
        let keys = clients.keys;
        self.fallbacks_agree(&routing.fallback_models, &upstreams, &keys, has_mesh);
        let member = node.as_ref().filter(|_| has_mesh);
        let (prices, accounts) = self.prices_and_accounts(file, &upstreams, &limits, member);
        let own = node.as_ref().map(|node| &node.region);
        let (geo, residency) = self.geography(file, routing.strategy, own, &keys);
        let taken = [("listen", listen), ("admin.listen", admin.listen)];
        let dns = self.dns(file, node.as_ref(), &taken);
        let drain = self.drain(file.drain.as_ref());
        let tasks = self.tasks(file.tasks.as_ref(), node.as_ref());
        let (log, tracing) = self.observability(file);
        let workers = self.workers(file.workers);
        Some(Config {
            file_hash: self.report.file_hash.clone(),
            node: node?,
            listen,
            open: file.open.unwrap_or(false),
            tls,
            trusted_proxies,
            proxy_protocol,
            admin,
            mesh,
            upstreams: upstreams.into_iter().map(|(_, it)| it).collect(),
            accounts,
            forwarding,
            routing,
            geo,
            residency,
            dns,
            limits,
            usage: usage(file.usage.as_ref()),
            keys,
            issued_keys: clients.issued_keys,
            oidc: clients.oidc,
            prices,
            ledger: self.ledger(file.ledger.as_ref()),
            cors: self.cors(file.cors.as_ref()),
            tasks,
            drain,
            log,
            tracing,
            workers: workers?,
            worker_mode,
        })
    }

    /// Threads for the public address: one per core unless written. `None` for what does not fit a machine.
    fn workers(&mut self, written: Option<u64>) -> Option<NonZeroUsize> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64;
        let workers = self.number("workers", written, cores, 1..=WORKERS_MAX);
        NonZeroUsize::new(usize::try_from(workers).ok()?)
    }

    fn problem(&mut self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.report
            .problem(&self.source_map.origin(key), key, problem, remedy);
    }

    fn warning(&mut self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.report
            .warning(&self.source_map.origin(key), key, problem, remedy);
    }

    fn drain(&mut self, file: Option<&DrainFile>) -> DrainConfig {
        let written = file.and_then(|file| file.timeout.as_ref());
        let default = DrainConfig::default().timeout;
        let range = Duration::ZERO..=Duration::from_secs(3_600);
        let timeout = self.duration("drain.timeout", written, default, range);
        DrainConfig { timeout }
    }

    /// The value of `key` as it may be shown.
    fn shown(&self, key: &str) -> &str {
        self.source_map.shown(key)
    }

    /// `None` when nothing was written, or it was refused.
    fn parse<T>(&mut self, key: &str, text: Option<&str>, remedy: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        match text?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                // The standard library's texts for addresses are like "invalid IP address syntax".
                let error = error.to_string();
                let error = if error.starts_with("invalid") {
                    format!("is not valid ({error})")
                } else {
                    error
                };
                let problem = format!("{} {error}", self.shown(key));
                self.problem(key, problem, remedy);
                None
            }
        }
    }

    fn worker_mode(&mut self, text: Option<&str>) -> Mode {
        match text.map_or_else(|| Ok(Mode::default()), str::parse::<Mode>) {
            Ok(mode) => mode,
            Err(error) => {
                let error = error.to_string();
                let form = "write letters, digits and '-' around one ':', as in workflow:process";
                let (problem, remedy) = error.split_once("; ").unwrap_or((&error, form));
                let problem = format!("{} {problem}", self.shown("worker_mode"));
                self.problem("worker_mode", problem, remedy);
                Mode::default()
            }
        }
    }

    fn duration(
        &mut self,
        key: &str,
        text: Option<&DurationText>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(text) = text else { return default };
        match parse_duration(&text.0) {
            Ok(span) if range.contains(&span) => span,
            Ok(_) => {
                let (least, most) = (
                    format_duration(*range.start()),
                    format_duration(*range.end()),
                );
                let problem = format!("{} must be from {least} to {most}", self.shown(key));
                self.problem(key, problem, "write a duration in that range");
                default
            }
            Err(error) => {
                let problem = format!("{} {error}", self.shown(key));
                self.problem(key, problem, DURATION_FORM);
                default
            }
        }
    }

    fn size(
        &mut self,
        key: &str,
        text: Option<&SizeText>,
        default: ByteSize,
        range: RangeInclusive<ByteSize>,
    ) -> ByteSize {
        let Some(text) = text else { return default };
        match text.0.parse::<ByteSize>() {
            Ok(size) if range.contains(&size) => size,
            Ok(_) => {
                let problem = format!(
                    "{} must be from {} to {}",
                    self.shown(key),
                    range.start(),
                    range.end()
                );
                self.problem(key, problem, "write a size in that range");
                default
            }
            Err(error) => {
                let problem = format!("{} {error}", self.shown(key));
                self.problem(key, problem, "write a number and a unit: 64KiB, 32MiB");
                default
            }
        }
    }

    fn number(
        &mut self,
        key: &str,
        number: Option<u64>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        match number {
            None => default,
            Some(number) if range.contains(&number) => number,
            Some(_) => {
                let problem = format!(
                    "{} must be from {} to {}",
                    self.shown(key),
                    range.start(),
                    range.end()
                );
                self.problem(key, problem, "write a number in that range");
                default
            }
        }
    }

    /// [`Checker::number`] for counts of 32 bits.
    fn count(
        &mut self,
        key: &str,
        number: Option<u64>,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> u32 {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        u32::try_from(self.number(key, number, u64::from(default), range)).unwrap_or(default)
    }

    /// A count that has no default of its own.
    fn count_where_given(
        &mut self,
        key: &str,
        number: Option<u64>,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let number = number?;
        Some(self.count(key, Some(number), *range.end(), range))
    }
}

/// The items of a list that were not refused, each with its key.
fn items<'a, T>(
    key: &'a str,
    list: &'a Option<Vec<Item<T>>>,
) -> impl Iterator<Item = (String, &'a T)> {
    let items = list.iter().flatten().enumerate();
    items.filter_map(move |(index, item)| Some((format!("{key}[{index}]"), item.0.as_ref()?)))
}
