//! What an operator should hear about, as data: the driver turns it into logs and metrics.

use std::time::Duration;

use crate::health::EjectionReason;
use crate::ids::{Generation, NodeName, UpstreamName};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// An own upstream went out of use.
    UpstreamEjected {
        /// Which.
        upstream: UpstreamName,
        /// Why.
        reason: EjectionReason,
        /// For how long it is left alone before it is probed.
        cooldown: Duration,
    },
    /// An own upstream is being tried.
    UpstreamProbing {
        /// Which.
        upstream: UpstreamName,
    },
    /// An own upstream is in use again.
    UpstreamRecovered {
        /// Which.
        upstream: UpstreamName,
    },
    /// An own upstream asked to be left alone.
    UpstreamCoolingDown {
        /// Which.
        upstream: UpstreamName,
        /// For how long.
        cooldown: Duration,
    },
    /// An upstream has more models than can be told to the mesh; the rest is served here alone.
    ModelsCutOff {
        /// Which.
        upstream: UpstreamName,
        /// How many were told.
        told: usize,
        /// How many there are.
        all: usize,
    },
    /// A node goes by other residency rules than this one.
    RulesDiffer {
        /// Which.
        peer: NodeName,
    },
    /// A node whose residency rules differed goes by the same ones.
    RulesAgree {
        /// Which.
        peer: NodeName,
    },
    /// A node appeared, or came back with a new life.
    PeerJoined {
        /// Which.
        peer: NodeName,
    },
    /// Membership holds a node for dead.
    PeerDied {
        /// Which.
        peer: NodeName,
    },
    /// Membership holds a node for alive again.
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
    /// Peers know a former life of this node that is later than this one by the wall clock, which went
    /// back. The node has risen above it, and tells everything anew.
    ClockWentBack {
        /// The former life.
        former: Generation,
        /// This life, as the wall clock gave it.
        now: Generation,
    },
}
