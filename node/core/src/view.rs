//! The immutable picture that the request path reads.
//!
//! The engine makes a new one when something changed; the driver publishes it behind an atomically
//! swapped pointer, so that a request takes no lock. What changes with every request (requests in
//! flight) is reached through shared counters instead.
//!
//! Bound: one [`Candidate`] for each (upstream, model) of the mesh, about 200 bytes. At 1,000 nodes
//! with two upstreams of ten models that is 20,000, or 4 MB.

mod nodes;
mod queue;
mod reach;
mod standing;
mod summary;

pub use nodes::{Checker, LastCheck, NodeView, UpstreamChecks, UpstreamStatus};
pub use reach::Reach;
pub use summary::{MODELS_NAMED_MAX, MeshSummary, NodeState, NodeTotals};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::account::AccountSpec;
use crate::dialect::DialectSet;
use crate::fact::{Phase, Standing};
use crate::geo_point::GeoPoint;
use crate::ids::{ModelName, NodeName, RegionName, UpstreamName};
use crate::latency::{AnswerClass, ByClass, FirstByte, RequestShape, Tries, size_adds};
use crate::limit::InFlight;
use crate::link;
use crate::reported::ReportedLoad;
use crate::residency::MeshRules;
use crate::time::Instant;
use crate::units::{Share, Tier, Weight};

/// The share of its limit at which an upstream, or the link to it, counts as hot (Prequal's rule, NSDI 2024).
const HOT_LOAD: f64 = 0.85;

/// The mesh as one node sees it at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// When it was made.
    pub made_at: Instant,
    /// The node whose view it is.
    pub node: NodeName,
    /// Its region.
    pub region: RegionName,
    /// Its place, where known.
    pub place: Option<GeoPoint>,
    /// Its phase.
    pub phase: Phase,
    /// Whether it has heard of every node and of what each has: what it does not know does not exist.
    pub settled: bool,
    /// Candidates by model. A model's list holds those that take any model too.
    pub models: BTreeMap<ModelName, Routes>,
    /// Candidates that take any model: for models that no list names.
    pub any_model: Routes,
    /// One candidate for each upstream: for requests without a model.
    pub no_model: Routes,
    /// The node's own upstreams by name.
    pub own: BTreeMap<UpstreamName, Arc<UpstreamView>>,
    /// Every node, this one first, for the operator.
    pub nodes: Vec<NodeView>,
    /// Residency rules of peers that differ from the own; they bind this node where most nodes agree.
    pub mesh_rules: Arc<MeshRules>,
}

/// Candidates for one model, in tiers.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// The tiers, the first to be tried first.
    pub tiers: Vec<TierRoutes>,
}

/// Candidates of one tier.
#[derive(Clone, Debug, Default)]
pub struct TierRoutes {
    /// The usable ones: own ones that cost about as little as the cheapest, then the cheapest first.
    pub usable: Vec<Arc<Candidate>>,
    /// Those that are usable where no other is: first those that need a link and are not clearly cheaper for it, then
    /// the suspect ones; the cheapest first.
    pub suspect: Vec<Arc<Candidate>>,
    /// The unusable ones, the soonest to return first: for a last resort, a trial, and explanations.
    pub unusable: Vec<Arc<Candidate>>,
    /// What every one of them reads.
    pub dialects: DialectSet,
}

/// An upstream as reachable by some way, for one model.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The upstream and the way to it.
    pub upstream: Arc<UpstreamView>,
    /// Expected time to the first byte of a stream for a short prompt at its owner, measured or assumed.
    pub ttft: Duration,
    /// The recent low of `ttft` ([`crate::latency::Low`]).
    pub ttft_low: Duration,
    /// As `ttft` and `ttft_low`, of a whole answer.
    pub whole: FirstByte,
    /// What each KiB of a long prompt adds to either.
    pub per_kib: Duration,
    /// Whether this model may be used there, where it stands otherwise than the upstream.
    pub model_standing: Option<Standing>,
    /// Until when it counts as unusable, since its owner refused a request by a state that it has not published yet.
    pub refused_until: Option<Instant>,
    /// Until when the account that it draws on rests for this model: others go first.
    pub account_rests_until: Option<Instant>,
    /// Whether `ttft` was measured.
    pub measured: bool,
    /// Whether `whole` was.
    pub whole_measured: bool,
    /// When it was asked last for either.
    pub tries: ByClass<Tries>,
    /// The 95th percentile of the times that this node saw until a first byte came from there, with the way; `None`
    /// where it saw too few.
    pub p95: ByClass<Option<Duration>>,
    /// Whether it was the best before, and stays it until another is clearly better, or an own one about as good.
    pub incumbent: bool,
}

