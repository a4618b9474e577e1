//! One run of a scenario: what it showed, and whether everything held.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;

use crate::check::{self, Truth, Violation};
use crate::digest::Digest;
use crate::policy::Policy;
use crate::record::Record;
use crate::scenario::Scenario;
use crate::world::{Setup, World};

/// A mesh whose upstreams nobody has used yet sends its first requests to find out how fast they are. They
/// are told apart from what follows.
const LEARNS: Duration = Duration::from_secs(5);

/// What a run showed.
#[derive(Debug)]
pub struct Run {
    /// The fingerprint of everything that happened.
    pub digest: Digest,
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
    /// The last events in words, as many as were asked for, the oldest first.
    pub last_events: Vec<String>,
    /// Events that happened.
    pub events: u64,
    pub(crate) record: Record,
    pub(crate) sent: Sent,
    pub(crate) warm_up: Duration,
}

/// Bytes per second and node, on average over all nodes and the whole run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) gossip: f64,
    pub(crate) beside: f64,
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

/// What a world showed that has come to its end.
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
    let beside: u64 = all().map(|node| world.network.sent(node)).sum();
    Run {
        digest: world.digest(),
        last_events: std::mem::take(&mut world.tail).into_lines(),
        violation,
        events: world.events(),
        sent: Sent {
            gossip: gossip as f64 / seconds,
            beside: beside as f64 / seconds,
        },
        warm_up: world.scenario.warm_up,
        record: world.record,
    }
}

/// The run with what its scenario expects of it.
fn judged(scenario: &Arc<Scenario>, seed: u64, mut run: Run) -> Run {
    if run.violation.is_none() {
        let disappointment = disappointment(scenario, seed, &run);
        run.violation = disappointment.map(|what| Violation {
            checker: "expectation",
            at: scenario.duration,
            what,
        });
    }
    run
}

fn disappointment(scenario: &Arc<Scenario>, seed: u64, run: &Run) -> Option<String> {
    let expect = &scenario.expect;
    let counts = run.counts();
    let failed = counts.failed as f64 / counts.requests.max(1) as f64;
    if failed > expect.failed_share_max {
        let endings = run.endings();
        return Some(format!(
            "{} of {} requests failed ({endings}), at most {} expected",
            counts.failed,
            counts.requests,
            percent(expect.failed_share_max)
        ));
    }
    if expect.fault_bites && !scenario.faults.is_empty() && !run.was_disturbed() {
        return Some("the faults were felt by nobody: the scenario shows nothing".into());
    }
    if let Some(short) = run.record.tally.short_of(&expect.at_least) {
        return Some(short);
    }
    let regret_max = expect.regret_max?;
    let regret = regret(scenario, seed, run);
    (regret > regret_max).then(|| {
        let (regret, max) = (percent(regret - 1.0), percent(regret_max - 1.0));
        format!("first bytes take {regret} longer than ideal, at most {max} expected")
    })
}

/// The mean first byte over the ideal oracle's, in the same world.
pub(crate) fn regret(scenario: &Arc<Scenario>, seed: u64, run: &Run) -> f64 {
    let setup = Setup {
        policy: Policy::Oracle,
        ..Setup::new(seed)
    };
    let ideal = run_as(scenario, setup).mean_wait();
    run.mean_wait().as_secs_f64() / ideal.as_secs_f64().max(0.001)
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

    /// How requests failed, for people.
    pub(crate) fn endings(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut endings: Vec<String> = self
            .record
            .failed
            .iter()
            .map(|one| format!("{:?}", one.ending))
            .collect();
        endings.sort();
        for ending in endings.chunk_by(|left, right| left == right) {
            words.push(format!("{} {}", ending.len(), ending[0]));
        }
        words.join(", ")
    }

    /// The mean wait for the first byte at the entry, once the mesh has learned how fast things are.
    pub(crate) fn mean_wait(&self) -> Duration {
        let end = Instant::from_start(Duration::MAX);
        let learned = Instant::from_start(self.warm_up + LEARNS);
        self.record.mean_wait(learned, end).unwrap_or_default()
    }

    /// The same of the first requests, which find out how fast things are.
    pub(crate) fn mean_wait_of_learning(&self) -> Duration {
        let from = Instant::from_start(self.warm_up);
        let learning = self.record.mean_wait(from, from + LEARNS);
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

    fn was_disturbed(&self) -> bool {
        let record = &self.record;
        let felt = record.attempts_failed + record.refused + record.broken + record.doors_closed;
        felt > 0 || !record.deaths.is_empty() || !record.silences.is_empty()
    }
}

/// The value that this share of `spans` does not exceed; zero of none.
pub(crate) fn quantile(mut spans: Vec<Duration>, share: f64) -> Duration {
    spans.sort_unstable();
    let rank = (share * spans.len() as f64).ceil() as usize;
    spans.get(rank.max(1) - 1).copied().unwrap_or_default()
}
