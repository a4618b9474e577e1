//! What happens in a run: where nodes are, which requests clients send, what breaks when, what must hold.
//!
//! Reading order: `file` (as written), this file, `workload` and `trouble` (as checked), `checked`, `locations`, `supply`,
//! `demand`, `rules`, `faults` and `expected` (from one to the other).

mod checked;
mod demand;
mod expected;
mod faults;
mod file;
mod locations;
mod rules;
mod supply;
mod trouble;
mod workload;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::residency::Residency;
use grapevine_core::route::Strategy;
use grapevine_core::units::Tier;

use crate::atlas::{Atlas, RegionIndex};
use crate::tally::{Tally, TallyMost};
use crate::wires::Bandwidth;

pub(crate) use trouble::{ErrorAnswer, UpstreamFault, Which};
pub(crate) use workload::{
    Arrival, Burst, ClientFault, FaultyClient, LongPrompts, Thinking, Workload,
};

/// Nodes of one scenario at most: what an engine keeps of its peers.
pub(crate) const NODES_MAX: usize = 4_096;

/// A scenario, checked.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(crate) name: String,
    pub(crate) about: String,
    /// All of it, from the start of the first node.
    pub(crate) duration: Duration,
    /// The mesh forms: requests begin after it.
    pub(crate) warm_up: Duration,
    /// The last part, in which no request begins, all faults are over, and views converge.
    pub(crate) settle: Duration,
    pub(crate) membership: MembershipKind,
    pub(crate) atlas: Atlas,
    /// The region of each node.
    pub(crate) nodes: Vec<RegionIndex>,
    pub(crate) processing: Processing,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) jitter: f64,
    pub(crate) loss: f64,
    /// Of each node, in each direction; `None` does not limit it.
    pub(crate) bandwidth: Option<Bandwidth>,
    pub(crate) workload: Workload,
    pub(crate) routing: Routing,
    /// Each node's own residency rules.
    pub(crate) rules: Vec<Arc<Residency>>,
    /// Whether any node has some at any time.
    pub(crate) has_rules: bool,
    pub(crate) faults: Vec<Fault>,
    pub(crate) expect: Expect,
}

/// Which implementation of membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MembershipKind {
    /// A model of chitchat's rounds.
    Model,
    /// Chitchat itself, under a paused clock.
    Chitchat,
}

/// What a node can do, and what its work costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processing {
    pub(crate) cores: usize,
    /// CPU time of one request at its entry.
    pub(crate) request: Duration,
    /// CPU time that a hop adds at each of its two nodes.
    pub(crate) hop: Duration,
}

/// A kind of upstream; each node in `at` has one of its own.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) name: UpstreamName,
    pub(crate) models: Vec<ModelName>,
    pub(crate) provider: String,
    /// By node: whether it has one.
    pub(crate) at: Vec<bool>,
    pub(crate) first_byte: Duration,
    /// Sigma of the log-normal distribution of its first byte.
    pub(crate) spread: f64,
    pub(crate) in_flight_max: u32,
    /// Requests that it works on at once, each from its start to the end of its body.
    pub(crate) capacity: u32,
    /// Requests that wait for one of these slots at most.
    pub(crate) line_max: usize,
    /// The status of a refusal when the line is full.
    pub(crate) when_full: u16,
    pub(crate) tier: Tier,
    /// Above this it answers 429.
    pub(crate) limit_per_second: Option<f64>,
    /// The `Retry-After` of a refusal.
    pub(crate) retry_after: Duration,
    /// Of one request, in any currency.
    pub(crate) price: f64,
    /// Connections that its listener takes in one instant; `None` is without a limit.
    pub(crate) backlog: Option<usize>,
    /// Attempts at it within one request.
    pub(crate) attempts_max: u32,
    /// The engine that it is, which reports its load and caches prompts; `None`: an API.
    pub(crate) engine: Option<EngineSpec>,
}

