//! One API endpoint that this node calls, as checked.

use std::time::Duration;

use grapevine_core::dialect::PermittedLoss;
use grapevine_core::engine::Probe;
use grapevine_core::health;
use grapevine_core::ids::{AccountName, ModelName, UpstreamName};
use grapevine_core::units::{Tier, Weight};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use super::super::address::BaseUrl;
use super::{AuthConfig, ProviderConfig};

/// One API endpoint that this node calls.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamConfig {
    /// Unique at this node.
    pub name: UpstreamName,
    /// Whose API it has.
    pub provider: ProviderConfig,
    /// The URL that the paths of its provider are appended to; `/v1` included where they are OpenAI's.
    pub base_url: BaseUrl,
    /// How the node authenticates.
    pub auth: AuthConfig,
    /// Whether it takes WebSockets.
    pub websocket: bool,
    /// What translations of requests may lose.
    pub lossy: PermittedLoss,
    /// The models that it serves.
    pub models: UpstreamModels,
    /// A lower tier is tried first.
    pub tier: Tier,
    /// Its share among equals, under the weighted strategy.
    pub weight: Weight,
    /// Attempts at this upstream within one request; at least 1.
    pub attempts_max: u32,
    /// Requests in flight at this upstream, at least 1; `None`: as many as the node can serve.
    pub in_flight_max: Option<u32>,
    /// How long a call may take.
    pub timeout: TimeoutConfig,
    /// How it is probed when no traffic proves its state.
    pub probe: ProbeConfig,
    /// When it is ejected and restored.
    pub health: health::HealthPolicy,
    /// How the load that it reports is read; `None` where it is not.
    pub load: Option<LoadConfig>,
    /// Added to every call; the values are marked sensitive, so that `Debug` hides them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The account that it draws on, which is one of the configuration; `None` where none is named.
    pub account: Option<AccountName>,
}

impl UpstreamConfig {
    /// An upstream with every default.
    pub fn new(name: UpstreamName, base_url: BaseUrl) -> Self {
        Self {
            name,
            provider: ProviderConfig::default(),
            base_url,
            auth: AuthConfig::None,
            websocket: false,
            lossy: PermittedLoss::Nothing,
            models: UpstreamModels::Discovered,
            tier: Tier::default(),
            weight: Weight::default(),
            attempts_max: ATTEMPTS_PER_UPSTREAM,
            in_flight_max: None,
            timeout: TimeoutConfig::default(),
            probe: ProbeConfig::default(),
            health: health::HealthPolicy::default(),
            load: None,
            headers: Vec::new(),
            account: None,
        }
    }
}

/// The default of [`UpstreamConfig::attempts_max`].
pub const ATTEMPTS_PER_UPSTREAM: u32 = 3;

/// The models that an upstream serves.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamModels {
    /// Those that its own `/models` lists.
    Discovered,
    /// These; [`ModelName::is_any`] among them means every model.
    Listed(Vec<ModelConfig>),
}

/// One model of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The name that clients use.
    pub name: ModelName,
    /// Its name at the upstream; `None` when it is the same.
    pub upstream_name: Option<ModelName>,
    /// The tokens that a request and its answer may have together; `None` where nothing is written.
    pub context_length: Option<u64>,
}

/// How long a call to an upstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutConfig {
    /// Opening the connection, TLS included.
    pub connect: Duration,
    /// From the call's start to the first byte of a stream's body.
    pub first_byte: Duration,
    /// The same for an answer that is no stream: its first byte comes when all of it is made.
    pub answer: Duration,
    /// Between two pieces of the response's body; `None` is without a limit.
    pub idle: Option<Duration>,
    /// The whole call; `None` is without a limit.
    pub total: Option<Duration>,
}

/// As patient as the clients' own SDKs, which wait for ten minutes: an upstream that still works does not fail.
impl Default for TimeoutConfig {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(120),
            answer: Duration::from_secs(600),
            idle: Some(Duration::from_secs(300)),
            total: Some(Duration::from_secs(3_600)),
        }
    }
}

/// How an upstream is probed when no traffic proves its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// What is asked.
    pub kind: Probe,
    /// No probe while traffic proved the state within this span; longer than `timeout`.
    pub interval: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            kind: Probe::Models,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
        }
    }
}

/// How the load that a self-hosted engine reports is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadConfig {
    /// The page, from the root of the server; `None`: `/metrics` next to the API.
    pub path: Option<PathAndQuery>,
    /// The pause between two readings.
    pub interval: Duration,
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self {
            path: None,
            interval: Duration::from_secs(1),
        }
    }
}
