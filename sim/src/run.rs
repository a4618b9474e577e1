//! One run of a scenario: its results, and whether all rules held.

mod expectation;

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;

use crate::check::{self, Truth, Violation};
use crate::digest::Digest;
use crate::policy::Policy;
use crate::record::{Answered, Record};
use crate::scenario::Scenario;
use crate::world::{Setup, World};

/// A mesh in which no upstream was called yet sends its first requests to learn how fast each is. They are
/// counted apart from what follows.
const LEARNING: Duration = Duration::from_secs(5);

/// What a run showed.
#[derive(Debug)]
pub struct Run {
    /// The fingerprint of everything that happened.
    pub digest: Digest,
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
    /// The last events as text, as many as were asked for, the oldest first.
    pub last_events: Vec<String>,
    /// Events that happened.
    pub events: u64,
    pub(crate) record: Record,
    pub(crate) sent: Sent,
    /// Links of a node at the end, in the mean.
    pub(crate) links: f64,
    pub(crate) warm_up: Duration,
}

/// Bytes per second and node, on average over all nodes and the whole run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) gossip: f64,
    pub(crate) other: f64,
}

/// Requests of a run, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) requests: usize,
    pub(crate) good: usize,
    pub(crate) failed: usize,
    pub(crate) broken: u64,
    pub(crate) failed_over: usize,
}

/// Runs `scenario` with `seed` as the product would behave, and checks all that must hold.
pub fn run(scenario: &Arc<Scenario>, seed: u64) -> Run {
    let run = run_as(scenario, Setup::new(seed));
    judged(scenario, seed, run)
}

/// The same, and keeps at most this many of the last events before the end or a violation.
pub fn replay(scenario: &Arc<Scenario>, seed: u64, last_events: usize) -> Run {
    let setup = Setup {
        last_events,
        ..Setup::new(seed)
    };
    judged(scenario, seed, run_as(scenario, setup))
}

/// Runs `scenario` and asks the checkers alone.
pub(crate) fn run_as(scenario: &Arc<Scenario>, setup: Setup) -> Run {
    let mut world = World::new(Arc::clone(scenario), setup);
    world.run_until(Instant::from_start(scenario.duration));
    finish(world, setup)
}

/// The results of a world at its end.
pub(crate) fn finish(mut world: World, setup: Setup) -> Run {
    let mut violation = world.checks.violation().cloned();
    let must_converge = world.scenario.expect.converges && setup.policy == Policy::Grapevine;
    if violation.is_none() && must_converge {
        let alive = world.alive();
        let truth: Vec<Truth> = alive
            .iter()
            .map(|owner| (*owner, world.standings(*owner)))
            .collect();
        violation = check::converged(world.now(), &truth, |node| world.fresh_view(node));
    }
    let nodes = world.node_count() as u32;
    let all = || (0..nodes).map(crate::membership::NodeIndex);
    let seconds = world.now().since_start().as_secs_f64().max(1.0) * f64::from(nodes);
    let gossip: u64 = all().map(|node| world.gossip_sent(node).bytes).sum();
    let other: u64 = all().map(|node| world.network.sent(node)).sum();
    Run {
        digest: world.digest(),
        last_events: std::mem::take(&mut world.tail).into_lines(),
        violation,
        events: world.events(),
        sent: Sent {
            gossip: gossip as f64 / seconds,
            other: other as f64 / seconds,
        },
        links: world.links_of_a_node(),
        warm_up: world.scenario.warm_up,
        record: world.record,
    }
}

/// The run with what its scenario expects of it.
fn judged(scenario: &Arc<Scenario>, seed: u64, mut run: Run) -> Run {
    if run.violation.is_none() {
        let unmet = expectation::unmet(scenario, seed, &run);
        run.violation = unmet.map(|what| Violation {
            checker: "expectation",
            at: scenario.duration,
            what,
        });
    }
    run
}

/// The mean first byte over the ideal oracle's, in the same world.
pub(crate) fn regret(scenario: &Arc<Scenario>, seed: u64, run: &Run) -> f64 {
    ratio(run.mean_wait(), ideal(scenario, seed).mean_wait())
}