/// How fast an engine reads, and how much it keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineSpec {
    /// What 1,000 tokens take that are not cached.
    pub(crate) prefill: Duration,
    /// Conversations that its cache holds.
    pub(crate) conversations: usize,
}

/// How requests are sent.
#[derive(Clone, Debug)]
pub(crate) struct Routing {
    pub(crate) strategy: Strategy,
    pub(crate) attempts_max: u32,
    pub(crate) deadline: Duration,
    /// How long a connection may take to open.
    pub(crate) connect: Duration,
    /// How long an upstream may take to the first byte of a stream.
    pub(crate) first_byte: Duration,
    /// How long it may take to an answer that is no stream.
    pub(crate) answer: Duration,
    /// How long it may pause within an answer.
    pub(crate) idle: Duration,
    /// How long a call may take in all.
    pub(crate) total: Duration,
}

/// Something that breaks.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) what: What,
}

/// What breaks.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// Nodes end without notice and start again afterwards.
    Crash(Vec<bool>),
    /// The same, again and again.
    Flap { who: Vec<bool>, every: Duration },
    /// Nodes drain, end and start again, one after the other.
    Rolling { who: Vec<bool>, every: Duration },
    /// Processes stop and go on.
    Stall(Vec<bool>),
    /// Nodes restart with a wall clock that went back.
    ClockBack { who: Vec<bool>, back: Duration },
    /// Nothing gets from some nodes to others, nor back if `both_ways`.
    Cut {
        who: Vec<bool>,
        to: Vec<bool>,
        both_ways: bool,
    },
    /// A share of packets is lost between nodes.
    Loss {
        who: Vec<bool>,
        to: Vec<bool>,
        share: f64,
    },
    /// Packets between nodes take longer.
    SlowLink {
        who: Vec<bool>,
        to: Vec<bool>,
        delay: Duration,
    },
    /// Nodes have other residency rules, by node, until they are changed again.
    Rules {
        who: Vec<bool>,
        rules: Vec<Arc<Residency>>,
    },
    /// Upstreams misbehave.
    Upstream { which: Which, how: UpstreamFault },
}

/// What must hold at the end, besides the rules of the checkers.
#[derive(Clone, Debug)]
pub(crate) struct Expect {
    /// Requests that ended in an error, as a share.
    pub(crate) failed_share_max: f64,
    /// Mean first byte over the ideal oracle's.
    pub(crate) regret_max: Option<f64>,
    /// Requests at one upstream in its busiest second over its mean.
    pub(crate) peak_to_mean_max: Option<f64>,
    /// Whether all views agree when everything is over.
    pub(crate) converges: bool,
    /// Whether the faults must have had an effect on at least one attempt.
    pub(crate) fault_bites: bool,
    /// The least count of each event.
    pub(crate) at_least: Tally,
    /// The highest one, where there is a limit.
    pub(crate) at_most: TallyMost,
    /// Answers that came from another node than the client's entry, as a share: of one model, or of all.
    pub(crate) elsewhere: Option<(Option<ModelName>, f64)>,
    /// Answers that broke off, as a share of all requests.
    pub(crate) broken_share_max: Option<f64>,
    /// The same as `regret_max`, of the prompts that are not long.
    pub(crate) short_prompts_regret_max: Option<f64>,
    /// The least share of the answers to prompts that are not long, by upstream.
    pub(crate) upstream_share_min: Vec<(UpstreamName, f64)>,
}

impl Scenario {
    /// The scenario of the YAML in `text`.
    ///
    /// # Errors
    /// Every problem, one a line, with its key.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        Self::parse_in(text, Path::new(""))
    }

    /// The same, with the tables that it names in `folder`.
    ///
    /// # Errors
    /// Every problem, one a line, with its key.
    pub fn parse_in(text: &str, folder: &Path) -> Result<Self, ScenarioError> {
        checked::check(text, folder)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it shows.
    pub fn about(&self) -> &str {
        &self.about
    }
}

/// Why a text is not a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct ScenarioError {
    /// Each with its key.
    pub problems: Vec<String>,
}
