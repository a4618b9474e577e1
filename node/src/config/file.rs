//! The configuration as written: what the file may hold. These docs are the schema's descriptions.
//!
//! Everything may be left out here, and texts stay texts: what is required, in range and well formed
//! is decided in [`super::checked`]'s making, so that one mistake hides no other.

mod dns;
mod forward;
mod geo;
mod proxies;
mod tasks;
mod tracing;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use dns::DnsFile;
pub use forward::{ForwardFile, LimitedForwardFile};
pub use geo::{GeoFile, HomeFile, ResidencyFile, UnknownWord};
pub use proxies::ProxyProtocolWord;

pub use tasks::{ConcurrencyFile, QuotaFile, TasksFile, WebhooksFile};
pub use tracing::{OtlpFile, TracingFile};

pub use super::written::{CountText, DurationText, Item, RetryText, SecretText, SizeText};

/// The configuration of a grapevine node. Any text may hold `${NAME}` or `${NAME:-default}`, taken
/// from the environment; `$${` stands for `${` itself. Paths are relative to the file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "grapevine configuration")]
pub struct ConfigFile {
    /// Who the node is and where.
    pub node: Option<NodeFile>,
    /// The public address of the API: IP:PORT, TCP. Default: 0.0.0.0:8080.
    pub listen: Option<String>,
    /// Certificate for the public address. Default: none, plain HTTP.
    pub tls: Option<TlsFile>,
    /// Networks whose X-Forwarded-For, Forwarded and PROXY headers are believed, such as 10.0.0.0/8.
    /// Default: none.
    pub trusted_proxies: Option<Vec<Item<String>>>,
    /// Whether connections to the public address begin with a PROXY header, version 1 or 2. Default: off.
    pub proxy_protocol: Option<ProxyProtocolWord>,
    /// The operator's address: the state of the mesh, the last requests, metrics.
    pub admin: Option<AdminFile>,
    /// The other nodes. Default: none, the node runs alone.
    pub mesh: Option<MeshFile>,
    /// The API endpoints that this node calls itself. Default: none, the node only passes on to others.
    pub upstreams: Option<Vec<Item<UpstreamFile>>>,
    /// Paths that clients may ask upstreams for, with this node's credential, beside those of inference.
    /// Default: none.
    pub forward: Option<Vec<Item<ForwardFile>>>,
    /// How requests are sent and retried.
    pub routing: Option<RoutingFile>,
    /// Where clients are, and which regions serve them.
    pub geo: Option<GeoFile>,
    /// Rules about the regions in which requests may be answered; all that concern a request must permit.
    /// Default: none, every region may answer.
    pub residency: Option<Vec<Item<ResidencyFile>>>,
    /// A DNS server that leads clients to the nearest node. Default: none.
    pub dns: Option<DnsFile>,
    /// What clients may ask for.
    pub limits: Option<LimitsFile>,
    /// Clients' keys. Default: none, everyone is let in.
    pub keys: Option<Vec<Item<KeyFile>>>,
    /// Web pages that may call the API from a browser.
    pub cors: Option<CorsFile>,
    /// Background work: where tasks are kept, and how they are run.
    pub tasks: Option<TasksFile>,
    /// How the node ends.
    pub drain: Option<DrainFile>,
    /// What is logged and how.
    pub log: Option<LogFile>,
    /// Traces of requests, in OpenTelemetry's form.
    pub tracing: Option<TracingFile>,
    /// Threads that serve the public address, 1 to 1024. Default: one per core.
    pub workers: Option<u64>,
    /// What the node does, in quotes: "!" is API requests, "*" all background services, "-" neither; or
    /// keys of services, with "!" beside them for requests too. Default: requests and all services.
    pub worker_mode: Option<String>,
}

/// Who the node is and where.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NodeFile {
    /// The node's name, unique in its mesh: letters, digits, '-', '_', '.', at most 63 bytes.
    /// Default: the name in its mesh certificate, else the host's name.
    pub name: Option<String>,
    /// The region it serves, such as sgp or eu-west-1. Default: local.
    pub region: Option<String>,
    /// Where it stands. Default: from a table of well-known regions.
    pub location: Option<LocationFile>,
    /// What clients are told about the node.
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

/// What clients are told about the node.
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

/// The operator's address.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminFile {
    /// IP:PORT, TCP. Default: 127.0.0.1:9090.
    pub listen: Option<String>,
    /// The bearer token to ask for; required unless the address is on loopback, and of at least 16 characters
    /// then. Default: none.
    pub token: Option<SecretText>,
}

