//! Where a request goes: `plan` turns a view and a question into candidates in order.

mod affinity;
mod cost;
mod dialect_part;
pub(crate) mod geo;
mod left_out;
pub(crate) mod near;
mod nearest;
mod order;
mod owner;
mod plan;
mod queue;
mod scored;
mod session;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use crate::dialect::RequestDialect;
use crate::geo_point::GeoPoint;
use crate::ids::{ModelName, RegionName, UpstreamName};
use crate::latency::RequestShape;
use crate::seal::Owner;
use crate::view::Candidate;

pub use cost::Cost;
pub use left_out::{Absence, LeftOut, left_out};
pub use near::is_near;
pub use plan::plan;
pub use session::{OpeningHash, Session, SessionSource, session};
pub use websocket::takes_websockets;

/// The largest [`RouteQuery::cache_weight`].
pub const CACHE_WEIGHT_MAX: f64 = 10.0;

/// What a request asks for.
#[derive(Clone, Debug)]
pub struct RouteQuery<'a> {
    /// The model, where the request names one.
    pub model: Option<&'a ModelName>,
    /// What else its answer's time depends on.
    pub shape: RequestShape,
    /// What it is written in; `None` where all upstreams are alike for it.
    pub dialect: Option<RequestDialect>,
    /// Whether it is a WebSocket, which few upstreams take.
    pub websocket: bool,
    /// How to choose.
    pub strategy: Strategy,
    /// A number that is equal for requests of the same conversation. Every strategy but [`Strategy::Priority`]
    /// looks at it, whose order is the same for all requests of a node.
    pub session: Option<u64>,
    /// The upstream that keeps what the request is about: no other can answer. `None` where any can.
    pub owner: Option<Owner>,
    /// The client asks for an upstream of this name alone; `None` is any.
    pub upstream: Option<&'a UpstreamName>,
    /// How much of the time that a warm cache is expected to save counts against a nearer upstream, 0 to
    /// [`CACHE_WEIGHT_MAX`]: 0 counts none of it, 1 all, and more what the saved tokens are worth beside the time. Only
    /// [`Strategy::Latency`] looks at it.
    pub cache_weight: f64,
    /// Where the client is thought to be; `None` when its address cannot be placed. Only
    /// [`Strategy::Geo`] looks at it.
    pub client_place: Option<GeoPoint>,
    /// The regions that an explicit map gives to the client, the first to be tried first; they win over
    /// distance. Only [`Strategy::Geo`] looks at them.
    pub home_regions: &'a [RegionName],
    /// The client asked for this region first.
    pub prefer_region: Option<&'a RegionName>,
    /// The client allows only these regions; empty allows all.
    pub allow_regions: &'a [RegionName],
    /// Residency permits only these regions, whatever the client allows; `None` permits all, and an
    /// empty list none.
    pub fence: Option<&'a [RegionName]>,
    /// Attempts allowed in all; at least 1.
    pub attempts_max: u32,
}

#[cfg(test)]
impl<'a> RouteQuery<'a> {
    /// A request for a short stream of `model`, from nowhere in particular.
    pub(crate) fn of(model: &'a ModelName) -> Self {
        Self {
            model: Some(model),
            shape: RequestShape::default(),
            dialect: None,
            websocket: false,
            strategy: Strategy::Latency,
            session: None,
            owner: None,
            upstream: None,
            cache_weight: 0.0,
            client_place: None,
            home_regions: &[],
            prefer_region: None,
            allow_regions: &[],
            fence: None,
            attempts_max: 6,
        }
    }
}

/// How to choose within a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The least measured cost.
    #[default]
    Latency,
    /// The client's mapped regions first, then the nearest to the client; without a place of the client,
    /// the nearest by round trip.
    Geo,
    /// Own upstreams first, then by name: what the configuration ordered.
    Priority,
    /// At random by weight.
    Weighted,
    /// The least load.
    LeastBusy,
}

