//! The results of a run, in a few lines.

use std::io::{self, Write};
use std::sync::Arc;

use crate::policy::Policy;
use crate::run::{self, Run, percent};
use crate::scenario::Scenario;
use crate::world::Setup;

/// Prints the results of a run.
pub(crate) fn print(scenario: &Scenario, run: &Run, out: &mut impl Write) -> io::Result<()> {
    let counts = run.counts();
    let nodes = scenario.nodes.len();
    let seconds = scenario.duration.as_secs_f64();
    writeln!(
        out,
        "nodes: {nodes}, simulated: {seconds} s, events: {}",
        run.events
    )?;
    writeln!(
        out,
        "requests: {}, answered: {}, failed: {}, broken off: {}, failed over: {}",
        counts.requests, counts.good, counts.failed, counts.broken, counts.failed_over
    )?;
    if counts.failed > 0 {
        writeln!(out, "failures: {}", run.endings())?;
    }
    writeln!(
        out,
        "first byte: mean {:.0?}, p50 {:.0?}, p99 {:.0?}",
        run.mean_wait(),
        run.wait_quantile(0.5),
        run.wait_quantile(0.99)
    )?;
    if let Some(p99) = run.failover_quantile(0.99) {
        let p50 = run.failover_quantile(0.5).unwrap_or_default();
        writeln!(out, "failover: p50 {p50:.0?}, p99 {p99:.0?}")?;
    }
    let counts = run.record.tally.named().into_iter();
    let counts: Vec<String> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if !counts.is_empty() {
        writeln!(out, "counts: {}", counts.join(", "))?;
    }
    let false_deaths = run
        .record
        .deaths
        .iter()
        .filter(|death| death.is_false)
        .count();
    writeln!(
        out,
        "bytes per second and node: gossip {:.0}, other {:.0}; deaths detected: {}, false: {false_deaths}",
        run.sent.gossip,
        run.sent.other,
        run.record.deaths.len()
    )
}

/// The baselines, by name.
pub(crate) const BASELINES: [(Policy, &str); 4] = [
    (Policy::Oracle, "ideal oracle"),
    (Policy::PriorityList, "priority list"),
    (Policy::RoundRobin, "round robin"),
    (Policy::LeastLatencyAlone, "least latency, not shared"),
];

/// The baselines of engines with queues and caches, by name.
const ENGINE_BASELINES: [(Policy, &str); 5] = [
    (Policy::Oracle, "ideal oracle"),
    (Policy::Grapevine, "grapevine"),
    (Policy::RoundRobin, "round robin"),
    (Policy::LeastInFlightAlone, "least in flight"),
    (Policy::LeastLatencyAlone, "least latency"),
];

/// Prints first bytes and cached tokens of each policy, where upstreams are engines.
pub(crate) fn compare_engines(
    scenario: &Arc<Scenario>,
    seed: u64,
    out: &mut impl Write,
) -> io::Result<()> {
    if scenario.upstreams.iter().all(|one| one.engine.is_none()) {
        return Ok(());
    }
    for (policy, name) in ENGINE_BASELINES {
        let setup = Setup {
            policy,
            ..Setup::new(seed)
        };
        let run = run::run_as(scenario, setup);
        let tally = run.record.tally;
        let cached = tally.cached_tokens as f64 / tally.prompt_tokens.max(1) as f64;
        writeln!(
            out,
            "{name:28} first byte p50 {:.3?}, p99 {:.3?}, cached {}",
            run.wait_quantile(0.5),
            run.wait_quantile(0.99),
            percent(cached)
        )?;
    }
    Ok(())
}

/// Prints the baselines in the same world, each as a ratio to the ideal.
pub(crate) fn compare(
    scenario: &Arc<Scenario>,
    seed: u64,
    run: &Run,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut ideal = 1.0;
    let mut line = |name: &str, run: &Run, ideal: f64| {
        let counts = run.counts();
        let mean = run.mean_wait().as_secs_f64();
        let failed = percent(counts.failed as f64 / counts.requests.max(1) as f64);
        let ratio = mean / ideal;
        let price = run.mean_price();
        writeln!(
            out,
            "{name:28} mean {mean:.3} s, {ratio:.2} x ideal, failed {failed}, price {price:.2}"
        )
    };
    for (policy, name) in BASELINES {
        let setup = Setup {
            policy,
            ..Setup::new(seed)
        };
        let other = run::run_as(scenario, setup);
        if policy == Policy::Oracle {
            ideal = other.mean_wait().as_secs_f64().max(0.001);
        }
        line(name, &other, ideal)?;
    }
    line("grapevine", run, ideal)
}