/// The other nodes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MeshFile {
    /// The mesh's name: lower-case letters, digits and inner '-', at most 63 bytes. Default: the one in the node's certificate.
    pub name: Option<String>,
    /// Where gossip and forwarded requests arrive: IP:PORT, UDP. Default: 0.0.0.0:7171.
    pub listen: Option<String>,
    /// Where other nodes reach this one: HOST:PORT. Default: the address of the listener.
    pub advertise: Option<String>,
    /// Nodes to ask for the rest: HOST:PORT; they may come up later. Default: none.
    pub seeds: Option<Vec<Item<String>>>,
    /// Certificates of the mesh; without them the node runs alone.
    pub tls: Option<MeshTlsFile>,
    /// The time between two rounds of gossip, 50ms to 10s. Default: 250ms.
    pub gossip_interval: Option<DurationText>,
}

/// Certificates of the mesh, made by `grapevine ca`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["ca", "cert", "key"]))]
pub struct MeshTlsFile {
    /// A PEM file with the certificate of the mesh's authority.
    pub ca: Option<String>,
    /// A PEM file with this node's certificate.
    pub cert: Option<String>,
    /// A PEM file with this node's private key.
    pub key: Option<String>,
}

/// One API endpoint that this node calls.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "base_url"]))]
pub struct UpstreamFile {
    /// The upstream's name, unique at this node: letters, digits, '-', '_', '.', at most 63 bytes.
    pub name: Option<String>,
    /// What the path of a request is appended to, such as https://api.example.com/v1.
    pub base_url: Option<String>,
    /// The credential for this upstream; it never leaves this node. Default: none.
    pub api_key: Option<SecretText>,
    /// The models it answers; "*" is any. Default: what its own /models lists.
    pub models: Option<Vec<Item<ModelFile>>>,
    /// A lower number is tried first, the next only when the lower has no healthy upstream; 0 to 65535.
    /// Default: 1.
    pub priority: Option<u64>,
    /// Its share under the weighted strategy, above 0 and at most 1000. Default: 1.
    pub weight: Option<f64>,
    /// Attempts at this upstream within one request, 1 to 32. Default: 3.
    pub max_retries: Option<u64>,
    /// Requests under way at this upstream, at least 1. Default: `limits.in_flight`. What it carries within this
    /// bound is learned from its 429s and its latency.
    pub max_in_flight: Option<u64>,
    /// How long a call may take.
    pub timeout: Option<TimeoutFile>,
    /// How its health is found out.
    pub health: Option<HealthFile>,
    /// Headers to add to every call. Default: none.
    pub headers: Option<BTreeMap<String, SecretText>>,
}

/// A model: its name, or its name here and its name at the upstream.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ModelFile {
    /// The model's name, the same on both sides.
    Same(String),
    /// A model under another name.
    Renamed(RenamedModelFile),
}

/// A model under another name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct RenamedModelFile {
    /// What clients ask for.
    pub name: Option<String>,
    /// What the upstream calls it. Default: the same.
    pub upstream_name: Option<String>,
}

/// How long a call to an upstream may take.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutFile {
    /// Opening the connection, TLS included. Default: 2s.
    pub connect: Option<DurationText>,
    /// From the end of the request to the response's head. Default: 30s.
    pub first_byte: Option<DurationText>,
    /// Between two pieces of the response's body. Default: 60s.
    pub idle: Option<DurationText>,
    /// The whole call. Default: 10m.
    pub total: Option<DurationText>,
}

/// How an upstream's health is found out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthFile {
    /// What is asked when no request proved the state. Default: models.
    pub probe: Option<ProbeWord>,
    /// The time without proof after which a probe is sent; longer than the timeout. Default: 30s.
    pub interval: Option<DurationText>,
    /// How long a probe may take. Default: 5s.
    pub timeout: Option<DurationText>,
    /// Failures in a row that eject the upstream, 1 to 1000. Default: 3.
    pub failure_threshold: Option<u64>,
    /// Successes in a row that take it back, 1 to 1000. Default: 2.
    pub recovery_threshold: Option<u64>,
    /// How long it is left alone after the first ejection; doubles each time. Default: 1s.
    pub cooldown: Option<DurationText>,
    /// The longest time it is left alone. Default: 60s.
    pub cooldown_max: Option<DurationText>,
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProbeWord {
    /// GET /models: costs nothing.
    Models,
    /// A completion of five tokens: proves the most, and is billed.
    Chat,
    /// Nothing: requests alone tell the state.
    Off,
}