impl Strategy {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Geo => "geo",
            Self::Priority => "priority",
            Self::Weighted => "weighted",
            Self::LeastBusy => "least-busy",
        }
    }
}

/// The candidates of a request, in the order to try them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// At least one, at most the attempts allowed.
    pub choices: Vec<Choice>,
    /// Whether no candidate is usable and the least bad one is tried once.
    pub last_resort: bool,
}

/// One candidate of a plan.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Which.
    pub candidate: Arc<Candidate>,
    /// What it is thought to cost.
    pub cost: Cost,
    /// Why it stands where it does.
    pub reason: RouteReason,
}

/// Why a candidate stands where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteReason {
    /// The only usable one.
    Only,
    /// The least cost.
    LeastCost,
    /// Among about equal costs, or because all are hot: the least load.
    LeastLoad,
    /// Among about equal costs, this node's own: a hop needs a reason.
    Own,
    /// Its conversation belongs there.
    Session,
    /// It keeps what the request is about.
    Owner,
    /// The client asked for its region.
    PreferredRegion,
    /// A map gives its region to the client.
    Mapped,
    /// The nearest place.
    Nearest,
    /// The order of the configuration.
    Priority,
    /// Drawn by weight.
    Weighted,
    /// One request to find out whether it is healthy again.
    Trial,
    /// One request to find out how fast it is.
    Exploration,
    /// What comes next when those before it fail.
    Fallback,
    /// For another model, which stands in for the one that was asked for.
    FallbackModel,
    /// Beside another one that is late.
    Hedge,
    /// Nothing is usable; this one is the least bad.
    LastResort,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No node knows the model.
    #[error("no node serves this model")]
    UnknownModel {
        /// Known models with the most similar names, at most three.
        nearest: Vec<ModelName>,
    },
    /// Nothing that the node knows can answer, and it does not know all of the mesh: it has just started, or another
    /// node has.
    #[error("node does not know all of the mesh yet")]
    Joining,
    /// The model is known, but none of its upstreams can be reached.
    #[error("no upstream for this model can be reached")]
    NoneReachable {
        /// When to try again.
        retry_after: Duration,
    },
    /// Every upstream for the model asked for a rest, and it is not over.
    #[error("every upstream for this model asked for a rest")]
    Resting {
        /// When the first of them may be asked again.
        retry_after: Duration,
    },
    /// What the request is about was made by an upstream that no node has any more.
    #[error("no node has the upstream that made this")]
    OwnerGone,
    /// There are candidates, but none in a region that the request may go to.
    #[error("no upstream for this model is in an allowed region")]
    NotAllowed {
        /// What keeps it out.
        by: Bar,
    },
}

/// When a client should try again while no upstream can be reached. Small, since the SDKs wait it out.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const NONE_REACHABLE: PlanError = PlanError::NoneReachable {
    retry_after: RETRY_AFTER,
};

/// What keeps a request out of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// A residency rule: no candidate is inside the fence, whatever the client allows.
    Residency,
    /// The client's own list of regions, within what residency permits.
    ClientRegions,
    /// None of the candidates reads the request's dialect, and it cannot be translated.
    Dialect,
    /// The upstream that keeps what the request is about does not serve the model, or is not the one that the client
    /// names.
    Owner,
    /// No upstream that could answer has the name that the client asks for.
    Upstream,
    /// None of the candidates takes WebSockets.
    WebSocket,
}

impl RouteReason {
    /// One word for the response header and the operator's list of requests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::LeastCost => "least-cost",
            Self::LeastLoad => "least-load",
            Self::Own => "own",
            Self::Session => "session",
            Self::Owner => "owner",
            Self::PreferredRegion => "preferred-region",
            Self::Mapped => "mapped",
            Self::Nearest => "nearest",
            Self::Priority => "priority",
            Self::Weighted => "weighted",
            Self::Trial => "trial",
            Self::Exploration => "exploration",
            Self::Fallback => "fallback",
            Self::FallbackModel => "fallback-model",
            Self::Hedge => "hedge",
            Self::LastResort => "last-resort",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
