//! What Prometheus sees.
//!
//! Nothing is counted on the request path: request records arrive in batches from the collecting task,
//! transitions from core's notices, and states are read from the view at each scrape.
//!
//! Labels come from closed or bounded sets: the node's own upstreams and peers, status classes, and
//! outcome words. Clients' keys are not labels; the list of requests has them. Models are labels of
//! [`super::usage`], which bounds them. `deploy/prometheus/METRICS.md` lists all; a test keeps the two in
//! step.

mod cache;
mod reported;
mod requests;
mod states;
mod status_class;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use grapevine_base::bodies::BodyBudget;
use grapevine_base::families::{Families, Form};
use grapevine_base::limits::LimitsHandle;
use grapevine_base::listener::metrics::ConnectionMetrics;
use grapevine_base::own_files::OwnFiles;
use grapevine_base::queue::QueueHandle;
use grapevine_base::websocket::counts::TunnelCounts;
use grapevine_core::limit::RetryBudget;
use grapevine_core::request::FallbackCause;
use grapevine_core::view::View;
use grapevine_keys::ring::KeyRing;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::accounts::AccountMetrics;
use super::answers::AnswerMetrics;
use super::bodies::BodyMemory;
use super::credentials::CredentialMetrics;
use super::dns::DnsQueries;
use super::keys::KeyMetrics;
use super::labels::{
    AttemptLabels, BuildLabels, CauseLabels, KindLabels, ModelLabels, PathLabels, PeerLabels,
    StatusLabels, UpstreamLabels,
};
use super::limits::LimitMetrics;
use super::links::LinkCounts;
use super::losses::{LossMetrics, Losses};
use super::notices;
use super::own_files::FileMetrics;
use super::queue::QueueMetrics;
use super::recent::RecentFamily;
use super::record::RequestRecord;
use super::tasks::TaskMetrics;
use super::tunnels::TunnelMetrics;
use super::usage::Usage;
use cache::CacheMetrics;
use reported::ReportedMetrics;
use status_class::{STATUS_CLASSES, status_class};

/// The error code of a refusal by residency, as in records.
pub const RESIDENCY: &str = "residency";

type FloatGauge = Gauge<f64, AtomicU64>;

/// All metrics of the node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    families: Families,
    requests: RecentFamily<StatusLabels, Counter>,
    attempts: RecentFamily<AttemptLabels, Counter>,
    first_byte: RecentFamily<PathLabels, Histogram>,
    overhead: Histogram,
    transitions: Family<KindLabels, Counter>,
    residency: Family<KindLabels, Counter>,
    fallbacks: Family<CauseLabels, Counter>,
    upstream_usable: Family<UpstreamLabels, Gauge>,
    upstream_in_flight: Family<UpstreamLabels, Gauge>,
    upstream_first_byte: Family<UpstreamLabels, FloatGauge>,
    upstream_answer: Family<UpstreamLabels, FloatGauge>,
    peer_live: Family<PeerLabels, Gauge>,
    peer_reachable: Family<PeerLabels, Gauge>,
    peer_rtt: Family<PeerLabels, FloatGauge>,
    peer_residency_differs: Family<PeerLabels, Gauge>,
    model_upstreams: Family<ModelLabels, Gauge>,
    losses: LossMetrics,
    credentials: CredentialMetrics,
    cache: CacheMetrics,
    reported: ReportedMetrics,
    usage: Usage,
    bodies: BodyMemory,
    keys: KeyMetrics,
    files: FileMetrics,
    limits: LimitMetrics,
    accounts: AccountMetrics,
    answers: AnswerMetrics,
    queue: QueueMetrics,
    tunnels: TunnelMetrics,
    dns: DnsQueries,
    links: LinkCounts,
    connections: ConnectionMetrics,
    tasks: TaskMetrics,
}

impl Metrics {
    /// Metrics of the node named `node` in `region`.
    pub fn new(node: &str, region: &str) -> Self {
        let mut families = Families::default();
        let inner = Inner::register(&mut families);
        let build = Family::<BuildLabels, Gauge>::default();
        let version = env!("CARGO_PKG_VERSION");
        let labels = BuildLabels {
            version,
            node: node.to_owned(),
            region: region.to_owned(),
        };
        build.get_or_create(&labels).set(1);
        families.register(
            "build_info",
            "The running build and its node; always 1",
            build,
        );
        let metrics = Self(Arc::new(Inner { families, ..inner }));
        metrics.begin_at_zero();
        metrics
    }

