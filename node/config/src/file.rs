//! The configuration as written: what the file may hold. These docs are the schema's descriptions.
//!
//! Everything is optional here, and texts stay texts: what is required, in range and well formed is decided
//! when [`super::checked`] is made from it, so that one mistake hides no other.

mod auth;
mod clients;
mod dns;
mod fallback;
mod forward;
mod geo;
mod hedge;
mod log;
mod lossy;
mod oidc;
mod provider;
mod proxies;
mod tasks;
mod timeout;
mod tracing;
mod upstream;
mod usage;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use auth::{
    AuthFile, AuthSetFile, AuthWord, AwsFile, EntraFile, GoogleFile, SecretFile, SecretInFile,
};
pub use clients::{AccountFile, IssuedKeysFile, KeyFile, LedgerFile, ModelLimitsFile, PriceFile};
pub use dns::DnsFile;
pub use fallback::{FallbackFile, FallbackWord, LimitedFallbackFile};
pub use forward::{ForwardFile, LimitedForwardFile};
pub use geo::{GeoFile, HomeFile, ResidencyFile, UnknownWord};
pub use hedge::{BudgetedHedgeFile, HedgeAfterWord, HedgeFile, HedgeWord, KeyHedgeWord};
pub use log::{LogFile, LogFormatWord};
pub use lossy::{LossyFile, LossyWord};
pub use oidc::{OidcClientsFile, OidcFile, WordsFile};
pub use provider::{DialectWord, PathsFile, ProviderWord};
pub use proxies::ProxyProtocolWord;

pub use tasks::{ConcurrencyFile, QuotaFile, TasksFile, WebhooksFile};
pub use timeout::TimeoutFile;
pub use tracing::{OtlpFile, TracingFile};
pub use upstream::{
    HealthFile, LoadFile, LoadMetricsFile, LoadWord, ModelFile, ProbeWord, RenamedModelFile,
    UpstreamFile,
};
pub use usage::{AskUsageWord, UsageFile};

pub use super::written::{
    CountText, DayText, DollarsText, DurationOrOffText, DurationText, Item, RetryText, SecretText,
    SizeText,
};

/// The configuration of a grapevine node. Any string may contain `${NAME}` or `${NAME:-default}`, which is
/// replaced from the environment; `$${` is a literal `${`. Paths are relative to the file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "grapevine configuration")]
pub struct ConfigFile {
    /// The node's identity and location.
    pub node: Option<NodeFile>,
    /// The public address of the API: IP:PORT, TCP. Default: 0.0.0.0:8080 with keys of any kind or with `open`, else
    /// 127.0.0.1:8080, which this machine alone reaches.
    pub listen: Option<String>,
    /// Whether everyone who reaches the API may use it while there are no keys of any kind. Default: false.
    pub open: Option<bool>,
    /// The certificate of the public address. Default: none, plain HTTP.
    pub tls: Option<TlsFile>,
    /// Networks whose X-Forwarded-For, Forwarded and PROXY headers are trusted, such as 10.0.0.0/8.
    /// Default: none.
    pub trusted_proxies: Option<Vec<Item<String>>>,
    /// Whether connections to the public address start with a PROXY protocol header, version 1 or 2. Default: off.
    pub proxy_protocol: Option<ProxyProtocolWord>,
    /// The admin address: dashboard, mesh state, recent requests, metrics.
    pub admin: Option<AdminFile>,
    /// The mesh of nodes. Default: none, the node runs alone.
    pub mesh: Option<MeshFile>,
    /// The API endpoints that this node calls. Default: none, the node only forwards to its peers.
    pub upstreams: Option<Vec<Item<UpstreamFile>>>,
    /// The accounts at providers that upstreams draw on, of this node and of others: the same list at all of them.
    /// Default: none.
    pub accounts: Option<Vec<Item<AccountFile>>>,
    /// Paths that are forwarded to upstreams, with this node's credential, in addition to the inference paths.
    /// Default: none.
    pub forward: Option<Vec<Item<ForwardFile>>>,
    /// Routing and retries.
    pub routing: Option<RoutingFile>,
    /// Client locations, and the regions that serve them.
    pub geo: Option<GeoFile>,
    /// Data residency rules. A region may answer a request only if every rule that applies permits it.
    /// Default: none, every region may answer.
    pub residency: Option<Vec<Item<ResidencyFile>>>,
    /// An authoritative DNS server that directs clients to the nearest node. Default: none.
    pub dns: Option<DnsFile>,
    /// Limits on clients' requests and connections.
    pub limits: Option<LimitsFile>,
    /// Token usage.
    pub usage: Option<UsageFile>,
    /// Client API keys. Default: none, requests are not authenticated.
    pub keys: Option<Vec<Item<KeyFile>>>,
    /// Keys that the operator issues as signed tokens, and statements about keys. Default: none are accepted.
    pub issued_keys: Option<IssuedKeysFile>,
    /// An identity provider (OpenID Connect) whose tokens are taken as keys. Default: none.
    pub oidc: Option<OidcFile>,
    /// Prices of models, in addition to those that are built in and in place of them.
    pub prices: Option<Vec<Item<PriceFile>>>,
    /// The ledger: one line for each finished request, with its tokens and its cost. Default: none is written.
    pub ledger: Option<LedgerFile>,
    /// Web origins that may call the API from a browser.
    pub cors: Option<CorsFile>,
    /// Background tasks: storage and execution.
    pub tasks: Option<TasksFile>,
    /// Graceful shutdown.
    pub drain: Option<DrainFile>,
    /// Logging.
    pub log: Option<LogFile>,
    /// Distributed tracing with OpenTelemetry.
    pub tracing: Option<TracingFile>,
    /// The number of threads that serve the public address, 1 to 1024. Default: one per core.
    pub workers: Option<u64>,
    /// The node's role, in quotes: "!" serves API requests, "*" runs all background services, "-" neither; or a
    /// list of service keys, with "!" to serve requests too. Default: requests and all services.
    pub worker_mode: Option<String>,
}

