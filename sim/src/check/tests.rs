//! Each checker fires on a core that is broken on purpose, and only then.

use std::sync::Arc;

use super::Violation;
use crate::run;
use crate::sabotage::Sabotage;
use crate::scenario::Scenario;
use crate::world::Setup;

/// A world in which every rule is put to the test: a fence, an upstream that fails, load.
const WORLD: &str = "
name: everything
about: A world in which every rule is put to the test.
duration: 40s
warm_up: 6s
settle: 12s
nodes: {count: 5, regions: [westeurope, northeurope, eastus, japaneast, southeastasia]}
upstreams:
  - {name: primary, models: [gpt], first_byte: 200ms, in_flight_max: 40}
workload: {per_second: 40, body: 300ms}
routing: {deadline: 2s, attempts: 3, first_byte: 1s}
residency:
  - {clients: [EU], regions: [westeurope, northeurope]}
faults:
  - {at: 8s, for: 9s, what: upstream_down, who: [westeurope]}
  - {at: 9s, for: 8s, what: upstream_down, who: [northeurope, eastus]}
  - {at: 19s, for: 4s, what: crash, who: [n2]}
expect: {peak_to_mean_max: 2.5, failed_share_max: 1}
";

fn violation(sabotage: Sabotage) -> Option<Violation> {
    violation_in(WORLD, sabotage)
}

fn violation_in(world: &str, sabotage: Sabotage) -> Option<Violation> {
    let scenario = Arc::new(Scenario::parse(world).expect("a good scenario"));
    let setup = Setup {
        sabotage,
        ..Setup::new(3)
    };
    run::run_as(&scenario, setup).violation
}

fn assert_fires(sabotage: Sabotage, checker: &str) {
    let violation = violation(sabotage).expect("a broken core is noticed");
    assert_eq!(violation.checker, checker, "{violation}");
}

#[test]
fn sound_core_breaks_no_rule() {
    assert_eq!(violation(Sabotage::None), None);
}

#[test]
fn lost_answer_is_noticed() {
    assert_fires(Sabotage::LosesAnswers, "answered");
}

#[test]
fn attempt_beyond_the_limit_is_noticed() {
    assert_fires(Sabotage::TriesTooOften, "limits");
}

#[test]
fn second_hop_is_noticed() {
    assert_fires(Sabotage::ForwardsTwice, "loops");
}

#[test]
fn breach_of_residency_is_noticed() {
    assert_fires(Sabotage::IgnoresResidency, "residency");
}

#[test]
fn owner_that_serves_what_its_rules_forbid_is_noticed() {
    let ruled = WORLD.replace(
        "regions: [westeurope, northeurope]}",
        "regions: [westeurope], at: [n1]}",
    );
    assert_eq!(violation_in(&ruled, Sabotage::None), None);
    let violation = violation_in(&ruled, Sabotage::ServesAnything).expect("a breach is noticed");
    assert_eq!(violation.checker, "residency", "{violation}");
}

#[test]
fn traffic_to_what_all_know_is_ejected_is_noticed() {
    assert_fires(Sabotage::IgnoresEjection, "ejected");
}

#[test]
fn node_that_drops_facts_is_noticed() {
    assert_fires(Sabotage::DropsFacts, "convergence");
}

#[test]
fn calls_that_are_never_released_are_noticed() {
    assert_fires(Sabotage::Hoards, "bounds");
}

#[test]
fn herd_is_noticed_where_nothing_else_moves_work() {
    let (before, faults) = WORLD.split_once("faults:").expect("it has some");
    let (_, expect) = faults.split_once("expect:").expect("it has some");
    let calm = format!("{before}expect:{expect}");
    assert_eq!(violation_in(&calm, Sabotage::None), None);
    let violation = violation_in(&calm, Sabotage::Herds).expect("a herd is noticed");
    assert_eq!(violation.checker, "herd", "{violation}");
}

#[test]
fn replay_keeps_the_last_events_before_a_violation() {
    let scenario = Arc::new(Scenario::parse(WORLD).expect("a good scenario"));
    let setup = Setup {
        sabotage: Sabotage::TriesTooOften,
        last_events: 20,
        ..Setup::new(3)
    };
    let run = run::run_as(&scenario, setup);
    let violation = run.violation.expect("a broken core is noticed");
    assert_eq!(run.last_events.len(), 20);
    let last = run.last_events.last().expect("there are some");
    let at = format!("{:.6}", violation.at.as_secs_f64());
    assert!(last.trim_start().starts_with(&at), "{violation}\n{last}");
    let text = run.last_events.join("\n");
    assert!(text.contains("request"), "{text}");
    let without = run::run_as(
        &scenario,
        Setup {
            last_events: 0,
            ..setup
        },
    );
    assert_eq!(without.digest, run.digest, "keeping events changes nothing");
}
