//! `grapevine demo --once`: the same faults every time, under load, and a report.
//!
//! Calm; then an upstream dies; then the node that has taken over for it is killed with SIGKILL; then the upstream works
//! again. So requests move twice, and the second time a forwarded one is hit. The run waits for each change in the
//! views of all live nodes, so that no phase depends on how fast the machine is.

use std::time::Duration;

use super::DemoError;
use super::fleet::Fleet;
use super::load::{Broken, Load, Pace};
use super::region::{self, REGIONS};
use super::report::{Fault, Phase, Report};
use crate::mock::Knobs;

/// The region of the upstream that dies.
const UPSTREAM_DOWN: usize = 1;

/// The region of the node that is killed: the nearest to the upstream that is down by then.
const NODE_KILLED: usize = 0;

/// Clients that ask at the same time.
const CLIENTS: usize = 32;

/// How long a client waits after an answer, at least, and what is added at most.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_SPREAD: Duration = Duration::from_millis(75);

/// How long the views may take to show a fault, or the end of one.
const SEEN_LIMIT: Duration = Duration::from_secs(30);

/// Shares of the load's time that the four phases take, at least.
const SHARES: [f64; 4] = [0.2, 0.25, 0.3, 0.25];

/// Runs the load and the faults for about `span`, and reports. The nodes must be ready.
///
/// # Errors
/// When a change is not seen by all in time, or the mock refuses a knob.
pub(super) async fn run(
    fleet: &mut Fleet,
    http: reqwest::Client,
    ready: Duration,
    span: Duration,
) -> Result<Report, DemoError> {
    let base_urls = fleet
        .members()
        .iter()
        .map(|member| member.base_url())
        .collect();
    let pace = Pace {
        clients: CLIENTS,
        pause: PAUSE,
        spread: PAUSE_SPREAD,
    };
    let load = Load::start(http, base_urls, pace, Broken::default(), true);
    let mut run = Run {
        fleet,
        load,
        span,
        phases: Vec::new(),
        faults: Vec::new(),
    };
    run.phase("calm", 0).await;
    run.break_upstream().await?;
    run.kill_node().await?;
    run.mend_upstream().await?;
    let elapsed = run.load.now();
    let records = run.load.finish().await;
    Ok(Report {
        clients: CLIENTS,
        ready,
        elapsed,
        phases: run.phases,
        faults: run.faults,
        records,
    })
}

struct Run<'a> {
    fleet: &'a mut Fleet,
    load: Load,
    span: Duration,
    phases: Vec<Phase>,
    faults: Vec<Fault>,
}

impl Run<'_> {
    /// Begins a phase.
    fn begin(&mut self, name: &str) -> Duration {
        let from = self.load.now();
        self.phases.push(Phase {
            name: name.to_owned(),
            from,
        });
        from
    }

    /// Waits for the rest of a phase's time.
    async fn rest(&self, number: usize) {
        let Some((phase, share)) = self.phases.get(number).zip(SHARES.get(number)) else {
            return;
        };
        let end = phase.from + self.span.mul_f64(*share);
        tokio::time::sleep(end.saturating_sub(self.load.now())).await;
    }

    async fn phase(&mut self, name: &str, number: usize) {
        self.begin(name);
        self.rest(number).await;
    }

    async fn break_upstream(&mut self) -> Result<(), DemoError> {
        let region = region::ALL[UPSTREAM_DOWN];
        let name = format!("upstream {} down", region.upstream);
        self.load.broken().break_upstream(UPSTREAM_DOWN);
        let at = self.begin(&name);
        self.turn(Knobs {
            down: true,
            ..region::knobs(&region)
        })?;
        let all: Vec<usize> = (0..REGIONS).collect();
        let seen = self.wait(&name, &all, |page| {
            !matches!(page.state(region.name, region.upstream), "healthy" | "")
        });
        let seen = seen.await?;
        self.rest(1).await;
        self.fault(name, at, seen);
        Ok(())
    }

    async fn kill_node(&mut self) -> Result<(), DemoError> {
        let region = region::ALL[NODE_KILLED];
        let name = format!("node {} killed", region.name);
        self.load.broken().kill_node(NODE_KILLED);
        let at = self.begin(&name);
        self.fleet.kill(NODE_KILLED).await;
        let living = living();
        let seen = self.wait(&name, &living, |page| {
            page.node(region.name).is_none_or(|node| !node.live)
        });
        let seen = seen.await?;
        self.rest(2).await;
        self.fault(name, at, seen);
        Ok(())
    }

    async fn mend_upstream(&mut self) -> Result<(), DemoError> {
        let region = region::ALL[UPSTREAM_DOWN];
        let name = format!("upstream {} back", region.upstream);
        self.begin(&name);
        // From here on its death excuses nothing: whatever it broke has ended long ago.
        self.load.broken().mend_upstream(UPSTREAM_DOWN);
        self.turn(region::knobs(&region))?;
        let living = living();
        let returned = self.wait(&name, &living, |page| {
            page.state(region.name, region.upstream) == "healthy"
        });
        let returned = returned.await?;
        if let Some(fault) = self.faults.first_mut() {
            fault.returned = Some(returned);
        }
        self.rest(3).await;
        Ok(())
    }

    /// Notes a fault at the end of its phase.
    fn fault(&mut self, name: String, at: Duration, seen: Duration) {
        let until = self.load.now();
        self.faults.push(Fault {
            name,
            at,
            until,
            seen,
            returned: None,
        });
    }

    fn turn(&self, knobs: Knobs) -> Result<(), DemoError> {
        let member = self.fleet.members().get(UPSTREAM_DOWN);
        member.map_or(Ok(()), |member| {
            member.upstream.set_knobs(knobs).map_err(DemoError::Knobs)
        })
    }

    async fn wait(
        &mut self,
        what: &str,
        of: &[usize],
        wanted: impl Fn(&grapevine_base::page::MeshPage) -> bool,
    ) -> Result<Duration, DemoError> {
        let waited = self.fleet.wait_for_views(of, SEEN_LIMIT, wanted).await;
        waited.map_err(|late| self.fleet.not_seen(what, &late))
    }
}

/// The nodes that are left after the kill.
fn living() -> Vec<usize> {
    (0..REGIONS)
        .filter(|number| *number != NODE_KILLED)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_killed_node_is_the_one_that_takes_over() {
        let round_trip = |other: usize| {
            region::one_way(UPSTREAM_DOWN, other) + region::one_way(other, UPSTREAM_DOWN)
        };
        let others = (0..REGIONS).filter(|number| *number != UPSTREAM_DOWN);
        let costs = others.map(|other| (round_trip(other) + region::ALL[other].latency, other));
        assert_eq!(costs.min().map(|(_, other)| other), Some(NODE_KILLED));
    }

    #[test]
    fn the_shares_are_the_whole() {
        assert!((SHARES.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
