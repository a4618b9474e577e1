//! The configuration as checked: units in types, defaults resolved, secrets out of sight.
//!
//! The rest of the node sees these types alone. Their content is valid: names are unique, numbers are in
//! range, certificate files were readable and matched when the configuration was loaded.

mod auth;
mod clients;
mod log;
mod provider;
mod seal;
mod tasks;
mod tracing;
mod upstream;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use grapevine_core::escrow::growth::OverrunRule;
use grapevine_core::forwarding::Forwarding;
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::homes::Homes;
use grapevine_core::ids::{MeshName, ModelName, NodeName, RegionName};
use grapevine_core::mode::Mode;
use grapevine_core::outcome::RetryOn;
use grapevine_core::request::FallbackModels;
use grapevine_core::residency::Residency;
use grapevine_core::route::Strategy;
use grapevine_core::units::Share;
use http::HeaderValue;

use super::address::{BaseUrl, HostPort, Network};
use super::domain::DomainName;
use super::prices::PriceTable;
use super::secret::Secret;
use super::text::ByteSize;

pub use auth::{
    AuthConfig, AwsConfig, AwsKeys, AwsSource, EntraConfig, EntraSource, GoogleConfig,
    GoogleSource, IdentityEndpoint, SecretSource, ServiceAccount,
};
pub use clients::{AccountConfig, IssuedKeysConfig, KeyConfig, LedgerConfig, OidcConfig};
pub use log::{LogConfig, LogFormat};
pub use provider::{ApiEndpoint, EndpointPaths, Provider, ProviderConfig};
pub use seal::SealSource;
pub use tasks::{Concurrency, Queue, TasksConfig, WebhooksConfig};
pub use tracing::{OtlpConfig, TracingConfig};
pub use upstream::{
    ATTEMPTS_PER_UPSTREAM, LoadConfig, ModelConfig, ProbeConfig, TimeoutConfig, UpstreamConfig,
    UpstreamModels,
};

/// Everything a node needs to know to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The first twelve hexadecimal digits of the file's SHA-256; `None` without a file.
    pub file_hash: Option<String>,
    /// The node's identity and location.
    pub node: NodeConfig,
    /// The public address of the API (TCP).
    pub listen: SocketAddr,
    /// Whether everyone is meant to use it where there are no keys.
    pub open: bool,
    /// Certificate for the public address; `None` is plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Networks whose `X-Forwarded-For`, `Forwarded` and PROXY headers are trusted.
    pub trusted_proxies: Vec<Network>,
    /// Whether connections to the public address begin with a PROXY header; only when there are
    /// `trusted_proxies`.
    pub proxy_protocol: ProxyProtocol,
    /// The operator's address.
    pub admin: AdminConfig,
    /// The other nodes; `None` runs alone.
    pub mesh: Option<MeshConfig>,
    /// The API endpoints that this node calls itself; empty makes it a relay.
    pub upstreams: Vec<UpstreamConfig>,
    /// The accounts that upstreams draw on.
    pub accounts: Vec<AccountConfig>,
    /// The paths that may be forwarded to upstreams.
    pub forwarding: Forwarding,
    /// How requests are sent and retried.
    pub routing: RoutingConfig,
    /// Where clients are, and which regions serve them.
    pub geo: GeoConfig,
    /// Where requests may be answered.
    pub residency: Residency,
    /// The DNS server; `None` is none.
    pub dns: Option<DnsConfig>,
    /// Limits of one client, and of all of them together.
    pub limits: LimitsConfig,
    /// How tokens are counted.
    pub usage: UsageConfig,
    /// The keys for the public address; empty does not authenticate requests.
    pub keys: Vec<KeyConfig>,
    /// Keys that the operator issues; `None` accepts none.
    pub issued_keys: Option<IssuedKeysConfig>,
    /// The identity provider whose tokens are taken; `None` takes none.
    pub oidc: Option<OidcConfig>,
    /// What models cost.
    pub prices: PriceTable,
    /// The ledger of finished requests; `None` is none.
    pub ledger: Option<LedgerConfig>,
    /// Web pages that may call the API from a browser.
    pub cors: CorsOrigins,
    /// Background work.
    pub tasks: TasksConfig,
    /// How the node shuts down.
    pub drain: DrainConfig,
    /// What is logged and how.
    pub log: LogConfig,
    /// Traces of requests.
    pub tracing: TracingConfig,
    /// Threads that serve the public address, one runtime each.
    pub workers: NonZeroUsize,
    /// Whether it serves requests, and which background work it does.
    pub worker_mode: Mode,
}

impl Config {
    /// Whether everyone may use the API: there are no keys of any kind.
    pub const fn needs_no_key(&self) -> bool {
        self.keys.is_empty() && self.issued_keys.is_none() && self.oidc.is_none()
    }
}

/// The node's identity and location.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// Unique in the mesh.
    pub name: NodeName,
    /// The region it serves.
    pub region: RegionName,
    /// Its coordinates; `None` when not written: the table of well-known regions then applies.
    pub place: Option<GeoPoint>,
    /// Its public base URL, published to clients; `None` when not written.
    pub public_url: Option<BaseUrl>,
    /// Its public addresses, published to clients.
    pub public_addresses: Vec<IpAddr>,
}

/// A certificate chain and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The leaf's private key.
    pub key: PathBuf,
}

/// Whether connections to the public address begin with a PROXY header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None does; a header is a malformed request.
    #[default]
    Off,
    /// Those of trusted proxies may.
    Optional,
    /// All must: one without, or not from a trusted proxy, is closed.
    Required,
}

impl ProxyProtocol {
    /// The value in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// The operator's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where it listens (TCP).
    pub listen: SocketAddr,
    /// The required bearer token; always present when the address is not on loopback.
    pub token: Option<Secret>,
}

