//! The content of a node's `/mesh`, read tolerantly: an absent key is an empty or unknown one.

mod record;
mod summary;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::table::printable;

pub use record::{CheckEntry, ConfiguredEntry, TimeoutEntry};
pub use summary::{ModelTotals, NodeTotalsEntry, SummaryEntry, UpstreamTotals};

/// The mesh as one node sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct MeshPage {
    /// The node that reports this.
    #[serde(rename = "self")]
    pub own: String,
    /// Its `WORKER_MODE`, in its own grammar.
    pub worker_mode: String,
    /// All nodes that it knows, itself among them.
    pub nodes: Vec<NodeEntry>,
    /// All of it in a few counts; `None` from a node that does not count them yet.
    pub summary: Option<SummaryEntry>,
    /// Tasks that wait while no live node serves them.
    pub unserved: Vec<UnservedEntry>,
    /// The limits of keys at this node.
    pub limits: LimitsEntry,
    /// Its configuration; `None` of a node that does not report it.
    pub config: Option<ConfigEntry>,
    /// Its certificates in use.
    pub certificates: Vec<CertificateEntry>,
}

/// The configuration that a node runs, and what its last reload found.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConfigEntry {
    /// The short hash of the file that runs; `None` without a file.
    pub file_hash: Option<String>,
    /// Since it was taken up in ms.
    pub loaded_ms_ago: f64,
    /// The last reload, where it failed.
    pub last_reload_failed: Option<ReloadEntry>,
    /// Keys that wait for a restart.
    pub pending_restart: Vec<String>,
}

/// A reload that failed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReloadEntry {
    /// Every problem, one a line.
    pub error: String,
    /// How long ago in ms.
    pub ms_ago: f64,
    /// The short hash of the file that was tried; `None` where it could not be read.
    pub file_hash: Option<String>,
}

/// Until when a certificate in use is valid.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CertificateEntry {
    /// What it is used for.
    pub used_for: String,
    /// Its end in seconds since the Unix epoch.
    pub not_after: u64,
    /// What is left in ms; negative once it has expired.
    pub expires_in_ms: f64,
    /// Whether it has expired, or ends soon.
    pub ending: bool,
}

/// The limits of keys at one node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LimitsEntry {
    /// Limits at which requests were refused within the last minutes.
    pub limited_total: u64,
    /// Those that were last.
    pub limited: Vec<LimitEntry>,
    /// How often something kept the node from spending rights, by what it was.
    pub faults: BTreeMap<String, u64>,
}

/// One limit of one key at one node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LimitEntry {
    /// The key's name, or its id where it was issued; the account's name.
    pub key: String,
    /// Whether it is an account's.
    pub account: bool,
    /// The model that it is for; `None` is every model.
    pub model: Option<String>,
    /// What it counts: `concurrency`, `requests`, `tokens` or `budget`.
    pub of: String,
    /// `minute`, `day` or `month`; `at once` of a limit on requests at once.
    pub window: String,
    /// The whole, in what it counts; money in millionths of a dollar.
    pub limit: u64,
    /// What is left of it in the mesh, as far as the node knows.
    pub left: u64,
    /// What is left of it at the node.
    pub left_here: u64,
    /// Requests that the node refused.
    pub refused: u64,
    /// Since the last of them in ms.
    pub refused_ms_ago: Option<f64>,
}

impl LimitEntry {
    /// The whole as text, with its unit and its window.
    pub fn whole(&self) -> String {
        let whole = self.amount(self.limit);
        match self.of.as_str() {
            "concurrency" => format!("{whole} at once"),
            _ => format!("{whole} a {}", printable(&self.window)),
        }
    }

    /// An amount of it as text, with its unit.
    pub fn amount(&self, units: u64) -> String {
        match self.of.as_str() {
            "budget" => format!("${}.{:02}", units / 1_000_000, units % 1_000_000 / 10_000),
            "concurrency" => format!("{units} requests"),
            _ => format!("{units} {}", printable(&self.of)),
        }
    }
}