/// How requests are sent and retried.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingFile {
    /// How candidates of one priority are ordered. Default: latency.
    pub strategy: Option<StrategyWord>,
    /// Attempts within one request, over all upstreams and nodes, 1 to 32. Default: 6.
    pub attempts: Option<u64>,
    /// From a request's arrival to its first response byte, over all attempts. Default: 2m.
    pub deadline: Option<DurationText>,
    /// The failures that lead to the next candidate: connect, timeout, 5xx, or a status from 400 to 599.
    /// Default: [connect, timeout, 408, 429, 5xx].
    pub retry_on: Option<Vec<Item<RetryText>>>,
    /// Whether a second attempt is sent before the first has failed. Default: off.
    pub hedge: Option<HedgeWord>,
}

/// How candidates of one priority are ordered.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyWord {
    /// The least measured time to first byte, from here.
    Latency,
    /// The client's nearest region first, then by distance.
    Geo,
    /// This node's own upstreams first, then by name.
    Priority,
    /// At random, by weight.
    Weighted,
    /// The fewest requests under way.
    LeastBusy,
}

/// Whether a second attempt is sent before the first has failed.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HedgeWord {
    /// Never.
    Off,
}

/// What one client, and all of them together, may ask for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsFile {
    /// The largest request body, at most 1GiB. Default: 32MiB.
    pub body: Option<SizeText>,
    /// What all request bodies that the node holds at one time may take of its memory, from twice limits.body
    /// on. One client, by its key or its address, gets half of it at most. Default: 256MiB, or twice
    /// limits.body where that is more.
    pub body_memory: Option<SizeText>,
    /// The most header lines of a request, 8 to 1000. Default: 100.
    pub header_count: Option<u64>,
    /// The largest request head, 8KiB to 1MiB. Default: 64KiB.
    pub header_size: Option<SizeText>,
    /// How long a client may take to send the head. Default: 10s.
    pub header_timeout: Option<DurationText>,
    /// How long a connection is kept between two requests; longer than balancers in front keep it. Default: 75s.
    pub idle_timeout: Option<DurationText>,
    /// How long a client may pause within the body, which must come at 1 KiB/s at least. Default: 30s.
    pub body_timeout: Option<DurationText>,
    /// Open connections from clients, at least 1. Default: 16384.
    pub connections: Option<u64>,
    /// Requests under way, at least 1. Default: what the node carries by its memory and file descriptors, at most
    /// `limits.connections`.
    pub in_flight: Option<u64>,
    /// Polls of workers out of process that wait for tasks, at least 2, half of them of one key at most; they
    /// are not counted among the requests under way. Default: 256.
    pub polls: Option<u64>,
}

/// A client's key.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "hash"]))]
pub struct KeyFile {
    /// What logs and metrics call its holder, unique: letters, digits, '-', '_', '.', at most 63 bytes.
    pub name: Option<String>,
    /// sha256: and 64 hexadecimal digits, as printed by `grapevine key hash`.
    pub hash: Option<SecretText>,
    /// The models it may use. Default: every model.
    pub models: Option<Vec<Item<String>>>,
    /// The services whose tasks it may create and run, such as [my-plugin:process], and nothing else: the key
    /// of a worker out of process. Default: none, the key is a client's.
    pub services: Option<Vec<Item<String>>>,
    /// Requests per minute, at least 1; 200k is 200,000. Default: no limit.
    pub rpm: Option<CountText>,
    /// Tokens per minute, at least 1; 200k is 200,000. Default: no limit.
    pub tpm: Option<CountText>,
}

/// Web pages that may call the API from a browser.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CorsFile {
    /// Origins such as https://app.example.net, or "*" for any. Default: none.
    pub origins: Option<Vec<Item<String>>>,
}

/// How the node ends.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrainFile {
    /// How long requests under way may take to finish. Default: 30s.
    pub timeout: Option<DurationText>,
}

/// What is logged and how.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogFile {
    /// error, warn, info, debug, trace, or a filter such as info,grapevine_node::mesh=debug; changes while
    /// the node runs. Default: info.
    pub level: Option<String>,
    /// The form of a line. Default: text.
    pub format: Option<LogFormatWord>,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormatWord {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
