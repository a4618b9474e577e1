//! What showed the state of an own upstream last, and the switch that takes one out of use.

use super::*;
use crate::engine::UpstreamSwitch;
use crate::view::{Checker, UpstreamChecks};

impl Bench {
    fn checks(&mut self) -> UpstreamChecks {
        let view = self.engine.view(self.now);
        view.nodes[0].upstreams[0].checks.expect("an own upstream")
    }

    fn switch(&mut self, is_disabled: bool) -> Vec<Effect> {
        self.handle(Event::UpstreamSwitched(UpstreamSwitch {
            upstream: upstream("primary"),
            is_disabled,
        }))
    }
}

#[test]
fn last_check_says_when_by_what_and_how_it_ended() {
    let mut bench = Bench::with_upstream();
    bench.attempt(Outcome::ConnectFailed);
    bench.attempt(Outcome::ConnectFailed);
    let checks = bench.checks();
    let last = checks.last.expect("a check");
    assert_eq!(
        (last.at, last.by, last.is_good, last.outcome),
        (bench.now, Checker::Traffic, false, "connect_failed")
    );
    assert_eq!(checks.failures_in_row, 2);
    // The client went away: that shows nothing.
    bench.wait(Duration::from_secs(1));
    bench.attempt(Outcome::Cancelled);
    assert_eq!(bench.checks(), checks);
    bench.probe(Outcome::status(200));
    let checks = bench.checks();
    let last = checks.last.expect("a check");
    assert_eq!((last.by, last.is_good), (Checker::Probe, true));
    assert_eq!(checks.failures_in_row, 0);
}

#[test]
fn upstream_out_of_use_is_published_at_once_and_gets_nothing_even_as_the_last() {
    let mut bench = Bench::with_upstream();
    let disabled = Standing::Ejected {
        reason: EjectionReason::Disabled,
    };
    assert_eq!(urgent_standing(&bench.switch(true)), Some(disabled));
    assert!(matches!(bench.plan(), Err(PlanError::NoneReachable { .. })));
    // No success of what is in flight there gives it back, and no probe goes there.
    bench.attempt(Outcome::status(200));
    assert!(!has_probe(&bench.wait(Duration::from_secs(120))));
    assert!(bench.plan().is_err());
    let enabled = bench.switch(false);
    assert!(urgent_standing(&enabled).is_some_and(Standing::is_ready));
    assert!(has_probe(&enabled));
    assert!(bench.plan().is_ok());
}

#[test]
fn reload_leaves_an_upstream_out_of_use() {
    let mut bench = Bench::with_upstream();
    bench.switch(true);
    bench.handle(Event::Configured(vec![spec(Probe::Models)]));
    assert!(bench.plan().is_err());
}

#[test]
fn peers_upstream_out_of_use_is_no_last_resort() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    let disabled = Standing::Ejected {
        reason: EjectionReason::Disabled,
    };
    bench.receive("jpn", 4, Fact::Upstream(upstream_fact(disabled, TTFT)));
    assert!(bench.plan().is_err());
    let ejected = Standing::Ejected {
        reason: EjectionReason::ErrorRate,
    };
    bench.receive("jpn", 5, Fact::Upstream(upstream_fact(ejected, TTFT)));
    assert!(bench.plan().is_ok());
}