/// One node, as another or itself sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// Its region; `None` while nothing but its name is known.
    pub region: Option<String>,
    /// `ready`, `joining`, `draining` or `unreachable`, as the node that reports this sees it.
    pub state: String,
    /// Whether membership holds it to be alive.
    pub live: bool,
    /// `joining`, `ready` or `draining`.
    pub phase: String,
    /// The data path to it: `open`, `silent`, `down` or `closed`; empty for the node itself.
    pub reach: Option<String>,
    /// The measured round trip in ms; `None` before the first measurement.
    pub rtt_ms: Option<f64>,
    /// Whether it answers API requests; `None` while unknown.
    pub serves_requests: Option<bool>,
    /// The background services it runs; `None` while unknown.
    pub services: Option<Vec<String>>,
    /// Since its residency rules differ from those of the node that reports this, in ms; `None` while they agree.
    pub residency_differs_since_ms: Option<f64>,
    /// Its upstreams.
    pub upstreams: Vec<UpstreamEntry>,
}

/// Tasks of one service at one node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct UnservedEntry {
    /// The service's key.
    pub service: String,
    /// The node that keeps them.
    pub node: String,
    /// How many.
    pub waiting: u64,
}

/// One upstream, as its owner reports it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct UpstreamEntry {
    /// Its name.
    pub name: String,
    /// `healthy`, `untested`, `suspect`, `cooldown`, `ejected` or `probing`; `unreachable` where its node is.
    pub state: String,
    /// What its owner last said, whether or not that can be reached.
    pub reported_state: Option<String>,
    /// Whether new requests may be sent there; `None` from a node that does not say.
    pub usable: Option<bool>,
    /// Why, when it is not healthy.
    pub reason: Option<String>,
    /// How long it has stood so in ms, as known to the node that reports this.
    pub since_ms: Option<f64>,
    /// Its priority: a lower one is tried first.
    pub tier: Option<u64>,
    /// Its weight among equals.
    pub weight: Option<f64>,
    /// What it serves.
    pub models: Vec<String>,
    /// Time to the first byte of a stream in ms, from its owner.
    pub ttft_ms: Option<f64>,
    /// The same, at the 99th percentile.
    pub p99_ms: Option<f64>,
    /// The same, at the median.
    pub p50_ms: Option<f64>,
    /// The mean of the last ten times to the first byte of a stream in ms, of an own upstream.
    pub mean_ms: Option<f64>,
    /// Time to a whole answer in ms, from its owner.
    pub answer_ms: Option<f64>,
    /// The mean of the last ten times to a whole answer in ms, of an own upstream.
    pub answer_mean_ms: Option<f64>,
    /// The share of failed attempts, 0 to 1.
    pub error_rate: Option<f64>,
    /// Requests in flight.
    pub in_flight: Option<u64>,
    /// The most that may be in flight.
    pub in_flight_max: Option<u64>,
    /// The load that it reports; `None` where it reports none.
    pub reported: Option<ReportedEntry>,
    /// The last attempt or probe that showed its state, of an own upstream.
    pub checked: Option<CheckEntry>,
    /// Checks that failed since the last that succeeded, of an own upstream.
    pub failures_in_row: Option<u64>,
    /// How it is configured, of an own upstream.
    pub configured: Option<ConfiguredEntry>,
    /// What went wrong last, of an own upstream.
    pub last_error: Option<String>,
    /// Its issued credential; `None` where it has none, or is another node's.
    pub credential: Option<CredentialEntry>,
}

/// The load that an upstream reports.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReportedEntry {
    /// The age of its figures in ms.
    pub age_ms: f64,
    /// How long a request would wait there in ms; `None` where nobody can tell.
    pub wait_ms: Option<f64>,
}

impl UpstreamEntry {
    /// Its load as a cell of a table, as [`load_cell`] makes it.
    pub fn load_cell(&self) -> String {
        load_cell(self.in_flight, self.in_flight_max, self.reported.as_ref())
    }
}

/// Requests in flight, of at most so many; of an upstream that reports its load the expected wait and the age of the
/// figures too.
pub fn load_cell(
    in_flight: Option<u64>,
    max: Option<u64>,
    reported: Option<&ReportedEntry>,
) -> String {
    let count = in_flight.map_or("-".to_owned(), |count| count.to_string());
    let max = max.map_or_else(String::new, |max| format!("/{max}"));
    let Some(reported) = reported else {
        return format!("{count}{max}");
    };
    let seconds = |ms: f64| format!("{:.1}s", ms / 1_000.0);
    let wait = reported.wait_ms.filter(|wait| *wait > 0.0);
    let wait = wait.map_or_else(String::new, |wait| format!("wait {}, ", seconds(wait)));
    format!("{count}{max} ({wait}{} old)", seconds(reported.age_ms))
}

