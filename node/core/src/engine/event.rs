//! The events that the engine takes, and the effects that it returns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::account::{AccountSpec, ProviderQuota};
use crate::dialect::DialectSet;
use crate::fact::{Fact, FactKey, Load, NodeFact, Phase, Public, ServicesFact};
use crate::geo_point::GeoPoint;
use crate::health::{self, Witness};
use crate::ids::{Generation, ModelName, NodeName, RegionName, Stamp, UpstreamName};
use crate::latency::RequestShape;
use crate::notice::Notice;
use crate::outcome::Outcome;
use crate::reported::LoadReading;
use crate::residency::Residency;
use crate::units::{Tier, Weight};

/// Who this node is, and the rules that hold for all of its upstreams. Fixed for the process, except the generation.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name.
    pub node: NodeName,
    /// Its incarnation. The one field that changes: [`Event::FormerIncarnation`] raises it.
    pub generation: Generation,
    /// Its region.
    pub region: RegionName,
    /// Its place, where known.
    pub place: Option<GeoPoint>,
    /// The newest version of the mesh protocol it speaks.
    pub protocol: u16,
    /// Its build, for the operator. At most 64 bytes.
    pub build: String,
    /// Whether it answers API requests.
    pub serves_requests: bool,
    /// Where clients reach it, as published.
    pub public: Public,
}

impl Identity {
    /// Its own fact, as published.
    pub(super) fn fact(&self) -> NodeFact {
        NodeFact {
            region: self.region.clone(),
            place: self.place,
            protocol: self.protocol,
            build: self.build.clone(),
            serves_requests: self.serves_requests,
            public: self.public.clone(),
        }
    }
}

/// An own upstream as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamSpec {
    /// Its name, unique at this node.
    pub name: UpstreamName,
    /// Which models it serves.
    pub models: Models,
    /// Its tier.
    pub tier: Tier,
    /// Its weight within its tier.
    pub weight: Weight,
    /// The dialects that it reads.
    pub dialects: DialectSet,
    /// Whether it takes WebSockets.
    pub websocket: bool,
    /// Attempts at it within one request; at least 1.
    pub attempts_max: u32,
    /// Requests it takes at once.
    pub in_flight_max: u32,
    /// When to eject it and take it back.
    pub health: health::HealthPolicy,
    /// How it is probed.
    pub probe: Probe,
    /// The longest time without proof of its state before it is probed.
    pub probe_interval: Duration,
    /// The pause between two readings of the load that it reports; `None` where it is not asked.
    pub load_interval: Option<Duration>,
    /// The account that it draws on, where that is named.
    pub account: Option<Arc<AccountSpec>>,
}

/// Which models an upstream serves.
#[derive(Clone, Debug, PartialEq)]
pub enum Models {
    /// These. May hold [`ModelName::ANY`].
    Listed(Vec<ModelName>),
    /// Those that its own list of models names.
    Discovered,
}

/// How an upstream is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Its list of models is fetched: free.
    Models,
    /// Its page on its own health is fetched, and then its list of models: free.
    Health,
    /// A real completion of a few tokens: proves more and costs a little.
    Chat,
    /// Not at all; a request is its trial.
    Off,
}

/// How an attempt ended, at an own upstream or at a peer's.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptReport {
    /// The peer it went to; `None` for an own upstream.
    pub peer: Option<NodeName>,
    /// The upstream, by its name at its owner.
    pub upstream: UpstreamName,
    /// The model asked for, where there was one.
    pub model: Option<ModelName>,
    /// What else its time depends on.
    pub shape: RequestShape,
    /// How it ended.
    pub outcome: Outcome,
    /// Who saw it.
    pub witness: Witness,
    /// What went wrong, for the operator.
    pub detail: Option<Arc<str>>,
    /// Time from the attempt's start to the first byte of the answer, where one came and [`Event::AnswerBegan`] did
    /// not report it before. Where the client went away or the deadline passed first, the time waited.
    pub first_byte: Option<Duration>,
}

/// An own upstream's answer began, and its body goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerReport {
    /// The upstream.
    pub upstream: UpstreamName,
    /// The model asked for, where there was one.
    pub model: Option<ModelName>,
    /// What else its time depends on.
    pub shape: RequestShape,
    /// Time from the attempt's start to the first byte of the answer.
    pub first_byte: Duration,
}

/// An own upstream's answer has not begun yet.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitReport {
    /// The upstream.
    pub upstream: UpstreamName,
    /// The model asked for, where there was one.
    pub model: Option<ModelName>,
    /// What else its time depends on.
    pub shape: RequestShape,
    /// Time since the attempt's start.
    pub waited: Duration,
    /// Who waits.
    pub witness: Witness,
}

/// What an answer of an own upstream says is left of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaReport {
    /// The upstream.
    pub upstream: UpstreamName,
    /// The model asked for, where there was one.
    pub model: Option<ModelName>,
    /// What is left.
    pub quota: ProviderQuota,
}

