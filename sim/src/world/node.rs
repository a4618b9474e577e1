//! A node: the engine that ships, and what surrounds it in a real one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::admission::ForwardsInFlight;
use grapevine_core::dialect::DialectSet;
use grapevine_core::engine::{Identity, Models, Probe, UpstreamSpec};
use grapevine_core::fact::{Phase, Public};
use grapevine_core::health::HealthPolicy;
use grapevine_core::ids::{Generation, NodeName, UpstreamName};
use grapevine_core::limit::{InFlight, RetryBudget};
use grapevine_core::link::{self, SAMPLES};
use grapevine_core::links::RumorChecks;
use grapevine_core::outcome::Outcome;
use grapevine_core::units::Weight;
use grapevine_core::view::View;
use grapevine_core::{Engine, Instant};

use crate::atlas::{Atlas, RegionIndex};
use crate::cpu::Cpu;
use crate::membership::NodeIndex;
use crate::scenario::{Processing, Upstream};

/// Which incarnation of a node: 1 for the first. What was planned for one does not reach the next.
pub(super) type IncarnationNumber = u32;

/// A node, alive or not.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) region: RegionIndex,
    /// Its upstreams, as indices into the world's table, by name.
    pub(super) endpoints: BTreeMap<UpstreamName, usize>,
    pub(super) incarnations: IncarnationNumber,
    /// The generation in gossip, which only ever rises.
    pub(super) gossip_generation: u64,
    /// The last generation, as its wall clock gave it.
    pub(super) generation: Generation,
    /// How far its wall clock is behind.
    pub(super) clock_back: Duration,
    pub(super) stalled_until: Option<Instant>,
    /// When its incarnation began.
    pub(super) began_at: Instant,
    pub(super) process: Option<NodeProcess>,
}

/// The process of one incarnation of a node.
#[derive(Debug)]
pub(super) struct NodeProcess {
    pub(super) incarnation: IncarnationNumber,
    pub(super) engine: Engine,
    pub(super) view: Option<Arc<View>>,
    /// The wake-up that was planned last.
    pub(super) wake_at: Option<Instant>,
    pub(super) cpu: Cpu,
    pub(super) budget: RetryBudget,
    pub(super) refilled_at: Instant,
    pub(super) phase: Phase,
    pub(super) members: BTreeSet<NodeIndex>,
    pub(super) members_are_due: bool,
    pub(super) links: BTreeMap<NodeIndex, Link>,
    pub(super) dials: BTreeSet<NodeIndex>,
    /// Requests that entered here and are not over.
    pub(super) active: BTreeSet<u64>,
    /// Forwarded requests in flight here.
    pub(super) forwards_in_flight: ForwardsInFlight,
    pub(super) checks: RumorChecks,
    pub(super) refilled_checks_at: Instant,
    /// The members to stay connected to, until the members change.
    pub(super) warm: Option<BTreeSet<NodeIndex>>,
    /// When links to peers were closed as idle; those of the last seconds.
    pub(super) closed_at: BTreeMap<NodeIndex, Instant>,
    pub(super) looked_at: Instant,
    /// For round robin.
    pub(super) turn: usize,
    /// Times to first byte as this node alone measured them, for routing without sharing.
    pub(super) seen: BTreeMap<(NodeName, UpstreamName), Duration>,
    /// Until when it avoids an upstream that failed it, for routing without sharing.
    pub(super) shunned: BTreeMap<(NodeName, UpstreamName), Instant>,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Link {
    /// The incarnation of the peer that it leads to.
    pub(super) incarnation: IncarnationNumber,
    pub(super) received_at: Instant,
    pub(super) echoed_at: Instant,
    /// Pings since then.
    pub(super) unechoed: u32,
    pub(super) silent: bool,
    /// Whether this end dialled it.
    pub(super) dialled_here: bool,
    /// When it was opened, or gossip last went over it.
    pub(super) exchanged_at: Instant,
    /// When a request last went over it.
    pub(super) called_at: Option<Instant>,
    /// Forwarded requests in flight on it that this end sent.
    pub(super) sent: InFlight,
    /// Those that this end serves.
    pub(super) served: InFlight,
    /// Round trips of which the least counts, in nanoseconds; those not measured yet are the maximum. An array,
    /// not a vector: every echo reads it.
    samples: [u64; SAMPLES],
    next: usize,
}

/// When a silent link was last seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastSeen {
    at: Instant,
    rtt: Duration,
}

impl LastSeen {
    /// The outcome of a request that was sent at `sent_at`.
    pub(super) fn outcome(self, sent_at: Instant) -> Outcome {
        link::outcome_of_silence(self.at.since(sent_at), self.rtt)
    }
}

