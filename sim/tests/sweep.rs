//! Every scenario with a few seeds, and with the same seed twice: what CI runs of the simulator.
//!
//! A seed that fails prints the line that reproduces it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use grapevine_sim::run;
use grapevine_sim::scenario::Scenario;

/// Scenarios there must be at least.
const SCENARIOS_MIN: usize = 12;

fn scenarios() -> Vec<(PathBuf, Arc<Scenario>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(folder).expect("the folder is part of the crate");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("readable");
        let scenario = Scenario::parse(&text).expect("a good scenario");
        (path, Arc::new(scenario))
    };
    let all: Vec<_> = paths.into_iter().map(read).collect();
    assert!(all.len() >= SCENARIOS_MIN);
    all
}

fn assert_all_hold(seed: u64) {
    let mut violations = Vec::new();
    for (path, scenario) in scenarios() {
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
fn every_scenario_holds_with_the_first_seed() {
    assert_all_hold(1);
}

#[test]
fn every_scenario_holds_with_the_second_seed() {
    assert_all_hold(2);
}

#[test]
fn every_scenario_holds_with_the_third_seed() {
    assert_all_hold(3);
}

#[test]
fn seed_decides_everything() {
    let all = scenarios();
    for name in ["partition", "real-chitchat"] {
        let scenario = all.iter().find(|(_, it)| it.name() == name);
        let (_, scenario) = scenario.expect("there is such a scenario");
        let digest = |seed| run::run(scenario, seed).digest;
        assert_eq!(digest(5), digest(5), "{name}");
        assert_ne!(digest(5), digest(6), "{name}");
    }
}