    /// Shows closed sets from the start: the first of a kind is an increase, not a new series.
    fn begin_at_zero(&self) {
        for status in STATUS_CLASSES {
            drop(
                self.0
                    .requests
                    .family()
                    .get_or_create(&StatusLabels { status }),
            );
        }
        for kind in RESIDENCY_KINDS {
            drop(self.0.residency.get_or_create(&KindLabels { kind }));
        }
        for cause in FallbackCause::ALL.map(FallbackCause::as_str) {
            drop(self.0.fallbacks.get_or_create(&CauseLabels { cause }));
        }
        for kind in notices::KINDS {
            drop(self.0.transitions.get_or_create(&KindLabels { kind }));
        }
    }

    /// The metrics of background work.
    pub fn tasks(&self) -> &TaskMetrics {
        &self.0.tasks
    }

    /// Counts a finished request, seen with `view`.
    pub fn request(&self, record: &RequestRecord, view: &View) {
        let metrics = &*self.0;
        let status = status_class(record.status);
        let labels = || StatusLabels { status };
        let requests = &metrics.requests;
        requests.count(|known| known.status == status, labels, Counter::inc);
        for attempt in &record.attempts {
            let (node, upstream) = (attempt.node.as_str(), attempt.upstream.as_str());
            let is_its = |known: &AttemptLabels| {
                known.outcome == attempt.outcome && known.upstream == upstream && known.node == node
            };
            let labels = || AttemptLabels {
                node: node.to_owned(),
                upstream: upstream.to_owned(),
                outcome: attempt.outcome,
            };
            metrics.attempts.count(is_its, labels, Counter::inc);
        }
        if let Some(served) = &record.served {
            let is_local = served.node == view.node;
            let path = if is_local { "local" } else { "peer" };
            let first_byte = record.first_byte.as_secs_f64();
            let labels = || PathLabels { path };
            let observe = |seconds: &Histogram| seconds.observe(first_byte);
            (metrics.first_byte).count(|known| known.path == path, labels, observe);
            metrics.overhead.observe(record.overhead.as_secs_f64());
        }
        // A peer's own rules may refuse what none of this node's rules concern.
        let is_refused = record.error == Some(RESIDENCY);
        if is_refused || record.residency.is_some() {
            let kind = if is_refused { "refused" } else { "fenced" };
            metrics.residency.get_or_create(&KindLabels { kind }).inc();
        }
        if let (Some(step), Some(_)) = (record.fallbacks.last(), &record.served) {
            let cause = step.cause.as_str();
            metrics
                .fallbacks
                .get_or_create(&CauseLabels { cause })
                .inc();
        }
        metrics.connections.request_ended(record.error);
        metrics.usage.request(record, view);
        metrics.accounts.request(record);
        metrics.answers.request(record);
    }

    /// The counts of the DNS server.
    pub fn dns(&self) -> DnsQueries {
        self.0.dns.clone()
    }

    /// The counts of links between nodes.
    pub fn links(&self) -> LinkCounts {
        self.0.links.clone()
    }

    /// Shows the statements that `ring` knows.
    pub fn show_keys(&self, ring: KeyRing) {
        self.0.keys.show(ring);
    }

    /// Shows the files that the node runs by.
    pub fn show_files(&self, files: OwnFiles) {
        self.0.files.show(files);
    }

    /// Shows the limits of keys behind `limits`.
    pub fn show_limits(&self, limits: LimitsHandle) {
        self.0.limits.show(limits);
    }

    /// The metrics of accounts.
    pub fn accounts(&self) -> AccountMetrics {
        self.0.accounts.clone()
    }

    /// Shows the answers on their way that `budget` counts.
    pub fn show_budget(&self, budget: RetryBudget) {
        self.0.answers.show(budget);
    }

    /// Shows the requests that wait in `queue`.
    pub fn show_queue(&self, queue: QueueHandle) {
        self.0.queue.show(queue);
    }

