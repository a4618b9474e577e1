//! What is reported to the operator, as data: the driver turns it into logs and metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::health::EjectionReason;
use crate::ids::{AccountName, Generation, ModelName, NodeName, UpstreamName};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// An own upstream was ejected.
    UpstreamEjected {
        /// Which.
        upstream: UpstreamName,
        /// Why.
        reason: EjectionReason,
        /// For how long it gets no requests before it is probed.
        cooldown: Duration,
        /// What went wrong last, where that is known.
        detail: Option<Arc<str>>,
    },
    /// An own upstream is suspect: others go first.
    UpstreamSuspected {
        /// Which.
        upstream: UpstreamName,
        /// Why.
        reason: EjectionReason,
        /// For how long, unless it proves itself before.
        pause: Duration,
        /// What went wrong last, where that is known.
        detail: Option<Arc<str>>,
    },
    /// An own upstream is no longer suspect.
    UpstreamCleared {
        /// Which.
        upstream: UpstreamName,
    },
    /// An own upstream gets no requests for one model, or others go first.
    ModelOut {
        /// Which upstream.
        upstream: UpstreamName,
        /// Which model.
        model: ModelName,
        /// Why.
        reason: EjectionReason,
        /// For how long.
        pause: Duration,
        /// What went wrong last, where that is known.
        detail: Option<Arc<str>>,
    },
    /// An own upstream is being tried.
    UpstreamProbing {
        /// Which.
        upstream: UpstreamName,
    },
    /// An own upstream is healthy again.
    UpstreamRecovered {
        /// Which.
        upstream: UpstreamName,
    },
    /// An own upstream asked for no requests for a while.
    UpstreamCoolingDown {
        /// Which.
        upstream: UpstreamName,
        /// For how long.
        cooldown: Duration,
        /// For which model alone; `None` is all of it.
        model: Option<ModelName>,
    },
    /// Little is left of an account, as an own upstream says: others go first.
    AccountNearlySpent {
        /// Which upstream.
        upstream: UpstreamName,
        /// Which account.
        account: AccountName,
        /// For which model alone; `None` is every model.
        model: Option<ModelName>,
        /// For how long.
        rest: Duration,
    },
    /// An upstream has more models than can be published to the mesh; the rest is served here alone.
    ModelsCutOff {
        /// Which.
        upstream: UpstreamName,
        /// How many were published.
        published: usize,
        /// How many there are.
        all: usize,
    },
    /// A node applies other residency rules than this one.
    RulesDiffer {
        /// Which.
        peer: NodeName,
    },
    /// A node whose residency rules differed applies the same ones again.
    RulesAgree {
        /// Which.
        peer: NodeName,
    },
    /// A node appeared, or came back in a new incarnation.
    PeerJoined {
        /// Which.
        peer: NodeName,
    },
    /// Membership considers a node dead.
    PeerDied {
        /// Which.
        peer: NodeName,
    },
    /// Membership considers a node alive again.
    PeerRevived {
        /// Which.
        peer: NodeName,
    },
    /// A dead node's records were dropped.
    PeerForgotten {
        /// Which.
        peer: NodeName,
    },
    /// The link to a peer is up.
    LinkUp {
        /// Which.
        peer: NodeName,
    },
    /// The link to a peer is gone.
    LinkDown {
        /// Which.
        peer: NodeName,
    },
    /// The link to a peer fell silent; it gets no new work.
    LinkSilent {
        /// Which.
        peer: NodeName,
    },
    /// A peer shuts down.
    PeerDraining {
        /// Which.
        peer: NodeName,
    },
    /// More nodes than this process keeps; a fact of one beyond was dropped.
    TooManyPeers {
        /// The one.
        peer: NodeName,
    },
    /// Peers know an earlier incarnation of this node that is later than this one by the wall clock, which went back.
    /// The node has taken a generation above it, and publishes everything again.
    ClockWentBack {
        /// The earlier incarnation.
        former: Generation,
        /// This incarnation, as the wall clock gave it.
        now: Generation,
    },
}
