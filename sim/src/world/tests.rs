//! What the model of the world shows, each in a small world of its own.

use std::sync::Arc;
use std::time::Duration;

use crate::run::{self, Run};
use crate::scenario::Scenario;
use crate::world::Setup;

/// Two nodes a round trip of some 90 ms apart. `more` is the rest of the scenario.
fn run(more: &str) -> Run {
    run_with(more, Setup::new(1))
}

fn run_with(more: &str, setup: Setup) -> Run {
    let text = format!(
        "name: small\nabout: small\nduration: 30s\nwarm_up: 5s\nsettle: 8s\n\
         nodes: {{count: 2, regions: [westeurope, eastus]}}\n{more}\n"
    );
    let scenario = Arc::new(Scenario::parse(&text).expect("a good scenario"));
    run::run_as(&scenario, setup)
}

#[test]
fn link_of_a_stopped_peer_is_silent_within_600_ms() {
    let run = run(
        "upstreams: [{name: one, models: [gpt], first_byte: 200ms}]\n\
         faults: [{at: 10s, for: 3s, what: stall, who: [n1]}]",
    );
    let first = run.record.silences.first().expect("n0 notices");
    let after = first.at.since_start() - Duration::from_secs(10);
    let range = Duration::from_millis(350)..=Duration::from_millis(600);
    assert!(range.contains(&after), "{after:?}");
}
