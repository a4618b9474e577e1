//! An API endpoint that this node calls, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    AuthFile, CountText, DialectWord, DurationText, Item, LossyFile, PathsFile, ProviderWord,
    SecretFile, SecretText, TimeoutFile,
};

/// An API endpoint that this node calls.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct UpstreamFile {
    /// The upstream's name, unique at this node: letters, digits, '-', '_', '.', at most 63 bytes.
    pub name: Option<String>,
    /// Whose API it has: paths, credential, probe and host follow from it. Default: openai.
    pub provider: Option<ProviderWord>,
    /// The base URL, to which request paths are appended, such as https://api.example.com/v1. Required where the provider
    /// has no host of its own. Default: the provider's host.
    pub base_url: Option<String>,
    /// The credential for this upstream; it never leaves this node. It is sent in the header that the provider takes,
    /// unless `auth` says otherwise. Default: none.
    pub api_key: Option<SecretFile>,
    /// How the node authenticates. Default: with `api_key`; without one, `entra` for azure, `aws` for bedrock, `google`
    /// for vertex, else `none`.
    pub auth: Option<AuthFile>,
    /// The version of Azure's dated API, such as 2024-10-21. Default: none, the v1 API.
    pub api_version: Option<String>,
    /// The region of Bedrock, such as us-east-1. Default: AWS_REGION.
    pub aws_region: Option<String>,
    /// The project of Vertex AI. Default: GOOGLE_CLOUD_PROJECT.
    pub project: Option<String>,
    /// The location of Vertex AI, such as europe-west1. Default: global.
    pub location: Option<String>,
    /// Paths that differ from the provider's. Default: none.
    pub paths: Option<PathsFile>,
    /// The forms of request that it understands. Default: those of the provider.
    pub dialects: Option<Vec<Item<DialectWord>>>,
    /// Whether it takes WebSockets on `/v1/responses` and `/v1/realtime`. Default: true at OpenAI's own host,
    /// api.openai.com; else false.
    pub websocket: Option<bool>,
    /// What translations of requests for it may lose, unless the client sends `x-grapevine-lossy`: allow, refuse, or a
    /// list of paths. Default: `routing.lossy`.
    pub lossy: Option<LossyFile>,
    /// The models it serves; "*" is any. Default: discovered from the upstream's own /models.
    pub models: Option<Vec<Item<ModelFile>>>,
    /// Lower priorities are used first; the next one only when the lower has no healthy upstream; 0 to 65535.
    /// Default: 1.
    pub priority: Option<u64>,
    /// Relative weight under the weighted strategy, above 0 and at most 1000. Default: 1.
    pub weight: Option<f64>,
    /// The maximum number of attempts at this upstream within one request, 1 to 32. Default: 3.
    pub max_retries: Option<u64>,
    /// The maximum number of requests in flight at this upstream, at least 1. Default: `limits.in_flight`. Below this
    /// bound, the node learns the upstream's capacity from its 429s and its latency.
    pub max_in_flight: Option<u64>,
    /// Timeouts of a call.
    pub timeout: Option<TimeoutFile>,
    /// Health checking and ejection.
    pub health: Option<HealthFile>,
    /// Where it reports its load, in Prometheus' text format, and how often that is read; off counts requests in flight
    /// alone. Default: read for vllm, sglang and llamacpp; else off.
    pub load: Option<LoadFile>,
    /// Headers to add to every call. Default: none.
    pub headers: Option<BTreeMap<String, SecretText>>,
    /// The account at the provider that it draws on, one of `accounts`. Upstreams of one account leave it together when
    /// one of them is limited. Default: none.
    pub account: Option<String>,
}

/// A model, optionally with a different name at the upstream and with what clients are told of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ModelFile {
    /// The model's name, the same on both sides.
    Same(String),
    /// A model with more than its name.
    Renamed(RenamedModelFile),
}

/// A model with more than its name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct RenamedModelFile {
    /// The model name that clients use.
    pub name: Option<String>,
    /// The model's name at the upstream. Default: the same.
    pub upstream_name: Option<String>,
    /// The tokens that a request and its answer may have together, such as 128k; clients see it in /v1/models.
    /// Default: none is shown.
    pub context_length: Option<CountText>,
}

/// How the load of a self-hosted engine is read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LoadFile {
    /// Not at all.
    Word(LoadWord),
    /// From its metrics.
    Metrics(LoadMetricsFile),
}

/// That no load is read.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoadWord {
    /// Requests in flight count alone.
    Off,
}

/// The metrics of a self-hosted engine: those of vLLM, SGLang, TGI and llama.cpp (with `--metrics`) are known.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoadMetricsFile {
    /// The page, from the root of its server. Default: /metrics next to the API.
    pub path: Option<String>,
    /// The pause between two readings, 100ms to 60s. Default: 1s.
    pub interval: Option<DurationText>,
}

/// Health checking and ejection of an upstream.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthFile {
    /// The probe that is sent when no request has shown the upstream's state. Default: models; health for vllm, sglang and
    /// llamacpp; off for bedrock and vertex, which have no list of models.
    pub probe: Option<ProbeWord>,
    /// The time without a request after which a probe is sent; longer than the timeout. Default: 30s.
    pub interval: Option<DurationText>,
    /// The timeout of a probe. Default: 5s.
    pub timeout: Option<DurationText>,
    /// Consecutive failures that eject the upstream, 1 to 1000. Default: 3.
    pub failure_threshold: Option<u64>,
    /// Consecutive successes that restore it, 1 to 1000. Default: 2.
    pub recovery_threshold: Option<u64>,
    /// The cooldown after the first ejection; doubles with each one. Default: 1s.
    pub cooldown: Option<DurationText>,
    /// The longest cooldown. Default: 60s.
    pub cooldown_max: Option<DurationText>,
}

/// What a probe requests.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProbeWord {
    /// GET /models, which is free of charge.
    Models,
    /// GET /health of a self-hosted engine, next to `/v1`, and then GET /models; where it has no such page, the latter
    /// alone.
    Health,
    /// A completion of five tokens, which is billed.
    Chat,
    /// No probes; requests alone show the state.
    Off,
}