/// The other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfig {
    /// The mesh's name, as in every node's certificate.
    pub name: MeshName,
    /// Where gossip and forwarded requests arrive (UDP).
    pub listen: SocketAddr,
    /// Where other nodes reach this one; `None` uses the listener's address.
    pub advertise: Option<HostPort>,
    /// Nodes to join through; they may start later.
    pub seeds: Vec<HostPort>,
    /// The node's own identity, and the CA that it trusts.
    pub tls: MeshTlsConfig,
    /// The time between two rounds of gossip.
    pub gossip_interval: Duration,
}

/// Certificates of the mesh, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshTlsConfig {
    /// The authority that signed every node's certificate.
    pub ca: PathBuf,
    /// This node's certificate; its SAN is [`MeshName::node_uri`].
    pub cert: PathBuf,
    /// This node's private key.
    pub key: PathBuf,
}

/// The default time between two rounds of gossip.
pub const GOSSIP_INTERVAL: Duration = Duration::from_millis(250);

/// How requests are sent and retried.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingConfig {
    /// How candidates are ordered.
    pub strategy: Strategy,
    /// Attempts within one request; 1 to 32.
    pub attempts_max: u32,
    /// From a request's arrival to its first response byte, over all attempts.
    pub deadline: Duration,
    /// Which failures lead to the next candidate.
    pub retry_on: RetryOn,
    /// The models that stand in for others, by the model that clients ask for.
    pub fallback_models: BTreeMap<ModelName, FallbackModels>,
    /// How much of what a warm cache saves counts against a nearer upstream.
    pub cache_weight: f64,
    /// The share of all requests that may be sent a second time beside an attempt that is late; `None` is none of them.
    pub hedge: Option<Share>,
    /// What ids of upstreams are sealed with.
    pub seal: SealSource,
}

impl Default for RoutingConfig {
    fn default() -> Self {
        Self {
            strategy: Strategy::Latency,
            attempts_max: 6,
            deadline: Duration::from_secs(600),
            retry_on: RetryOn::default(),
            fallback_models: BTreeMap::new(),
            cache_weight: 0.0,
            hedge: None,
            seal: SealSource::Kept(PathBuf::from("grapevine-seal-node.key")),
        }
    }
}

/// Where clients are, and which regions serve them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeoConfig {
    /// The location database (MMDB); `None` is the built-in one.
    pub database: Option<PathBuf>,
    /// Which regions serve which clients, under the `geo` strategy.
    pub homes: Homes,
}

/// The DNS server that leads clients to the nearest node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Where it listens (UDP and TCP).
    pub listen: SocketAddr,
    /// The zone that it answers for.
    pub zone: DomainName,
    /// How long answers may be kept; whole seconds.
    pub ttl: Duration,
    /// The zone's servers; empty names the nodes that answer DNS.
    pub name_servers: Vec<DomainName>,
}

/// Limits of one client, and of all of them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// The largest request body.
    pub body: ByteSize,
    /// The memory that all request bodies may hold together.
    pub body_memory: ByteSize,
    /// The most header lines of a request.
    pub header_count: usize,
    /// The largest request head.
    pub header_size: ByteSize,
    /// How long a client may take to send the head.
    pub header_timeout: Duration,
    /// How long a connection is kept between two requests.
    pub idle_timeout: Duration,
    /// How long a client may pause within the body.
    pub body_timeout: Duration,
    /// How long a WebSocket may be silent in both directions.
    pub websocket_idle: Duration,
    /// Open connections from clients.
    pub connections: usize,
    /// Requests in flight; `None`: as many as the node can serve.
    pub in_flight: Option<u32>,
    /// Requests that wait while as many are in flight as may be.
    pub waiting: usize,
    /// Waiting polls of workers out of process, counted apart from requests.
    pub polls: u32,
    /// The nodes that hold the rights of keys' limits.
    pub nodes: Vec<NodeName>,
    /// Where this node keeps what it opened of budgets.
    pub file: PathBuf,
    /// Tokens of an answer that are reserved where the request does not say how many it allows.
    pub max_tokens: u64,
    /// What becomes of a stream that used more than its key's limits have left.
    pub overrun: OverrunRule,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            body: ByteSize::mib(32),
            body_memory: ByteSize::mib(256),
            header_count: 100,
            header_size: ByteSize::kib(64),
            header_timeout: Duration::from_secs(10),
            // Longer than the minute for which load balancers keep theirs, so that they close first
            // (nginx's default).
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            websocket_idle: Duration::from_secs(15 * 60),
            connections: 16_384,
            in_flight: None,
            waiting: 1_024,
            polls: 256,
            nodes: Vec::new(),
            file: PathBuf::new(),
            max_tokens: 4_096,
            overrun: OverrunRule::End,
        }
    }
}

/// How tokens are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageConfig {
    /// Whether streams that would not report their usage are asked to.
    pub ask: bool,
}

impl Default for UsageConfig {
    fn default() -> Self {
        Self { ask: true }
    }
}

/// Web pages that may call the API from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// None.
    Off,
    /// All.
    Any,
    /// Pages of these origins, such as `https://app.example.net`.
    Listed(Vec<HeaderValue>),
}

/// How the node shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainConfig {
    /// How long requests in flight may take to finish.
    pub timeout: Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
        }
    }
}

/// The public address when none is written and clients need keys, or none are meant to.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);

/// The public address when none is written and everyone could use it.
pub const LISTEN_WITHOUT_KEYS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The mesh's address when none is written.
pub const MESH_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7171);

/// The DNS server's address when none is written.
pub const DNS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 53);

/// How long resolvers may keep an answer when nothing is written: failover takes that long.
pub const DNS_TTL: Duration = Duration::from_secs(30);

/// The operator's address when none is written.
pub const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