impl Link {
    pub(super) fn new(now: Instant, incarnation: IncarnationNumber) -> Self {
        Self {
            incarnation,
            received_at: now,
            echoed_at: now,
            unechoed: 0,
            silent: false,
            dialled_here: false,
            exchanged_at: now,
            called_at: None,
            sent: InFlight::default(),
            served: InFlight::default(),
            samples: [u64::MAX; SAMPLES],
            next: 0,
        }
    }

    /// An echo came.
    pub(super) const fn echoed(&mut self, now: Instant) {
        self.echoed_at = now;
        self.unechoed = 0;
    }

    /// The round trip that counts; `None` before the first.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let least = self.samples.iter().min().copied();
        least
            .filter(|nanos| *nanos != u64::MAX)
            .map(Duration::from_nanos)
    }

    /// When it was last seen, if it is silent.
    pub(super) fn last_seen(&self) -> Option<LastSeen> {
        let rtt = self.round_trip().unwrap_or_default();
        let at = self.received_at;
        self.silent.then_some(LastSeen { at, rtt })
    }

    /// Takes a round trip; returns the one that counts.
    pub(super) fn sampled(&mut self, round_trip: Duration) -> Duration {
        self.samples[self.next] = u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX);
        self.next = (self.next + 1) % SAMPLES;
        self.round_trip().unwrap_or(round_trip)
    }
}

impl Node {
    pub(super) fn new(index: NodeIndex, region: RegionIndex) -> Self {
        Self {
            name: NodeName::new(&format!("n{}", index.0)).expect("a valid name"),
            region,
            endpoints: BTreeMap::new(),
            incarnations: 0,
            gossip_generation: 0,
            generation: Generation(0),
            clock_back: Duration::ZERO,
            stalled_until: None,
            began_at: Instant::START,
            process: None,
        }
    }

    pub(super) const fn is_alive(&self) -> bool {
        self.process.is_some()
    }

    /// Whether its process runs at `now`.
    pub(super) fn runs(&self, now: Instant) -> bool {
        self.process.is_some() && self.stalled_until.is_none_or(|until| until <= now)
    }

    /// Its process stops for so long.
    pub(super) fn stalls(&mut self, now: Instant, span: Duration) {
        self.stalled_until = Some(now + span);
        if let Some(process) = &mut self.process {
            process.cpu.stops(now, span);
        }
    }

    /// Begins the next incarnation at `now`.
    pub(super) fn begin(&mut self, now: Instant, atlas: &Atlas, processing: &Processing) {
        self.incarnations += 1;
        self.gossip_generation += 1;
        self.began_at = now;
        // Wall time of the world begins at some day; a clock that went back shows an earlier one.
        const EPOCH: Duration = Duration::from_secs(1_700_000_000);
        let wall = (EPOCH + now.since_start()).saturating_sub(self.clock_back);
        self.generation = Generation(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
        let region = atlas.region(self.region);
        let identity = Identity {
            node: self.name.clone(),
            generation: self.generation,
            region: region.name.clone(),
            place: Some(region.place),
            protocol: 1,
            build: "sim".into(),
            serves_requests: true,
            public: Public::default(),
        };
        self.process = Some(NodeProcess {
            incarnation: self.incarnations,
            engine: Engine::new(now, identity),
            view: None,
            wake_at: None,
            cpu: Cpu::new(processing),
            budget: RetryBudget::full(),
            refilled_at: now,
            phase: Phase::Joining,
            members: BTreeSet::new(),
            members_are_due: false,
            links: BTreeMap::new(),
            dials: BTreeSet::new(),
            active: BTreeSet::new(),
            forwards_in_flight: ForwardsInFlight::default(),
            checks: RumorChecks::default(),
            refilled_checks_at: now,
            warm: None,
            closed_at: BTreeMap::new(),
            looked_at: now,
            turn: 0,
            seen: BTreeMap::new(),
            shunned: BTreeMap::new(),
        });
    }
}

/// The product's default.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// An upstream as its node is configured with it.
pub(super) fn spec(upstream: &Upstream) -> UpstreamSpec {
    UpstreamSpec {
        name: upstream.name.clone(),
        models: Models::Listed(upstream.models.clone()),
        tier: upstream.tier,
        weight: Weight::default(),
        dialects: DialectSet::ALL,
        websocket: false,
        attempts_max: upstream.attempts_max,
        in_flight_max: upstream.in_flight_max,
        health: HealthPolicy::default(),
        probe: Probe::Models,
        probe_interval: Duration::from_secs(30),
        load_interval: upstream.engine.map(|_| LOAD_INTERVAL),
        account: None,
    }
}
