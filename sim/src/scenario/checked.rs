//! From a scenario as written to one that can run: every problem is reported at once, with its key.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::{ModelName, RegionName, UpstreamName};
use grapevine_core::residency::{Residency, Rule, Unknown};
use grapevine_core::route::Strategy;
use grapevine_core::units::Tier;

use super::file::{
    BurstFile, ExpectFile, MembershipFile, NodeFile, NodesFile, ResidencyFile, RoutingFile,
    ScenarioFile, UpstreamFile, WorkloadFile,
};
use super::{
    Burst, Expect, Make, NODES_MAX, Processing, Routing, Scenario, ScenarioError, Upstream,
    Workload,
};
use crate::atlas::{Atlas, RegionIndex};
use crate::wires::Bandwidth;

/// What waits in line at an upstream at most, where a scenario does not say: Ollama's `OLLAMA_MAX_QUEUE`.
const LINE_MAX: usize = 512;

/// What a node can do, where a scenario does not say. Measured on the product's release build, a small chat request
/// and its answer: 54 us of CPU at the entry that calls its own upstream, and 164 us at both nodes together where the
/// request takes a hop. Half of the difference is the hop's at each of the two.
const CORES: usize = 2;
const REQUEST_WORK: &str = "54us";
const HOP_WORK: &str = "55us";

/// A prompt and its envelope, and what ends an answer: its bytes are many only where a scenario says so.
const REQUEST_BYTES: usize = 2_048;
const ANSWER_BYTES: usize = 100;

/// Bytes of a request or an answer at most.
const BYTES_MAX: usize = 1 << 30;

/// Cores of a node at most.
const CORES_MAX: usize = 256;

pub(super) fn check(text: &str) -> Result<Scenario, ScenarioError> {
    let file: ScenarioFile = serde_saphyr::from_str(text).map_err(|error| ScenarioError {
        problems: vec![error.to_string()],
    })?;
    let mut checker = Checker {
        atlas: Atlas::of_azure(),
        nodes: Vec::new(),
        problems: Vec::new(),
    };
    let scenario = checker.scenario(&file);
    if checker.problems.is_empty() {
        Ok(scenario)
    } else {
        Err(ScenarioError {
            problems: checker.problems,
        })
    }
}

pub(super) struct Checker {
    atlas: Atlas,
    nodes: Vec<RegionIndex>,
    problems: Vec<String>,
}

impl Checker {
    fn scenario(&mut self, file: &ScenarioFile) -> Scenario {
        self.nodes = self.nodes(&file.nodes);
        let duration = self.span("duration", &file.duration);
        let warm_up = self.span_or("warm_up", file.warm_up.as_deref(), "8s");
        let settle = self.span_or("settle", file.settle.as_deref(), "10s");
        if warm_up + settle >= duration {
            self.problem(
                "duration",
                "must be longer than warm_up and settle together",
            );
        }
        let upstreams: Vec<Upstream> = (file.upstreams.iter().enumerate())
            .map(|(index, one)| self.upstream(index, one))
            .collect();
        if upstreams.is_empty() {
            self.problem("upstreams", "must name at least one");
        }
        let faults = (file.faults.iter().enumerate())
            .map(|(index, fault)| self.fault(&format!("faults[{index}]"), fault))
            .collect();
        Scenario {
            name: file.name.clone(),
            about: file.about.trim().to_owned(),
            duration,
            warm_up,
            settle,
            membership: match file.membership {
                MembershipFile::Model => Make::Model,
                MembershipFile::Chitchat => Make::Chitchat,
            },
            nodes: self.nodes.clone(),
            processing: self.processing(&file.node),
            upstreams,
            jitter: self.share("network.jitter", file.network.jitter.unwrap_or(0.1)),
            loss: self.share("network.loss", file.network.loss.unwrap_or(0.0)),
            bandwidth: self.bandwidth(file.network.bandwidth.as_deref()),
            workload: self.workload(&file.workload),
            routing: self.routing(&file.routing),
            residency: self.residency(&file.residency),
            faults,
            expect: expect(&file.expect),
            atlas: self.atlas.clone(),
        }
    }

