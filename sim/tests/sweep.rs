//! Every scenario with a few seeds: what CI runs of the simulator.
//!
//! A seed that fails prints the line that reproduces it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use grapevine_sim::run;
use grapevine_sim::scenario::Scenario;

/// Scenarios there must be at least: three rounds of them are more than 100 seeds.
const SCENARIOS_MIN: usize = 35;

fn scenarios() -> Vec<(PathBuf, Arc<Scenario>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(folder).expect("the folder is part of the crate");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("readable");
        let folder = path.parent().expect("it is in a folder");
        let scenario = Scenario::parse_in(&text, folder).expect("a good scenario");
        (path, Arc::new(scenario))
    };
    let all: Vec<_> = paths.into_iter().map(read).collect();
    assert!(all.len() >= SCENARIOS_MIN);
    all
}

/// Runs every scenario with a seed of its own: 105 seeds in all three rounds of 35 scenarios.
fn assert_all_hold(round: u64) {
    let mut violations = Vec::new();
    let all = scenarios();
    let first = round * all.len() as u64 + 1;
    for (seed, (path, scenario)) in (first..).zip(all) {
        if let Some(violation) = run::run(&scenario, seed).violation {
            let name = path.file_name().unwrap_or_default().display().to_string();
            violations.push(format!(
                "{violation}\n  reproduce: cargo run --release -p grapevine-sim -- replay sim/scenarios/{name} --seed {seed}"
            ));
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn every_scenario_holds_in_the_first_round() {
    assert_all_hold(0);
}

#[test]
fn every_scenario_holds_in_the_second_round() {
    assert_all_hold(1);
}

#[test]
fn every_scenario_holds_in_the_third_round() {
    assert_all_hold(2);
}
