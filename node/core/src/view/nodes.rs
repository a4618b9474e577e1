//! Nodes and their upstreams, for the operator.

use std::sync::Arc;
use std::time::Duration;

use super::Reach;
use crate::fact::{NodeFact, Phase, ServicesFact, UpstreamFact};
use crate::ids::{Generation, NodeName};
use crate::latency::ByClass;
use crate::reported::EngineMetrics;
use crate::time::Instant;

/// A node, for the operator.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its name.
    pub name: NodeName,
    /// Its published fact; `None` until it was received.
    pub fact: Option<NodeFact>,
    /// Its incarnation.
    pub generation: Generation,
    /// Its phase.
    pub phase: Phase,
    /// Whether membership considers it alive.
    pub live: bool,
    /// Whether work can be sent to it.
    pub reach: Reach,
    /// Round trip, where measured.
    pub rtt: Option<Duration>,
    /// Its background work; `None` until it was received.
    pub services: Option<Arc<ServicesFact>>,
    /// Its upstreams.
    pub upstreams: Vec<UpstreamStatus>,
    /// Since when it has applied other residency rules than this node, or none that it published where this
    /// node has some; `None` while they are the same.
    pub rules_differ_since: Option<Instant>,
}

/// An upstream, for the operator.
#[derive(Clone, Debug)]
pub struct UpstreamStatus {
    /// What its owner publishes of it.
    pub fact: Arc<UpstreamFact>,
    /// When that was received.
    pub reported_at: Instant,
    /// Since when it has been healthy, cooling down, or ejected ([`crate::fact::Standing::is_alike`]), as received here.
    pub stands_since: Instant,
    /// When it is tried again. Of an ejected upstream only its owner knows it; `None` where nobody waits.
    pub again_at: Option<Instant>,
    /// Estimated requests in flight there now.
    pub in_flight: u32,
    /// What an own one showed when its load was last read; `None` where it reports nothing.
    pub engine: Option<EngineMetrics>,
    /// How much of the prompts that this node sent there came from its cache.
    pub cache: crate::cache_meter::CacheMeter,
    /// What went wrong last at an own upstream, where it did.
    pub last_failure: Option<Arc<str>>,
    /// 50th and 99th percentile of the time to first byte of each class, of an own upstream with samples.
    pub percentiles: ByClass<Option<(Duration, Duration)>>,
    /// What showed the state of an own upstream; `None` of a peer's, whose owner alone knows it.
    pub checks: Option<UpstreamChecks>,
}

/// What showed the state of an own upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamChecks {
    /// The last of them; `None` before the first.
    pub last: Option<LastCheck>,
    /// Checks that failed since the last that succeeded; saturates.
    pub failures_in_row: u32,
    /// The mean of the last ten times to a first byte of each class, as measured.
    pub recent_mean: ByClass<Option<Duration>>,
}

/// An attempt or a probe that says something of its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastCheck {
    /// When it ended, or its answer began.
    pub at: Instant,
    /// Whose it was.
    pub by: Checker,
    /// Whether it counts as a success of the upstream.
    pub is_good: bool,
    /// How it ended: [`crate::outcome::Outcome::as_str`].
    pub outcome: &'static str,
}

/// What checks an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checker {
    /// A probe of its owner.
    Probe,
    /// A request of a client.
    Traffic,
}

impl Checker {
    /// One word for the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Traffic => "traffic",
        }
    }
}