    pub(super) fn problem(&mut self, key: &str, text: impl AsRef<str>) {
        self.problems.push(format!("{key}: {}", text.as_ref()));
    }

    pub(super) fn span(&mut self, key: &str, text: &str) -> Duration {
        parse_span(text).unwrap_or_else(|| {
            self.problem(
                key,
                format!("{text:?} is not a span such as 250ms, 10s or 5m"),
            );
            Duration::ZERO
        })
    }

    pub(super) fn span_or(&mut self, key: &str, text: Option<&str>, default: &str) -> Duration {
        self.span(key, text.unwrap_or(default))
    }

    pub(super) fn share(&mut self, key: &str, value: f64) -> f64 {
        if !(0.0..=1.0).contains(&value) {
            self.problem(key, format!("{value} is not between 0 and 1"));
        }
        value
    }

    fn region(&mut self, key: &str, name: &str) -> RegionIndex {
        self.atlas.find(name).unwrap_or_else(|| {
            self.problem(
                key,
                format!("{name:?} is no region of sim/data/azure-regions.csv"),
            );
            RegionIndex(0)
        })
    }

    fn nodes(&mut self, file: &NodesFile) -> Vec<RegionIndex> {
        if file.count == 0 || file.count > NODES_MAX {
            self.problem("nodes.count", format!("must be between 1 and {NODES_MAX}"));
        }
        let named = file.regions.iter();
        let mut regions: Vec<_> = named
            .map(|name| self.region("nodes.regions", name))
            .collect();
        if regions.is_empty() {
            regions = self.atlas.indices().collect();
        }
        let count = file.count.min(NODES_MAX);
        (0..count)
            .map(|node| regions[node % regions.len()])
            .collect()
    }

    fn processing(&mut self, file: &NodeFile) -> Processing {
        let cores = file.cores.unwrap_or(CORES);
        if !(1..=CORES_MAX).contains(&cores) {
            self.problem("node.cores", format!("must be between 1 and {CORES_MAX}"));
        }
        Processing {
            cores: cores.clamp(1, CORES_MAX),
            request: self.span_or("node.request", file.request.as_deref(), REQUEST_WORK),
            hop: self.span_or("node.hop", file.hop.as_deref(), HOP_WORK),
        }
    }

    /// The nodes that `names` mean: `all`, a region, or `n` and a number.
    pub(super) fn group(&mut self, key: &str, names: &[String]) -> Vec<bool> {
        let mut group = vec![false; self.nodes.len()];
        for name in names {
            let number: Option<usize> = name.strip_prefix('n').and_then(|text| text.parse().ok());
            let fits = |node: usize| match number {
                Some(number) => node == number,
                None => name == "all" || self.atlas.find(name) == Some(self.nodes[node]),
            };
            let found: Vec<usize> = (0..group.len()).filter(|node| fits(*node)).collect();
            if found.is_empty() {
                self.problem(
                    key,
                    format!("{name:?} is neither all, nor a region with nodes, nor n0, n1, .."),
                );
            }
            found.into_iter().for_each(|node| group[node] = true);
        }
        group
    }

