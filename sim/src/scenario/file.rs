//! A scenario as written in YAML. Unknown keys are refused; spans are text with a unit, such as `250ms`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::tally::{Tally, TallyMost};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScenarioFile {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) duration: String,
    pub(super) warm_up: Option<String>,
    pub(super) settle: Option<String>,
    #[serde(default)]
    pub(super) membership: MembershipFile,
    pub(super) regions: Option<PathBuf>,
    pub(super) round_trips: Option<PathBuf>,
    pub(super) nodes: NodesFile,
    #[serde(default)]
    pub(super) node: NodeFile,
    pub(super) upstreams: Vec<UpstreamFile>,
    #[serde(default)]
    pub(super) network: NetworkFile,
    #[serde(default)]
    pub(super) workload: WorkloadFile,
    #[serde(default)]
    pub(super) routing: RoutingFile,
    #[serde(default)]
    pub(super) residency: Vec<ResidencyFile>,
    #[serde(default)]
    pub(super) faults: Vec<FaultFile>,
    #[serde(default)]
    pub(super) expect: ExpectFile,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MembershipFile {
    #[default]
    Model,
    Chitchat,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodesFile {
    pub(super) count: usize,
    #[serde(default)]
    pub(super) regions: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeFile {
    pub(super) cores: Option<usize>,
    pub(super) request: Option<String>,
    pub(super) hop: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamFile {
    pub(super) name: String,
    pub(super) models: Vec<String>,
    pub(super) provider: Option<String>,
    #[serde(default)]
    pub(super) at: Vec<String>,
    pub(super) first_byte: String,
    pub(super) spread: Option<f64>,
    pub(super) in_flight_max: Option<u32>,
    pub(super) capacity: Option<u32>,
    pub(super) queue: Option<usize>,
    pub(super) when_full: Option<u16>,
    pub(super) tier: Option<u16>,
    pub(super) limit_per_second: Option<f64>,
    pub(super) retry_after: Option<String>,
    pub(super) price: Option<f64>,
    pub(super) backlog: Option<usize>,
    pub(super) attempts: Option<u32>,
    pub(super) engine: Option<EngineFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EngineFile {
    pub(super) prefill: String,
    pub(super) conversations: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkFile {
    pub(super) jitter: Option<f64>,
    pub(super) loss: Option<f64>,
    pub(super) bandwidth: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkloadFile {
    pub(super) per_second: Option<f64>,
    #[serde(default)]
    pub(super) clients: BTreeMap<String, f64>,
    pub(super) daily: Option<DailyFile>,
    #[serde(default)]
    pub(super) bursts: Vec<BurstFile>,
    pub(super) request_bytes: Option<usize>,
    pub(super) answer_bytes: Option<usize>,
    pub(super) body: Option<String>,
    pub(super) long: Option<LongFile>,
    pub(super) sessions: Option<f64>,
    pub(super) whole: Option<f64>,
    pub(super) thinking: Option<ThinkingFile>,
    pub(super) long_prompts: Option<LongPromptsFile>,
    #[serde(default)]
    pub(super) faulty: Vec<FaultyFile>,
    #[serde(default)]
    pub(super) arrivals: Vec<ArrivalFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ThinkingFile {
    pub(super) share: Option<f64>,
    pub(super) median: String,
    pub(super) spread: f64,
    pub(super) least: String,
    pub(super) most: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LongPromptsFile {
    pub(super) share: f64,
    pub(super) factor: f64,
    pub(super) request_bytes: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultyFile {
    pub(super) what: ClientFaultFile,
    pub(super) share: f64,
    pub(super) region: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClientFaultFile {
    Poison,
    Organization,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArrivalFile {
    pub(super) at: String,
    pub(super) clients: u32,
    pub(super) within: Option<String>,
    pub(super) region: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DailyFile {
    pub(super) day: String,
    pub(super) swing: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BurstFile {
    pub(super) at: String,
    #[serde(rename = "for")]
    pub(super) lasts: String,
    pub(super) factor: f64,
    pub(super) region: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LongFile {
    pub(super) share: f64,
    pub(super) body: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoutingFile {
    pub(super) strategy: Option<String>,
    pub(super) attempts: Option<u32>,
    pub(super) deadline: Option<String>,
    pub(super) connect: Option<String>,
    pub(super) first_byte: Option<String>,
    pub(super) answer: Option<String>,
    pub(super) idle: Option<String>,
    pub(super) total: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResidencyFile {
    pub(super) clients: Vec<String>,
    pub(super) regions: Vec<String>,
    #[serde(default)]
    pub(super) at: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultFile {
    pub(super) at: String,
    #[serde(rename = "for")]
    pub(super) lasts: Option<String>,
    pub(super) what: WhatFile,
    #[serde(default)]
    pub(super) who: Vec<String>,
    #[serde(default)]
    pub(super) to: Vec<String>,
    pub(super) upstream: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) model: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) code: Option<String>,
    pub(super) retry_after: Option<String>,
    pub(super) probes: Option<bool>,
    pub(super) share: Option<f64>,
    pub(super) factor: Option<f64>,
    pub(super) delay: Option<String>,
    pub(super) every: Option<String>,
    pub(super) back: Option<String>,
    pub(super) rules: Option<Vec<ResidencyFile>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WhatFile {
    Crash,
    Flap,
    Drain,
    Rolling,
    Stall,
    ClockBack,
    Partition,
    OneWay,
    Loss,
    SlowLink,
    Rules,
    UpstreamDown,
    UpstreamHangs,
    UpstreamPauses,
    UpstreamSlow,
    UpstreamErrors,
    UpstreamLimits,
    UpstreamAnswers,
    UpstreamBreaks,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectFile {
    pub(super) failed_share_max: Option<f64>,
    pub(super) regret_max: Option<f64>,
    pub(super) peak_to_mean_max: Option<f64>,
    pub(super) converges: Option<bool>,
    pub(super) fault_bites: Option<bool>,
    #[serde(default)]
    pub(super) at_least: Tally,
    #[serde(default)]
    pub(super) at_most: TallyMost,
    pub(super) elsewhere: Option<ElsewhereFile>,
    pub(super) broken_share_max: Option<f64>,
    pub(super) short_prompts_regret_max: Option<f64>,
    #[serde(default)]
    pub(super) upstream_share_min: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ElsewhereFile {
    pub(super) model: Option<String>,
    pub(super) share_max: f64,
}
