//! What nodes and upstreams can do, from as written to as checked.

use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::units::Tier;

use super::checked::Checker;
use super::file::{NodeFile, UpstreamFile};
use super::{EngineSpec, Processing, Upstream};
use crate::wires::Bandwidth;

/// The longest line at an upstream, where a scenario does not set it: Ollama's `OLLAMA_MAX_QUEUE`.
const LINE_MAX: usize = 512;

/// The capacity of a node, where a scenario does not set it. Measured on the product's release build, with a small chat
/// request and its answer: 54 us of CPU at the entry that calls its own upstream, and 164 us at both nodes together where
/// the request takes a hop. The hop costs half of the difference at each of the two.
const CORES: usize = 2;
const REQUEST_WORK: &str = "54us";
const HOP_WORK: &str = "55us";

/// Conversations in the cache of an engine at most.
const CONVERSATIONS_MAX: usize = 10_000;

/// Cores of a node at most.
const CORES_MAX: usize = 256;

impl Checker {
    pub(super) fn processing(&mut self, file: &NodeFile) -> Processing {
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

    pub(super) fn upstream(&mut self, index: usize, file: &UpstreamFile) -> Upstream {
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
            backlog: file.backlog,
            attempts_max: file.attempts.unwrap_or(1).max(1),
            engine: file.engine.as_ref().map(|engine| EngineSpec {
                prefill: self.span(&format!("{key}.engine.prefill"), &engine.prefill),
                conversations: engine.conversations.clamp(1, CONVERSATIONS_MAX),
            }),
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

    pub(super) fn bandwidth(&mut self, text: Option<&str>) -> Option<Bandwidth> {
        let bandwidth = Bandwidth::parse(text?);
        if bandwidth.is_none() {
            self.problem(
                "network.bandwidth",
                "must be such as 500kB/s, 50MB/s or 1GB/s",
            );
        }
        bandwidth
    }
}