/// An upstream as reachable by some way.
#[derive(Clone, Debug)]
pub struct UpstreamView {
    /// Whether it is this node's own or a peer's.
    pub way: Way,
    /// Its owner's name.
    pub node: NodeName,
    /// Its own name.
    pub name: UpstreamName,
    /// Its owner's region.
    pub region: RegionName,
    /// Its owner's place, where known.
    pub place: Option<GeoPoint>,
    /// Its tier.
    pub tier: Tier,
    /// Its weight.
    pub weight: Weight,
    /// The dialects that it reads.
    pub dialects: DialectSet,
    /// Whether it takes WebSockets.
    pub websocket: bool,
    /// Attempts at it within one request.
    pub attempts_max: u32,
    /// Whether it may be used, as its owner last published.
    pub standing: Standing,
    /// When `standing` was received.
    pub reported_at: Instant,
    /// When its figures (load, time to first byte) were last received.
    pub figures_at: Instant,
    /// The share of its recent answers that broke off, as its owner last published.
    pub break_rate: Share,
    /// Round trip to its owner; zero for an own upstream.
    pub rtt: Duration,
    /// Whether its owner can be reached and takes work.
    pub reach: Reach,
    /// Requests in flight there as last reported, without those this node had sent; for an own one, those of others by
    /// its own report.
    pub others_in_flight: u32,
    /// How many requests it is estimated to carry at once ([`crate::capacity`]): what its load is measured by.
    pub in_flight_max: u32,
    /// What it reports of its own load; `None` where it reports nothing.
    pub reported: Option<ReportedLoad>,
    /// How many this node admits to an own one at once, whatever it carries; of a peer's its owner decides.
    pub admission_max: u32,
    /// Requests in flight there that this node sent; for an own upstream all of them.
    pub in_flight: InFlight,
    /// How much of the prompts that this node sent there came from its cache.
    pub cache: crate::cache_meter::CacheMeter,
    /// Until when it counts as hot, since it reported that it is full or limits rates.
    pub hot_until: Option<Instant>,
    /// When it appeared or came back, unless it was there from the start.
    pub returned_at: Option<Instant>,
    /// Whether one request may be tried on it while it is being probed.
    pub trial: bool,
    /// The account that it draws on, where that is named.
    pub account: Option<Arc<AccountSpec>>,
}

/// Whose upstream a candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// This node's own.
    Local,
    /// A peer's: the request takes a hop.
    Peer,
}

impl View {
    /// The candidates for `model`; `None` when no node knows it.
    pub fn routes(&self, model: Option<&ModelName>) -> Option<&Routes> {
        let Some(model) = model else {
            return Some(&self.no_model);
        };
        let listed = self.models.get(model);
        listed.or_else(|| (!self.any_model.tiers.is_empty()).then_some(&self.any_model))
    }
}

impl View {
    /// The candidate for `model` at `upstream` as it stands now; `None` where it is gone.
    pub fn candidate(
        &self,
        model: Option<&ModelName>,
        upstream: &UpstreamView,
    ) -> Option<&Arc<Candidate>> {
        let tiers = self.routes(model)?.tiers.iter();
        let mut all = tiers.flat_map(|tier| {
            let suspect = tier.suspect.iter().chain(&tier.unusable);
            tier.usable.iter().chain(suspect)
        });
        all.find(|it| it.upstream.node == upstream.node && it.upstream.name == upstream.name)
    }

    /// How long the answer of an own upstream to a request of `shape` for `model` should take to begin; `None` where
    /// nothing was measured.
    pub fn own_expected(
        &self,
        upstream: &UpstreamName,
        model: Option<&ModelName>,
        shape: RequestShape,
    ) -> Option<Duration> {
        self.own_status(upstream)?.fact.expected(model, shape)
    }

    /// The 99th percentile of the first bytes of an own upstream's answers of `class`; `None` before the first.
    pub fn own_p99(&self, upstream: &UpstreamName, class: AnswerClass) -> Option<Duration> {
        let percentiles = *self.own_status(upstream)?.percentiles.of(class);
        Some(percentiles?.1)
    }

    fn own_status(&self, upstream: &UpstreamName) -> Option<&UpstreamStatus> {
        let mut own = self.nodes.first()?.upstreams.iter();
        own.find(|status| status.fact.name == *upstream)
    }
}