    /// The counts of WebSockets, for those who carry them.
    pub fn tunnels(&self) -> &TunnelCounts {
        &self.0.tunnels.counts
    }

    /// Shows how much of `budget` request bodies hold.
    pub fn show_bodies(&self, budget: BodyBudget) {
        self.0.bodies.show(budget);
    }

    /// The counts of listeners.
    pub fn connections(&self) -> ConnectionMetrics {
        self.0.connections.clone()
    }

    /// Counts a request of a peer that this node's rules, or those in the request, refuse here.
    pub fn residency_refused_to_peer(&self) {
        let kind = "refused-to-peer";
        self.0.residency.get_or_create(&KindLabels { kind }).inc();
    }

    /// Counts a notice of core.
    pub fn transition(&self, kind: &'static str) {
        self.0.transitions.get_or_create(&KindLabels { kind }).inc();
    }

    /// All metrics as text, with the states of `view`.
    pub fn scrape(&self, view: &View, losses: &Losses, form: Form) -> String {
        self.read(view);
        self.0.losses.read(losses);
        self.0
            .credentials
            .read(&losses.credentials, SystemTime::now());
        self.0.families.text(form)
    }

    /// Sets the gauges from `view`; what is not in it any more is dropped.
    fn read(&self, view: &View) {
        let metrics = &*self.0;
        metrics.upstream_usable.clear();
        metrics.upstream_in_flight.clear();
        metrics.cache.clear();
        metrics.reported.clear();
        metrics.upstream_first_byte.clear();
        metrics.upstream_answer.clear();
        metrics.peer_live.clear();
        metrics.peer_reachable.clear();
        metrics.peer_rtt.clear();
        metrics.peer_residency_differs.clear();
        for node in &view.nodes {
            metrics.read_upstreams(node);
            if node.name != view.node {
                metrics.read_peer(node);
            }
        }
        metrics.read_models(view);
        metrics.tasks.read(view);
        metrics.bodies.read();
        metrics.keys.read();
        metrics.files.read();
        metrics.limits.read();
        metrics.accounts.read(view);
        metrics.answers.read();
        metrics.queue.read();
        metrics.tunnels.read();
    }
}

impl Inner {
    fn register(families: &mut Families) -> Self {
        // 1 ms to 65 s: from a mock on loopback to a reasoning model.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        let inner = Self {
            families: Families::default(),
            requests: RecentFamily::new(Family::default()),
            attempts: RecentFamily::new(Family::default()),
            first_byte: RecentFamily::new(Family::new_with_constructor(seconds)),
            overhead: seconds(),
            transitions: Family::default(),
            residency: Family::default(),
            fallbacks: Family::default(),
            upstream_usable: Family::default(),
            upstream_in_flight: Family::default(),
            upstream_first_byte: Family::default(),
            upstream_answer: Family::default(),
            peer_live: Family::default(),
            peer_reachable: Family::default(),
            peer_rtt: Family::default(),
            peer_residency_differs: Family::default(),
            model_upstreams: Family::default(),
            cache: CacheMetrics::register(families),
            reported: ReportedMetrics::register(families),
            losses: LossMetrics::register(families),
            credentials: CredentialMetrics::register(families),
            usage: Usage::register(families),
            bodies: BodyMemory::register(families),
            keys: KeyMetrics::register(families),
            files: FileMetrics::register(families),
            limits: LimitMetrics::register(families),
            accounts: AccountMetrics::register(families),
            answers: AnswerMetrics::register(families),
            queue: QueueMetrics::register(families),
            tunnels: TunnelMetrics::register(families),
            dns: DnsQueries::default(),
            links: LinkCounts::default(),
            connections: ConnectionMetrics::default(),
            tasks: TaskMetrics::register(families),
        };
        inner.dns.register(families);
        inner.links.register(families);
        inner.connections.register(families);
        inner.register_requests(families);
        inner.register_states(families);
        inner
    }
}

/// The labels of `grapevine_residency_total`.
const RESIDENCY_KINDS: [&str; 3] = ["fenced", "refused", "refused-to-peer"];

#[cfg(test)]
mod tests;