/// How a probe ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeReport {
    /// The upstream.
    pub upstream: UpstreamName,
    /// How it ended.
    pub outcome: Outcome,
    /// Time to the first byte, of a chat probe only: a list of models shows nothing about completions. It asks for so
    /// few tokens that this compares with the first byte of a stream.
    pub first_byte: Option<Duration>,
    /// The models it listed, of a models probe that succeeded.
    pub models: Option<Vec<ModelName>>,
    /// What went wrong, with the URL, for the operator.
    pub detail: Option<Arc<str>>,
}

/// An operator takes an own upstream out of use, or gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSwitch {
    /// The upstream.
    pub upstream: UpstreamName,
    /// Whether it is out of use from now on: until the opposite comes, or the process ends.
    pub is_disabled: bool,
}

/// How a reading of the load that an own upstream reports ended.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadReport {
    /// The upstream.
    pub upstream: UpstreamName,
    /// What was read.
    pub reading: LoadReading,
}

/// How a fact arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// By gossip, which brings everything to everyone in time.
    Gossip,
    /// Pushed: it is passed on the first time it is seen.
    Rumor,
}

/// What happened to the node.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The configured upstreams, at the start and after a reload. Those that stay keep their state.
    Configured(Vec<UpstreamSpec>),
    /// An operator's switch. One of an upstream that is not configured is ignored.
    UpstreamSwitched(UpstreamSwitch),
    /// The configured residency rules, at the start and after a reload.
    RulesChanged(Residency),
    /// The node is one of a mesh. With seeds it waits for its peers, and becomes ready by itself once it knows them or
    /// when the wait is over; the first of a mesh is ready at once.
    JoinBegan {
        /// Whether it has others to join.
        has_seeds: bool,
    },
    /// The node's own phase changed.
    PhaseChanged(Phase),
    /// The background work of the node changed; reported at most once per second, except transitions.
    ServicesChanged(ServicesFact),
    /// A good answer of an own upstream began; its end follows.
    AnswerBegan(AnswerReport),
    /// An attempt at an own upstream has waited for its first byte unusually long and still waits
    /// ([`crate::latency::slow_after`]): reported then, and again with each doubling of the wait.
    AnswerAwaited(WaitReport),
    /// An attempt ended.
    AttemptEnded(AttemptReport),
    /// A request failed at an own upstream and elsewhere in the same way: it may be at fault itself.
    BlameDoubted {
        /// Which upstream.
        upstream: UpstreamName,
        /// The request.
        request: u64,
    },
    /// An answer says that little is left of an account ([`ProviderQuota::may_be_nearly_spent`]).
    QuotaReported(QuotaReport),
    /// A probe ended.
    ProbeEnded(ProbeReport),
    /// The load that an own upstream reports was read, or could not be.
    LoadRead(LoadReport),
    /// A connection to a peer is up and its greeting came back.
    LinkUp {
        /// Which peer.
        peer: NodeName,
    },
    /// The connection to a peer is gone.
    LinkDown {
        /// Which peer.
        peer: NodeName,
    },
    /// The connection to a peer was closed as idle, by either end ([`crate::links::idle`]): the peer is well.
    LinkClosed {
        /// Which peer.
        peer: NodeName,
    },
    /// Nothing was received on the connection to a peer for too long.
    LinkSilent {
        /// Which peer.
        peer: NodeName,
    },
    /// The connection to a peer recovered after a silence.
    LinkRecovered {
        /// Which peer.
        peer: NodeName,
    },
    /// A round trip to a peer was measured.
    RttMeasured {
        /// Which peer.
        peer: NodeName,
        /// The round trip.
        rtt: Duration,
    },
    /// A peer reported its load, on an answer or a ping.
    LoadReceived {
        /// Which peer.
        peer: NodeName,
        /// By upstream.
        loads: Vec<Load>,
    },
    /// The nodes that membership considers alive, without this one.
    MembersChanged(BTreeSet<NodeName>),
    /// A verified fact of another node came in.
    FactReceived {
        /// Its author.
        node: NodeName,
        /// Its position in the order of that node's facts.
        stamp: Stamp,
        /// The fact itself.
        fact: Fact,
        /// How it came.
        via: Via,
    },
    /// An earlier incarnation of this node that peers remember, proven by its own signature and silent now.
    FormerIncarnation {
        /// Its generation: above the present one where the clock went back; any other is ignored.
        generation: Generation,
    },
    /// Time passed.
    Tick,
}

/// What the engine asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Publish to the mesh: set it in gossip, and push it to peers now when it is urgent.
    Publish {
        /// What.
        fact: Fact,
        /// Its position in the order of this node's facts.
        stamp: Stamp,
        /// Whether to push it at once.
        urgent: bool,
    },
    /// Pass a peer's pushed fact on: it was seen for the first time.
    Relay {
        /// Its author.
        node: NodeName,
        /// Which.
        key: FactKey,
        /// Its position in the order.
        stamp: Stamp,
    },
    /// Probe an own upstream and report how it ended, whatever happens.
    Probe {
        /// Which.
        upstream: UpstreamName,
        /// How.
        probe: Probe,
    },
    /// Read the load that an own upstream reports, and report how that ended, whatever happens.
    ReadLoad {
        /// Which.
        upstream: UpstreamName,
    },
    /// Report to the operator.
    Notice(Notice),
}