    fn upstream(&mut self, index: usize, file: &UpstreamFile) -> Upstream {
        let key = format!("upstreams[{index}]");
        let name = UpstreamName::new(&file.name).unwrap_or_else(|error| {
            self.problem(&format!("{key}.name"), error.to_string());
            UpstreamName::new("unnamed").expect("a valid name")
        });
        let models = file
            .models
            .iter()
            .filter_map(|text| ModelName::new(text).ok());
        let models: Vec<ModelName> = models.collect();
        if models.len() != file.models.len() || models.is_empty() {
            self.problem(
                &format!("{key}.models"),
                "must be names of models, at least one",
            );
        }
        let at = match file.at.is_empty() {
            true => vec![true; self.nodes.len()],
            false => self.group(&format!("{key}.at"), &file.at),
        };
        let in_flight_max = file.in_flight_max.unwrap_or(64).max(1);
        Upstream {
            provider: file.provider.clone().unwrap_or_else(|| file.name.clone()),
            name,
            models,
            at,
            first_byte: self.span(&format!("{key}.first_byte"), &file.first_byte),
            spread: file.spread.unwrap_or(0.1),
            in_flight_max,
            capacity: file.capacity.unwrap_or(in_flight_max).max(1),
            line_max: file.queue.unwrap_or(LINE_MAX),
            when_full: self.when_full(&key, file.when_full),
            tier: file.tier.map_or_else(Tier::default, Tier),
            limit_per_second: file.limit_per_second,
            retry_after: self.span_or(
                &format!("{key}.retry_after"),
                file.retry_after.as_deref(),
                "2s",
            ),
            price: file.price.unwrap_or(1.0),
        }
    }

    /// Servers differ: some answer 429, as text-generation-inference does, others 503, as Ollama does.
    fn when_full(&mut self, key: &str, status: Option<u16>) -> u16 {
        let status = status.unwrap_or(503);
        if !matches!(status, 429 | 503) {
            self.problem(&format!("{key}.when_full"), "must be 429 or 503");
        }
        status
    }

    fn workload(&mut self, file: &WorkloadFile) -> Workload {
        let named = file.clients.iter();
        let mut clients: Vec<(RegionIndex, f64)> = named
            .map(|(name, share)| (self.region("workload.clients", name), *share))
            .collect();
        if clients.is_empty() {
            let mut regions = self.nodes.clone();
            regions.sort_unstable();
            regions.dedup();
            clients = regions.into_iter().map(|region| (region, 1.0)).collect();
        }
        let daily = file.daily.as_ref().map(|daily| {
            let day = self.span("workload.daily.day", &daily.day);
            (day, self.share("workload.daily.swing", daily.swing))
        });
        let bursts = file.bursts.iter();
        let bursts = bursts.map(|burst| self.burst(burst)).collect();
        let long = file.long.as_ref().map(|long| {
            let body = self.span("workload.long.body", &long.body);
            (self.share("workload.long.share", long.share), body)
        });
        Workload {
            per_second: file.per_second.unwrap_or(20.0),
            request_bytes: self.bytes("workload.request_bytes", file.request_bytes, REQUEST_BYTES),
            answer_bytes: self.bytes("workload.answer_bytes", file.answer_bytes, ANSWER_BYTES),
            clients,
            daily,
            bursts,
            body: self.span_or("workload.body", file.body.as_deref(), "1s"),
            long,
            sessions: self.share("workload.sessions", file.sessions.unwrap_or(0.0)),
        }
    }

    fn bytes(&mut self, key: &str, bytes: Option<usize>, default: usize) -> usize {
        let bytes = bytes.unwrap_or(default);
        if bytes > BYTES_MAX {
            self.problem(key, format!("must not be more than {BYTES_MAX}"));
        }
        bytes
    }

    fn bandwidth(&mut self, text: Option<&str>) -> Option<Bandwidth> {
        let bandwidth = Bandwidth::parse(text?);
        if bandwidth.is_none() {
            self.problem(
                "network.bandwidth",
                "must be such as 500kB/s, 50MB/s or 1GB/s",
            );
        }
        bandwidth
    }

    fn burst(&mut self, file: &BurstFile) -> Burst {
        let region = file.region.as_ref();
        Burst {
            at: self.span("workload.bursts.at", &file.at),
            lasts: self.span("workload.bursts.for", &file.lasts),
            factor: file.factor,
            region: region.map(|name| self.region("workload.bursts.region", name)),
        }
    }

