//! What must hold, checked after every event: one file for each rule.
//!
//! A checker sees what the world did and received, never the state of an engine; so a wrong engine cannot
//! mislead it. The first violation ends the run.

mod answered;
mod bounds;
mod convergence;
mod ejected;
mod herd;
mod limits;
mod loops;
mod residency;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::fact::{Fact, FactKey};
use grapevine_core::ids::{ModelName, RegionName, Stamp, UpstreamName};
use grapevine_core::residency::{ClientOrigin, Residency};

use crate::membership::NodeIndex;
use crate::policy::Policy;
use crate::scenario::Scenario;

/// What a checker may look at.
#[derive(Debug)]
pub(crate) enum Seen<'a> {
    /// A node started an incarnation.
    Started { node: NodeIndex },
    /// A node ended.
    Stopped { node: NodeIndex },
    /// A fault began or is over.
    Disturbed,
    /// A node published a fact, in so many bytes of key and value.
    Published {
        author: NodeIndex,
        key: &'a FactKey,
        bytes: usize,
        fact: &'a Fact,
    },
    /// A node received a fact, its own or another node's.
    Received {
        observer: NodeIndex,
        author: NodeIndex,
        stamp: Stamp,
        fact: &'a Fact,
    },
    /// A client sent a request.
    Asked { request: u64, deadline: Instant },
    /// An attempt began.
    Attempted {
        request: u64,
        owner: NodeIndex,
        /// Whether its entry node owns the upstream.
        is_own: bool,
        upstream: &'a UpstreamName,
        attempts: u32,
        region: &'a RegionName,
        planned_at: Instant,
        /// A trial, a last resort, or the choice of a baseline that does not see ejections.
        excused: bool,
    },
    /// A forwarded request reached its owner.
    Hopped { request: u64, hops: u8 },
    /// Its owner admits it.
    Served { request: u64, owner: NodeIndex },
    /// A node's own rules changed.
    Ruled {
        node: NodeIndex,
        rules: &'a Arc<Residency>,
    },
    /// A node has read a client's request, and plans for it.
    Entered {
        request: u64,
        entry: NodeIndex,
        client: ClientOrigin,
        model: &'a ModelName,
    },
    /// A client has its answer's first byte, or an error.
    Ended { request: u64 },
    /// The whole world, at intervals.
    Inspected {
        requests: usize,
        calls: usize,
        planned: usize,
        alive: usize,
    },
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker that reports it.
    pub checker: &'static str,
    /// When, from the start.
    pub at: Duration,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_secs_f64();
        write!(formatter, "{} at {at:.3} s: {}", self.checker, self.what)
    }
}

/// One rule.
trait Check: fmt::Debug {
    fn name(&self) -> &'static str;
    /// What is wrong, if anything.
    fn see(&mut self, now: Instant, seen: &Seen<'_>) -> Option<String>;
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Checks {
    all: Vec<Box<dyn Check>>,
    violation: Option<Violation>,
}

impl Checks {
    pub(crate) fn new(scenario: &Scenario, policy: Policy) -> Self {
        let nodes = scenario.nodes.iter();
        let regions = nodes.map(|region| scenario.atlas.region(*region).name.clone());
        let regions: Vec<RegionName> = regions.collect();
        let mut all: Vec<Box<dyn Check>> = vec![
            Box::new(answered::Answered::default()),
            Box::new(limits::Limits::new(scenario.routing.attempts_max)),
            Box::new(loops::Loops),
            Box::new(residency::Residency::new(regions)),
            Box::new(ejected::Ejected::new(scenario.nodes.len())),
            Box::new(bounds::Bounds::new(scenario.nodes.len())),
        ];
        // Baselines may herd: that is what they show.
        if let (Some(max), Policy::Grapevine) = (scenario.expect.peak_to_mean_max, policy) {
            all.push(Box::new(herd::Herd::new(max)));
        }
        Self {
            all,
            violation: None,
        }
    }

    pub(crate) fn see(&mut self, now: Instant, seen: &Seen<'_>) {
        for check in &mut self.all {
            if let Some(what) = check.see(now, seen) {
                let violation = Violation {
                    checker: check.name(),
                    at: now.since_start(),
                    what,
                };
                self.violation.get_or_insert(violation);
            }
        }
    }

    pub(crate) fn is_violated(&self) -> bool {
        self.violation.is_some()
    }

    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }
}

pub(crate) use convergence::{Truth, converged};