impl Candidate {
    /// How long the answer to a request of `shape` should take to begin at its owner.
    pub fn expected(&self, shape: RequestShape) -> Duration {
        let short = match shape.class {
            AnswerClass::Stream => self.ttft,
            AnswerClass::Whole => self.whole.expected,
        };
        short.saturating_add(size_adds(self.per_kib, shape.body_bytes))
    }

    /// As [`Candidate::expected`], by the recent low.
    pub fn expected_low(&self, shape: RequestShape) -> Duration {
        let short = match shape.class {
            AnswerClass::Stream => self.ttft_low,
            AnswerClass::Whole => self.whole.low,
        };
        short.saturating_add(size_adds(self.per_kib, shape.body_bytes))
    }

    /// Whether anything of `class` was measured.
    pub const fn is_measured(&self, class: AnswerClass) -> bool {
        match class {
            AnswerClass::Stream => self.measured,
            AnswerClass::Whole => self.whole_measured,
        }
    }

    /// Whether a request may go there at `now`: new work may, and the way has room for it.
    pub fn takes_work(&self, now: Instant) -> bool {
        self.is_usable(now) && self.upstream.has_link_room()
    }

    /// Whether new work for this model may go there at `now`.
    pub fn is_usable(&self, now: Instant) -> bool {
        !self.is_refused(now)
            && self.upstream.is_usable(now)
            && self
                .model_standing
                .is_none_or(|standing| self.upstream.permits(standing, now))
    }

    /// Whether its owner refused a request by a state that it has not published yet.
    pub fn is_refused(&self, now: Instant) -> bool {
        self.refused_until.is_some_and(|until| now < until)
    }

    /// How long it still asks for no requests; `None` where it does not.
    pub fn rests_for(&self, now: Instant) -> Option<Duration> {
        let standings = [Some(self.upstream.standing), self.model_standing];
        let rests = standings.into_iter().flatten().filter_map(|standing| {
            let Standing::CoolingDown { remaining } = standing else {
                return None;
            };
            let left = remaining.saturating_sub(now.since(self.upstream.reported_at));
            (!left.is_zero()).then_some(left)
        });
        rests.max()
    }
}

impl UpstreamView {
    /// What the way adds to an answer: a round trip to its owner, and those of a dial where no link leads there.
    pub fn way_time(&self) -> Duration {
        match self.reach {
            Reach::Unlinked => self.rtt.saturating_mul(1 + link::DIAL_ROUND_TRIPS),
            Reach::Open | Reach::Silent | Reach::Down | Reach::Closed => self.rtt,
        }
    }

    /// Estimated requests in flight there now.
    pub fn in_flight(&self) -> u32 {
        self.others_in_flight.saturating_add(self.in_flight.count())
    }

    /// How full it is.
    pub fn load(&self) -> Share {
        Share::of(self.in_flight(), self.in_flight_max)
    }

    /// How full the link that leads there is; zero where none does.
    pub fn link_load(&self) -> Share {
        let calls = self.in_flight.count_on_link().unwrap_or_default();
        Share::of(calls, link::CALLS_MAX)
    }

    /// Whether the link that leads there takes one more request, or none leads there.
    pub fn has_link_room(&self) -> bool {
        let calls = self.in_flight.count_on_link();
        calls.is_none_or(|calls| calls < link::CALLS_MAX)
    }

    /// Whether it or the link to it is nearly full, or it reported recently that it is.
    pub fn is_hot(&self, now: Instant) -> bool {
        let fullest = self.load().get().max(self.link_load().get());
        fullest >= HOT_LOAD || self.hot_until.is_some_and(|until| now < until)
    }

    /// Whether new work may go there at `now`.
    pub fn is_usable(&self, now: Instant) -> bool {
        self.reach.takes_work() && self.permits(self.standing, now)
    }

    /// Whether a `standing` that was reported with this upstream permits new work at `now`.
    fn permits(&self, standing: Standing, now: Instant) -> bool {
        permits(standing, self.reported_at, now)
    }
}

/// Whether a `standing` that was received at `reported_at` permits new work at `now`.
pub(crate) fn permits(standing: Standing, reported_at: Instant, now: Instant) -> bool {
    match standing {
        Standing::Ready | Standing::Untested | Standing::Suspect { .. } => true,
        Standing::CoolingDown { remaining } => now.since(reported_at) >= remaining,
        Standing::Ejected { .. } | Standing::Probing { .. } => false,
    }
}