    fn routing(&mut self, file: &RoutingFile) -> Routing {
        let strategy = match file.strategy.as_deref() {
            None | Some("latency") => Strategy::Latency,
            Some("geo") => Strategy::Geo,
            Some("priority") => Strategy::Priority,
            Some("weighted") => Strategy::Weighted,
            Some("least-busy") => Strategy::LeastBusy,
            Some(other) => {
                self.problem("routing.strategy", format!("{other:?} is not a strategy"));
                Strategy::Latency
            }
        };
        let routing = Routing {
            strategy,
            attempts_max: file.attempts.unwrap_or(6).max(1),
            deadline: self.span_or("routing.deadline", file.deadline.as_deref(), "20s"),
            first_byte: self.span_or("routing.first_byte", file.first_byte.as_deref(), "8s"),
            // The product's defaults (`node/config`).
            idle: self.span_or("routing.idle", file.idle.as_deref(), "60s"),
            total: self.span_or("routing.total", file.total.as_deref(), "10m"),
        };
        if routing.total < routing.first_byte {
            self.problem("routing.total", "must not be shorter than first_byte");
        }
        routing
    }

    fn residency(&mut self, files: &[ResidencyFile]) -> Residency {
        let mut rules = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let key = format!("residency[{index}]");
            let areas = file.clients.iter().filter_map(|text| text.parse().ok());
            let clients: Vec<_> = areas.collect();
            if clients.len() != file.clients.len() {
                self.problem(&key, "clients must be countries, continents or groups");
            }
            let regions = file
                .regions
                .iter()
                .filter_map(|text| RegionName::new(text).ok());
            rules.push(Rule {
                clients,
                keys: Vec::new(),
                models: Vec::new(),
                regions: regions.collect::<Arc<[RegionName]>>(),
            });
        }
        Residency::new(rules, Unknown::Fenced)
    }
}

fn expect(file: &ExpectFile) -> Expect {
    Expect {
        failed_share_max: file.failed_share_max.unwrap_or(0.0),
        regret_max: file.regret_max,
        peak_to_mean_max: file.peak_to_mean_max,
        converges: file.converges.unwrap_or(true),
        fault_bites: file.fault_bites.unwrap_or(true),
        at_least: file.at_least,
    }
}

/// A span such as `60us`, `250ms`, `1.5s`, `2m` or `1h`.
fn parse_span(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| character.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "us" => 0.000_001,
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    Duration::try_from_secs_f64(number * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
name: small
about: two nodes
duration: 30s
nodes: {count: 2, regions: [westeurope, japaneast]}
upstreams:
  - {name: primary, models: [gpt], first_byte: 300ms}
";

    #[test]
    fn scenario_with_defaults_is_taken() {
        let scenario = check(GOOD).expect("a good scenario");
        assert_eq!(scenario.nodes.len(), 2);
        assert_eq!(scenario.upstreams[0].at, [true, true]);
        assert_eq!(scenario.workload.clients.len(), 2);
    }

    #[test]
    fn every_problem_is_told_with_its_key() {
        let text = format!(
            "{GOOD}workload: {{clients: {{atlantis: 1}}}}\nfaults:\n  - {{at: soon, what: crash, who: [n7]}}\n"
        );
        let error = check(&text).expect_err("three problems");
        let told = error.to_string();
        for part in ["workload.clients", "faults[0].at", "faults[0].who", "n7"] {
            assert!(told.contains(part), "{part} is missing in {told}");
        }
    }

    #[test]
    fn unknown_key_is_refused() {
        let error = check(&format!("{GOOD}speed: 7\n")).expect_err("an unknown key");
        assert!(error.to_string().contains("speed"), "{error}");
    }

    #[test]
    fn span_needs_a_unit() {
        assert_eq!(parse_span("1.5s"), Some(Duration::from_millis(1_500)));
        assert_eq!(parse_span("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_span("54us"), Some(Duration::from_micros(54)));
        assert_eq!(parse_span("10"), None);
        assert_eq!(parse_span("10 parsecs"), None);
    }
}
