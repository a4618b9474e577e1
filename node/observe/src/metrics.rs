//! What Prometheus sees.
//!
//! Nothing is counted on the request path: request records arrive in batches from the collecting task,
//! transitions from core's notices, and states are read from the view at each scrape.
//!
//! Labels come from closed or bounded sets: the node's own upstreams and peers, status classes, and
//! outcome words. Clients' keys are not labels; the list of requests has them. Models are labels of
//! [`super::usage`], which bounds them. `deploy/prometheus/METRICS.md` lists all; a test keeps the two in
//! step.

mod peers;
mod status_class;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use grapevine_base::bodies::BodyBudget;
use grapevine_base::families::{Families, Form};
use grapevine_base::listener::metrics::ConnectionMetrics;
use grapevine_core::view::{NodeView, Reach, UpstreamStatus, View};
use grapevine_keys::ring::KeyRing;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::bodies::BodyMemory;
use super::dns::DnsQueries;
use super::keys::KeyMetrics;
use super::labels::{
    AttemptLabels, BuildLabels, KindLabels, ModelLabels, PathLabels, PeerLabels, StatusLabels,
    UpstreamLabels,
};
use super::losses::{LossMetrics, Losses};
use super::notices;
use super::recent::RecentFamily;
use super::record::RequestRecord;
use super::tasks::TaskMetrics;
use super::usage::{MODELS_MAX, Usage};
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
    requests: Family<StatusLabels, Counter>,
    attempts: RecentFamily<AttemptLabels, Counter>,
    first_byte: Family<PathLabels, Histogram>,
    overhead: Histogram,
    transitions: Family<KindLabels, Counter>,
    residency: Family<KindLabels, Counter>,
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
    usage: Usage,
    bodies: BodyMemory,
    keys: KeyMetrics,
    dns: DnsQueries,
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
            drop(self.0.requests.get_or_create(&StatusLabels { status }));
        }
        for kind in RESIDENCY_KINDS {
            drop(self.0.residency.get_or_create(&KindLabels { kind }));
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
        metrics
            .requests
            .get_or_create(&StatusLabels { status })
            .inc();
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
            let path = if served.node == view.node {
                "local"
            } else {
                "peer"
            };
            let first_byte = record.first_byte.as_secs_f64();
            metrics
                .first_byte
                .get_or_create(&PathLabels { path })
                .observe(first_byte);
            metrics.overhead.observe(record.overhead.as_secs_f64());
        }
        // A peer's own rules may refuse what none of this node's rules concern.
        let is_refused = record.error == Some(RESIDENCY);
        if is_refused || record.residency.is_some() {
            let kind = if is_refused { "refused" } else { "fenced" };
            metrics.residency.get_or_create(&KindLabels { kind }).inc();
        }
        metrics.connections.request_ended(record.error);
        metrics.usage.request(record, view);
    }

    /// The counts of the DNS server.
    pub fn dns(&self) -> DnsQueries {
        self.0.dns.clone()
    }

    /// Shows the statements that `ring` knows.
    pub fn show_keys(&self, ring: KeyRing) {
        self.0.keys.show(ring);
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
        self.0.families.text(form)
    }

    /// Sets the gauges from `view`; what is not in it any more is dropped.
    fn read(&self, view: &View) {
        let metrics = &*self.0;
        metrics.upstream_usable.clear();
        metrics.upstream_in_flight.clear();
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
    }
}

impl Inner {
    /// How many upstreams may be used for each model that is listed by name.
    fn read_models(&self, view: &View) {
        self.model_upstreams.clear();
        for (model, routes) in view.models.iter().take(MODELS_MAX) {
            let usable: usize = routes.tiers.iter().map(|tier| tier.usable.len()).sum();
            let gen_ai_request_model = model.to_string();
            let labels = ModelLabels {
                gen_ai_request_model,
            };
            let usable = i64::try_from(usable).unwrap_or(i64::MAX);
            self.model_upstreams.get_or_create(&labels).set(usable);
        }
    }