/// The run of the ideal oracle in the same world.
pub(crate) fn ideal(scenario: &Arc<Scenario>, seed: u64) -> Run {
    let setup = Setup {
        policy: Policy::Oracle,
        ..Setup::new(seed)
    };
    run_as(scenario, setup)
}

pub(crate) fn ratio(wait: Duration, ideal: Duration) -> f64 {
    wait.as_secs_f64() / ideal.as_secs_f64().max(0.001)
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

impl Run {
    pub(crate) fn counts(&self) -> Counts {
        let answered = &self.record.answered;
        let good = answered.len();
        Counts {
            requests: self.record.requests(),
            good,
            failed: self
                .record
                .failed
                .iter()
                .filter(|one| !one.ending.is_good())
                .count(),
            broken: self.record.broken,
            failed_over: answered.iter().filter(|one| one.failover.is_some()).count(),
        }
    }

    /// How requests failed, for display.
    pub(crate) fn endings(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut endings: Vec<String> = self
            .record
            .failed
            .iter()
            .map(|one| format!("{:?}", one.ending))
            .collect();
        endings.sort();
        for ending in endings.chunk_by(|left, right| left == right) {
            parts.push(format!("{} {}", ending.len(), ending[0]));
        }
        parts.join(", ")
    }

    /// The mean wait for the first byte at the entry, once the mesh has learned how fast upstreams are.
    pub(crate) fn mean_wait(&self) -> Duration {
        let waits = self.learned().map(|one| one.waited);
        mean(waits)
    }

    /// The same of prompts that are not long.
    pub(crate) fn mean_wait_of_short_prompts(&self) -> Duration {
        let short = self.learned().filter(|one| !one.is_long_prompt);
        mean(short.map(|one| one.waited))
    }

    /// Answers to requests that were asked once the mesh had learned.
    pub(crate) fn learned(&self) -> impl Iterator<Item = &Answered> {
        let from = Instant::from_start(self.warm_up + LEARNING);
        self.record
            .answered
            .iter()
            .filter(move |one| one.asked_at >= from)
    }

    /// The same of the first requests, from which the mesh learns how fast upstreams are.
    pub(crate) fn mean_wait_of_learning(&self) -> Duration {
        let from = Instant::from_start(self.warm_up);
        let learning = self.record.mean_wait(from, from + LEARNING);
        learning.unwrap_or_default()
    }

    /// What an answer cost on average.
    pub(crate) fn mean_price(&self) -> f64 {
        let answered = &self.record.answered;
        let sum: f64 = answered.iter().map(|one| one.price).sum();
        sum / answered.len().max(1) as f64
    }

    /// The wait for the first byte that this share of the answers does not exceed.
    pub(crate) fn wait_quantile(&self, share: f64) -> Duration {
        let waits = self.record.answered.iter().map(|one| one.waited);
        quantile(waits.collect(), share)
    }

    /// The time lost to attempts that failed, of requests that another attempt answered.
    pub(crate) fn failover_quantile(&self, share: f64) -> Option<Duration> {
        let spans: Vec<Duration> = self
            .record
            .answered
            .iter()
            .filter_map(|one| one.failover)
            .collect();
        (!spans.is_empty()).then(|| quantile(spans, share))
    }

    pub(crate) fn was_disturbed(&self) -> bool {
        let record = &self.record;
        let felt = record.attempts_failed
            + record.refused
            + record.broken
            + record.connections_refused
            + record.tally.error_answers;
        felt > 0 || !record.deaths.is_empty() || !record.silences.is_empty()
    }
}

/// Zero of none.
fn mean(spans: impl Iterator<Item = Duration>) -> Duration {
    let (sum, count) = spans.fold((Duration::ZERO, 0u32), |(sum, count), span| {
        (sum + span, count + 1)
    });
    sum / count.max(1)
}

/// The value that this share of `spans` does not exceed; zero of none.
pub(crate) fn quantile(mut spans: Vec<Duration>, share: f64) -> Duration {
    spans.sort_unstable();
    let rank = (share * spans.len() as f64).ceil() as usize;
    spans.get(rank.max(1) - 1).copied().unwrap_or_default()
}