/// The issued credential of an own upstream.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CredentialEntry {
    /// Who issues it.
    pub kind: String,
    /// What is left of it in ms; `None` where there is none at hand, or it lasts.
    pub expires_in_ms: Option<f64>,
    /// Since the last renewal in ms; `None` where there was none.
    pub renewed_ms_ago: Option<f64>,
    /// The last renewal that failed.
    pub last_failure: Option<RenewalFailureEntry>,
}

/// A renewal that failed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RenewalFailureEntry {
    /// One word for why.
    pub reason: String,
    /// How long ago in ms.
    pub ms_ago: f64,
}

impl NodeEntry {
    /// Its state; of a node that says none its phase, which is all that is known.
    pub fn shown_state(&self) -> String {
        match self.state.as_str() {
            "" => printable(&self.phase),
            state => printable(state),
        }
    }
}

impl MeshPage {
    /// The entry of the node called `name`.
    pub fn node(&self, name: &str) -> Option<&NodeEntry> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Whether new requests may be sent to the node called `name`: alive, ready, and reachable.
    pub fn is_usable(&self, name: &str) -> bool {
        self.node(name).is_some_and(|node| {
            let reached = name == self.own || node.reach.as_deref().is_none_or(|r| r == "open");
            node.live && node.phase == "ready" && reached
        })
    }

    /// The state of a node's upstream; empty when it is unknown.
    pub fn state(&self, node: &str, upstream: &str) -> &str {
        let upstreams = self.node(node).map(|node| node.upstreams.as_slice());
        let mut upstreams = upstreams.unwrap_or_default().iter();
        let found = upstreams.find(|entry| entry.name == upstream);
        found.map_or("", |entry| entry.state.as_str())
    }

    /// Whether this node uses the node called `name`, knows the way to it, and sees its upstream healthy.
    pub fn sees(&self, name: &str, upstream: &str) -> bool {
        let measured = self.node(name).is_some_and(|node| node.rtt_ms.is_some());
        self.is_usable(name)
            && (measured || name == self.own)
            && self.state(name, upstream) == "healthy"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> MeshPage {
        let text = r#"{"self": "usa", "later": 1, "nodes": [
            {"name": "usa", "live": true, "phase": "ready", "rtt_ms": null,
             "upstreams": [{"name": "u", "state": "healthy", "reason": null}]},
            {"name": "eur", "live": true, "phase": "ready", "reach": "open", "rtt_ms": 83.2,
             "upstreams": [{"name": "e", "state": "ejected", "reason": "connect", "in_flight": 3}]},
            {"name": "jpn", "live": true, "phase": "ready", "reach": "silent", "rtt_ms": 160,
             "upstreams": [{"name": "j", "state": "healthy"}]},
            {"name": "sgp", "live": true, "phase": "ready", "reach": "open",
             "upstreams": [{"name": "s", "state": "healthy"}]}]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_node_sees_itself_without_a_way_and_others_with_one() {
        let page = page();
        assert!(page.sees("usa", "u"));
        assert!(!page.sees("sgp", "s"), "not measured yet");
        assert!(!page.sees("eur", "e"), "ejected");
    }

    #[test]
    fn reported_load_is_shown_with_its_wait_and_its_age() {
        let reported = |wait_ms| ReportedEntry {
            age_ms: 640.0,
            wait_ms,
        };
        let cell = |in_flight, load: Option<&ReportedEntry>| load_cell(in_flight, Some(8), load);
        assert_eq!(cell(Some(12), None), "12/8");
        assert_eq!(cell(None, None), "-/8");
        let waits = reported(Some(2_040.0));
        assert_eq!(cell(Some(12), Some(&waits)), "12/8 (wait 2.0s, 0.6s old)");
        let idle = reported(Some(0.0));
        assert_eq!(cell(Some(3), Some(&idle)), "3/8 (0.6s old)");
        assert_eq!(cell(Some(9), Some(&reported(None))), "9/8 (0.6s old)");
    }

    #[test]
    fn a_silent_or_unknown_node_is_not_usable() {
        let page = page();
        assert!(page.is_usable("eur") && page.is_usable("usa"));
        assert!(!page.is_usable("jpn") && !page.is_usable("nowhere"));
        assert_eq!(page.state("nowhere", "u"), "");
    }
}