/// The node's identity and location.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NodeFile {
    /// The node's name, unique in its mesh: letters, digits, '-', '_', '.', at most 63 bytes.
    /// Default: the name in its mesh certificate, else the host's name.
    pub name: Option<String>,
    /// The node's region, such as sgp or eu-west-1. Default: local.
    pub region: Option<String>,
    /// The node's coordinates. Default: those of the region, from a table of well-known region codes.
    pub location: Option<LocationFile>,
    /// What is published to clients about the node.
    pub public: Option<PublicFile>,
}

/// A point on the Earth.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["lat", "lon"]))]
pub struct LocationFile {
    /// Degrees north of the equator, -90 to 90.
    pub lat: Option<f64>,
    /// Degrees east of Greenwich, -180 to 180.
    pub lon: Option<f64>,
}

/// What is published to clients about the node.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PublicFile {
    /// The base URL that clients use for this node, at most 256 bytes. Default: none.
    pub url: Option<String>,
    /// The IP addresses that clients use for this node, at most 8. Default: none.
    pub addresses: Option<Vec<Item<String>>>,
}

/// A certificate chain and its private key.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["cert", "key"]))]
pub struct TlsFile {
    /// A PEM file with the certificate chain, leaf first.
    pub cert: Option<String>,
    /// A PEM file with the leaf's private key.
    pub key: Option<String>,
}

/// The admin address.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminFile {
    /// IP:PORT, TCP. Default: 127.0.0.1:9090.
    pub listen: Option<String>,
    /// The bearer token. Required, with at least 16 characters, unless the address is loopback.
    /// Default: none.
    pub token: Option<SecretText>,
}

/// The mesh of nodes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MeshFile {
    /// The mesh's name: lower-case letters, digits and inner '-', at most 63 bytes. Default: the one in the node's certificate.
    pub name: Option<String>,
    /// The mesh listener, for gossip and forwarded requests: IP:PORT, UDP. Default: 0.0.0.0:7171.
    pub listen: Option<String>,
    /// The address at which peers reach this node: HOST:PORT. Default: the listener's address.
    pub advertise: Option<String>,
    /// Nodes to join through: HOST:PORT. They need not be up yet. Default: none.
    pub seeds: Option<Vec<Item<String>>>,
    /// The node's mesh certificate; without it the node runs alone.
    pub tls: Option<MeshTlsFile>,
    /// The time between two gossip rounds, 50ms to 10s. Default: 250ms.
    pub gossip_interval: Option<DurationText>,
}

/// Mesh certificates, issued by `grapevine ca`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["ca", "cert", "key"]))]
pub struct MeshTlsFile {
    /// A PEM file with the certificate of the mesh's CA.
    pub ca: Option<String>,
    /// A PEM file with this node's certificate.
    pub cert: Option<String>,
    /// A PEM file with this node's private key.
    pub key: Option<String>,
}