    fn read_upstreams(&self, node: &NodeView) {
        for status in &node.upstreams {
            let labels = UpstreamLabels {
                node: node.name.to_string(),
                upstream: status.fact.name.to_string(),
            };
            let usable = is_usable(node, status);
            self.upstream_usable
                .get_or_create(&labels)
                .set(i64::from(usable));
            self.upstream_in_flight
                .get_or_create(&labels)
                .set(i64::from(status.in_flight));
            let expected = [
                (&self.upstream_first_byte, status.fact.ttft),
                (&self.upstream_answer, status.fact.further.all.whole),
            ];
            for (gauge, time) in expected {
                if let Some(time) = time {
                    gauge.get_or_create(&labels).set(time.as_secs_f64());
                }
            }
        }
    }

    fn register(families: &mut Families) -> Self {
        // 1 ms to 65 s: from a mock on loopback to a reasoning model.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        let inner = Self {
            families: Families::default(),
            requests: Family::default(),
            attempts: RecentFamily::new(Family::default()),
            first_byte: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 17))
            }),
            overhead: seconds(),
            transitions: Family::default(),
            residency: Family::default(),
            upstream_usable: Family::default(),
            upstream_in_flight: Family::default(),
            upstream_first_byte: Family::default(),
            upstream_answer: Family::default(),
            peer_live: Family::default(),
            peer_reachable: Family::default(),
            peer_rtt: Family::default(),
            peer_residency_differs: Family::default(),
            model_upstreams: Family::default(),
            losses: LossMetrics::register(families),
            usage: Usage::register(families),
            bodies: BodyMemory::register(families),
            keys: KeyMetrics::register(families),
            dns: DnsQueries::default(),
            connections: ConnectionMetrics::default(),
            tasks: TaskMetrics::register(families),
        };
        inner.dns.register(families);
        inner.connections.register(families);
        inner.register_requests(families);
        inner.register_states(families);
        inner
    }

    fn register_requests(&self, families: &mut Families) {
        families.register(
            "requests",
            "Requests finished at this node, by class of status; 499 is a client that went away",
            self.requests.clone(),
        );
        families.register(
            "attempts",
            "Attempts made by this node, by where they went and how they ended",
            self.attempts.family().clone(),
        );
        families.register_seconds(
            "first_byte",
            "Time from the successful attempt's start to the first byte of its answer",
            self.first_byte.clone(),
        );
        families.register_seconds(
            "overhead",
            "Time that this node added to a request that was answered",
            self.overhead.clone(),
        );
        families.register(
            "transitions",
            "Changes of state of own upstreams, peers and links, by kind",
            self.transitions.clone(),
        );
        families.register(
            "residency",
            "Requests that residency rules concerned: kept within their fence, refused, or refused to a peer",
            self.residency.clone(),
        );
    }

    fn register_states(&self, families: &mut Families) {
        families.register(
            "upstream_usable",
            "Whether an upstream may be used as this node sees it: 1 or 0",
            self.upstream_usable.clone(),
        );
        families.register(
            "model_upstreams_usable",
            "Upstreams of the mesh that may be used for a model, as this node sees them",
            self.model_upstreams.clone(),
        );
        families.register(
            "upstream_in_flight",
            "Requests in flight at an upstream, as far as this node knows",
            self.upstream_in_flight.clone(),
        );
        families.register_seconds(
            "upstream_first_byte_expected",
            "Expected time to the first byte of a stream at an upstream, seen from its own node",
            self.upstream_first_byte.clone(),
        );
        families.register_seconds(
            "upstream_answer_expected",
            "Expected time to an answer that is not streamed at an upstream, seen from its own node",
            self.upstream_answer.clone(),
        );
        families.register(
            "peer_live",
            "Whether membership considers a peer alive: 1 or 0",
            self.peer_live.clone(),
        );
        families.register(
            "peer_reachable",
            "Whether work can be sent to a peer: 1 or 0",
            self.peer_reachable.clone(),
        );
        families.register_seconds(
            "peer_rtt",
            "Round trip to a peer over the mesh port",
            self.peer_rtt.clone(),
        );
        families.register(
            "peer_residency_differs",
            "Whether a peer applies other residency rules than this node: 1 or 0",
            self.peer_residency_differs.clone(),
        );
    }
}

fn is_usable(node: &NodeView, status: &UpstreamStatus) -> bool {
    status.fact.standing.is_ready() && node.reach == Reach::Open
}

/// The labels of `grapevine_residency_total`.
const RESIDENCY_KINDS: [&str; 3] = ["fenced", "refused", "refused-to-peer"];

#[cfg(test)]
mod tests;