/// Routing and retries.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingFile {
    /// The order of candidates of equal priority. Default: latency.
    pub strategy: Option<StrategyWord>,
    /// The maximum number of attempts within one request, over all upstreams and nodes, 1 to 32. Default: 6.
    pub attempts: Option<u64>,
    /// The time from a request's arrival to its first response byte, over all attempts. Default: 10m.
    pub deadline: Option<DurationText>,
    /// The failures after which the next candidate is tried: connect, timeout (for a connection, or for the first byte
    /// of a stream), answer_timeout (for a whole answer, which may have been billed), 5xx, or a status from 400 to
    /// 599. Default: [connect, timeout, 408, 429, 5xx].
    pub retry_on: Option<Vec<Item<RetryText>>>,
    /// Whether a second attempt is sent beside one that is late, within which share of all requests. Default: off.
    pub hedge: Option<HedgeFile>,
    /// How much of the time that a warm prompt cache is expected to save counts against a nearer upstream, 0 to 10: 0
    /// counts none, 1 all of it, and more what the saved tokens are worth beside. Only with the strategy latency.
    /// Default: 0.
    pub cache_weight: Option<f64>,
    /// What ids of responses, conversations and files are sealed with, 32 bytes or longer, the same list at every node
    /// of the mesh: the first seals, all of them open. Default: derived from the certificate of the mesh's CA; a node
    /// without a mesh keeps its own in grapevine-seal-NAME.key, next to the configuration file.
    pub seal_keys: Option<Vec<Item<SecretText>>>,
    /// What translations into the dialect of an upstream of this node may lose, unless the client sends
    /// `x-grapevine-lossy`: allow, refuse, or a list of paths such as [top_k, tools.web_search]. Default: refuse.
    pub lossy: Option<LossyFile>,
    /// Models that stand in for others when those cannot answer, by the model that clients ask for, such as
    /// `gpt-4o: [claude-sonnet]`. The models of a fallback have no fallbacks themselves. Default: none.
    pub fallback_models: Option<BTreeMap<String, FallbackFile>>,
}

/// The order of candidates of equal priority.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyWord {
    /// The lowest measured latency from this node.
    Latency,
    /// The client's regions in geo.map first, then by distance from the client.
    Geo,
    /// This node's own upstreams first, then by name.
    Priority,
    /// At random, by weight.
    Weighted,
    /// The lowest share of its limit in use.
    LeastBusy,
}

/// Limits on clients' requests and connections.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsFile {
    /// The largest request body, at most 1GiB. Default: 32MiB.
    pub body: Option<SizeText>,
    /// The memory for all request bodies that the node holds at a time, at least twice limits.body. One client, by
    /// key or address, can use at most half of it. Default: 256MiB, or twice limits.body if that is more.
    pub body_memory: Option<SizeText>,
    /// The maximum number of header lines of a request, 8 to 1000. Default: 100.
    pub header_count: Option<u64>,
    /// The largest request head, 8KiB to 1MiB. Default: 64KiB.
    pub header_size: Option<SizeText>,
    /// The timeout for receiving a request head. Default: 10s.
    pub header_timeout: Option<DurationText>,
    /// How long a connection may be idle between two requests; set it longer than load balancers in front do.
    /// Default: 75s.
    pub idle_timeout: Option<DurationText>,
    /// The longest pause while receiving a body, which must arrive at 1 KiB/s or faster. Default: 30s.
    pub body_timeout: Option<DurationText>,
    /// How long a WebSocket may be silent in both directions, pings included, before it is closed. Default: 15m.
    pub websocket_idle: Option<DurationText>,
    /// The maximum number of open client connections, at least 1. Default: 16384.
    pub connections: Option<u64>,
    /// The maximum number of requests in flight, at least 1. Default: derived from the node's memory and file
    /// descriptors, at most `limits.connections`.
    pub in_flight: Option<u64>,
    /// The maximum number of requests that wait while `in_flight` are in flight, at most a quarter of them of one key;
    /// 0 refuses them at once. Default: 1024.
    pub waiting: Option<u64>,
    /// The maximum number of waiting polls of external workers, at least 2, at most half of them with one key; they
    /// do not count as requests in flight. Default: 256.
    pub polls: Option<u64>,
    /// The nodes that hold the rights of keys' limits (rpm, tpm, budget), by name, at most 128: the same list at all of
    /// them. Requests of keys with limits are answered at these nodes alone. Needed in a mesh where keys have limits.
    /// Default: none; a node without a mesh holds all rights.
    pub nodes: Option<Vec<Item<String>>>,
    /// Where this node keeps what it opened of budgets. Default: grapevine-limits-NAME.json with the node's name, next
    /// to the configuration file.
    pub file: Option<String>,
    /// Tokens of an answer that are reserved where the request does not say how many it allows, 1 to 1000000.
    /// Default: 4096.
    pub max_tokens: Option<u64>,
    /// What becomes of a stream that used more tokens or money than its key's limits have left. Default: end.
    pub overrun: Option<OverrunWord>,
}

/// What becomes of a stream that used more than its key's limits have left.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OverrunWord {
    /// It ends with the error event budget_exceeded.
    End,
    /// It goes on, and what it used beyond is taken from what is ready next.
    Allow,
}

/// Web origins that may call the API from a browser.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CorsFile {
    /// Origins such as https://app.example.net, or "*" for any. Default: none.
    pub origins: Option<Vec<Item<String>>>,
}

/// Graceful shutdown.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrainFile {
    /// How long requests in flight may take to finish. Default: 30s.
    pub timeout: Option<DurationText>,
}
